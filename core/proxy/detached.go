package proxy

import (
	"maps"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// detached is an exchange that goes on behind a filter of another one.
type detached struct {
	h *HTTP
	s *state
	x exchange.Exchange
	// answered: there is a response for its client.
	answered bool
	from     *state // what it was copied from, while that waits for it
	kept     bool
}

// Detach implements filter.Detacher. What copies of the request were begun before the
// filter go with it: they are sent when it is.
func (s *state) Detach(n int) filter.Detached {
	h := s.h
	d := h.fetches.Get().(*detached)
	d.h, d.from = h, s
	x, from := &d.x, s.x
	x.Conn, x.ID, x.Start = from.Conn, h.last.Add(1), time.Now()
	copyRequest(x, from)
	o, r, a := &from.Original, &x.Original, &x.Arena
	r.Method, r.Authority, r.Path, r.Origin = a.Copy(o.Method), a.Copy(o.Authority), a.Copy(o.Path), a.Copy(o.Origin)
	x.ClientAddress, x.Consumer, x.Claims = from.ClientAddress, from.Consumer, from.Claims
	x.Gateway, x.Listener, x.Route = from.Gateway, from.Listener, from.Route
	x.Service, x.Upstream, x.CacheScope = from.Service, from.Upstream, from.CacheScope
	x.Steer = from.Steer
	from.StateMu.Lock()
	x.State = maps.Clone(from.State)
	from.StateMu.Unlock()

	t := h.states.Get().(*state)
	d.s = t
	t.h, t.x = h, x
	t.gateway, t.listener, t.params = s.gateway, s.listener, s.params
	t.rule, t.match, t.backend, t.link = s.rule, s.match, s.backend, s.link
	for i := range s.pinned {
		s.pins[i].Again()
	}
	t.pins, t.pinned = s.pins, s.pinned
	t.mirrors, s.mirrors = append(t.mirrors[:0], s.mirrors...), s.mirrors[:0]
	if s.sending.Session != nil {
		t.session = s.session
		t.sending.Session = &t.session
	}
	t.run.Start(x)
	t.run.Detacher(t)
	t.run.Follower(t)
	t.run.Behind(x.Consumer.Object)
	t.run.Wait(t.params.ResponseTimeout)
	t.run.Skip(n - s.outer)
	return d
}

// copyRequest makes x's request a copy of from's as it is now, without its body.
func copyRequest(x, from *exchange.Exchange) {
	q, p, a := &from.Request, &x.Request, &x.Arena
	p.Method, p.Scheme, p.Authority, p.Path = a.Copy(q.Method), a.Copy(q.Scheme), a.Copy(q.Authority), a.Copy(q.Path)
	p.Version, p.TE = q.Version, q.TE
	for _, f := range q.Header.Fields() {
		p.Header.Add(a.Copy(f.Name), a.Copy(f.Value))
	}
}

// Exchange implements filter.Detached.
func (d *detached) Exchange() *exchange.Exchange { return &d.x }

// Head implements filter.Detached.
func (d *detached) Head() bool {
	h, s := d.h, d.s
	err := h.onward(s)
	if err == nil {
		err = h.send(s)
	}
	if err != nil && err != errDone {
		h.answerError(s, err)
	}
	d.answered = h.back(s)
	return d.answered
}

// onward is the way in from behind the filter.
func (h *HTTP) onward(s *state) *exchange.Error {
	if err := s.target(); err != nil {
		return err
	}
	if err := h.runChain(s); err != nil {
		return err
	}
	outgoing(s.x, s.params)
	return outcome(s, s.run.RequestBody())
}

// Keep implements filter.Detached.
func (d *detached) Keep() {
	d.kept = true
	from, to := d.s, d.from
	if from.sending.Session != nil {
		to.session = from.session
	}
	to.x.Err = d.x.Err
}

// Finish implements filter.Detached.
func (d *detached) Finish() {
	h, s, x := d.h, d.s, &d.x
	if d.answered && !d.kept {
		x.Phase = exchange.PhaseEncode
		if err := x.Client.Send(x); err != nil && x.Err == nil {
			x.Err = encodeError(s, err)
		}
	}
	x.Phase = exchange.PhaseDone
	h.free(s)
	h.forget(s)
	x.Conn, x.Client = nil, nil
	x.Reset()
	d.h, d.s, d.from, d.answered, d.kept = nil, nil, nil, false, false
	h.fetches.Put(d)
}

var (
	_ filter.Detacher = (*state)(nil)
	_ filter.Detached = (*detached)(nil)
)
