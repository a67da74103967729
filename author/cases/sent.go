package cases

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"penstock.dev/penstock/core/exchange"
)

// body is a message's content that comes in parts, each when it is read.
type body struct {
	parts   [][]byte      // left to read
	off     int           // in the first of them
	read    *atomic.Int64 // reads, so that it is seen that the exchange goes on
	trailer *exchange.Header
	after   []exchange.Field // what is in trailer once the body has ended
}

// Read implements exchange.Body.
func (b *body) Read(p []byte) (int, error) {
	b.read.Add(1)
	if len(b.parts) == 0 {
		for _, f := range b.after {
			b.trailer.Add(f.Name, f.Value)
		}
		b.after = nil
		return 0, io.EOF
	}
	n := copy(p, b.parts[0][b.off:])
	if b.off += n; b.off == len(b.parts[0]) {
		b.parts, b.off = b.parts[1:], 0
	}
	return n, nil
}

// Buffered implements exchange.Body: parts come one by one.
func (*body) Buffered() int { return 0 }

// Close implements exchange.Body.
func (b *body) Close() { b.parts, b.off = nil, 0 }

// sent is a message as it is sent, made once.
type sent struct {
	method, path, authority, scheme []byte
	status                          int
	headers, trailers               []exchange.Field
	parts                           [][]byte
	content                         bool  // it has a body
	length                          int64 // of the body; -1: nobody says
}

// toSend makes what is sent of a message; nil is what a case does not say.
func (m *Message) toSend() *sent {
	if m == nil {
		m = &Message{}
	}
	s := &sent{status: status(m), headers: m.Headers.list(), trailers: m.Trailers.list()}
	for _, f := range []struct {
		to         *[]byte
		value, def string
	}{{&s.method, m.Method, "GET"}, {&s.path, m.Path, "/"}, {&s.authority, m.Authority, "www.example"}, {&s.scheme, m.Scheme, "http"}} {
		if *f.to = []byte(f.value); f.value == "" {
			*f.to = []byte(f.def)
		}
	}
	for _, part := range m.parts() {
		if part != "" {
			s.parts = append(s.parts, []byte(part))
		}
	}
	s.content = m.parts() != nil || m.Trailers != nil
	if s.length = -1; m.Body != nil && m.Trailers == nil {
		s.length = int64(len(*m.Body))
		if !slices.ContainsFunc(m.Headers, func(f Field) bool { return strings.EqualFold(f.Name, "content-length") }) && s.content {
			s.headers = append(s.headers, exchange.Field{Name: []byte("Content-Length"), Value: strconv.AppendInt(nil, s.length, 10)})
		}
	}
	return s
}

// reason is why a body was cut.
func reason(err *exchange.Error, other error) string {
	if err != nil {
		return err.Reason
	}
	return other.Error()
}

var _ exchange.Body = (*body)(nil)
