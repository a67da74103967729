package h3

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
	"penstock.dev/penstock/core/internal/pace"
	"penstock.dev/penstock/core/internal/watch"
)

// stream is one request and its response. It is the exchange.Client of its
// exchange. Streams are used again, for any connection.
type stream struct {
	c    *Conn
	qs   *quic.Stream
	x    exchange.Exchange
	run  func() // serve, made once: starting it allocates nothing
	head bool   // the client sent HEAD, whatever a filter makes of it
	body *requestBody

	// For whoever reads the request: the exchange's goroutine, then the body's reader.
	in  reader
	hd  fields.Section
	buf *bufpool.Buffer // in's

	// For the exchange's goroutine.
	sent     bool   // Send was called
	finished bool   // the response was sent whole
	whole    bool   // the request was read to its stream's end
	blamed   bool   // it came to nothing, and that is the client's doing
	fields   []byte // a HEADERS frame
	data     *bufpool.Buffer
	total    int64 // content bytes taken from the response's body
	watch    *watcher
	key      []byte     // of a WebSocket handshake; nil: it is none
	connect  bool       // the client sent CONNECT: a 2xx opens a tunnel
	meter    pace.Meter // of the response

	mu      sync.Mutex
	expect  bool // the client waits for a 100 that was not sent yet
	started bool // the head of the final response is sent
	gone    bool // reset, by whomever
}

func newStream() *stream {
	s := &stream{}
	s.x.Client, s.run = s, s.serve
	s.body = &requestBody{s: s}
	return s
}

// stream returns a stream that nobody uses.
func (s *Server) stream(c *Conn, qs *quic.Stream) *stream {
	st := s.streams.Get().(*stream)
	st.c, st.qs = c, qs
	st.x.Conn = c.conn
	return st
}

// free gives a stream back that no goroutine uses any more.
func (s *Server) free(st *stream) {
	s.pool.Put(st.data)
	s.pool.Put(st.buf)
	if st.body.handed {
		st.body = &requestBody{s: st}
	}
	st.body.bytes.Store(0) // of a tunnel
	if st.fields = st.fields[:0]; cap(st.fields) > bufpool.Small {
		st.fields = nil
	}
	st.c, st.qs, st.buf, st.data, st.watch, st.key = nil, nil, nil, nil, nil, nil
	st.in, st.hd = reader{}, fields.Section{}
	st.meter = pace.Meter{}
	st.connect, st.head, st.sent, st.finished, st.whole, st.blamed, st.total = false, false, false, false, false, false, 0
	st.expect, st.started, st.gone = false, false, false
	st.x.Reset()
	st.x.Conn = nil
	s.streams.Put(st)
}

// serve reads the head and runs the handler. A panic ends the connection.
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
		if c.panicked == nil {
			c.panicked = &panicked{p, debug.Stack()}
		}
		c.ended = true
		c.mu.Unlock()
		c.close(codeInternal, "")
	}()
	if err := s.open(); err != nil {
		s.refuse(err)
	} else {
		c.server.handler.Serve(&s.x)
		if !s.sent {
			s.x.Response.Abandon() // the handler gave up
		}
	}
	s.finish()
}

// open reads the request's head (RFC 9114, 4.1). Its errors are fields.Refused,
// streamError, connError, errReset and errGone.
func (s *stream) open() error {
	c := s.c
	s.x.Start = time.Now()
	_ = s.qs.SetReadDeadline(s.x.Start.Add(c.p.HeaderTimeout)) // never fails
	s.buf = c.server.pool.Get(bufpool.Small)
	s.in.start(s.qs, s.buf.Bytes)
	if err := s.section(&s.x.Request.Header, &s.x.Arena, false); err != nil {
		return s.incomplete(err)
	}
	if err := s.hd.Finish(&s.x, fields.SchemeHTTPS); err != nil {
		return err
	}
	return s.content()
}

// incomplete says what an error means that the reading of a head ended with.
func (s *stream) incomplete(err error) error {
	switch err {
	case io.EOF:
		return streamError{codeRequestIncomplete, "request-incomplete"}
	case errTimeout:
		return streamError{codeRequestIncomplete, "header-timeout"}
	}
	return misread(err)
}

// misread says what an error means that reading a frame of a request ended with.
func misread(err error) error {
	if err == errTruncated {
		return connError{codeFrame, "frame-truncated"} // RFC 9114, 7.1
	}
	return err
}

// section reads a HEADERS frame, past frames of unknown types, and gives its fields
// to h.
func (s *stream) section(h *exchange.Header, arena *exchange.Arena, trailer bool) error {
	kind, size, err := s.frame()
	if err != nil {
		return err
	}
	if kind != frameHeaders {
		return connError{codeFrameUnexpected, "frame-unexpected"} // RFC 9114, 4.1
	}
	return s.decode(size, h, arena, trailer)
}

// frame reads the header of the next frame whose type is known.
func (s *stream) frame() (kind, size uint64, err error) {
	for {
		if kind, size, err = s.in.frame(); err != nil || known(kind) {
			return kind, size, err
		}
		if err = s.c.control(1); err == nil {
			err = s.in.skip(size, s.c.control)
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// decode reads a field section of size bytes.
func (s *stream) decode(size uint64, h *exchange.Header, arena *exchange.Arena, trailer bool) error {
	if size > uint64(sectionFactor*s.c.lim.Bytes) {
		return fields.ErrHeadLarge
	}
	b, err := s.need(int(size))
	if err != nil {
		return within(err)
	}
	s.hd.Begin(&s.c.lim, h, arena, s.c.conn.Trusted, trailer)
	if decode(b, &s.hd, arena) != nil {
		return connError{codeQPACKDecompression, "qpack"} // RFC 9204, 6
	}
	if s.hd.Err != nil {
		return s.hd.Err
	}
	return nil
}

// need reads n bytes; they live until the next read. The buffer grows with what
// has come, not with n.
func (s *stream) need(n int) ([]byte, error) {
	in := &s.in
	for in.buffered() < n {
		if in.end == len(in.buf) {
			s.grow()
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	b := in.buf[in.r : in.r+n]
	in.r += n
	return b, nil
}

// grow makes room behind what is buffered.
func (s *stream) grow() {
	in := &s.in
	if in.r > 0 {
		in.end = copy(in.buf, in.buf[in.r:in.end])
		in.r = 0
		return
	}
	next := s.c.server.pool.Get(2 * len(in.buf))
	in.end = copy(next.Bytes, in.buf[:in.end])
	s.c.server.pool.Put(s.buf)
	s.buf, in.buf = next, next.Bytes
}

// endWait is how long a request without content may take to say so, where its
// stream's end did not come with its head. A body of unknown length, as of a call
// that waits for an answer before it sends more, is given to the handler at once.
const endWait = 20 * time.Millisecond

// content finds out whether the request has a body.
func (s *stream) content() error {
	q, b := &s.x.Request, s.body
	s.head = string(q.Method) == "HEAD"
	q.Version = exchange.HTTP3
	q.Body, q.ContentLength = nil, 0
	if q.Upgrade != nil {
		s.handshake()
		return nil
	}
	if s.connect = q.Connect(); s.connect {
		return nil
	}
	if s.hd.Length < 0 && s.in.buffered() == 0 && !s.in.eof && (s.head || string(q.Method) == "GET") {
		_ = s.qs.SetReadDeadline(time.Now().Add(endWait)) // never fails
		if err := s.in.fill(); err == errReset || err == errGone {
			return err
		}
	}
	if s.in.eof && s.in.buffered() == 0 {
		if s.whole = true; s.hd.Length > 0 {
			return streamError{codeMessage, "body-length"} // RFC 9114, 4.1.2
		}
		s.c.server.pool.Put(s.buf) // not held while it is served
		s.buf, s.in = nil, reader{}
		return nil
	}
	if s.hd.Length == 0 {
		return b.nothing()
	}
	q.Body, q.ContentLength = b, s.hd.Length
	b.handed, b.rest = true, s.hd.Length
	s.expect = s.hd.Expect
	return nil
}

// refuse answers a request that is not accepted, or resets its stream, or ends the
// connection.
func (s *stream) refuse(err error) {
	c := s.c
	s.sent, s.blamed = true, true
	var conn connError
	var one streamError
	var refused *fields.Refused
	switch {
	case errors.As(err, &conn):
		c.fail(conn)
	case errors.As(err, &one):
		c.reject(400, one.reason)
		s.reset(one.code)
	case !errors.As(err, &refused):
		s.reset(codeRequestCancelled) // the client has done so
	case refused.Status == 0:
		c.reject(400, refused.Reason)
		s.reset(codeMessage)
	default:
		c.reject(refused.Status, refused.Reason)
		s.empty(refused.Status)
	}
}

// finish ends a stream after its handler.
func (s *stream) finish() {
	c := s.c
	s.stopWatch()
	s.body.end()
	credit := 0
	switch {
	case !s.finished:
		// Whoever wants no response any more has ended its sending.
		s.blamed = s.blamed || !s.gone && s.qs.Context().Err() != nil
		s.reset(codeInternal)
	case !s.whole:
		// An early answer: the client need not send the rest (RFC 9114, 4.1).
		s.qs.CancelRead(quic.StreamErrorCode(codeNo))
	}
	if s.blamed {
		c.fail(c.resetOne())
	} else if s.finished {
		credit = resetCredit
	}
	s.qs.ReleaseStreamCredit()
	c.server.free(s)
	c.served(credit)
}

// reset ends both directions of the stream.
func (s *stream) reset(code code) {
	s.mu.Lock()
	done := s.gone
	s.gone = true
	s.mu.Unlock()
	if !done {
		cancel(s.qs, code)
	}
}

// watcher tells once that the client is gone.
type watcher struct {
	*watch.Watch
	unset func() bool
}

func (w *watcher) stop() {
	w.unset()
	w.Stop()
}

// Watch implements exchange.Client: the client is gone once it wants no response
// (STOP_SENDING), or its connection has ended.
func (s *stream) Watch(gone func()) (stop func()) {
	s.stopWatch()
	w := &watcher{Watch: watch.New(gone)}
	c := s.c
	c.running.Add(1) // by a stream that is counted itself
	unset := context.AfterFunc(s.qs.Context(), func() {
		defer c.running.Done()
		w.Tell()
	})
	w.unset = func() bool {
		if unset() {
			c.running.Done()
			return true
		}
		return false
	}
	s.watch = w
	return w.stop
}

// stopWatch ends the watch that runs, if there is one.
func (s *stream) stopWatch() {
	if w := s.watch; w != nil {
		s.watch = nil
		w.stop()
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

var _ exchange.Client = (*stream)(nil)
