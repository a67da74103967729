package filter

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// Canary is another version of an entry's filter, to which a share of the
// exchanges goes.
type Canary struct {
	// Entry is the other version at this place; its exceptions are not looked at.
	Entry Entry
	// WeightPercent of the exchanges, 0..100, chosen for each.
	WeightPercent int
	// Shadow: the exchanges run the entry itself; once they are over, the other
	// version is shown a copy, and its decisions are compared.
	Shadow bool
	// Ready reports whether exchanges may go to it now. Like the other functions
	// it may be called by any goroutine.
	Ready func() bool
	// Count is told what became of an exchange.
	Count func(CanaryResult)
	// Reserve asks for the place of one copy, and keeps the filter until Replay;
	// false: there are too many. Only for a shadow.
	Reserve func() bool
	// Replay gives the place back once f has run, on another goroutine; f is nil
	// if there is nothing to run.
	Replay func(f func())

	chain *Chain // of Entry alone
}

// CanaryResult is what became of an exchange that was chosen for a canary.
type CanaryResult uint8

// The results. A live canary's exchange ran; Failed is told beside that.
const (
	CanaryRan    CanaryResult = iota
	CanaryFailed              // trapped, exceeded a limit, had no instance
	// Of a shadow: it decided as the filter itself, or not; or nothing can be said,
	// as for an exchange that was cut short.
	CanaryAgrees
	CanaryDiffers
	CanarySkipped
)

// said is what a filter decided in one direction of an exchange.
type said struct {
	kind   saidKind
	status int
}

type saidKind uint8

const (
	saidContinue saidKind = iota
	saidRespond           // with status
	saidReset
	saidFailed
	saidNothing // the exchange ended for another reason
)

// note keeps what a filter decided.
func (s *slot) note(v Verdict, err error, phase exchange.Phase, local *exchange.Local) {
	if err == nil && v != Respond && v != Reset {
		return
	}
	at := &s.said[0]
	if phase >= exchange.PhaseResponse {
		at = &s.said[1]
	}
	switch {
	case err != nil:
		at.kind = kindOf(err)
	case v == Respond:
		*at = said{saidRespond, local.Status}
	case v == Reset:
		at.kind = saidReset
	}
}

// kindOf says what an error of a call means.
func kindOf(err error) saidKind {
	var failure *Error
	if errors.As(err, &failure) {
		return saidFailed
	}
	return saidNothing
}

// choose lets the canary have its share; s is the entry's own.
func (c *Canary) choose(s *slot) {
	if !c.Ready() || rand.IntN(100) >= c.WeightPercent {
		return
	}
	switch {
	case !c.Shadow:
		s.entry, s.live, s.callback = &c.Entry, c, c.Entry.Filter.Callbacks()
	case c.Reserve():
		s.shadow = &record{canary: c}
	default:
		c.Count(CanarySkipped)
	}
}

// shadowWait bounds how long a replayed exchange may wait for its filter.
const shadowWait = 5 * time.Second

// errCut ends the copy of a body of which the rest is not known.
var errCut = errors.New("the copy of the body ends here")

// record is the copy of an exchange for a shadow.
type record struct {
	canary *Canary
	x      *exchange.Exchange // nil: the exchange did not come so far
	path   []byte
	seen   [2]said // what the filter itself decided

	mu       sync.Mutex // the request's body may pass on another goroutine
	closed   bool
	bodies   [2]recorded
	response bool // the response came so far
	held     held // what bodies are counted for
}

// recorded is the copy of a body.
type recorded struct {
	there       bool // there was one
	wanted      bool // and the shadow looks at it
	whole, over bool // it was seen to its end; it is too long
	data        []byte
	trailers    exchange.Header
}

// nobody is the client of a copy.
type nobody struct{}

func (nobody) Inform(*exchange.Exchange, int, *exchange.Header) error { return nil }
func (nobody) Send(*exchange.Exchange) error                          { return nil }
func (nobody) Watch(func()) func()                                    { return func() {} }

var _ exchange.Client = nobody{}

// open copies the request's head as the filter is about to see it.
func (r *record) open(x *exchange.Exchange, path []byte) {
	if r.held.namespace = r.canary.Entry.Tenant; r.held.namespace == "" {
		r.held.namespace, _, _ = strings.Cut(x.Service, "/")
	}
	size := int64(len(x.Request.Path))
	for _, f := range x.Request.Header.Fields() {
		size += int64(len(f.Name) + len(f.Value))
	}
	if !r.canary.Entry.Bodies.change(r.held.namespace, size) {
		return
	}
	r.held.bytes = size
	c := &exchange.Exchange{
		Conn: x.Conn, Client: nobody{}, Phase: x.Phase, Start: x.Start, ClientAddress: x.ClientAddress,
		Consumer: exchange.Consumer{Name: x.Consumer.Name, Groups: slices.Clone(x.Consumer.Groups), Object: x.Consumer.Object},
		Claims:   x.Claims,
		Gateway:  x.Gateway, Listener: x.Listener, Route: x.Route, Service: x.Service, Upstream: x.Upstream,
	}
	a, q := &c.Arena, &x.Request
	c.Request = exchange.Request{
		Method: a.Copy(q.Method), Scheme: a.Copy(q.Scheme), Authority: a.Copy(q.Authority), Path: a.Copy(q.Path),
		Version: q.Version, ContentLength: q.ContentLength, TE: q.TE, Header: copyHeader(a, &q.Header),
	}
	c.Original.Method, c.Original.Authority, c.Original.Path = a.Copy(x.Original.Method), a.Copy(x.Original.Authority), a.Copy(x.Original.Path)
	x.StateMu.Lock()
	c.State = maps.Clone(x.State)
	x.StateMu.Unlock()
	r.x, r.path = c, a.Copy(path)
	r.bodies[0] = recorded{there: q.Body != nil, wanted: q.Body != nil && r.looks(OnRequestBody|OnRequestTrailers)}
}

// respond copies the response's head as the filter is about to see it.
func (r *record) respond(x *exchange.Exchange) {
	if r.x == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a, p := &r.x.Arena, &x.Response
	r.x.Response = exchange.Response{Status: p.Status, Version: p.Version, ContentLength: p.ContentLength, Header: copyHeader(a, &p.Header)}
	r.x.Err, r.x.Endpoint, r.x.Attempts = x.Err, x.Endpoint, x.Attempts
	r.x.UpstreamStart, r.x.UpstreamHeader = x.UpstreamStart, x.UpstreamHeader
	r.bodies[1] = recorded{there: p.Body != nil, wanted: p.Body != nil && r.looks(OnResponseBody|OnResponseTrailers)}
	r.response = true
}

func copyHeader(a *exchange.Arena, h *exchange.Header) exchange.Header {
	var c exchange.Header
	for _, f := range h.Fields() {
		c.Add(a.Copy(f.Name), a.Copy(f.Value))
	}
	return c
}

// looks reports whether the shadow has one of these callbacks, or takes bodies.
func (r *record) looks(c Callbacks) bool {
	return r.canary.Entry.Filter.Callbacks()&(c|TakesBodies) != 0
}

// part copies a part of a body, up to what the filter may hold back.
func (r *record) part(request bool, part []byte, end bool, trailers *exchange.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := &r.bodies[direction(request)]
	if r.closed || r.x == nil || b.whole || b.over || !b.wanted {
		return
	}
	if int64(len(b.data)+len(part)) > r.canary.Entry.BodyBytes {
		b.over, part = true, part[:max(r.canary.Entry.BodyBytes-int64(len(b.data)), 0)]
	}
	if !r.canary.Entry.Bodies.change(r.held.namespace, int64(len(part))) {
		b.over, part = true, nil
	}
	r.held.bytes += int64(len(part))
	b.data = append(b.data, part...)
	if end && !b.over {
		b.whole = true
		b.trailers = copyHeader(&r.x.Arena, trailers)
	}
}

func direction(request bool) int {
	if request {
		return 0
	}
	return 1
}

// finish ends the recording of a slot, and has it replayed.
func (r *record) finish(s *slot) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.seen = s.said
	if r.x == nil || r.seen[0].kind == saidNothing {
		r.canary.Count(CanarySkipped)
		r.free()
		r.canary.Replay(nil)
		return
	}
	r.canary.Replay(func() {
		defer r.free()
		r.canary.Count(r.replay())
	})
}

func (r *record) free() {
	r.canary.Entry.Bodies.change(r.held.namespace, -r.held.bytes)
	r.held.bytes = 0
}

// replay runs the shadow over the copy and compares what it decides.
func (r *record) replay() CanaryResult {
	var run Run
	x := r.x
	response := x.Response
	x.Response = exchange.Response{}
	x.Request.Body = r.body(0, &x.Request.Trailer)
	run.Start(x)
	run.Wait(shadowWait)
	defer run.Done()
	x.Phase = exchange.PhaseRequest
	out := run.Request(r.canary.chain, r.path)
	if out == Passed {
		out = run.RequestBody()
	}
	cut := out == Passed && drain(x.Request.Body)
	result, done := compare(r.seen[0], run.slots[0].said[0], cut)
	if done || !r.response {
		return result
	}
	x.Phase = exchange.PhaseResponse
	x.Response = response
	x.Response.Body = r.body(1, &x.Response.Trailer)
	out = run.Response()
	if out == Passed {
		x.Phase = exchange.PhaseResponseBody
		out = run.ResponseBody()
	}
	cut = out == Passed && drain(x.Response.Body)
	result, _ = compare(r.seen[1], run.slots[0].said[1], cut)
	return result
}

// compare says what two decisions are worth; done: there is no more to compare.
func compare(own, other said, cut bool) (result CanaryResult, done bool) {
	switch {
	case other.kind == saidFailed:
		return CanaryFailed, true
	case own.kind == saidNothing || other.kind == saidNothing || cut && other.kind == saidContinue:
		return CanarySkipped, true
	case own != other:
		return CanaryDiffers, true
	}
	return CanaryAgrees, own.kind != saidContinue
}

// drain reads a copied body through its filter; cut: its end is not known.
func drain(b exchange.Body) (cut bool) {
	if b == nil {
		return false
	}
	defer b.Close()
	buffer := make([]byte, 4<<10)
	for {
		if _, err := b.Read(buffer); err != nil {
			return errors.Is(err, errCut)
		}
	}
}

// copied is a body out of a record.
type copied struct {
	exchange.Bytes
	last func() error // what follows the bytes
}

// Read implements exchange.Body.
func (c *copied) Read(p []byte) (int, error) {
	n, err := c.Bytes.Read(p)
	if err == io.EOF {
		err = c.last()
	}
	return n, err
}

// body returns the copy of a body; nil: there was none.
func (r *record) body(n int, trailers *exchange.Header) exchange.Body {
	b := &r.bodies[n]
	if !b.there {
		return nil
	}
	c := &copied{last: func() error {
		if b.wanted && !b.whole {
			return errCut
		}
		*trailers = b.trailers
		return io.EOF
	}}
	c.Bytes.Reset(b.data)
	return c
}

// tee is a body that no filter changes, and shadows look at.
type tee struct {
	exchange.Body
	request  bool
	trailers *exchange.Header
	records  []*record
}

// Read implements exchange.Body.
func (t *tee) Read(p []byte) (int, error) {
	n, err := t.Body.Read(p)
	if n > 0 || err == io.EOF {
		for _, r := range t.records {
			r.part(t.request, p[:n], err == io.EOF, t.trailers)
		}
	}
	return n, err
}

// Stop forwards what pipes have.
func (t *tee) Stop() {
	if s, ok := t.Body.(interface{ Stop() }); ok {
		s.Stop()
	}
}

// watch shows a body that passes no pipe to the shadows at these positions.
func (d *side) watch(body *exchange.Body, from, to int) {
	var records []*record
	for k := from; k < to; k++ {
		if s := d.slot(k); s.shadow != nil && s.shadow.x != nil && !s.off && s.shadow.bodies[direction(d.request)].wanted {
			records = append(records, s.shadow)
		}
	}
	if len(records) > 0 {
		*body = &tee{Body: *body, request: d.request, trailers: d.trailers(), records: records}
	}
}
