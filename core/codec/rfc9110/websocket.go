package rfc9110

import (
	"crypto/rand"
	"crypto/sha1"
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
	sum := sha1.Sum(append(append(store[:0], key...), websocketID...))
	return base64.StdEncoding.AppendEncode(b, sum[:])
}

// WebSocketFrames follows WebSocket frames (RFC 6455, 5.2) as they pass, to know
// where one ends. The zero value is ready; it is for one goroutine at a time.
type WebSocketFrames struct {
	head [14]byte
	n    int    // bytes of head so far
	left uint64 // bytes of the frame's content that are to come
}

// Between reports whether a frame may be put in here.
func (f *WebSocketFrames) Between() bool { return f.n == 0 && f.left == 0 }

// Next returns how many of the bytes belong to the frame that is passing.
func (f *WebSocketFrames) Next(b []byte) (n int) {
	for n < len(b) {
		if f.left > 0 {
			k := min(uint64(len(b)-n), f.left)
			f.left -= k
			if n += int(k); f.left == 0 {
				return n
			}
			continue
		}
		f.head[f.n] = b[n]
		f.n++
		n++
		if size, content := f.size(); f.n == size {
			f.n, f.left = 0, content
			if content == 0 {
				return n
			}
		}
	}
	return n
}

// size returns the size of the head, as far as it is known, and then of the
// content.
func (f *WebSocketFrames) size() (head int, content uint64) {
	if f.n < 2 {
		return 2, 0
	}
	head, wide := 2, 0
	switch content = uint64(f.head[1] & 0x7f); content {
	case 126:
		wide = 2
	case 127:
		wide = 8
	}
	if wide > 0 {
		content = 0
		for _, c := range f.head[2 : 2+wide] {
			content = content<<8 | uint64(c)
		}
	}
	head += wide
	if f.head[1]&0x80 != 0 {
		head += 4 // the mask
	}
	return head, content
}

// WebSocketGoingAway is a server's close frame with 1001 (RFC 6455, 7.4.1); never
// changed.
var WebSocketGoingAway = []byte{0x88, 2, 1001 >> 8, 1001 & 0xff}
