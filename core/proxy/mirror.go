package proxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/upstream"
)

// Bounds on copies of requests.
const (
	// maxMirrors is how many are under way at once; further ones are left out.
	maxMirrors = 256
	// maxBehind is how many bytes of a body a copy may be behind the request.
	maxBehind = 256 << 10
	// maxDrained is how much of an answer is read, so that its connection can be used
	// again, and drainTime how long that may take.
	maxDrained = 256 << 10
	drainTime  = 10 * time.Second
)

// mirrors sends copies of requests. Nobody waits for them, but Close.
type mirrors struct {
	running atomic.Int64
	ctx     context.Context
	stop    context.CancelFunc

	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup
}

func (m *mirrors) init() { m.ctx, m.stop = context.WithCancel(context.Background()) }

func (m *mirrors) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.stop()
	m.group.Wait()
}

// mirror is one copy of a request.
type mirror struct {
	to   *snapshot.Mirror
	x    exchange.Exchange
	body *behind // nil: the request has none
	web  web
	// begun: it is being sent, or was.
	begun bool
}

// copied begins a copy of the request as it is here, if this one is of the share. It is
// sent when the request is.
func (h *HTTP) copied(s *state, to *snapshot.Mirror) {
	q := &s.x.Request
	if c := to.Config; c.Numerator < c.Denominator && rand.Uint32N(c.Denominator) >= c.Numerator {
		return
	}
	if q.Connect() || q.Upgrade != nil { // a tunnel has no copy
		return
	}
	if h.mirrors.running.Add(1) > maxMirrors {
		h.mirrors.running.Add(-1)
		to.Counters.Dropped.Inc()
		return
	}
	m := &mirror{to: to}
	x := &m.x
	x.ID, x.Conn, x.Start = s.x.ID, s.x.Conn, time.Now()
	x.Client = upstream.ContextClient{Context: h.mirrors.ctx}
	copyRequest(x, s.x)
	x.Original.Authority = x.Arena.Copy(s.x.Original.Authority)
	x.Consumer = s.x.Consumer
	s.mirrors = append(s.mirrors, m)
}

// mirror sends the copies: the request's body goes to them as it is read.
func (h *HTTP) mirror(s *state) {
	var all []*behind
	for _, m := range s.mirrors {
		if s.x.Request.Body != nil {
			m.body = &behind{}
			m.body.more.L = &m.body.mu
			all = append(all, m.body)
		}
	}
	if all != nil {
		s.x.Request.Body = &tee{inner: s.x.Request.Body, x: s.x, to: all}
	}
	for _, m := range s.mirrors {
		q := &m.x.Request
		if m.body != nil {
			q.Body, q.ContentLength = m.body, s.x.Request.ContentLength
			m.body.trailer = &q.Trailer
		}
		outgoing(&m.x, s.params)
		h.mirrors.mu.Lock()
		if m.begun = !h.mirrors.closed; m.begun {
			h.mirrors.group.Go(func() { h.sendMirror(m) })
		}
		h.mirrors.mu.Unlock()
	}
}

// sendMirror sends a copy and drops the answer.
func (h *HTTP) sendMirror(m *mirror) {
	defer h.mirrors.running.Add(-1)
	to := m.to.Upstream
	m.web.request(&m.x, to.Protocol())
	err := to.Send(&m.x, 0)
	if err == nil {
		drain(m.x.Response.Body)
	}
	switch {
	case m.body != nil && m.body.wasCut():
		m.to.Counters.Cut.Inc()
	case err != nil:
		m.to.Counters.Failed.Inc()
	default:
		m.to.Counters.Sent.Inc()
	}
}

// drain reads what is short of an answer, and gives up the rest.
func drain(b exchange.Body) {
	if b == nil {
		return
	}
	defer b.Close()
	part := make([]byte, 8<<10)
	until := time.Now().Add(drainTime)
	for total := 0; total < maxDrained && time.Now().Before(until); {
		n, err := b.Read(part)
		if total += n; err != nil {
			return
		}
	}
}

// unmirror ends what copies still wait for, since nothing more of the request comes.
func (h *HTTP) unmirror(s *state) {
	for i, m := range s.mirrors {
		switch {
		case !m.begun: // the request was never sent
			h.mirrors.running.Add(-1)
		case m.body != nil:
			m.body.end(errCutShort, nil)
		}
		s.mirrors[i] = nil
	}
	s.mirrors = s.mirrors[:0]
}

var (
	errCutShort = errors.New("the request was cut short")
	errBehind   = errors.New("the copy is too far behind the request")
)

// tee is a request's body whose parts go to copies too.
type tee struct {
	inner exchange.Body
	x     *exchange.Exchange
	to    []*behind
}

// Read implements exchange.Body.
func (t *tee) Read(p []byte) (int, error) {
	n, err := t.inner.Read(p)
	for _, b := range t.to {
		b.write(p[:n])
		if err != nil {
			b.end(err, &t.x.Request.Trailer)
		}
	}
	return n, err
}

// Buffered implements exchange.Body.
func (t *tee) Buffered() int { return t.inner.Buffered() }

// Close implements exchange.Body.
func (t *tee) Close() {
	t.inner.Close()
	for _, b := range t.to {
		b.end(errCutShort, nil)
	}
}

// Stop frees a goroutine that reads the body.
func (t *tee) Stop() {
	if b, ok := t.inner.(interface{ Stop() }); ok {
		b.Stop()
	}
}

// behind is a copy's body: what was read of the request's and not of this one.
type behind struct {
	mu      sync.Mutex
	more    sync.Cond
	rest    []byte
	err     error // after rest; nil: more comes
	cut     bool
	trailer *exchange.Header
}

// write adds a part; it never waits.
func (b *behind) write(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err != nil || len(p) == 0:
		return
	case len(b.rest)+len(p) > maxBehind:
		b.rest, b.err, b.cut = nil, errBehind, true
	default:
		b.rest = append(b.rest, p...)
	}
	b.more.Signal()
}

// end says that no part follows; trailer is the request's, if err is io.EOF.
func (b *behind) end(err error, trailer *exchange.Header) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	if b.err = err; err == io.EOF && trailer != nil {
		for _, f := range trailer.Fields() {
			b.trailer.Add(append([]byte(nil), f.Name...), append([]byte(nil), f.Value...))
		}
	}
	b.more.Signal()
}

func (b *behind) wasCut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cut
}

// Read implements exchange.Body.
func (b *behind) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.rest) == 0 && b.err == nil {
		b.more.Wait()
	}
	if len(b.rest) == 0 {
		return 0, b.err
	}
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 {
		b.rest = nil
	}
	return n, nil
}

// Buffered implements exchange.Body.
func (b *behind) Buffered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.rest)
}

// Close implements exchange.Body.
func (b *behind) Close() { b.end(errCutShort, nil) }

// Stop frees a goroutine that reads the body.
func (b *behind) Stop() { b.Close() }

var (
	_ exchange.Body = (*tee)(nil)
	_ exchange.Body = (*behind)(nil)
)
