package proxywasm

import (
	"bytes"
	"net/netip"
	"strings"

	"penstock.dev/penstock/core/exchange"
)

// Bounds on what the filters of one exchange tell each other.
const (
	maxStateKeys  = 64
	maxStateBytes = 64 << 10
	maxPath       = 1 << 10
)

func (f *Filter) getProperty(v *vm, p []uint64) uint32 {
	raw, ok := v.read(p[0], p[1])
	if !ok {
		return statusInvalidMemory
	}
	if len(raw) > maxPath {
		return statusBadArgument
	}
	path := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
	v.scratch = v.scratch[:0]
	value, found := f.property(v, path)
	if !found {
		return statusNotFound
	}
	return v.give(value, p[2], p[3])
}

// property looks a path up; numbers are written into the vm's scratch.
func (f *Filter) property(v *vm, path []string) ([]byte, bool) {
	switch path[0] {
	case "plugin_name":
		return []byte(f.config.ID()), true
	case "plugin_root_id":
		return nil, true
	case "plugin_vm_id":
		return nil, true
	case "listener_direction":
		return appendU64(v.scratch, 1), true // inbound
	}
	s := v.reach()
	if s == nil {
		return nil, false
	}
	x := s.x
	if len(path) == 1 {
		switch path[0] {
		case "route_name":
			return []byte(x.Route), true
		case "cluster_name":
			return []byte(x.Upstream), true
		case "connection_id":
			return appendU64(v.scratch, x.Conn.ID), true
		case "x_request_id":
			return x.Request.Header.Get("x-request-id")
		}
		value, ok := x.State[path[0]]
		return value, ok
	}
	switch path[0] {
	case "request":
		return f.requestProperty(v, s, path[1:])
	case "response":
		return f.responseProperty(v, s, path[1:])
	case "source":
		return address(v, x.Conn.Remote, path[1])
	case "destination":
		return address(v, x.Conn.Local, path[1])
	case "connection":
		return connection(v, x, path[1])
	case "upstream":
		ap, err := netip.ParseAddrPort(x.Endpoint)
		if err != nil {
			return nil, false
		}
		return address(v, ap, path[1])
	case "filter_state":
		value, ok := x.State[strings.TrimPrefix(path[1], "wasm.")]
		return value, ok
	}
	value, ok := x.State[strings.Join(path, "\x00")]
	return value, ok
}

func address(v *vm, a netip.AddrPort, what string) ([]byte, bool) {
	switch what {
	case "address":
		return []byte(a.String()), true
	case "port":
		return appendU64(v.scratch, uint64(a.Port())), true
	}
	return nil, false
}

func connection(v *vm, x *exchange.Exchange, what string) ([]byte, bool) {
	switch what {
	case "id":
		return appendU64(v.scratch, x.Conn.ID), true
	case "mtls":
		return []byte{byte(flag(x.Conn.TLS != nil && len(x.Conn.TLS.PeerCertificates) > 0))}, true
	case "requested_server_name":
		if x.Conn.TLS != nil {
			return []byte(x.Conn.TLS.ServerName), true
		}
	}
	return nil, false
}

func (f *Filter) requestProperty(v *vm, s *stream, path []string) ([]byte, bool) {
	x := s.x
	q := &x.Request
	header := func(name string) ([]byte, bool) { return q.Header.Get(name) }
	switch path[0] {
	case "path":
		return q.Path, true
	case "url_path":
		p, _, _ := bytes.Cut(q.Path, []byte("?"))
		return p, true
	case "query":
		_, query, _ := bytes.Cut(q.Path, []byte("?"))
		return query, true
	case "host":
		return q.Authority, true
	case "scheme":
		return q.Scheme, true
	case "method":
		return q.Method, true
	case "referer":
		return header("referer")
	case "useragent":
		return header("user-agent")
	case "id":
		return header("x-request-id")
	case "time":
		return appendU64(v.scratch, uint64(x.Start.UnixNano())), true
	case "protocol":
		return []byte(protocol(q.Version)), true
	case "size":
		return appendU64(v.scratch, uint64(max(x.RequestBytes, 0))), true
	case "headers":
		return headersProperty(v, view{s: s, h: &q.Header, kind: mapRequestHeaders}, path[1:])
	}
	return nil, false
}

func (f *Filter) responseProperty(v *vm, s *stream, path []string) ([]byte, bool) {
	x := s.x
	if s.phase < phaseResponseHeaders {
		return nil, false
	}
	switch path[0] {
	case "code":
		return appendU64(v.scratch, uint64(x.Response.Status)), true
	case "code_details":
		return []byte(x.Details), true
	case "flags":
		return appendU64(v.scratch, 0), true
	case "size":
		return appendU64(v.scratch, uint64(max(x.ResponseBytes, 0))), true
	case "backend_latency":
		if x.UpstreamHeader.IsZero() {
			return nil, false
		}
		return appendU64(v.scratch, uint64(x.UpstreamHeader.Sub(x.UpstreamStart))), true
	case "headers":
		return headersProperty(v, view{s: s, h: &x.Response.Header, kind: mapResponseHeaders}, path[1:])
	case "trailers":
		return headersProperty(v, view{s: s, h: &x.Response.Trailer, kind: mapResponseTrailers}, path[1:])
	}
	return nil, false
}

// headersProperty returns one value, or the whole map.
func headersProperty(v *vm, w view, path []string) ([]byte, bool) {
	var buf [4]byte
	if len(path) > 0 {
		return w.get([]byte(path[0]), buf[:0])
	}
	var pairs [requestPseudo]pair
	v.scratch = appendPairs(v.scratch[:0], w.pseudo(&pairs, buf[:0]), w.h)
	return v.scratch, true
}

func protocol(version uint8) string {
	switch version {
	case exchange.HTTP10:
		return "HTTP/1.0"
	case exchange.HTTP2:
		return "HTTP/2"
	case exchange.HTTP3:
		return "HTTP/3"
	}
	return "HTTP/1.1"
}

// setProperty keeps a value for the exchange's other filters.
func (f *Filter) setProperty(v *vm, p []uint64) uint32 {
	path, ok := v.read(p[0], p[1])
	value, ok2 := v.read(p[2], p[3])
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	s := v.reach()
	if s == nil || s.phase == phaseDone {
		return statusNotFound
	}
	if len(path) == 0 || len(path) > maxPath {
		return statusBadArgument
	}
	x := s.x
	size := len(path) + len(value)
	for key, old := range x.State {
		size += len(key) + len(old)
	}
	key := string(bytes.TrimSuffix(path, []byte{0}))
	if _, known := x.State[key]; size > maxStateBytes || !known && len(x.State) >= maxStateKeys {
		return statusInternal
	}
	if x.State == nil {
		x.State = map[string][]byte{}
	}
	x.State[key] = bytes.Clone(value)
	return statusOK
}
