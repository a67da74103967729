package h2

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/codec/rfc9110"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// switches answers a handshake; what it does wrong is in the path.
func switches(p *codectest.Pipe) handlerFunc {
	return func(x *exchange.Exchange) {
		q, a := &x.Request, &x.Response
		if q.Upgrade == nil {
			codectest.Answer(x, 204, "")
			return
		}
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

func connect(path string, more ...string) []string {
	return append([]string{":method: CONNECT", ":protocol: websocket", ":scheme: http", ":path: " + path, ":authority: a.example"}, more...)
}

// converse reads a stream as outcome does, and opens windows for what it reads.
func (r *rawClient) converse(id uint32) string {
	var b strings.Builder
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return b.String() + "closed"
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return b.String() + "GOAWAY " + f.ErrCode.String()
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return b.String() + "RST " + f.ErrCode.String()
			}
		case *http2.MetaHeadersFrame:
			b.WriteString(f.PseudoValue("status") + " ")
			if f.StreamEnded() {
				return b.String()
			}
		case *http2.DataFrame:
			b.Write(f.Data())
			if n := uint32(len(f.Data())); n > 0 {
				r.WriteWindowUpdate(0, n)
				if !f.StreamEnded() {
					r.WriteWindowUpdate(id, n)
				}
			}
			if f.StreamEnded() {
				return b.String()
			}
		}
	}
}

func TestWebSocket(t *testing.T) {
	ts := newTestServer(t, params(), switches(codectest.NewPipe()))
	r := ts.dial(t)
	r.headers(1, false, connect("/", "content-length: 7")...) // means nothing with CONNECT
	r.WriteData(1, false, []byte("abc"))
	const parts, size = 8, 10000 // within the window of the stream
	for range parts {
		r.WriteData(1, false, []byte(strings.Repeat("x", size)))
	}
	r.WriteData(1, true, []byte("end"))
	if got := r.converse(1); got != "200 ABC"+strings.Repeat("X", parts*size)+"ENDbye" {
		t.Errorf("got %.60q, %d bytes", got, len(got))
	}
	r.headers(3, true, get()...) // the connection goes on
	if got := r.outcome(3); got != "204" {
		t.Errorf("then got %q", got)
	}
	if got := ts.reasons(); got != "" {
		t.Errorf("refused: %s", got)
	}
}

// TestWebSocketIsOffered: RFC 8441, 3.
func TestWebSocketIsOffered(t *testing.T) {
	r := newTestServer(t, params(), describe).dial(t)
	f, err := r.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := f.(*http2.SettingsFrame).Value(http2.SettingEnableConnectProtocol); v != 1 {
		t.Errorf("got %v", f)
	}
	r.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 2})
	if got := r.outcome(1); got != "GOAWAY PROTOCOL_ERROR" {
		t.Errorf("got %s", got)
	}
}

// TestWebSocketHoldsWhatIsNotRead: an upstream that takes nothing makes the
// client's window shut, and costs no more than that.
func TestWebSocketHoldsWhatIsNotRead(t *testing.T) {
	p := codectest.NewPipe()
	ts := newTestServer(t, params(), switches(p)) // it says back what nobody reads: windows stay shut
	r := ts.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	r.headers(1, false, connect("/")...)
	for {
		f, err := r.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := f.(*http2.MetaHeadersFrame); ok {
			if h.PseudoValue("status") != "200" {
				t.Fatalf("got %v", h)
			}
			break
		}
	}
	const size = 100
	for range streamWindow / size {
		r.WriteData(1, false, []byte(strings.Repeat("x", size)))
	}
	r.WriteData(1, false, []byte(strings.Repeat("x", size)))
	if got := r.outcome(1); got != "RST FLOW_CONTROL_ERROR" {
		t.Errorf("got %q", got)
	}
}

func TestWebSocketIsRefused(t *testing.T) {
	tests := map[string]struct {
		send []string
		want string
	}{
		"an upstream that answers another key":      {connect("/accept"), "502 "},
		"an upstream that goes on with another one": {connect("/other"), "502 "},
		"an upstream that does not switch":          {connect("/200"), "502 "},
		"an upstream that refuses":                  {connect("/403"), "403 "},
		"another protocol":                          {[]string{":method: CONNECT", ":protocol: chat", ":scheme: http", ":path: /", ":authority: a.example"}, "501 "},
		"no path":                                   {[]string{":method: CONNECT", ":protocol: websocket", ":scheme: http", ":authority: a.example"}, "RST PROTOCOL_ERROR"},
		"no authority":                              {connect("/")[:4], "400 "},
		":protocol with GET":                        {append([]string{":protocol: websocket"}, get()...), "RST PROTOCOL_ERROR"},
		"a key of the client's own is replaced":     {connect("/", "sec-websocket-key: x"), "200 bye"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newTestServer(t, params(), switches(codectest.NewPipe())).dial(t)
			r.headers(1, true, test.send...)
			if got := r.converse(1); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

// TestWebSocketEnds: whatever cuts one end cuts the other, and does not look like
// an end.
func TestWebSocketEnds(t *testing.T) {
	tests := map[string]endOf{
		"the upstream is cut": {func(_ *rawClient, p *codectest.Pipe) { p.Cut() }, "RST CANCEL"},
		"the client resets":   {func(r *rawClient, _ *codectest.Pipe) { r.WriteRSTStream(1, http2.ErrCodeCancel); r.nc.CloseWrite() }, "closed"},
		"nothing comes":       {func(*rawClient, *codectest.Pipe) {}, "RST CANCEL"},
		"HEADERS":             {func(r *rawClient, _ *codectest.Pipe) { r.headers(1, true, "a: b") }, "RST PROTOCOL_ERROR"},
		"the client is gone":  {func(r *rawClient, _ *codectest.Pipe) { r.nc.CloseWrite() }, "closed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { testEnd(t, switches, connect("/"), test) })
	}
}

// endOf is what ends a tunnel that carries something, and what the client then gets.
type endOf struct {
	do   func(r *rawClient, p *codectest.Pipe)
	want string
}

// testEnd opens a tunnel, and ends it so; its other end must be closed too.
func testEnd(t *testing.T, handler func(*codectest.Pipe) handlerFunc, head []string, test endOf) {
	limits := params()
	limits.TunnelTimeout = time.Second
	p := codectest.NewPipe()
	r := newTestServer(t, limits, handler(p)).dial(t)
	r.headers(1, false, head...)
	r.WriteData(1, false, []byte("abc"))
	for got := ""; got != "ABC"; {
		f, err := r.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*http2.DataFrame); ok {
			got += string(d.Data())
		}
	}
	test.do(r, p)
	if got := r.converse(1); got != test.want {
		t.Errorf("got %q; want %q", got, test.want)
	}
	p.AwaitClose(t)
}

// TestWebSocketIsToldOfDrain: between two frames, and nothing follows.
func TestWebSocketIsToldOfDrain(t *testing.T) {
	ts := newTestServer(t, params(), switches(codectest.NewPipe()))
	r := ts.dial(t)
	r.headers(1, false, connect("/")...)
	r.WriteData(1, false, []byte("\x01\x03a")) // half a frame is said back
	var got strings.Builder
	read := func(n int) string {
		t.Helper()
		for got.Len() < n {
			f, err := r.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch f := f.(type) {
			case *http2.DataFrame:
				got.Write(f.Data())
			case *http2.PingFrame:
				r.WritePing(true, f.Data)
			}
		}
		s := got.String()
		got.Reset()
		return s
	}
	if got := read(3); got != "\x01\x03A" {
		t.Errorf("got %q", got)
	}
	ts.drain(t)
	r.WriteData(1, false, []byte("bc\x01\x01d")) // the rest of it, and another one
	if got := read(6); got != "BC\x88\x02\x03\xe9" {
		t.Errorf("got %q", got)
	}
	r.WriteData(1, true, []byte("answer"))
	if got := r.converse(1); got != "" {
		t.Errorf("then got %q", got)
	}
	if got := r.outcome(1); got != "closed" {
		t.Errorf("got %s", got)
	}
}
