package websocket

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// TestATunnelThatNobodyEnds: an upstream that answers no end keeps neither a
// WebSocket whose client has left, nor the process once its time to drain is over.
func TestATunnelThatNobodyEnds(t *testing.T) {
	ended := make(chan time.Time, 10)
	port := harness.Upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		nc, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, _ = io.Copy(io.Discard, nc) // the client's end, which is not answered
		_ = nc.SetReadDeadline(time.Now().Add(time.Minute))
		for err = nil; err == nil; time.Sleep(50 * time.Millisecond) {
			_, err = nc.Write([]byte{0x8a, 0}) // a pong
		}
		ended <- time.Now()
	})
	p := harness.Start(t, harness.Options{Args: []string{"--drain", "1s"}, Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "", port)}})
	dial := func() *net.TCPConn {
		nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.Port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		fmt.Fprint(nc, "GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		b := make([]byte, 1000)
		n, err := nc.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 101") {
			t.Fatalf("got %q, %v", b[:n], err)
		}
		go io.Copy(io.Discard, nc)
		return nc.(*net.TCPConn)
	}
	if err := dial().CloseWrite(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the upstream still holds a WebSocket that its client has left")
	}
	if err := dial().CloseWrite(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.Stop()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("stopping took %v", took)
	}
}
