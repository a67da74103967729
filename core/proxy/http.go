package proxy

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/router"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/upstream"
)

// Log records finished exchanges.
type Log interface {
	// Exchange writes one record. It keeps nothing of x.
	Exchange(x *exchange.Exchange, took time.Duration)
}

// HTTP serves exchanges from the snapshot that is current when they begin.
type HTTP struct {
	store   *snapshot.Store
	log     Log // nil: none
	metrics *snapshot.Metrics
	mirrors mirrors
	states  sync.Pool
	fetches sync.Pool
	last    atomic.Uint64 // number of an exchange
}

// New returns the handler that the listeners call.
func New(store *snapshot.Store, log Log) *HTTP {
	h := &HTTP{store: store, log: log, metrics: store.Metrics(), states: sync.Pool{New: func() any { return new(state) }}}
	h.fetches.New = func() any { return new(detached) }
	h.mirrors.init()
	return h
}

// Close ends the copies of requests that are under way, and waits for them. To be
// called when no exchange is left.
func (h *HTTP) Close() { h.mirrors.close() }

// state is what the proxy keeps of one exchange.
type state struct {
	h        *HTTP
	x        *exchange.Exchange
	run      filter.Run
	gateway  *snapshot.Gateway
	listener *snapshot.Listener
	params   *config.ProxyParameters
	rule     *snapshot.Rule
	match    *config.Match
	backend  *snapshot.Backend
	request  router.Request
	pins     [6]*snapshot.Link // of the Gateway's part, the rule's chain, and Consumers, of a detached one's too
	pinned   int
	link     *snapshot.Link // of the rule's chain; nil: none yet
	outer    int            // filters of the Gateway's part
	web      web
	sending  upstream.Options
	session  upstream.Session
	mirrors  []*mirror
}

// reset forgets the exchange and keeps the run's memory.
func (s *state) reset() {
	s.x, s.gateway, s.listener, s.params = nil, nil, nil, nil
	s.rule, s.match, s.backend, s.pinned, s.link, s.outer = nil, nil, nil, 0, nil, 0
	s.request = router.Request{}
	s.sending, s.session = upstream.Options{}, upstream.Session{}
	s.web.reset()
}

// errDone ends the request's way without an error: exchange.Response is set.
var errDone = &exchange.Error{Status: 599, Reason: "done", Err: errors.New("answered")}

// Serve implements exchange.Handler.
func (h *HTTP) Serve(x *exchange.Exchange) {
	s := h.states.Get().(*state)
	s.h, s.x = h, x
	x.ID = h.last.Add(1)
	s.run.Start(x)
	s.run.Detacher(s)
	s.run.Follower(s)
	err := h.request(s)
	if err == nil {
		err = h.send(s)
	}
	if err != nil && err != errDone {
		h.answerError(s, err)
	}
	h.respond(s)
	h.done(s)
}

// request is the way in: it ends with nil when the request is to be sent.
func (h *HTTP) request(s *state) *exchange.Error {
	if err := h.findListener(s); err != nil {
		return err
	}
	if err := h.runGateway(s); err != nil {
		return err
	}
	if err := h.findRule(s); err != nil {
		return err
	}
	if err := h.runChain(s); err != nil {
		return err
	}
	if err := s.hops(); err != nil {
		return err
	}
	outgoing(s.x, s.params)
	return outcome(s, s.run.RequestBody())
}

// send is the way to the upstream and the response's first step back.
func (h *HTTP) send(s *state) *exchange.Error {
	s.x.Phase = exchange.PhaseSend
	b := s.backend
	if b == nil || b.Upstream == nil {
		return noBackend(s)
	}
	if len(s.mirrors) > 0 {
		h.mirror(s)
	}
	s.web.request(s.x, b.Upstream.Protocol())
	s.run.Sending()
	s.bounds()
	err := b.Upstream.SendWith(s.x, &s.sending)
	s.web.sent(s.x)
	if err != nil {
		if own := s.run.Err(); own != nil { // a body filter ended it, the upstream only noticed
			return own
		}
		if s.run.Late() {
			return errDone
		}
		return err
	}
	s.patient(&s.x.Response.Header)
	s.web.response(s)
	return nil
}

// respond is the way out: response filters, then the client.
func (h *HTTP) respond(s *state) {
	x := s.x
	if !h.back(s) {
		return
	}
	x.Phase = exchange.PhaseEncode
	advertise(x)
	if s.sending.Session != nil && x.Err == nil {
		s.tell()
	}
	if err := x.Client.Send(x); err != nil && x.Err == nil {
		x.Err = encodeError(s, err)
	}
}

// back passes the response through its filters. One that fails is answered for once
// by the proxy; the filters before it see that. false: the client gets no answer.
func (h *HTTP) back(s *state) bool {
	x := s.x
	for range maxAnswers {
		x.Phase = exchange.PhaseResponse
		out := s.run.Response()
		if out == filter.Passed {
			x.Phase = exchange.PhaseResponseBody
			out = s.run.ResponseBody()
		}
		if out == filter.Passed {
			break
		}
		if out == filter.Failed {
			err := s.run.Err()
			if unanswered(err) {
				x.Err = err
				break
			}
			h.answerError(s, err)
		}
	}
	if x.Err != nil && unanswered(x.Err) {
		x.Response.Abandon()
		return false
	}
	return true
}

// unanswered reports whether the client gets no answer because of err.
func unanswered(err *exchange.Error) bool {
	return err.Reason == "plugin-reset" || err.Reason == "client-gone"
}

// advertise tells the client where else it can reach the listener (RFC 7838, 3),
// unless the response says so itself. A CONNECT's authority is not the listener's.
func advertise(x *exchange.Exchange) {
	if x.Conn.AltSvc == nil || x.Request.Connect() {
		return
	}
	if _, said := x.Response.Header.Get("Alt-Svc"); !said {
		x.Response.Header.Add(altSvc, x.Conn.AltSvc)
	}
}

// maxAnswers bounds how often a response can be replaced on its way out: each
// time fewer filters are left.
const maxAnswers = 64

// encodeError says whose fault a response is that could not be sent whole.
func encodeError(s *state, err error) *exchange.Error {
	if own := s.run.Err(); own != nil {
		return own
	}
	var known *exchange.Error
	if errors.As(err, &known) {
		return known
	}
	return &exchange.Error{Phase: exchange.PhaseEncode, Side: exchange.SideClient, Status: 499, Reason: "client-gone", Err: err}
}

// done logs, counts and frees.
func (h *HTTP) done(s *state) {
	x := s.x
	x.Phase = exchange.PhaseDone
	took := time.Since(x.Start)
	h.free(s)
	h.count(s, took)
	if h.log != nil {
		h.log.Exchange(x, took)
	}
	h.forget(s)
}

// free ends what the exchange began and gives back what it pinned.
func (h *HTTP) free(s *state) {
	s.run.Done()
	if len(s.mirrors) > 0 {
		h.unmirror(s)
	}
	for i := range s.pinned {
		s.pins[i].Release()
		s.pins[i] = nil
	}
}

// forget makes s ready for another exchange.
func (h *HTTP) forget(s *state) {
	s.x.Response.Body = nil // it is closed, and what it was made of serves another exchange
	s.reset()
	h.states.Put(s)
}

// outcome turns what a pass through filters said into the way to go on.
func outcome(s *state, o filter.Outcome) *exchange.Error {
	switch o {
	case filter.Answered:
		return errDone
	case filter.Failed:
		return s.run.Err()
	}
	return nil
}

func (h *HTTP) count(s *state, took time.Duration) {
	c := h.metrics.None
	if s.backend != nil {
		c = s.backend.Counters
	} else if s.rule != nil {
		c = s.rule.Counters
	}
	status := 0
	if s.x.HeadersSent {
		status = s.x.Response.Status
	}
	c.Finished(status, took)
}
