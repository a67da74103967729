package fields

import (
	"errors"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
)

// ErrNoSwitch means that an upstream has not answered a WebSocket handshake as
// RFC 6455 wants it.
var ErrNoSwitch = errors.New("the upstream did not switch to WebSocket")

// The fields of a handshake that HTTP/2 and HTTP/3 have not (RFC 8441, 5); never
// changed.
var (
	webSocketKey    = []byte("Sec-WebSocket-Key")
	webSocketAccept = "Sec-WebSocket-Accept"
)

// Handshake makes of an extended CONNECT (RFC 8441; RFC 9220) the handshake of RFC
// 6455, and returns its key.
func Handshake(x *exchange.Exchange) (key []byte) {
	key = rfc9110.AppendWebSocketKey(x.Arena.Alloc(rfc9110.WebSocketKeySize)[:0])
	x.Request.Header.Set(webSocketKey, key)
	return key
}

// Switched makes of the upstream's answer to a handshake with that key, nil for
// none, what a client of HTTP/2 or HTTP/3 gets; the error is ErrNoSwitch.
func Switched(p *exchange.Response, key []byte) error {
	accept, _ := p.Header.Get(webSocketAccept)
	var store [32]byte
	if key == nil || p.Status != 101 || !rfc9110.Fold(p.Upgrade, "websocket") || p.Header.Count(webSocketAccept) != 1 ||
		string(accept) != string(rfc9110.AppendWebSocketAccept(store[:0], key)) {
		return ErrNoSwitch
	}
	p.Header.Del(webSocketAccept)
	return nil
}
