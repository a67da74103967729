package proxy

import (
	"encoding/binary"
	"io"

	"penstock.dev/penstock/core/codec/grpc"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// web translates a gRPC-Web exchange for an upstream that speaks gRPC. Filters see
// what the client sees; an upstream of HTTP/1.1 gets gRPC-Web as it came, since it
// can be nothing else there.
type web struct {
	kind grpc.Kind
	said []byte // the client's Content-Type
	in   grpc.TextBody
	cut  cutBody
	out  grpc.WebBody
}

func (w *web) reset() {
	if w.kind != grpc.None {
		*w = web{}
	}
}

// request readies a gRPC-Web request for an upstream of HTTP/2.
func (w *web) request(x *exchange.Exchange, protocol string) {
	if protocol != config.ProtocolH2C || x.Request.Connect() {
		return
	}
	w.said, _ = x.Request.Header.Get("content-type")
	if w.kind = grpc.ToGRPC(x); w.kind == grpc.Text {
		w.in.Reset(x.Request.Body)
		x.Request.Body, x.Request.ContentLength = &w.in, -1
	}
}

// sent makes the request the client's again, as what comes now is for the client.
func (w *web) sent(x *exchange.Exchange) {
	if w.kind != grpc.None {
		x.Request.Header.Set(contentType, w.said)
	}
}

// response makes the upstream's answer gRPC-Web.
func (w *web) response(s *state) {
	if w.kind == grpc.None {
		return
	}
	p := &s.x.Response
	if t, _ := p.Header.Get("content-type"); p.Body != nil && grpc.KindOf(t) == grpc.GRPC {
		w.cut = cutBody{inner: p.Body, s: s}
		p.Body = &w.cut
	}
	grpc.FromGRPC(s.x, w.kind, &w.out)
}

// cutBody is the messages of a gRPC response. If the upstream cuts it between two of
// them, and the client's deadline is over, it ends with that status: a client of
// gRPC looks at its clock then, while one of gRPC-Web has the last frame only.
type cutBody struct {
	inner exchange.Body
	s     *state
	head  [5]byte // of the message that comes
	got   int     // bytes of head
	left  int64   // bytes of the message
}

// Read implements exchange.Body.
func (b *cutBody) Read(p []byte) (int, error) {
	n, err := b.inner.Read(p)
	b.pass(p[:n])
	if err != nil && err != io.EOF && b.got == 0 && b.left == 0 && b.s.pastDeadline() {
		t := &b.s.x.Response.Trailer
		t.Reset()
		t.Add(grpcStatus, deadlineExceeded)
		err = io.EOF
	}
	return n, err
}

var grpcStatus, deadlineExceeded = []byte("grpc-status"), []byte("4")

// pass counts what was read.
func (b *cutBody) pass(p []byte) {
	for len(p) > 0 {
		if b.left > 0 {
			n := min(b.left, int64(len(p)))
			b.left, p = b.left-n, p[n:]
			continue
		}
		n := copy(b.head[b.got:], p)
		p = p[n:]
		if b.got += n; b.got == len(b.head) {
			b.got, b.left = 0, int64(binary.BigEndian.Uint32(b.head[1:]))
		}
	}
}

// Buffered implements exchange.Body.
func (b *cutBody) Buffered() int { return b.inner.Buffered() }

// Close implements exchange.Body.
func (b *cutBody) Close() { b.inner.Close() }

var _ exchange.Body = (*cutBody)(nil)
