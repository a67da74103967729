package proxy

import (
	"penstock.dev/penstock/core/codec/grpc"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// web translates a gRPC-Web exchange for an upstream that speaks gRPC. Filters see
// what the client sees; an upstream of HTTP/1.1 gets gRPC-Web as it came, since it
// can be nothing else there.
type web struct {
	kind grpc.Kind
	in   grpc.TextBody
	out  grpc.WebBody
}

func (w *web) reset() {
	if w.kind != grpc.None {
		*w = web{}
	}
}

// fromWeb readies the head of a gRPC-Web request for an upstream of HTTP/2.
func (s *state) fromWeb() {
	if b := s.backend; b != nil && b.Upstream != nil && b.Upstream.Protocol() == config.ProtocolH2C {
		s.web.kind = grpc.ToGRPC(s.x)
	}
}

// request lets the upstream read the request's body as gRPC.
func (w *web) request(x *exchange.Exchange) {
	if w.kind == grpc.Text && x.Request.Body != nil {
		w.in.Reset(x.Request.Body)
		x.Request.Body, x.Request.ContentLength = &w.in, -1
	}
}

// response makes the upstream's answer gRPC-Web.
func (w *web) response(x *exchange.Exchange) {
	if w.kind != grpc.None {
		grpc.FromGRPC(x, w.kind, &w.out)
	}
}
