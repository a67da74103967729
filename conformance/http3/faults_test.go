package http3

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"penstock.dev/penstock/conformance/harness"
)

// fault is what a client does to the frames, the streams or the field sections of a
// connection, and what it gets for it.
type fault struct {
	name, section, level string
	do                   func(c *raw) *quic.Stream // returns the stream whose end is looked at; nil: the connection's
	want                 string                    // "connection H3_...", "stream H3_...", or a status
	reason               string                    // in penstock_codec_rejected_total; "": nothing is counted
	silent               bool                      // the client has not sent SETTINGS
}

const fine = "200"

// onRequest is a fault on a request's stream, which ends behind it.
func onRequest(name, section, level, want, reason string, parts ...[]byte) fault {
	return fault{name: name, section: section, level: level, want: want, reason: reason, do: func(c *raw) *quic.Stream {
		s := c.request(true, parts...)
		if strings.HasPrefix(want, "connection") {
			return nil
		}
		return s
	}}
}

// onControl is a fault on the control stream, behind SETTINGS.
func onControl(name, section, level, want, reason string, parts ...[]byte) fault {
	return fault{name: name, section: section, level: level, want: want, reason: reason, do: func(c *raw) *quic.Stream {
		_, _ = c.control.Write(slices.Concat(parts...))
		return c.then(want)
	}}
}

// onUni is a fault on another unidirectional stream.
func onUni(name, section, level, want, reason string, kind uint64, parts ...[]byte) fault {
	return fault{name: name, section: section, level: level, want: want, reason: reason, do: func(c *raw) *quic.Stream {
		c.uni(kind, parts...)
		return c.then(want)
	}}
}

// first is how a control stream begins.
func first(name, section, level, want, reason string, parts ...[]byte) fault {
	f := onUni(name, section, level, want, reason, streamControl, parts...)
	f.silent = true
	return f
}

// settings is a control stream that begins with these, as pairs.
func settings(name, section, level, want string, pairs ...uint64) fault {
	reason := "settings"
	if want == fine {
		reason = ""
	}
	return first(name, section, level, want, reason, frame(frameSettings, numbers(pairs...)))
}

// then returns a request, if the connection is to live.
func (c *raw) then(want string) *quic.Stream {
	if want != fine {
		return nil
	}
	return c.request(true, headers(get()...))
}

// TestFaults: a connection or a stream ends with the code that its RFC names, what is
// no fault is passed over, and others are served.
func TestFaults(t *testing.T) {
	b := start(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a/slow":
			<-r.Context().Done()
		case "/a/large":
			w.Header().Set("X-Large", strings.Repeat("x", 2000))
		case "/a/socket":
			echo(w, r)
		default:
			harness.Echo(w, r)
		}
	})
	failures := harness.KnownFailures(t)
	var all []fault
	for _, list := range [][]fault{requests(), streams(), tunnels(), controls(), greetings(), messages(), floods(), sections(), instructions()} {
		all = append(all, list...)
	}
	names := map[string]bool{}
	for _, f := range all {
		if names[f.name] {
			t.Errorf("%s: twice", f.name)
		}
		names[f.name] = true
		t.Run(f.name, func(t *testing.T) { b.fault(t, f, failures) })
	}
	for name := range failures {
		t.Errorf("%s: listed as a known failure, but there is no such case", name)
	}
	t.Logf("%d cases", len(all))
}

// fault does what f says and looks at what becomes of it.
func (b *bed) fault(t *testing.T, f fault, failures map[string]string) {
	_, listed := failures[f.name]
	delete(failures, f.name)
	before := b.counted()
	c := b.raw(t, !f.silent)
	var got string
	if s := f.do(c); s == nil {
		got = c.end()
	} else {
		got = answer(s)
	}
	switch {
	case got == f.want && listed:
		t.Errorf("passes, and is listed as a known failure")
	case got != f.want && !listed:
		t.Errorf("%s, %s: got %s; want %s", f.section, f.level, got, f.want)
	}
	if !strings.HasPrefix(got, "connection") {
		if again := c.well("/a"); again != fine {
			t.Errorf("the next request on the connection: got %s", again)
		}
	}
	_ = c.CloseWithError(0x100, "")
	if again := b.raw(t, true).well("/a"); again != fine {
		t.Errorf("the next connection: got %s", again)
	}
	after := b.counted()
	maps.DeleteFunc(after, func(reason, n string) bool { return before[reason] == n })
	if f.reason != "" {
		if _, grown := after[f.reason]; !grown {
			t.Errorf("penstock_codec_rejected_total: %s has not grown", f.reason)
		}
		delete(after, f.reason)
	}
	if len(after) > 0 {
		t.Errorf("penstock_codec_rejected_total has grown to %v; want %q only", after, f.reason)
	}
}

// ours accepts our control stream and reads its type.
func (c *raw) ours() *quic.ReceiveStream {
	c.t.Helper()
	s, err := c.AcceptUniStream(c.ctx)
	if err == nil {
		_, err = io.ReadFull(s, make([]byte, 1))
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// TestUnread: a client that sends what is not read is told to stop, and why (RFC 9114,
// 4.1, SHOULD; 4.1.2 and 8, MUST; 6.2.3, SHOULD).
func TestUnread(t *testing.T) {
	b := start(t, harness.Echo)
	tests := map[string]struct {
		head         []string
		want, reason string
	}{
		"an early answer":           {[]string{":method: POST", ":scheme: https", ":authority: a.example", ":path: /nowhere"}, "404", "H3_NO_ERROR"},
		"a request refused":         {post("host: b.example"), "400", "H3_NO_ERROR"},
		"an Expect refused":         {post("expect: tea"), "417", "H3_NO_ERROR"},
		"a head too large":          {post("a: " + strings.Repeat("b", 70_000)), "431", "H3_NO_ERROR"},
		"a malformed request":       {post("A: b"), "stream H3_MESSAGE_ERROR", "H3_MESSAGE_ERROR"},
		"a CONNECT":                 {[]string{":method: CONNECT", ":authority: b.example:443"}, "501", "H3_NO_ERROR"},
		"a malformed CONNECT":       {[]string{":method: CONNECT"}, "stream H3_MESSAGE_ERROR", "H3_MESSAGE_ERROR"},
		"a length of 0, and no end": {post("content-length: 0"), "200", "H3_NO_ERROR"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := b.raw(t, true)
			s := c.request(false, headers(tt.head...))
			if got := answer(s); got != tt.want {
				t.Errorf("got %s; want %s", got, tt.want)
			}
			if got := stopped(s.Context()); got != "stream "+tt.reason {
				t.Errorf("told to stop with %s; want %s", got, tt.reason)
			}
		})
	}
	c := b.raw(t, true)
	if got := stopped(c.uni(streamGrease, []byte("hello")).Context()); got != "stream H3_STREAM_CREATION_ERROR" {
		t.Errorf("a stream of an unknown type: told to stop with %s", got)
	}
	if got := c.well("/a"); got != fine {
		t.Errorf("then got %s", got)
	}
}

// TestGreeting: the proxy's control stream begins with SETTINGS, before the client has
// sent any (RFC 9114, 6.2.1 and 7.2.4, MUST): no identifier twice, none of HTTP/2's,
// no table for QPACK.
func TestGreeting(t *testing.T) {
	b := start(t, harness.Echo)
	c := b.raw(t, false)
	in := quicvarint.NewReader(c.ours())
	kind, err := quicvarint.Read(in)
	if err != nil || kind != frameSettings {
		t.Fatalf("the first frame is %#x, %v", kind, err)
	}
	size, err := quicvarint.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(in, payload); err != nil {
		t.Fatal(err)
	}
	got := map[uint64]uint64{}
	for len(payload) > 0 {
		id, n, err := quicvarint.Parse(payload)
		if err != nil {
			t.Fatal(err)
		}
		value, m, err := quicvarint.Parse(payload[n:])
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[id]; twice {
			t.Errorf("%#x comes twice", id)
		}
		got[id] = value
		payload = payload[n+m:]
	}
	for _, id := range []uint64{0x0, 0x2, 0x3, 0x4, 0x5} {
		if _, has := got[id]; has {
			t.Errorf("%#x is of HTTP/2", id)
		}
	}
	if got[0x1] != 0 || got[0x7] != 0 || got[0x6] == 0 || got[0x8] != 1 {
		t.Errorf("got %v", got)
	}
}
