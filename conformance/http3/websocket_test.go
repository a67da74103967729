package http3

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go/http3"

	"penstock.dev/penstock/conformance/harness"
)

// overHTTP3 sends a client's handshake of RFC 6455 as an extended CONNECT (RFC
// 9220), and answers it with what the client expects.
type overHTTP3 struct{ *http3.ClientConn }

// tunnel is a request stream that closes in both directions.
type tunnel struct{ *http3.RequestStream }

func (t tunnel) Close() error {
	t.CancelRead(0x10c)
	return t.RequestStream.Close()
}

func (c overHTTP3) RoundTrip(r *http.Request) (*http.Response, error) {
	s, err := c.OpenRequestStream(r.Context())
	if err != nil {
		return nil, err
	}
	q := r.Clone(r.Context())
	q.Method, q.Proto, q.Body = http.MethodConnect, "websocket", nil
	for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Key"} {
		q.Header.Del(name)
	}
	if err := s.SendRequestHeader(q); err != nil {
		return nil, err
	}
	resp, err := s.ReadResponse()
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	resp.StatusCode = http.StatusSwitchingProtocols
	resp.Header.Set("Connection", "Upgrade")
	resp.Header.Set("Upgrade", "websocket")
	resp.Header.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	resp.Body = tunnel{s}
	return resp, nil
}

// echo answers each message with itself, and refuses handshakes of /a/refuse.
func echo(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/refuse") {
		http.Error(w, "not for you", http.StatusForbidden)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/plain") {
		harness.Echo(w, r)
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}})
	if err != nil {
		return // it has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(8 << 20)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// TestWebSocket: RFC 9220, to a server that speaks RFC 6455.
func TestWebSocket(t *testing.T) {
	b := start(t, echo)
	conn, _ := b.client("a.example")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case <-conn.ReceivedSettings():
		if !conn.Settings().EnableExtendedConnect {
			t.Error("SETTINGS_ENABLE_CONNECT_PROTOCOL is not sent")
		}
	case <-ctx.Done():
		t.Fatal("no SETTINGS")
	}
	dial := func(path string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, "https://a.example"+path, &websocket.DialOptions{Subprotocols: []string{"chat"}, HTTPClient: &http.Client{Transport: overHTTP3{conn}}})
	}
	c, _, err := dial("/a/")
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(8 << 20)
	if c.Subprotocol() != "chat" {
		t.Errorf("got subprotocol %q", c.Subprotocol())
	}
	for _, size := range []int{0, 1, 126, 65536, 4 << 20} {
		message := strings.Repeat("x", size)
		if err := c.Write(ctx, websocket.MessageBinary, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if kind, got, err := c.Read(ctx); err != nil || kind != websocket.MessageBinary || string(got) != message {
			t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	for path, want := range map[string]int{"/a/refuse": 403, "/a/plain": 502, "/nowhere": 404} {
		_, r, err := dial(path)
		if err == nil || r == nil || r.StatusCode != want {
			t.Errorf("%s: got %v, %v; want %d", path, r, err, want)
		}
	}

	// Going away is told, and the process ends soon.
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b.Stop()
	}()
	_, _, err = c.Read(ctx)
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != websocket.StatusGoingAway {
		t.Errorf("got %v; want 1001", err)
	}
	select {
	case <-stopped:
	case <-time.After(20 * time.Second):
		t.Error("the process does not end")
	}
}

var _ io.ReadWriteCloser = tunnel{}
