package h2

import (
	"fmt"
	"runtime/debug"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/pace"
	"penstock.dev/penstock/core/internal/watch"
)

// stream is one request and its response. It is the exchange.Client of its
// exchange. Streams are used again, for any connection.
type stream struct {
	flow
	c    *Conn
	x    exchange.Exchange
	run  func() // serve, made once: starting it allocates nothing
	head bool   // the client sent HEAD, whatever a filter makes of it
	sent bool   // Send was called; for the exchange's goroutine
	keen bool   // it was eager when content was sent last; for the exchange's goroutine
	key  []byte // of a WebSocket handshake; nil: it is none

	connect bool // the client sent CONNECT: a 2xx opens a tunnel

	meter pace.Meter // of the response; for that goroutine too

	response responseBody // of an upstream

	// Guarded by the connection's mutex.
	body     *requestBody
	started  bool // the head of the final response is gathered
	finished bool // the response was sent whole
}

func newStream() *stream {
	s := &stream{}
	s.x.Client, s.run = s, s.serve
	s.body = newRequestBody(s)
	return s
}

// stream returns a stream that nobody uses.
func (s *Server) stream(c *Conn, id uint32) *stream {
	st := s.streams.Get().(*stream)
	st.c = c
	st.x.Conn = c.conn
	st.bind(&c.mux, id)
	return st
}

// free gives a stream back that no goroutine uses any more.
func (s *Server) free(st *stream) {
	st.body.wait.reset()
	if st.body.handed {
		st.body = newRequestBody(st)
	} else {
		st.body.content.clear(&s.pool)
		st.body.meter = pace.Meter{}
	}
	st.flow.clear(&s.pool)
	st.sendWait.reset()
	st.c, st.key, st.keen, st.connect = nil, nil, false, false
	st.meter = pace.Meter{}
	st.sent, st.started, st.finished, st.head = false, false, false, false
	st.x.Reset()
	st.x.Conn = nil
	s.streams.Put(st)
}

// panicked is what a handler panicked with.
type panicked struct {
	value any
	stack []byte
}

// String returns the value with the stack of the handler's goroutine.
func (p *panicked) String() string {
	return fmt.Sprintf("%v\n\nstream's goroutine:\n%s", p.value, p.stack)
}

// serve runs the handler. A panic ends the connection.
func (s *stream) serve() {
	c := s.c
	defer c.running.Done()
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		s.x.Response.Abandon()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.panicked == nil {
			c.panicked = &panicked{p, debug.Stack()}
		}
		c.dead = true
		c.serving--
		c.giveUp(errCut)
		c.poke()
	}()
	c.server.handler.Serve(&s.x)
	s.finish()
}

// finish ends a stream after its handler.
func (s *stream) finish() {
	c := s.c
	s.stopWatch()
	if !s.sent {
		s.x.Response.Abandon() // the handler gave up
	}
	c.mu.Lock()
	s.body.close()
	for s.body.reading { // in another goroutine; close has ended it
		s.body.wait.cond.Wait()
	}
	if s.finished {
		c.resets.Give(resetCredit)
	} else {
		c.reset(&s.flow, codeInternal, errCut)
	}
	c.handled()
	c.flush()
	c.mu.Unlock()
	c.server.free(s)
}

// lost implements role: the stream's goroutines see that the client is gone.
func (c *Conn) lost(f *flow, err error) {
	f.in.fail(err)
	if f.watch != nil {
		c.tell(f.watch)
	}
	if f.tied != nil {
		f.tied.cancel(errClientGone) // no lock is taken the other way round
	}
}

// complete is called when the response has been gathered to its end. c.mu is
// held; the caller flushes.
func (c *Conn) complete(s *stream) {
	s.finished = true
	if s.gone {
		return
	}
	c.settle(&s.flow)
	s.gone = true // nothing more can be sent
	delete(c.streams, s.id)
	switch {
	case s.body.whole:
		return
	case s.body.left != 0:
		// An early answer: the client need not send the rest (RFC 9113, 8.1).
		c.out = appendRST(c.room(32), s.id, codeNo)
	}
	c.ignored.add(s.id)
	s.body.fail(errClosed)
}

// mistake implements role.
func (c *Conn) mistake(e streamError) error {
	c.count(e.reason)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[e.id]; s != nil {
		c.reset(s, e.code, errCut)
	} else {
		c.ignored.add(e.id)
		c.out = appendRST(c.room(32), e.id, e.code)
	}
	return c.resetOne()
}

// resetOne counts a stream that ends before its response. c.mu is held.
func (c *Conn) resetOne() error {
	if !c.resets.Take(resetCost) {
		return connError{codeEnhanceYourCalm, "reset-flood"}
	}
	return nil
}

// tell tells a watch that the client is gone, on another goroutine. c.mu is held.
func (c *Conn) tell(w *watch.Watch) {
	c.running.Add(1)
	go func() {
		defer c.running.Done()
		w.Tell()
	}()
}

// Watch implements exchange.Client.
func (s *stream) Watch(gone func()) (stop func()) {
	s.stopWatch()
	w := watch.New(gone)
	c := s.c
	c.mu.Lock()
	if s.gone {
		c.tell(w)
	} else {
		s.watch = w
	}
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		if s.watch == w {
			s.watch = nil
		}
		c.mu.Unlock()
		w.Stop()
	}
}

// tie makes a stream to an upstream end when the client is gone; nil ends that.
func (s *stream) tie(up *UpstreamStream) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.tied = up
	if up != nil && s.gone {
		up.cancel(errClientGone)
	}
}

// stopWatch ends the watch that runs, if there is one.
func (s *stream) stopWatch() {
	s.c.mu.Lock()
	w := s.watch
	s.watch = nil
	s.c.mu.Unlock()
	if w != nil {
		w.Stop()
	}
}

// StopBody makes reading the request's body fail, now and from now on. It may
// be called by any goroutine while the exchange lasts: an upstream that needs
// no more of the body frees the goroutine that copies it.
func (s *stream) StopBody() {
	if s.body.handed {
		s.body.Close()
	}
}
