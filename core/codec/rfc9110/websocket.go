package rfc9110

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what RFC 6455 has; it protects nothing
	"encoding/base64"
)

// WebSocketKeySize is the length of a Sec-WebSocket-Key in bytes.
const WebSocketKeySize = 24

// AppendWebSocketKey appends a Sec-WebSocket-Key: 16 random bytes in base64 (RFC
// 6455, 4.1). It is for handshakes that came in a version of HTTP that has none
// (RFC 8441, 5; RFC 9220).
func AppendWebSocketKey(b []byte) []byte {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return base64.StdEncoding.AppendEncode(b, nonce[:])
}

// websocketID is joined to the key (RFC 6455, 1.3).
const websocketID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AppendWebSocketAccept appends the Sec-WebSocket-Accept that answers key (RFC
// 6455, 4.2.2).
func AppendWebSocketAccept(b, key []byte) []byte {
	var store [WebSocketKeySize + len(websocketID)]byte
	sum := sha1.Sum(append(append(store[:0], key...), websocketID...)) //nolint:gosec // as above
	return base64.StdEncoding.AppendEncode(b, sum[:])
}
