package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
)

func record(path string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{RemoteIP: []byte("192.0.2.1")}, Start: time.Unix(0, 0), HeadersSent: true}
	x.Original.Method, x.Original.Path, x.Original.Authority = []byte("GET"), []byte(path), []byte("a.example")
	x.Response.Status = 502
	x.Route, x.Service, x.Endpoint = "HTTPRoute/ns/r/0", "ns/svc", "127.0.0.1:9000"
	x.Err = &exchange.Error{Phase: exchange.PhaseSend, Side: exchange.SideUpstream, Reason: "connect-refused", Err: errors.New(`a "quoted" cause`)}
	return x
}

func TestExchangeIsOneLineOfJSON(t *testing.T) {
	var out bytes.Buffer
	l := New(&out)
	l.Exchange(record("/a\x00\"\\\xff\n"), 1500*time.Microsecond)
	l.Rejected(&exchange.Conn{RemoteIP: []byte("::1")}, 400, "bad-head")
	l.flush()
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("got %d lines; want 2: %s", len(lines), out.Bytes())
	}
	var got map[string]any
	if err := json.Unmarshal(lines[0], &got); err != nil {
		t.Fatalf("%v: %s", err, lines[0])
	}
	want := map[string]any{
		"client": "192.0.2.1", "path": "/a\x00\"\\\uFFFD\n", "status": 502.0, "duration": 0.0015, "route": "HTTPRoute/ns/r/0",
		"service": "ns/svc", "endpoint": "127.0.0.1:9000", "phase": "send", "side": "upstream", "reason": "connect-refused", "err": `a "quoted" cause`,
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: got %v; want %v", k, got[k], v)
		}
	}
	if err := json.Unmarshal(lines[1], &got); err != nil || got["reason"] != "bad-head" {
		t.Errorf("got %v, %v; want reason bad-head", got, err)
	}
}

func TestExchangeAllocatesNothing(t *testing.T) {
	x := record("/a")
	x.Err = nil
	l := New(new(bytes.Buffer))
	if n := testing.AllocsPerRun(100, func() {
		l.buf = appendRecord(l.buf[:0], x, time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations per record; want 0", n)
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add([]byte("a\"\\\x00\xff\u2028"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got string
		if err := json.Unmarshal(appendString(nil, b), &got); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if want := string(bytes.ToValidUTF8(b, []byte("\uFFFD"))); len(got) < len(want) {
			t.Fatalf("got %q; want %q", got, want)
		}
	})
}
