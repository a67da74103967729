package h3

import (
	"io"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// served returns what serves one request on a warm connection, client and QUIC
// included.
func served(tb testing.TB, bytes int) (once func()) {
	body := make([]byte, bytes)
	name, value := []byte("Content-Type"), []byte("text/plain")
	ts := newTestServer(tb, config.DefaultProxyParameters(), func(x *exchange.Exchange) {
		p := &x.Response
		p.Status, p.Body, p.ContentLength = 200, exchange.NewBytes(body), int64(len(body))
		p.Header.Add(name, value)
		x.Client.Send(x)
	})
	r := ts.dial(tb)
	request := headers(get("user-agent: x", "accept: */*")...)
	return func() {
		s, err := r.OpenStreamSync(r.ctx)
		if err != nil {
			tb.Fatal(err)
		}
		s.Write(request)
		s.Close()
		if n, err := io.Copy(io.Discard, s); err != nil || n < int64(bytes) {
			tb.Fatal(n, err)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	once := served(b, 1024)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}

// BenchmarkDecode is our part of reading a request.
func BenchmarkDecode(b *testing.B) {
	s := newStream()
	s.c = &Conn{lim: limitsOf(config.DefaultProxyParameters())}
	request := section(get("user-agent: a browser of some kind", "accept: */*", "cookie: a=b; c=d", "x-request: 1")...)
	b.ReportAllocs()
	for b.Loop() {
		s.x.Reset()
		s.hd.Begin(&s.c.lim, &s.x.Request.Header, &s.x.Arena, false, false)
		if decode(request, &s.hd, &s.x.Arena) != nil || s.hd.Err != nil {
			b.Fatal("refused")
		}
	}
}

func TestAWarmDecodeAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop what they hold at random")
	}
	s := newStream()
	s.c = &Conn{lim: limitsOf(config.DefaultProxyParameters())}
	request := section(get("user-agent: a browser of some kind", "accept: */*", "cookie: a=b; c=d", "x-request: 1")...)
	out := make([]byte, 0, 1024)
	once := func() {
		s.x.Reset()
		s.hd.Begin(&s.c.lim, &s.x.Request.Header, &s.x.Arena, false, false)
		if decode(request, &s.hd, &s.x.Arena) != nil || s.hd.Err != nil {
			t.Fatal("refused")
		}
		b, _, _ := encoding.AppendFields(appendStatus(appendSection(out), 200), &s.x.Request.Header)
		endSection(b)
	}
	once()
	if n := testing.AllocsPerRun(100, once); n >= 1 {
		t.Errorf("%v allocations; want 0", n)
	}
}
