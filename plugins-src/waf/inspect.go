package main

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"
	"github.com/corazawaf/coraza/v3/experimental/plugins"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"
)

// firewall is a configuration with its compiled rules. It is for one goroutine.
type firewall struct {
	config *config
	waf    coraza.WAF
	effort *effort
	sieve  *sieve
	report func(line string)
	// matches are the rules that matched in the current call.
	matches []string
}

// newFirewall compiles the rules. report gets a line for each call in which rules
// match that are to be logged, and names all of them: a line for each would soon be
// over what a host writes of one plugin. It holds no value of the request.
func newFirewall(c *config, report func(line string)) (*firewall, error) {
	left := &effort{}
	f := &firewall{config: c, effort: left, sieve: newSieve(c, left), report: report}
	plugins.RegisterOperator("rx", f.sieve.noting(rxFactory(f.effort))) // before the rules are read
	for name, operator := range f.sieve.injection {
		plugins.RegisterOperator(name, func(plugintypes.OperatorOptions) (plugintypes.Operator, error) { return operator, nil })
	}
	plugins.RegisterOperator(sieveOperator, f.sieve.factory)
	waf, err := coraza.NewWAF(experimental.WAFConfigWithRuleObserver(coraza.NewWAFConfig(), f.sieve.observe).
		WithRootFS(coreRules{coreruleset.FS, newSettled(c)}).
		WithDirectives(c.directives()).
		WithErrorCallback(func(m types.MatchedRule) {
			if m.Message() != "" {
				f.matches = append(f.matches, fmt.Sprintf("rule %d (%s): %s", m.Rule().ID(), m.Rule().Severity(), m.Message()))
			}
		}))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	f.sieve.ready()
	f.waf = waf
	return f, nil
}

// inspection is the WAF's view of one exchange.
type inspection struct {
	*firewall
	tx types.Transaction
	// media is the type of the request, lower case; boundary is multipart's.
	media, boundary string
	held            int // bytes of the current body
	// request and response are true once their last phase has run.
	request, response bool
}

// verdict is the status of the refusal; 0 lets pass.
type verdict int

const (
	pass    verdict = 0
	tooLong verdict = 413
	denied  verdict = 403
	failed  verdict = 500
)

func (f *firewall) newInspection() *inspection {
	return &inspection{firewall: f, tx: f.waf.NewTransaction()}
}

// blocks reports whether anything is refused.
func (i *inspection) blocks() bool { return i.config.Mode == "block" }

// run lets rules run with new effort. If that does not do, the exchange is
// refused, or no longer looked at.
func (i *inspection) run(rules func() verdict) (v verdict) {
	i.effort.steps = effortSteps
	defer func() {
		r := recover()
		if len(i.matches) > 0 {
			i.report(strings.Join(i.matches, "; "))
			i.matches = i.matches[:0]
		}
		switch r {
		case nil:
		case exhausted{}:
			i.report("too many values, or too long ones, to inspect all")
			i.request, i.response = true, true
			if v = pass; i.blocks() {
				v = tooLong
			}
		default:
			panic(r)
		}
	}()
	return rules()
}

// of makes a verdict of Coraza's interruption.
func (i *inspection) of(it *types.Interruption) verdict {
	switch {
	case it == nil || !i.blocks() || it.Action == "allow":
		return pass
	case it.Status >= 400 && it.Status <= 599:
		return verdict(it.Status)
	}
	return denied
}

// result is of, with an error.
func (i *inspection) result(it *types.Interruption, err error) verdict {
	if err != nil {
		return failed
	}
	return i.of(it)
}

// requestHeaders takes the request's head, pseudo header fields included; end
// says that no body follows.
func (i *inspection) requestHeaders(source, destination, protocol string, header [][2]string, end bool) verdict {
	from, to := addrPort(source), addrPort(destination)
	i.tx.ProcessConnection(from.Addr().String(), int(from.Port()), to.Addr().String(), int(to.Port()))
	var method, path string
	hasHost, hasLength := false, false
	for _, h := range header {
		hasHost = hasHost || strings.EqualFold(h[0], "host")
		hasLength = hasLength || strings.EqualFold(h[0], "content-length")
	}
	old := protocol == "HTTP/1.0" || protocol == "HTTP/1.1"
	if old && !end && !hasLength {
		// The proxy has taken it out: it is of the connection. Rules ask for either.
		i.tx.AddRequestHeader("Transfer-Encoding", "chunked")
	}
	for _, h := range header {
		switch h[0] {
		case ":method":
			method = h[1]
		case ":path":
			path = h[1]
		case ":authority":
			if !hasHost && (h[1] != "" || protocol != "HTTP/1.0") { // in HTTP/1.0 there may be none
				i.tx.AddRequestHeader("Host", h[1])
			}
			i.tx.SetServerName(hostname(h[1]))
		case ":scheme", ":protocol":
		default:
			if strings.EqualFold(h[0], "content-type") {
				i.media, i.boundary = mediaType(h[1])
			}
			i.tx.AddRequestHeader(h[0], h[1])
		}
	}
	i.tx.ProcessURI(path, method, protocol)
	v := i.run(func() verdict { return i.of(i.tx.ProcessRequestHeaders()) })
	if v != pass || !end {
		return v
	}
	return i.requestEnd()
}

// requestBody looks at the size bytes of the request's body that are held back,
// which get returns. It waits for the end, or for the limit; done says that the
// rest is not needed.
func (i *inspection) requestBody(size int, end bool, get func(start, size int) ([]byte, error)) (v verdict, done bool) {
	if i.request {
		return pass, true
	}
	over := size > i.config.BodyLimit
	if over && i.blocks() && i.config.OverLimit == "reject" {
		return tooLong, true
	}
	if !end && !over {
		return pass, false // what is held back is read once, at its end
	}
	body, err := read(min(size, i.config.BodyLimit), get)
	if err != nil {
		return failed, true
	}
	if over {
		v = i.cut(body)
	} else {
		v = i.write(body)
	}
	if v != pass {
		return v, true
	}
	return i.requestEnd(), true
}

// read gets exactly size bytes.
func read(size int, get func(start, size int) ([]byte, error)) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	body, err := get(0, size)
	if err == nil && len(body) != size {
		err = io.ErrUnexpectedEOF
	}
	return body, err
}

func (i *inspection) write(body []byte) verdict {
	it, _, err := i.tx.WriteRequestBody(body)
	return i.result(it, err)
}

// cut takes the beginning of a body that is over the limit. A cut form can be
// parsed, a multipart one is closed; of a cut JSON body the strings are taken,
// of all else the text, as arguments: their parsers would refuse it.
func (i *inspection) cut(body []byte) verdict {
	switch {
	case i.media == "application/x-www-form-urlencoded":
		return i.write(body)
	case i.boundary != "":
		// Not appended: the bytes are the host's.
		return i.write(slices.Concat(body, []byte("\r\n--"+i.boundary+"--\r\n")))
	case strings.HasSuffix(i.media, "json"):
		rest := strings.NewReader(string(body))
		for d := json.NewDecoder(rest); ; {
			token, err := d.Token()
			if err != nil {
				left := body[min(int(d.InputOffset()), len(body)):]
				i.tx.AddPostRequestArgument("json", string(left))
				return pass
			}
			if text, ok := token.(string); ok && text != "" {
				i.tx.AddPostRequestArgument("json", text)
			}
		}
	}
	i.tx.AddPostRequestArgument("body", string(body[:min(len(body), maxBodyLimit/4)]))
	return pass
}

// requestEnd runs the rules that need the whole request.
func (i *inspection) requestEnd() verdict {
	if i.request {
		return pass
	}
	i.request = true
	return i.run(func() verdict { return i.result(i.tx.ProcessRequestBody()) })
}

// responseHeaders takes the response's head.
func (i *inspection) responseHeaders(status int, protocol string, header [][2]string, end bool) verdict {
	for _, h := range header {
		if !strings.HasPrefix(h[0], ":") {
			i.tx.AddResponseHeader(h[0], h[1])
		}
	}
	i.held = 0
	if v := i.run(func() verdict { return i.of(i.tx.ProcessResponseHeaders(status, protocol)) }); v != pass {
		return v
	}
	if end || !i.tx.IsResponseBodyProcessable() {
		return i.responseEnd()
	}
	return pass
}

// responseBody is requestBody for the response; the part of a response over
// the limit always passes.
func (i *inspection) responseBody(size int, end bool, get func(start, size int) ([]byte, error)) (v verdict, done bool) {
	if i.response {
		return pass, true
	}
	if over := size > i.config.BodyLimit; !end && !over {
		return pass, false
	}
	body, err := read(min(size, i.config.BodyLimit), get)
	if err != nil {
		return failed, true
	}
	it, _, err := i.tx.WriteResponseBody(body)
	if v := i.result(it, err); v != pass {
		return v, true
	}
	return i.responseEnd(), true
}

// responseEnd runs the rules that need the whole response.
func (i *inspection) responseEnd() verdict {
	if i.response {
		return pass
	}
	i.response = true
	return i.run(func() verdict { return i.result(i.tx.ProcessResponseBody()) })
}

// done runs the rules for logging and frees the transaction.
func (i *inspection) done() error {
	i.run(func() verdict {
		i.tx.ProcessLogging()
		return pass
	})
	return i.tx.Close()
}

// addrPort is zero for what is none, such as a Unix socket.
func addrPort(text string) netip.AddrPort {
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	return a
}

func hostname(authority string) string {
	if name, _, err := net.SplitHostPort(authority); err == nil {
		return name
	}
	return authority
}

// mediaType returns a Content-Type without its parameters, and the boundary.
func mediaType(field string) (media, boundary string) {
	if t, parameters, err := mime.ParseMediaType(field); err == nil {
		return t, parameters["boundary"]
	}
	t, _, _ := strings.Cut(field, ";")
	return strings.ToLower(strings.TrimSpace(t)), ""
}
