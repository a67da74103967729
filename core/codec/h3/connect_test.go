package h3

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"penstock.dev/penstock/core/exchange"
)

// opens answers a CONNECT; how is in its target.
func opens(p *pipe) handlerFunc {
	return func(x *exchange.Exchange) {
		q, a := &x.Request, &x.Response
		a.Header.Add([]byte("Date"), []byte("x"))
		a.Header.Add([]byte("Content-Length"), []byte("5"))
		a.Status, a.Tunnel = 200, p
		switch string(q.Authority) {
		case "a:204":
			a.Status = 204
		case "a:403":
			a.Status, a.Tunnel = 403, nil
			a.Body, a.ContentLength = exchange.NewBytes([]byte("no")), 2
		case "a:2": // a filter's answer would read as the start of a tunnel
			a.Tunnel = nil
		case "a:3": // a filter has changed the status
			a.Status = 302
		}
		if !q.Connect() || len(q.Path) > 0 || q.Body != nil || q.Upgrade != nil || q.TE || string(q.Scheme) != "https" {
			a.Status, a.Tunnel = 500, nil
		}
		x.Client.Send(x)
	}
}

func connectTo(target string, more ...string) []byte {
	return headers(append([]string{":method: CONNECT", ":authority: " + target}, more...)...)
}

func TestConnect(t *testing.T) {
	ts := newTestServer(t, params(), opens(newPipe()))
	s := ts.dial(t).request(join(connectTo("a.example:443", "host: A.example:443"), data("abc")), false)
	s.Write(data(""))
	long := strings.Repeat("x", 100000)
	go func() {
		s.Write(data(long))
		s.Write(appendFrame(nil, 0x21, []byte("ignored")))
		s.Close()
	}()
	if got := response(s); got != "200 ABC"+strings.ToUpper(long)+"bye" {
		t.Errorf("got %.60q", got)
	}
	if got := ts.reasons(); got != "" {
		t.Errorf("refused: %s", got)
	}
}

// TestConnectAnswers: RFC 9114, 4.4.
func TestConnectAnswers(t *testing.T) {
	tests := map[string]struct {
		send []byte
		want string
	}{
		"any 2xx":                 {connectTo("a:204"), "204 bye"},
		"a refusal":               {connectTo("a:403"), "403 no"},
		"a 2xx without a tunnel":  {connectTo("a:2"), "502"},
		"a tunnel without a 2xx":  {connectTo("a:3"), "502"},
		"no authority":            {headers(":method: CONNECT"), "RESET 0x10e"},
		"with a scheme":           {connectTo("a:80", ":scheme: https"), "RESET 0x10e"},
		"no port":                 {connectTo("a"), "400"},
		"port 0":                  {connectTo("a:0"), "400"},
		"another Host":            {connectTo("a:80", "host: b:80"), "400"},
		"a length":                {connectTo("a:80", "content-length: 5"), "400"},
		"a trailer, which is one": {join(connectTo("a:80"), headers("a: b")), "CLOSE 0x105"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), opens(newPipe()))
			if got := response(ts.dial(t).request(test.send, true)); !strings.HasSuffix(got, test.want) {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

// TestConnectEnds: whatever cuts one end cuts the other, and says so if that was the
// upstream's.
func TestConnectEnds(t *testing.T) {
	tests := map[string]struct {
		do   func(s *quic.Stream, p *pipe)
		want string
	}{
		"the upstream is cut": {func(_ *quic.Stream, p *pipe) { p.w.CloseWithError(io.ErrUnexpectedEOF) }, "RESET 0x10f"},
		"the client resets":   {func(s *quic.Stream, _ *pipe) { s.CancelWrite(0x10c) }, "RESET 0x10c"},
		"nothing comes":       {func(*quic.Stream, *pipe) {}, "RESET 0x10c"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			limits := params()
			limits.TunnelTimeout = time.Second
			p := newPipe()
			s := newTestServer(t, limits, opens(p)).dial(t).request(join(connectTo("a:80"), data("abc")), false)
			go func() {
				time.Sleep(50 * time.Millisecond)
				test.do(s, p)
			}()
			if got := response(s); !strings.HasSuffix(got, test.want) {
				t.Errorf("got %q; want %q", got, test.want)
			}
			for deadline := time.Now().Add(10 * time.Second); !p.ended(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the upstream's end lives on")
				}
			}
		})
	}
}

// TestConnectDrains: nothing is put into a tunnel of who knows what.
func TestConnectDrains(t *testing.T) {
	ts := newTestServer(t, params(), opens(newPipe()))
	r := ts.dial(t)
	s := r.request(join(connectTo("a:80"), data("a")), false)
	in := &reader{}
	in.start(s, make([]byte, 256))
	for _, want := range []uint64{frameHeaders, frameData} {
		kind, size, err := in.frame()
		if err != nil || kind != want {
			t.Fatalf("got frame %d, %v; want %d", kind, err, want)
		}
		io.ReadFull(frameReader{in}, make([]byte, size))
	}
	ts.conn(t).Drain()
	s.Write(data("bc"))
	s.Close()
	if got := response(s); got != "BCbye" {
		t.Errorf("got %q", got)
	}
	if got := r.closed(); got != "CLOSE 0x100" {
		t.Errorf("got %s", got)
	}
}
