package proxy

import (
	"errors"
	"math/rand/v2"
	"time"

	"penstock.dev/penstock/core/codec/grpc"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/router"
	"penstock.dev/penstock/core/snapshot"
)

// What can go wrong before the upstream is asked.
var (
	errNoListener = errors.New("no listener has this hostname")
	errMisdirect  = errors.New("the connection is not for the listener with this hostname")
	errNoRoute    = errors.New("no route matches")
	errPath       = errors.New("the path cannot be normalised")
	errNoBackend  = errors.New("the rule has no backend that can be used")
	errNotServing = errors.New("no configuration yet")
	errConnect    = errors.New("no rule is for this CONNECT")
)

func fault(phase exchange.Phase, side exchange.Side, status int, reason string, err error) *exchange.Error {
	return &exchange.Error{Phase: phase, Side: side, Status: status, Reason: reason, Err: err}
}

// findListener chooses the Gateway's listener and readies what routing looks at.
func (h *HTTP) findListener(s *state) *exchange.Error {
	x := s.x
	x.Phase = exchange.PhaseGateway
	x.Original.Method, x.Original.Authority, x.Original.Path = x.Request.Method, x.Request.Authority, x.Request.Path
	x.FindClient(x.Conn.Trusted)
	if err := s.target(); err != nil {
		return err
	}
	current := h.store.Load()
	if current == nil {
		return fault(exchange.PhaseGateway, exchange.SideProxy, 503, "not-ready", errNotServing)
	}
	port := current.Port(x.Conn.Socket)
	s.listener = port.Listener(s.request.Hostname)
	if s.listener == nil {
		return s.unknown(404, "no-listener", errNoListener)
	}
	if misdirected(port, s.listener, x.Conn) {
		s.listener = nil
		return s.unknown(421, "misdirected", errMisdirect)
	}
	s.gateway = s.listener.Gateway
	s.params = s.gateway.Parameters
	s.run.Wait(s.params.ResponseTimeout)
	x.Gateway, x.Listener = s.gateway.Name, s.listener.Name
	s.patient(&x.Request.Header)
	return nil
}

// unknown is the error of a request that nothing is configured for. To a CONNECT the
// proxy always says the same: it opens no tunnels there (RFC 9110, 9.3.6 and 15.6.2).
func (s *state) unknown(status int, reason string, err error) *exchange.Error {
	if s.x.Request.Connect() {
		status, reason, err = 501, "connect", errConnect
	}
	return fault(s.x.Phase, exchange.SideClient, status, reason, err)
}

// misdirected reports whether a request for l came over a connection that was
// made with another listener's certificate, or in plain text where l wants TLS
// (RFC 9110, 15.5.20, and 7.4).
func misdirected(port *snapshot.Port, l *snapshot.Listener, c *exchange.Conn) bool {
	if l.Table == nil { // raw connections only
		return true
	}
	if c.TLS == nil || !l.Secure {
		return l.Secure != (c.TLS != nil)
	}
	return port.Named(c.TLS.ServerName) != l || judgedElsewhere(l, c)
}

// judgedElsewhere reports whether another Gateway than l's has verified the client's
// certificate: one that had the name when the connection was made.
func judgedElsewhere(l *snapshot.Listener, c *exchange.Conn) bool {
	return c.Certificate != nil && c.Verifier != l.Gateway.Name
}

// target fills s.request from the request as it is now.
func (s *state) target() *exchange.Error {
	x := s.x
	path, query := router.SplitQuery(x.Request.Path)
	normal, dots, err := path, false, error(nil)
	if !x.Request.Connect() {
		normal, dots, err = router.Normalise(path, x.Arena.Alloc)
	}
	if err != nil {
		return fault(exchange.PhaseDecode, exchange.SideClient, 400, "bad-path", errPath)
	}
	if dots { // what the upstream gets is what was matched
		x.Request.Path = join(&x.Arena, normal, query, len(path) < len(x.Request.Path))
		normal, query = router.SplitQuery(x.Request.Path)
	}
	s.request = router.Request{
		Hostname: exchange.Hostname(&x.Arena, x.Request.Authority),
		Path:     normal, Query: query,
		Method: x.Request.Method, Header: &x.Request.Header,
	}
	return nil
}

func join(a *exchange.Arena, path, query []byte, hasQuery bool) []byte {
	if !hasQuery {
		return path
	}
	p := a.Alloc(len(path) + 1 + len(query))
	copy(p, path)
	p[len(path)] = '?'
	copy(p[len(path)+1:], query)
	return p
}

// runGateway runs the Gateway's part of the chain; what it changes counts for
// the match.
func (h *HTTP) runGateway(s *state) *exchange.Error {
	if s.listener.Chain == nil {
		return nil
	}
	link, err := s.pin(s.listener.Chain)
	if err != nil {
		return err
	}
	if err := s.runOne(link.Outer); err != nil {
		return err
	}
	if err := s.runOne(link.Inner); err != nil {
		return err
	}
	return s.target()
}

func (s *state) runOne(c *filter.Chain) *exchange.Error {
	if c == nil {
		return nil
	}
	s.x.Phase = exchange.PhaseRequest
	return outcome(s, s.run.Request(c, s.request.Path))
}

// pin acquires what the chain runs; a broken chain answers 503 with the object
// and the reason.
func (s *state) pin(c *snapshot.Chain) (*snapshot.Link, *exchange.Error) {
	link, err := c.Acquire()
	if err != nil {
		return nil, fault(s.x.Phase, exchange.SidePlugin, 503, "chain-pending", err)
	}
	s.pins[s.pinned] = link
	s.pinned++
	if link.Fault != nil {
		return nil, fault(s.x.Phase, exchange.SidePlugin, 503, "chain-broken", &brokenChain{link.Fault.Reason, link.Fault.Message})
	}
	return link, nil
}

// brokenChain is the error of an exchange whose chain cannot run.
type brokenChain struct{ reason, message string }

func (b *brokenChain) Error() string { return b.reason + ": " + b.message }

// findRule chooses rule and backend.
func (h *HTTP) findRule(s *state) *exchange.Error {
	x := s.x
	x.Phase = exchange.PhaseMatch
	rule, match, ok := s.listener.Table.Find(&s.request)
	if !ok && string(x.Request.Path) == "*" { // OPTIONS * asks about the proxy (RFC 9110, 9.3.7)
		s.options(200)
		return errDone
	}
	if !ok {
		return s.unknown(404, "no-route", errNoRoute)
	}
	s.rule, s.match = rule, match
	x.Route = rule.Name
	if rule.Weights > 0 {
		if s.backend = s.join(); s.backend == nil {
			s.backend = pick(rule.Backends, rule.Weights, func(b *snapshot.Backend) int { return b.Config.Weight })
		}
		b := s.backend.Config
		x.Service, x.Upstream, x.CacheScope = b.Service, b.Upstream, s.backend.CacheScope
	}
	return nil
}

// pick chooses a backend by weight; total is the sum of all, more than 0.
func pick[B any](backends []B, total uint64, weight func(*B) int) *B {
	if len(backends) == 1 {
		return &backends[0]
	}
	n := rand.Uint64N(total)
	for i := range backends {
		w := uint64(weight(&backends[i]))
		if n < w {
			return &backends[i]
		}
		n -= w
	}
	panic("BUG: weights do not add up")
}

// runChain runs the rest of the chain, with the rule's and the backendRef's own filters
// at their places: after what the Route declares, and just before the request is sent.
func (h *HTTP) runChain(s *state) *exchange.Error {
	chain := s.rule.Chain
	if s.backend != nil {
		chain = s.backend.Chain
	}
	link := s.link
	if link == nil {
		s.outer, link = s.run.Len(), &noLink
		if chain != nil {
			var err *exchange.Error
			if link, err = s.pin(chain); err != nil {
				return err
			}
		}
		s.link = link
	}
	if err := s.runOne(link.Outer); err != nil {
		return err
	}
	if err := h.steps(s, s.rule.Config.Steps, link.Rule, s.rule.Mirrors); err != nil {
		return err
	}
	if err := s.runOne(link.Inner); err != nil {
		return err
	}
	if r := s.rule.Config.Redirect; r != nil {
		return h.redirect(s, r)
	}
	if s.backend == nil {
		return noBackend(s)
	}
	if err := h.steps(s, s.backend.Config.Steps, link.Backend, s.backend.Mirrors); err != nil {
		return err
	}
	if r := s.backend.Config.Redirect; r != nil {
		return h.redirect(s, r)
	}
	return nil
}

// noLink is the link of an exchange without a chain.
var noLink snapshot.Link

// tryTimeout is how long one try may take to answer: the rule's own limits, by
// what is left of the whole exchange's, and what a client of gRPC waits for; 0: the upstream's default. A response
// that has begun is bounded by the idle timeout only.
func (s *state) tryTimeout() time.Duration {
	d := s.ruleTimeout()
	own, ok := s.clientTimeout()
	if !ok {
		return d
	}
	if d == 0 {
		d = s.params.TunnelTimeout // the client says itself how long it takes
	}
	return max(min(own, d), time.Millisecond)
}

// bounds sets how long the upstream may take and how often it is asked: with a retry
// each try has its own time, and all of them end with the exchange's.
func (s *state) bounds() {
	r, o := s.rule.Config, &s.sending
	if r.Timeout > 0 {
		o.Deadline = s.x.Start.Add(r.Timeout)
	}
	if o.Retry = r.Retry; o.Retry == nil {
		o.Timeout = s.tryTimeout()
		return
	}
	o.Timeout = r.BackendTimeout
	if own, ok := s.clientTimeout(); ok {
		if by := s.x.Start.Add(own); o.Deadline.IsZero() || by.Before(o.Deadline) {
			o.Deadline = by
		}
	}
}

// clientTimeout returns how long a client of gRPC says that it waits.
func (s *state) clientTimeout() (d time.Duration, ok bool) {
	v, _ := s.x.Request.Header.Get("grpc-timeout")
	return grpc.Timeout(v)
}

// pastDeadline reports whether a client of gRPC waits no more: an upstream that
// keeps its grpc-timeout too may be the first to end the stream, without a word.
func (s *state) pastDeadline() bool {
	d, ok := s.clientTimeout()
	return ok && time.Since(s.x.Start) >= d
}

func (s *state) ruleTimeout() time.Duration {
	r := s.rule.Config
	if r.Timeout == 0 {
		return r.BackendTimeout
	}
	left := max(r.Timeout-time.Since(s.x.Start), time.Millisecond)
	if r.BackendTimeout == 0 {
		return left
	}
	return min(left, r.BackendTimeout)
}

func noBackend(s *state) *exchange.Error {
	status := s.rule.Config.Status
	if s.backend != nil {
		status = s.backend.Config.Status
	}
	if status == 0 {
		status = 503
	}
	return fault(exchange.PhaseSend, exchange.SideProxy, status, "no-backend", errNoBackend)
}
