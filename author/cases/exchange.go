package cases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

const (
	// looks is how often, by the machine's time, it is looked whether an exchange
	// waits; without a change for still looks it waits for a call if there is one, for
	// long ones for anything.
	looks = 5 * time.Millisecond
	still = 6
	long  = 200
	// rests is how many looks pass after something has happened, for who is woken by it.
	rests = 2
	// held is how many times in a row there may be nothing that it could wait for.
	held = 20
	// holds is how long, by the case's time, a plugin may hold an exchange; ends is how
	// long it may take by the machine's.
	holds = time.Minute
	ends  = time.Minute
)

// conn is the client's connection.
var conn = &exchange.Conn{
	ID: 1, Remote: netip.MustParseAddrPort("192.0.2.10:40000"), Local: netip.MustParseAddrPort("192.0.2.1:80"),
	RemoteIP: []byte("192.0.2.10"), LocalPort: []byte("80"),
}

// client is the side of an exchange that watches for its end; whoever watches waits.
type client struct {
	waits atomic.Int32

	mu   sync.Mutex
	gone func()
}

// Inform implements exchange.Client.
func (*client) Inform(*exchange.Exchange, int, *exchange.Header) error { return nil }

// Send implements exchange.Client.
func (*client) Send(*exchange.Exchange) error { return nil }

// Watch implements exchange.Client.
func (c *client) Watch(gone func()) func() {
	c.waits.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = gone
	return sync.OnceFunc(func() {
		c.waits.Add(-1)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.gone = nil
	})
}

// leave is the client that goes.
func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil {
		c.gone()
	}
}

// under is an exchange under way.
type under struct {
	t       *trial
	e       *Exchange
	request *sent
	answer  *sent
	x       exchange.Exchange
	run     filter.Run
	client  client
	reads   atomic.Int64
	bodies  [2]body // the request's, the response's
	buffer  []byte
	// keep says that what came is kept, to be compared.
	keep    bool
	sending atomic.Pointer[stopper] // the request's body, while the upstream reads it

	reached  bool
	upstream message // what came to it
	response message
}

// exchange makes one exchange and returns what was not as wanted.
func (t *trial) exchange(e *Exchange) []string {
	t.pass(t.clock.Now().Add(time.Duration(e.Advance)))
	t.calls.expect(e.Calls)
	u := t.under(e)
	u.keep = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.serve()
	}()
	if err := u.watch(done); err != nil {
		return append(t.calls.end(), err.Error())
	}
	return append(u.compare(), t.calls.end()...)
}

// under readies an exchange, which may be served again and again.
func (t *trial) under(e *Exchange) *under {
	u := &under{t: t, e: e, request: e.Request.toSend(), buffer: make([]byte, 32<<10)}
	if e.Upstream != nil {
		u.answer = e.Upstream.Response.toSend()
	} else {
		u.answer = (*Message)(nil).toSend()
	}
	u.x.Conn, u.x.Client = e.Certificate.conn(), &u.client
	return u
}

// pass has all happen until end, and moves the time there.
func (t *trial) pass(end time.Time) {
	for t.step(end) {
	}
	t.clock.to(end)
}

// step has what is due first happen, an answer to a call or a timer; false: there is
// nothing until end.
func (t *trial) step(end time.Time) bool {
	call, due := t.calls.next()
	timer, fires := t.clock.next()
	switch {
	case call != nil && !due.After(end) && (timer == nil || !due.After(fires)):
		t.calls.answer(call)
	case timer != nil && !fires.After(end):
		t.clock.fire(timer)
	default:
		return false
	}
	return true
}

// watch moves the time on whenever the exchange waits for something, until it is done.
func (u *under) watch(done <-chan struct{}) error {
	tick := time.NewTicker(looks)
	defer tick.Stop()
	end := time.After(ends)
	limit := u.t.clock.Now().Add(holds)
	reads, same, idle, rest := int64(-1), 0, 0, 0
	for {
		select {
		case <-done:
			return nil
		case <-end:
			return errNoExchange
		case <-tick.C:
		}
		if rest > 0 {
			rest--
			continue
		}
		same++
		if now := u.reads.Load(); now != reads {
			reads, same = now, 0
		}
		if u.client.waits.Load() == 0 { // a body may be held, or a callback be slow
			if call, _ := u.t.calls.next(); call != nil && same > still {
				u.t.calls.answer(call)
				rest = rests
				continue
			}
			if same < long {
				continue
			}
		}
		if u.t.step(limit) {
			idle, rest = 0, rests
		} else if idle++; idle > held {
			u.client.leave()
			if b := u.sending.Load(); b != nil {
				(*b).Stop()
			}
			<-done
			return errHeld
		}
	}
}

// stopper is a body that somebody may wait for.
type stopper interface{ Stop() }

// serve is the exchange, as core/proxy makes it.
func (u *under) serve() {
	u.make()
	u.run.Start(&u.x)
	defer u.run.Done()
	u.x.Phase = exchange.PhaseRequest
	path, _, _ := bytes.Cut(u.x.Request.Path, []byte("?"))
	out := u.run.Request(u.t.chain, path)
	if out == filter.Passed {
		out = u.run.RequestBody()
	}
	if out == filter.Passed {
		out = u.send()
	}
	if out == filter.Failed {
		u.failed()
	}
	u.back()
}

// make makes the request.
func (u *under) make() {
	x, r := &u.x, u.request
	x.Reset()
	u.reached, u.upstream, u.response = false, message{}, message{}
	x.ID, x.Start, x.Gateway, x.Listener, x.Service = 1, u.t.clock.Now(), "default/edge", "http", "default/case"
	if known := u.e.Known; known != nil {
		x.Consumer, x.Claims = exchange.Consumer{Name: known.Name, Groups: known.Groups}, known.json
	}
	q := &x.Request
	q.Version = exchange.HTTP11
	q.Method, q.Path, q.Authority, q.Scheme = r.method, r.path, r.authority, r.scheme
	x.Original.Method, x.Original.Authority, x.Original.Path = r.method, r.authority, r.path
	q.Body, q.ContentLength = u.content(0, r, &q.Header, &q.Trailer)
	x.FindClient(true) // a case may say what a trusted proxy would
}

// content adds a message's fields, and is its body. Parts have no length, as in chunked
// coding.
func (u *under) content(which int, m *sent, header, trailer *exchange.Header) (exchange.Body, int64) {
	for _, f := range m.headers {
		header.Add(f.Name, f.Value)
	}
	if !m.content {
		return nil, 0
	}
	b := &u.bodies[which]
	*b = body{parts: m.parts, read: &u.reads, trailer: trailer, after: m.trailers}
	return b, m.length
}

// send is what the upstream does: it reads the request, and answers.
func (u *under) send() filter.Outcome {
	x := &u.x
	x.Phase = exchange.PhaseSend
	u.run.Sending()
	if _, ok := x.Request.Body.(stopper); ok {
		b := x.Request.Body.(stopper) // one that escapes only here
		u.sending.Store(&b)
		defer u.sending.Store(nil)
	}
	length := requestLength(&x.Request)
	content, err := u.readAll(x.Request.Body)
	if err != nil {
		if u.run.Late() {
			return filter.Answered
		}
		return filter.Failed
	}
	u.reached = true
	q := &x.Request
	if u.keep {
		u.upstream = message{method: string(q.Method), path: string(q.Path), authority: string(q.Authority), scheme: string(q.Scheme), headers: framed(&q.Header, length), trailers: copied(&q.Trailer), body: content}
	}
	p := &x.Response
	p.Status, p.Version = u.answer.status, exchange.HTTP11
	p.Body, p.ContentLength = u.content(1, u.answer, &p.Header, &p.Trailer)
	if fields.Bodyless(string(q.Method) == "HEAD", p.Status) {
		p.Body, p.ContentLength = nil, lengthTold(p)
	}
	x.Upstream, x.Endpoint = "default/case:80", "192.0.2.20:8080"
	return filter.Passed
}

// back is the response's way to the client.
func (u *under) back() {
	x := &u.x
	for range 64 { // as in core/proxy: each time fewer filters are left
		x.Phase = exchange.PhaseResponse
		out := u.run.Response()
		if out == filter.Passed {
			x.Phase = exchange.PhaseResponseBody
			out = u.run.ResponseBody()
		}
		if out == filter.Passed {
			break
		}
		if out == filter.Failed {
			u.failed()
		}
	}
	p := &x.Response
	length := responseLength(p, string(u.request.method) == "HEAD")
	content, err := u.readAll(p.Body)
	from := "upstream"
	switch {
	case u.response.failure != "":
		from = "proxy"
	case x.AnsweredBy != "":
		from = "plugin"
	}
	u.response.status, u.response.from = p.Status, from
	if u.keep {
		u.response.headers, u.response.trailers, u.response.body = framed(&p.Header, length), copied(&p.Trailer), content
	}
	if err != nil { // the client sees that it is cut
		u.response.from, u.response.failure = "proxy", reason(u.run.Err(), err)
	}
}

// failed makes the proxy's answer to a filter's failure the response.
func (u *under) failed() {
	err := u.run.Err()
	if err == nil {
		err = &exchange.Error{Status: 500, Reason: "unknown", Err: errors.New("no reason")}
	}
	u.response.failure = err.Reason
	u.run.Replace(&exchange.Local{Status: err.Status, GRPCStatus: -1})
}

func (u *under) readAll(b exchange.Body) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	var all []byte
	for {
		n, err := b.Read(u.buffer)
		u.reads.Add(1)
		if u.keep {
			all = append(all, u.buffer[:n]...)
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// copied is a list of fields that stays.
func copied(h *exchange.Header) *exchange.Header {
	c := &exchange.Header{}
	for _, f := range h.Fields() {
		c.Add(slices.Clone(f.Name), slices.Clone(f.Value))
	}
	return c
}

// compare says what was not as wanted.
func (u *under) compare() (faults []string) {
	if up := u.e.Upstream; up != nil {
		switch {
		case up.Reached != nil && *up.Reached != u.reached, !u.reached && (up.Request != nil || up.Response != nil):
			faults = append(faults, fmt.Sprintf("upstream.reached: got %t; the response is %d %s %s", u.reached, u.response.status, u.response.from, u.response.failure))
		case u.reached:
			faults = append(faults, u.upstream.compare("upstream.request", up.Request)...)
		}
	}
	if want := u.e.Claims; want != nil {
		if text, err := json.Marshal(want); err != nil || !sameJSON(u.x.Claims, text) {
			faults = append(faults, fmt.Sprintf("claims: got %.1000q; want %.1000s", u.x.Claims, text))
		}
	}
	if want := u.e.Consumer; want != nil {
		if got := u.x.Consumer; got.Name != want.Name || !slices.Equal(got.Groups, want.Groups) {
			faults = append(faults, fmt.Sprintf("consumer: got %q of %q; want %q of %q", got.Name, got.Groups, want.Name, want.Groups))
		}
	}
	faults = append(faults, u.e.Cache.compare(u.x.Steer)...)
	return append(faults, u.response.compare("response", u.e.Response)...)
}

var _ exchange.Client = (*client)(nil)
