// Package websocket talks WebSocket (RFC 6455) through the proxy with clients and
// a server that others have written.
package websocket

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"penstock.dev/penstock/conformance/harness"
)

// echo answers each message with itself, "bye" by closing with 4001, and "ping"
// by a ping whose answer it waits for.
func echo(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/plain") {
		harness.Echo(w, r)
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return // it has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(8 << 20)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		switch string(message) {
		case "bye":
			_ = c.Close(4001, "as you wish")
			return
		case "ping":
			go func() { // who reads handles the answer
				if c.Ping(r.Context()) == nil {
					_ = c.Write(r.Context(), websocket.MessageText, []byte("pong came"))
				}
			}()
		default:
			if c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}
}

const guarded = `
- use: key-auth
  config: {keys: [{key: secret-enough, consumer: chat}]}
- use: transform
  config: {response: {headers: {set: {X-Served-By: penstock}}}}`

func start(t *testing.T) *harness.Proxy {
	t.Helper()
	port := harness.Upstream(t, echo)
	return harness.Start(t, harness.Options{
		Images: []string{harness.BundledPlugins(t)},
		Files: map[string]string{
			"gateway.yaml": harness.GatewayFor(1),
			"a.yaml":       harness.Service("a", "", port), "b.yaml": harness.Service("b", guarded, port),
		},
	})
}

func TestWebSocket(t *testing.T) {
	p := start(t)
	for name, test := range map[string]func(*testing.T, *harness.Proxy){
		"messages": func(t *testing.T, p *harness.Proxy) { messages(t, p, nil) },
		"guarded":  func(t *testing.T, p *harness.Proxy) { guard(t, p, nil) },
		"refused":  refused, "node": node,
	} {
		t.Run(name, func(t *testing.T) { test(t, p) })
	}
}

// messages are said over a client's connections; nil: HTTP/1.1.
func messages(t *testing.T, p *harness.Proxy, client *http.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, r, err := websocket.Dial(ctx, p.URL+"/a/", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"chat"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(8 << 20)
	if c.Subprotocol() != "chat" || !strings.Contains(r.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
		t.Errorf("got subprotocol %q, %v; want chat and permessage-deflate", c.Subprotocol(), r.Header)
	}
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 4 << 20} {
		for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			message := strings.Repeat("x", size)
			if err := c.Write(ctx, kind, []byte(message)); err != nil {
				t.Fatal(err)
			}
			got, b, err := c.Read(ctx)
			if err != nil || got != kind || string(b) != message {
				t.Fatalf("%v of %d bytes: got %v of %d bytes, %v", kind, size, got, len(b), err)
			}
		}
	}
	say := func(message, want string) {
		t.Helper()
		if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(ctx); err != nil || string(b) != want {
			t.Fatalf("%s: got %q, %v; want %q", message, b, err, want)
		}
	}
	say("ping", "pong came")
	if err := c.Write(ctx, websocket.MessageText, []byte("bye")); err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Read(ctx)
	if closed := (websocket.CloseError{}); !errors.As(err, &closed) || closed.Code != 4001 || closed.Reason != "as you wish" {
		t.Errorf("got %v; want the close 4001", err)
	}
	p.Eventually("the record of the exchange", func() bool { return strings.Contains(p.Log(), `"status":101`) })
}

// guard: the handshake passes the chain.
func guard(t *testing.T, p *harness.Proxy, client *http.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, r, err := websocket.Dial(ctx, p.URL+"/b/", &websocket.DialOptions{HTTPClient: client}); err == nil || r == nil || r.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: got %v; want 401", err)
	}
	c, r, err := websocket.Dial(ctx, p.URL+"/b/", &websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{"X-API-Key": {"secret-enough"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if r.Header.Get("X-Served-By") != "penstock" {
		t.Errorf("got %v; want the field that a filter sets", r.Header)
	}
	if err := c.Write(ctx, websocket.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := c.Read(ctx); err != nil || string(b) != "x" {
		t.Errorf("got %q, %v; want x", b, err)
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: %v", err)
	}
}

// refused: an answer that is no 101 is an ordinary one.
func refused(t *testing.T, p *harness.Proxy) {
	_, r, err := websocket.Dial(t.Context(), p.URL+"/a/plain", nil)
	if err == nil || r == nil || r.StatusCode != http.StatusOK || r.Header.Get("X-Got-Path") != "/a/plain" {
		t.Errorf("got %v, %v; want a plain 200", r, err)
	}
}

// node is the client that Node.js has.
func node(t *testing.T, p *harness.Proxy) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	text, err := exec.CommandContext(ctx, "node", "--experimental-websocket", "client.js", strings.Replace(p.URL, "http", "ws", 1)+"/a/").CombinedOutput()
	if err != nil || !strings.HasSuffix(string(text), "ok\n") {
		t.Errorf("got %v:\n%s", err, text)
	}
}

// TestGoingAway: a client is told (1001) when the proxy stops, which then does.
func TestGoingAway(t *testing.T) {
	port := harness.Upstream(t, echo)
	p := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": harness.Service("a", "", port)}})
	goingAway(t, p, nil)
}

func goingAway(t *testing.T, p *harness.Proxy, client *http.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, p.URL+"/a/", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Read(ctx)
	if closed := (websocket.CloseError{}); !errors.As(err, &closed) || closed.Code != websocket.StatusGoingAway {
		t.Errorf("got %v; want the close 1001", err)
	}
	if code := p.Exit(); code != 0 {
		t.Errorf("it ended with %d; want 0", code)
	}
}
