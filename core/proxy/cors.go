package proxy

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

var (
	vary             = []byte("Vary")
	originName       = []byte("Origin")
	allowOrigin      = []byte("Access-Control-Allow-Origin")
	allowCredentials = []byte("Access-Control-Allow-Credentials")
	allowMethods     = []byte("Access-Control-Allow-Methods")
	allowHeaders     = []byte("Access-Control-Allow-Headers")
	exposeHeaders    = []byte("Access-Control-Expose-Headers")
	maxAge           = []byte("Access-Control-Max-Age")
	isTrue           = []byte("true")
	star             = []byte("*")
)

// cors answers a preflight (Fetch, 4.8) in the Service's place; other responses get
// their fields when they come back to this place. What the Service says about origins
// itself never counts.
func (s *state) cors(step *config.Step) *exchange.Error {
	x, c := s.x, step.CORS
	from, ok := x.Request.Header.Get("Origin")
	if !ok {
		from = nil
	}
	x.Original.Origin = from
	method, asked := x.Request.Header.Get("Access-Control-Request-Method")
	if from == nil || !asked || string(x.Request.Method) != "OPTIONS" {
		s.run.Turn(corsResponse, step)
		return nil
	}
	l := local(x, 204)
	h := &l.Header
	if shared(x, h, c) {
		wanted, _ := x.Request.Header.Get("Access-Control-Request-Headers")
		listed(x, h, allowMethods, c.Methods, c.AnyMethod, method)
		listed(x, h, allowHeaders, c.Headers, c.AnyHeader, wanted)
		exposed(x, h, c)
		h.Add(maxAge, strconv.AppendInt(x.Arena.Alloc(20)[:0], int64(c.MaxAge/time.Second), 10))
	}
	s.run.Replace(l)
	return errDone
}

// corsResponse says on a response what the filter allows.
func corsResponse(x *exchange.Exchange, step *config.Step) {
	h := &x.Response.Header
	h.Del("Access-Control-Allow-Origin")
	h.Del("Access-Control-Allow-Credentials")
	h.Del("Access-Control-Expose-Headers")
	if shared(x, h, step.CORS) {
		exposed(x, h, step.CORS)
	}
}

// shared writes whether the request's origin may have the response; false: it may not.
func shared(x *exchange.Exchange, h *exchange.Header, c *config.CORS) bool {
	if c.AnyOrigin && !c.Credentials {
		if x.Original.Origin == nil {
			return false
		}
		h.Add(allowOrigin, star)
		return true
	}
	h.Add(vary, originName) // the answer is another one for another origin (Fetch, 4.10)
	if x.Original.Origin == nil || !c.AnyOrigin && !allowed(c.Origins, x.Original.Origin) {
		return false
	}
	h.Add(allowOrigin, x.Original.Origin)
	if c.Credentials {
		h.Add(allowCredentials, isTrue)
	}
	return true
}

// allowed reports whether an origin, scheme://host[:port] as browsers write it, is one
// of a list.
func allowed(list []config.Origin, from []byte) bool {
	scheme, host, ok := bytes.Cut(from, []byte("://"))
	if !ok {
		return false
	}
	name, port, hasPort := host, 0, false
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		n, err := strconv.Atoi(string(host[i+1:]))
		if err != nil {
			return false
		}
		name, port, hasPort = host[:i], n, true
	}
	for _, o := range list {
		own := port
		if !hasPort {
			own = wellKnown(string(scheme))
		}
		if string(scheme) != o.Scheme || own != int(o.Port) {
			continue
		}
		switch suffix, wild := strings.CutPrefix(o.Hostname, "*"); {
		case !wild && exchange.EqualFold(name, o.Hostname):
			return true
		case wild && len(name) > len(suffix) && exchange.EqualFold(name[len(name)-len(suffix):], suffix):
			return true
		}
	}
	return false
}

// wellKnown returns a scheme's port; 0 if it has none here.
func wellKnown(scheme string) int {
	switch scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return 0
}

// listed writes the methods or fields that are allowed; of any it is those that the
// client asks for, so that credentials may go with them.
func listed(x *exchange.Exchange, h *exchange.Header, name []byte, list string, anyOf bool, wanted []byte) {
	switch {
	case anyOf && len(wanted) > 0:
		h.Add(name, wanted)
	case !anyOf && list != "":
		h.Add(name, x.Arena.CopyString(list))
	}
}

// exposed writes the fields that scripts may read. Where credentials are allowed "*" is
// a name like any other (Fetch, 3.3.2), so that the response's own are listed.
func exposed(x *exchange.Exchange, h *exchange.Header, c *config.CORS) {
	switch {
	case !c.AnyExposed:
		if c.Exposed != "" {
			h.Add(exposeHeaders, x.Arena.CopyString(c.Exposed))
		}
	case !c.Credentials:
		h.Add(exposeHeaders, star)
	default:
		var names []byte
		for _, f := range h.Fields() {
			if exchange.EqualFold(f.Name, "set-cookie") || len(f.Name) > 7 && exchange.EqualFold(f.Name[:7], "access-") {
				continue
			}
			if len(names) > 0 {
				names = append(names, ", "...)
			}
			names = append(names, f.Name...)
		}
		if len(names) > 0 {
			h.Add(exposeHeaders, x.Arena.Copy(names))
		}
	}
}
