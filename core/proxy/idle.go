package proxy

import (
	"bytes"

	"penstock.dev/penstock/core/codec/grpc"
	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// patient lets an exchange be silent for as long as a tunnel if its messages are
// made to come whenever something happens: a gRPC call, or events of a server (HTML
// Standard, 9.2).
func (s *state) patient(h *exchange.Header) {
	if t, ok := h.Get("content-type"); ok && (grpc.KindOf(t) != grpc.None || eventStream(t)) {
		s.x.SetBodyIdle(s.params.TunnelTimeout)
	}
}

func eventStream(contentType []byte) bool {
	base, _, _ := bytes.Cut(contentType, semicolon)
	return rfc9110.Fold(bytes.TrimRight(base, " \t"), "text/event-stream")
}

var semicolon = []byte(";")
