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
	said []byte // the client's Content-Type
	in   grpc.TextBody
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
func (w *web) response(x *exchange.Exchange) {
	if w.kind != grpc.None {
		grpc.FromGRPC(x, w.kind, &w.out)
	}
}
