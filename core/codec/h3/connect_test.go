package h3

import (
	"io"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"

	"penstock.dev/penstock/core/internal/codectest"
)

// opens answers a CONNECT; how is in its target.
func opens(p *codectest.Pipe) handlerFunc { return codectest.Opens(p, "https") }

func connectTo(target string, more ...string) []byte {
	return headers(append([]string{":method: CONNECT", ":authority: " + target}, more...)...)
}

func TestConnect(t *testing.T) {
	ts := newTestServer(t, params(), opens(codectest.NewPipe()))
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
			ts := newTestServer(t, params(), opens(codectest.NewPipe()))
			if got := response(ts.dial(t).request(test.send, true)); !strings.HasSuffix(got, test.want) {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

// TestConnectEnds: whatever cuts one end cuts the other, and says so if that was the
// upstream's.
func TestConnectEnds(t *testing.T) {
	tests := map[string]endOf{
		"the upstream is cut": {func(_ *rawClient, _ *quic.Stream, p *codectest.Pipe) { p.Cut() }, "RESET 0x10f"},
		"the client resets":   {func(_ *rawClient, s *quic.Stream, _ *codectest.Pipe) { s.CancelWrite(0x10c) }, "RESET 0x10c"},
		"nothing comes":       {func(*rawClient, *quic.Stream, *codectest.Pipe) {}, "RESET 0x10c"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { testEnd(t, opens, connectTo("a:80"), test) })
	}
}

// TestConnectDrains: nothing is put into a tunnel of who knows what.
func TestConnectDrains(t *testing.T) {
	ts := newTestServer(t, params(), opens(codectest.NewPipe()))
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
