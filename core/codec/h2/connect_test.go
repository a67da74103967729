package h2

import (
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// opens answers a CONNECT; how is in its target.
func opens(p *codectest.Pipe) handlerFunc { return codectest.Opens(p, "http") }

func connectTo(target string, more ...string) []string {
	return append([]string{":method: CONNECT", ":authority: " + target}, more...)
}

func TestConnect(t *testing.T) {
	ts := newTestServer(t, params(), opens(codectest.NewPipe()))
	r := ts.dial(t)
	r.headers(1, false, connectTo("a.example:443", "te: trailers", "host: A.example:443")...)
	r.WriteData(1, false, []byte("abc\x01\x02"))
	const parts, size = 8, 10000 // within the window of the stream
	for range parts {
		r.WriteData(1, false, []byte(strings.Repeat("x", size)))
	}
	r.WriteData(1, true, []byte("end"))
	if got := r.converse(1); got != "200 ABC\x01\x02"+strings.Repeat("X", parts*size)+"ENDbye" {
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

// TestConnectAnswers: RFC 9113, 8.5.
func TestConnectAnswers(t *testing.T) {
	tests := map[string]struct {
		send []string
		want string
	}{
		"any 2xx":                             {connectTo("a:204"), "204 bye"},
		"IPv6":                                {connectTo("[::1]:80"), "200 bye"},
		"a refusal":                           {connectTo("a:403"), "403 no"},
		"a 2xx without a tunnel":              {connectTo("a:2"), "502 "},
		"a tunnel without a 2xx":              {connectTo("a:3"), "502 "},
		"another protocol":                    {connectTo("a:101"), "502 "},
		"no authority":                        {connectTo("")[:1], "RST PROTOCOL_ERROR"},
		"Host alone":                          {[]string{":method: CONNECT", "host: a:80"}, "RST PROTOCOL_ERROR"},
		"with a path":                         {connectTo("a:80", ":path: /"), "RST PROTOCOL_ERROR"},
		"with a scheme":                       {connectTo("a:80", ":scheme: http"), "RST PROTOCOL_ERROR"},
		"two authorities":                     {connectTo("a:80", ":authority: a:80"), "RST PROTOCOL_ERROR"},
		"an empty authority":                  {connectTo(""), "RST PROTOCOL_ERROR"},
		"no port":                             {connectTo("a"), "400 "},
		"port 0":                              {connectTo("a:0"), "400 "},
		"user information":                    {connectTo("u@a:80"), "400 "},
		"another Host":                        {connectTo("a:80", "host: b:80"), "400 "},
		"a Host without the port":             {connectTo("a:80", "host: a"), "400 "},
		"a length":                            {connectTo("a:80", "content-length: 0"), "400 "},
		"a field of the connection":           {connectTo("a:80", "connection: close"), "RST PROTOCOL_ERROR"},
		"an expectation, which means nothing": {connectTo("a:80", "expect: 100-continue"), "200 bye"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newTestServer(t, params(), opens(codectest.NewPipe())).dial(t)
			r.headers(1, true, test.send...)
			if got := r.converse(1); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

// TestConnectEnds: whatever cuts one end cuts the other, and does not look like an
// end; it says so if that was the upstream's.
func TestConnectEnds(t *testing.T) {
	tests := map[string]endOf{
		"the upstream is cut": {func(_ *rawClient, p *codectest.Pipe) { p.Cut() }, "RST CONNECT_ERROR"},
		"the client resets":   {func(r *rawClient, _ *codectest.Pipe) { r.WriteRSTStream(1, http2.ErrCodeCancel); r.nc.CloseWrite() }, "closed"},
		"nothing comes":       {func(*rawClient, *codectest.Pipe) {}, "RST CANCEL"},
		"HEADERS":             {func(r *rawClient, _ *codectest.Pipe) { r.headers(1, true, "a: b") }, "RST PROTOCOL_ERROR"},
		"the client is gone":  {func(r *rawClient, _ *codectest.Pipe) { r.nc.CloseWrite() }, "closed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { testEnd(t, opens, connectTo("a:80"), test) })
	}
}

// TestConnectDrains: nothing is put into a tunnel of who knows what; it goes on until
// it ends, or time is up.
func TestConnectDrains(t *testing.T) {
	ts := newTestServer(t, params(), opens(codectest.NewPipe()))
	r := ts.dial(t)
	r.headers(1, false, connectTo("a:80")...)
	r.WriteData(1, false, []byte("a"))
	for drained := false; ; {
		f, err := r.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*http2.DataFrame); ok && string(d.Data()) == "A" {
			ts.drain(t)
			drained = true
		}
		if p, ok := f.(*http2.PingFrame); ok && drained {
			r.WritePing(true, p.Data)
			break
		}
	}
	r.WriteData(1, true, []byte("bc"))
	if got := r.converse(1); got != "BCbye" {
		t.Errorf("got %q", got)
	}
	if got := r.outcome(1); got != "closed" {
		t.Errorf("got %s", got)
	}
}

// TestConnectToUpstreams: the tunnel of a stream to an upstream.
func TestConnectToUpstreams(t *testing.T) {
	request := func() *exchange.Exchange {
		x := newRequest("CONNECT", nil, 0)
		x.Request.Authority, x.Request.Path, x.Request.TE = []byte("b.example:443"), nil, true
		x.Request.Header.Add([]byte("X-A"), []byte("b"))
		return x
	}
	// script answers the first CONNECT so, and hands on what follows it.
	script := func(heads chan<- string, answer func(r *rawClient, id uint32), data func(r *rawClient, f *http2.DataFrame)) func(*rawClient) {
		return func(r *rawClient) {
			r.WriteSettings()
			for {
				f, err := r.ReadFrame()
				if err != nil {
					return
				}
				switch f := f.(type) {
				case *http2.MetaHeadersFrame:
					var b strings.Builder
					for _, f := range f.Fields {
						b.WriteString(f.Name + "=" + f.Value + " ")
					}
					if f.StreamEnded() {
						b.WriteString("end")
					}
					heads <- b.String()
					answer(r, f.StreamID)
				case *http2.DataFrame:
					data(r, f)
				case *http2.RSTStreamFrame:
					heads <- "RST " + f.ErrCode.String()
				}
			}
		}
	}
	echo := func(r *rawClient, f *http2.DataFrame) {
		r.WriteData(f.StreamID, false, []byte(strings.ToUpper(string(f.Data()))))
		if f.StreamEnded() {
			r.WriteData(f.StreamID, true, []byte("bye"))
		}
	}
	ok := func(r *rawClient, id uint32) { r.headers(id, false, ":status: 204", "content-length: 7") }

	t.Run("both ways", func(t *testing.T) {
		heads := make(chan string, 10)
		u := upstream(t, params(), script(heads, ok, echo))
		for range 3 { // the place is used again
			a := u.ask(request(), 5*time.Second)
			if a.err != nil {
				t.Fatal(a.err)
			}
			p := &a.x.Response
			if p.Status != 204 || p.Tunnel == nil || p.Body != nil || p.Header.Len() > 0 || a.s.away == false {
				t.Fatalf("got %d, %v, %v", p.Status, p.Tunnel, p.Header.Fields())
			}
			if got := <-heads; got != ":method=CONNECT :authority=b.example:443 x-a=b " {
				t.Errorf("the upstream got %q", got)
			}
			p.Tunnel.Write([]byte("abc"))
			b := make([]byte, 3)
			if _, err := io.ReadFull(p.Tunnel, b); err != nil || string(b) != "ABC" {
				t.Errorf("got %q, %v", b, err)
			}
			if err := p.Tunnel.CloseWrite(); err != nil {
				t.Error(err)
			}
			if rest, err := io.ReadAll(p.Tunnel); err != nil || string(rest) != "bye" {
				t.Errorf("got %q, %v; want bye, and the end", rest, err)
			}
			p.Tunnel.Close()
			p.Tunnel.Close()
			if _, err := p.Tunnel.Write([]byte("x")); err != errClosed {
				t.Errorf("got %v; want that it is closed", err)
			}
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		select {
		case head := <-heads:
			t.Errorf("the upstream got %q", head)
		default:
		}
	})
	t.Run("a cut", func(t *testing.T) {
		heads := make(chan string, 10)
		u := upstream(t, params(), script(heads, ok, echo))
		a := u.ask(request(), 5*time.Second)
		if a.err != nil {
			t.Fatal(a.err)
		}
		<-heads
		read := make(chan error, 1)
		go func() {
			_, err := a.x.Response.Tunnel.Read(make([]byte, 1))
			read <- err
		}()
		time.Sleep(10 * time.Millisecond)
		a.x.Response.Tunnel.Close()
		if err := <-read; err == nil || err == io.EOF {
			t.Errorf("Read returned %v; want an error", err)
		}
		if got := <-heads; got != "RST CANCEL" {
			t.Errorf("the upstream got %q; want a reset", got)
		}
	})
	for name, test := range map[string]struct {
		do   func(r *rawClient, id uint32)
		want error
	}{
		"it resets":         {func(r *rawClient, id uint32) { r.WriteRSTStream(id, http2.ErrCodeConnect) }, resetError{codeConnect}},
		"a trailer":         {func(r *rawClient, id uint32) { r.headers(id, true, "x: y") }, nil},
		"its connection":    {func(r *rawClient, _ uint32) { r.nc.CloseWrite() }, errLost},
		"the end, a reset":  {func(r *rawClient, id uint32) { r.WriteData(id, true, nil); r.WriteRSTStream(id, http2.ErrCodeNo) }, io.EOF},
		"more than allowed": {func(r *rawClient, id uint32) { r.WriteData(id, false, make([]byte, streamWindow+1)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			u := upstream(t, params(), script(make(chan string, 10), ok, func(r *rawClient, f *http2.DataFrame) { test.do(r, f.StreamID) }))
			a := u.ask(request(), 5*time.Second)
			if a.err != nil {
				t.Fatal(a.err)
			}
			up := a.x.Response.Tunnel
			up.Write([]byte("x"))
			_, err := up.Read(make([]byte, 1))
			if test.want != nil && err != test.want || err == nil || test.want == nil && err == io.EOF {
				t.Errorf("Read returned %v; want %v", err, test.want)
			}
			if test.want == io.EOF { // it may end as well: nothing is lost
				if err := up.CloseWrite(); err != nil {
					t.Errorf("CloseWrite returned %v", err)
				}
			}
			up.Close()
		})
	}
	t.Run("a refusal", func(t *testing.T) {
		heads, ended := make(chan string, 10), make(chan bool, 1)
		u := upstream(t, params(), script(heads, func(r *rawClient, id uint32) {
			r.headers(id, false, ":status: 407", "content-length: 2")
			r.WriteData(id, true, []byte("no"))
		}, func(_ *rawClient, f *http2.DataFrame) { ended <- f.StreamEnded() }))
		a := u.ask(request(), 5*time.Second)
		if got := a.outcome(); got != "407 no" {
			t.Errorf("got %q", got)
		}
		if !<-ended {
			t.Error("the upstream's stream was not ended")
		}
	})
	t.Run("what cannot be asked", func(t *testing.T) {
		for name, change := range map[string]func(q *exchange.Request){
			"a path":  func(q *exchange.Request) { q.Path = []byte("/") },
			"no port": func(q *exchange.Request) { q.Authority = []byte("a") },
			"a body":  func(q *exchange.Request) { q.Body = exchange.NewBytes(nil) },
		} {
			u := upstream(t, params(), func(*rawClient) {})
			x := request()
			change(&x.Request)
			if a := u.ask(x, time.Second); a.err != ErrInvalidMessage {
				t.Errorf("%s: got %v", name, a.err)
			}
		}
	})
}
