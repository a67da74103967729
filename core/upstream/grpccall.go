package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/codec/grpc"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// GRPCCall is a gRPC call that a plugin makes; nothing in it is changed once it
// began.
type GRPCCall struct {
	Namespace, Upstream string // as in Call
	Egress              []config.Egress
	Secure              bool // as in Call
	Service, Method     string
	Metadata            exchange.Header
	Timeout             time.Duration // of the whole call; 0: none
}

// GRPCEvents receives what a call brings, one event at a time, on another goroutine
// than the one that began it. Close is the last one. What it is given is its own.
type GRPCEvents interface {
	InitialMetadata(h *exchange.Header)
	Message(b []byte)
	TrailingMetadata(h *exchange.Header)
	Close(status uint32, message string)
}

// Bounds on a call.
const (
	maxGRPCMessage = 4 << 20 // of one message
	maxGRPCQueue   = 8 << 20 // that waits to be sent
	grpcPrefix     = 5       // compressed or not, length
)

// ErrQueueFull means that too much waits to be sent.
var ErrQueueFull = errors.New("too much waits to be sent")

// GRPC begins a call over HTTP/2. Errors wrap ErrUnknown, ErrForbidden or
// ErrTooMany.
func (c *Caller) GRPC(k *GRPCCall, events GRPCEvents) (*GRPCStream, error) {
	find, err := c.find(&Call{Namespace: k.Namespace, Egress: k.Egress, Upstream: k.Upstream, Secure: k.Secure}, config.ProtocolH2C)
	if err != nil {
		return nil, fmt.Errorf("upstream %.256q: %w", k.Upstream, err)
	}
	if c.inFlight.Add(1) > maxCalls || c.ctx.Err() != nil {
		c.inFlight.Add(-1)
		return nil, ErrTooMany
	}
	s := &GRPCStream{events: events, changed: make(chan struct{}, 1)}
	var ctx context.Context
	began := time.Now() // before the deadline's clock
	if k.Timeout > 0 {
		ctx, s.end = context.WithTimeout(c.ctx, k.Timeout)
	} else {
		ctx, s.end = context.WithCancel(c.ctx)
	}
	c.group.Go(func() {
		defer c.inFlight.Add(-1)
		defer s.end()
		status, message := s.exchange(ctx, find, k)
		// The server knows the deadline too, in milliseconds, and may end the call first.
		if late := k.Timeout > 0 && time.Since(began)+time.Millisecond >= k.Timeout; late && status != 0 {
			status, message = grpc.DeadlineExceeded, "deadline exceeded"
		}
		s.tell(func() { events.Close(status, message) })
	})
	return s, nil
}

// GRPCStream is a call under way. Its methods wait for nothing.
type GRPCStream struct {
	events    GRPCEvents
	end       context.CancelFunc
	cancelled atomic.Bool

	mu      sync.Mutex
	queue   [][]byte // framed messages
	size    int
	ended   bool          // no more messages
	stopped bool          // nobody reads
	changed chan struct{} // capacity 1
}

// Send has a message sent, of which it takes a copy; end closes the sending side,
// alone if message is nil. The error is ErrQueueFull, or that of a side that is
// closed already.
func (s *GRPCStream) Send(message []byte, end bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return io.ErrClosedPipe
	case len(message) > maxGRPCMessage || s.size+len(message) > maxGRPCQueue:
		return ErrQueueFull
	}
	if message != nil || !end {
		frame := make([]byte, grpcPrefix+len(message))
		binary.BigEndian.PutUint32(frame[1:], uint32(len(message)))
		copy(frame[grpcPrefix:], message)
		s.queue = append(s.queue, frame)
		s.size += len(frame)
	}
	s.ended = end
	s.wake()
	return nil
}

// Cancel ends the call, also one that has ended. No event begins after it.
func (s *GRPCStream) Cancel() {
	s.cancelled.Store(true)
	s.end()
}

// wake is called with s.mu held.
func (s *GRPCStream) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *GRPCStream) tell(event func()) {
	if !s.cancelled.Load() {
		event()
	}
}

// Read implements exchange.Body: what is to be sent.
func (s *GRPCStream) Read(p []byte) (int, error) {
	for {
		s.mu.Lock()
		switch {
		case s.stopped:
			s.mu.Unlock()
			return 0, io.ErrClosedPipe
		case len(s.queue) > 0:
			n := copy(p, s.queue[0])
			if s.queue[0] = s.queue[0][n:]; len(s.queue[0]) == 0 {
				s.queue[0] = nil
				s.queue = s.queue[1:]
			}
			s.size -= n
			s.mu.Unlock()
			return n, nil
		case s.ended:
			s.mu.Unlock()
			return 0, io.EOF
		}
		s.mu.Unlock()
		<-s.changed
	}
}

// Buffered implements exchange.Body.
func (s *GRPCStream) Buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// Close implements exchange.Body.
func (s *GRPCStream) Close() { s.Stop() }

// Stop makes Read fail, now and from now on. Any goroutine may call it.
func (s *GRPCStream) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.queue, s.size = nil, 0
	s.wake()
}

// exchange carries the call, and returns how it ended.
func (s *GRPCStream) exchange(ctx context.Context, find finder, k *GRPCCall) (status uint32, message string) {
	defer s.Stop()
	g, err := find(ctx)
	if err != nil {
		return grpc.Unavailable, err.Error()
	}
	if g.Protocol() != config.ProtocolH2C {
		return grpc.Unavailable, "the Service's port has no appProtocol: kubernetes.io/h2c"
	}
	x := &exchange.Exchange{Conn: &exchange.Conn{}, Client: ContextClient{Context: ctx}, Start: time.Now()}
	s.request(x, k, g.scheme())
	x.SetBodyIdle(g.config.Parameters.TunnelTimeout)
	timeout := k.Timeout
	if timeout == 0 {
		timeout = maxCallTime // until the first answer
	}
	if err := g.Send(x, timeout); err != nil {
		if err.Reason == "response-timeout" { // found out before ctx ended
			return grpc.DeadlineExceeded, "deadline exceeded"
		}
		return grpc.Unavailable, err.Reason
	}
	if b, ok := x.Response.Body.(interface{ Stopper() func() }); ok { // a server that is silent is told as well
		defer context.AfterFunc(ctx, b.Stopper())()
	}
	return s.response(x)
}

func (s *GRPCStream) request(x *exchange.Exchange, k *GRPCCall, scheme []byte) {
	q := &x.Request
	name, _, _ := splitUpstream(k.Upstream, k.Secure)
	q.Method, q.Authority, q.Path, q.Scheme, q.Version = []byte("POST"), []byte(name), []byte("/"+k.Service+"/"+k.Method), scheme, exchange.HTTP2
	q.Header.Add([]byte("content-type"), []byte("application/grpc"))
	q.TE = true
	if k.Timeout > 0 {
		q.Header.Add([]byte("grpc-timeout"), append(strconv.AppendInt(nil, min(k.Timeout.Milliseconds(), 99_999_999), 10), 'm'))
	}
	for _, f := range k.Metadata.Fields() {
		q.Header.Add(f.Name, f.Value)
	}
	q.Body, q.ContentLength = s, -1
}

// response tells of what comes back.
func (s *GRPCStream) response(x *exchange.Exchange) (status uint32, message string) {
	p := &x.Response
	if p.Body != nil {
		defer p.Body.Close()
	}
	if p.Status != 200 {
		return uint32(grpc.CodeOf(p.Status)), "HTTP status " + strconv.Itoa(p.Status)
	}
	if t, _ := p.Header.Get("content-type"); grpc.KindOf(t) != grpc.GRPC {
		return grpc.Unknown, "the answer is no gRPC"
	}
	last := &p.Header // of a response that is trailers only
	if _, only := p.Header.Get("grpc-status"); !only {
		s.tell(func() { s.events.InitialMetadata(&p.Header) })
		if err := s.messages(p.Body); err != nil {
			return grpc.Unavailable, err.Error()
		}
		last = &p.Trailer
	}
	s.tell(func() { s.events.TrailingMetadata(last) })
	return grpc.Status(last)
}

var (
	errCompressed = errors.New("a message is compressed, which was not offered")
	errTooLarge   = errors.New("a message is larger than 4 MiB")
	errCutMessage = errors.New("a message is cut short")
)

// messages tells of each message until the body ends.
func (s *GRPCStream) messages(b exchange.Body) error {
	if b == nil {
		return nil
	}
	var prefix [grpcPrefix]byte
	for {
		switch n, err := io.ReadFull(bodyReader{b}, prefix[:]); {
		case err == io.EOF:
			return nil
		case err == io.ErrUnexpectedEOF && n > 0:
			return errCutMessage
		case err != nil:
			return err
		case prefix[0] != 0:
			return errCompressed
		}
		size := int(binary.BigEndian.Uint32(prefix[1:]))
		if size > maxGRPCMessage {
			return errTooLarge
		}
		m, err := readMessage(b, size)
		if err != nil {
			return err
		}
		if s.cancelled.Load() {
			return context.Canceled
		}
		s.tell(func() { s.events.Message(m) })
	}
}

// readMessage reads size bytes; the buffer grows with what comes.
func readMessage(b exchange.Body, size int) ([]byte, error) {
	m := make([]byte, 0, min(size, 16<<10))
	for len(m) < size {
		if len(m) == cap(m) {
			grown := make([]byte, len(m), min(size, 2*cap(m)))
			copy(grown, m)
			m = grown
		}
		n, err := b.Read(m[len(m):cap(m)])
		m = m[:len(m)+n]
		if err == io.EOF && len(m) < size {
			return nil, errCutMessage
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
	}
	return m, nil
}

// bodyReader is a Body as an io.Reader that returns data before an error.
type bodyReader struct{ exchange.Body }

var _ exchange.Body = (*GRPCStream)(nil)
