package h3

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// switches answers a handshake; what it does wrong is in the path.
func switches(p *codectest.Pipe) handlerFunc {
	return func(x *exchange.Exchange) {
		q, a := &x.Request, &x.Response
		key, _ := q.Header.Get("Sec-WebSocket-Key")
		a.Status, a.Tunnel, a.Upgrade = 101, p, []byte("WebSocket")
		accept := rfc9110.AppendWebSocketAccept(nil, key)
		switch string(q.Path) {
		case "/accept":
			accept[0] ^= 1
		case "/other":
			a.Upgrade = []byte("chat")
		case "/200":
			a.Status, a.Tunnel = 200, nil
		case "/403":
			a.Status, a.Tunnel = 403, nil
		}
		a.Header.Add([]byte("Sec-WebSocket-Accept"), accept)
		a.Header.Add([]byte("Sec-WebSocket-Protocol"), []byte("chat"))
		a.Header.Add([]byte("Connection"), []byte("Upgrade"))
		if len(key) != rfc9110.WebSocketKeySize || string(q.Method) != "GET" || string(q.Upgrade) != "websocket" || q.Body != nil {
			a.Status, a.Tunnel = 500, nil
		}
		x.Client.Send(x)
	}
}

func connect(path string, more ...string) []byte {
	return headers(append([]string{":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: " + path, ":authority: a.example"}, more...)...)
}

func TestWebSocket(t *testing.T) {
	p := codectest.NewPipe()
	ts := newTestServer(t, params(), switches(p))
	r := ts.dial(t)
	s := r.request(join(connect("/"), data("abc")), false)
	s.Write(data(""))
	long := strings.Repeat("x", 100000)
	go func() {
		s.Write(data(long))
		s.Write(appendFrame(nil, 0x21, []byte("ignored")))
		s.Close()
	}()
	if got := response(s); got != "200 sec-websocket-protocol=chat ABC"+strings.ToUpper(long)+"bye" {
		t.Errorf("got %.60q", got)
	}
	if got := ts.reasons(); got != "" {
		t.Errorf("refused: %s", got)
	}
}

func TestWebSocketIsRefused(t *testing.T) {
	tests := map[string]struct {
		send []byte
		want string
	}{
		"an upstream that answers another key":      {connect("/accept"), "502"},
		"an upstream that goes on with another one": {connect("/other"), "502"},
		"an upstream that does not switch":          {connect("/200"), "502"},
		"an upstream that refuses":                  {connect("/403"), "403 sec-websocket-accept=…"},
		"another protocol":                          {headers(":method: CONNECT", ":protocol: chat", ":scheme: https", ":path: /", ":authority: a.example"), "501"},
		"no path":                                   {headers(":method: CONNECT", ":protocol: websocket", ":scheme: https", ":authority: a.example"), "RESET 0x10e"},
		"no authority":                              {headers(":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /"), "400"},
		":protocol with GET":                        {headers(get(":protocol: websocket")...), "RESET 0x10e"},
		"a key of the client's own is replaced":     {connect("/", "sec-websocket-key: x"), "200 sec-websocket-protocol=chat bye"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), switches(codectest.NewPipe()))
			got := response(ts.dial(t).request(test.send, true))
			if prefix, cut := strings.CutSuffix(test.want, "…"); got != test.want && (!cut || !strings.HasPrefix(got, prefix)) {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

// TestWebSocketEnds: whatever cuts one end cuts the other, and does not look like
// an end.
func TestWebSocketEnds(t *testing.T) {
	tests := map[string]endOf{
		"the upstream is cut": {func(_ *rawClient, _ *quic.Stream, p *codectest.Pipe) { p.Cut() }, "RESET 0x10c"},
		"the client resets":   {func(_ *rawClient, s *quic.Stream, _ *codectest.Pipe) { s.CancelWrite(0x10c) }, "RESET 0x10c"},
		"nothing comes":       {func(*rawClient, *quic.Stream, *codectest.Pipe) {}, "RESET 0x10c"},
		"HEADERS":             {func(_ *rawClient, s *quic.Stream, _ *codectest.Pipe) { s.Write(headers("a: b")) }, "CLOSE 0x105"},
		"the end in a frame":  {func(_ *rawClient, s *quic.Stream, _ *codectest.Pipe) { s.Write(data("abc")[:3]); s.Close() }, "CLOSE 0x106"},
		"the client is gone":  {func(r *rawClient, _ *quic.Stream, _ *codectest.Pipe) { r.CloseWithError(0x100, "") }, "CLOSE 0x100"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { testEnd(t, switches, connect("/"), test) })
	}
}

// endOf is what ends a tunnel that carries something, and what the client then gets.
type endOf struct {
	do   func(r *rawClient, s *quic.Stream, p *codectest.Pipe)
	want string
}

// testEnd opens a tunnel, and ends it so; its other end must be closed too.
func testEnd(t *testing.T, handler func(*codectest.Pipe) handlerFunc, head []byte, test endOf) {
	limits := params()
	limits.TunnelTimeout = time.Second
	p := codectest.NewPipe()
	r := newTestServer(t, limits, handler(p)).dial(t)
	s := r.request(join(head, data("abc")), false)
	go func() {
		time.Sleep(50 * time.Millisecond)
		test.do(r, s, p)
	}()
	if got := response(s); !strings.HasSuffix(got, test.want) {
		t.Errorf("got %q; want %q", got, test.want)
	}
	p.AwaitClose(t)
}

// TestWebSocketIsToldOfDrain: between two frames, and nothing follows.
func TestWebSocketIsToldOfDrain(t *testing.T) {
	p := codectest.NewPipe()
	ts := newTestServer(t, params(), switches(p))
	r := ts.dial(t)
	s := r.request(join(connect("/"), data("\x01\x03a")), false) // half a frame is said back
	in := &reader{}
	in.start(s, make([]byte, 256))
	next := func() string {
		t.Helper()
		_, size, err := in.frame()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(frameReader{in}, b); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	next() // the head
	if got := next(); got != "\x01\x03A" {
		t.Errorf("got %q", got)
	}
	ts.conn(t).Drain()
	s.Write(data("bc\x01\x01d")) // the rest of it, and another one
	if got := next() + next(); got != "BC\x88\x02\x03\xe9" {
		t.Errorf("got %q", got)
	}
	s.Write(data("answer"))
	s.Close()
	if got := response(s); got != "" {
		t.Errorf("then got %q", got)
	}
	if got := r.closed(); got != "CLOSE 0x100" {
		t.Errorf("got %s", got)
	}
}
