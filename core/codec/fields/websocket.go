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

// Opening makes of an answer with a tunnel what a client of HTTP/2 or HTTP/3 gets, and
// returns its status. connect: the client asked by CONNECT, so that it is a 2xx (RFC
// 9110, 9.3.6); else by a handshake with that key, nil for none. The error is
// ErrNoSwitch or ErrInvalidMessage.
func Opening(p *exchange.Response, connect bool, key []byte) (status int, err error) {
	if !connect {
		return 200, switched(p, key)
	}
	if p.Status/100 != 2 || len(p.Upgrade) > 0 {
		return 0, ErrInvalidMessage
	}
	return p.Status, nil
}

// NoOpening returns what is wrong with an answer without a tunnel: to who asked for one,
// as Opening has it, a 2xx would read as its start. The error is ErrNoSwitch or
// ErrInvalidMessage.
func NoOpening(p *exchange.Response, connect bool, key []byte) error {
	switch {
	case p.Status/100 != 2:
	case key != nil:
		return ErrNoSwitch
	case connect:
		return ErrInvalidMessage
	}
	return nil
}

// switched makes of the upstream's answer to a handshake with that key, nil for
// none, what a client of HTTP/2 or HTTP/3 gets; the error is ErrNoSwitch.
func switched(p *exchange.Response, key []byte) error {
	accept, _ := p.Header.Get(webSocketAccept)
	var store [32]byte
	if key == nil || p.Status != 101 || !rfc9110.Fold(p.Upgrade, "websocket") || p.Header.Count(webSocketAccept) != 1 ||
		string(accept) != string(rfc9110.AppendWebSocketAccept(store[:0], key)) {
		return ErrNoSwitch
	}
	p.Header.Del(webSocketAccept)
	return nil
}
