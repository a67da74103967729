package rfc9110

import (
	"encoding/base64"
	"testing"
)

func TestWebSocketHandshake(t *testing.T) {
	// The example of RFC 6455, 1.3.
	if got := string(AppendWebSocketAccept([]byte("x"), []byte("dGhlIHNhbXBsZSBub25jZQ=="))); got != "xs3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("got %s", got)
	}
	one, two := AppendWebSocketKey(nil), AppendWebSocketKey(nil)
	nonce, err := base64.StdEncoding.DecodeString(string(one))
	if err != nil || len(nonce) != 16 || len(one) != WebSocketKeySize || string(one) == string(two) {
		t.Errorf("got %s and %s, %v", one, two, err)
	}
}
