package h2

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
	"penstock.dev/penstock/core/telemetry"
)

// memConn is a connection in memory, without deadlines: it reads in, then the end.
type memConn struct {
	net.Conn
	in io.Reader

	mu  sync.Mutex
	out bytes.Buffer
}

func (c *memConn) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *memConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *memConn) Close() error                     { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzFrames: whatever follows a preface ends without a panic and with all
// goroutines, and what is sent is HTTP/2 to x/net's framer.
func FuzzFrames(f *testing.F) {
	hello := appendFrame(nil, frameSettings, 0, 0, 0)
	r := (&rawClient{}).encoder()
	request := func(id uint32, flags uint8, fields []string) []byte {
		return appendHeaders(nil, id, flags, r.block(fields...), leastFrameSize)
	}
	data := func(id uint32, flags uint8, s string) []byte {
		return append(appendFrame(nil, frameData, flags, id, len(s)), s...)
	}
	for _, seed := range [][][]byte{
		{request(1, flagEndStream, get())},
		{request(1, 0, post("expect: 100-continue")), data(1, 0, "abc"), request(1, flagEndStream, []string{"x: y"})},
		{request(1, 0, post("content-length: 3")), data(1, flagEndStream, "abc"), request(3, flagEndStream, get("cookie: a", "cookie: b"))},
		{request(1, 0, post()), appendRST(nil, 1, codeCancel), data(1, 0, "abc"), request(3, flagEndStream, get())},
		{request(1, flagEndStream, get("A: b")), appendWindowUpdate(nil, 1, 9), appendPing(nil, 0, drainPing), appendGoAway(nil, 1, codeNo)},
		{request(1, flagEndStream, get(":x: y")), appendFrame(nil, frameHeaders, 0, 3, 1), {0x82}, appendFrame(nil, frameContinuation, flagEndHeaders, 3, 3), {0x86, 0x84, 0x41}},
		{request(1, 0, connect("/")), data(1, 0, "abc"), data(1, flagEndStream, "d"), request(3, 0, connect("/")), request(3, flagEndStream, []string{"x: y"}), request(5, 0, connect("/")), data(5, 0, "\x81\x01x")},
		{request(1, 0, connectTo("a:80")), data(1, 0, "abc"), data(1, flagEndStream, "d"), request(3, 0, connectTo("a:403")), data(3, 0, "x"), request(5, flagEndStream, connectTo("a:2")), request(7, 0, connectTo("a:80")), request(7, flagEndStream, []string{"x: y"})},
		{appendFrame(nil, framePriorityUpdate, 0, 0, 7), {0, 0, 0, 3, 'u', '=', '1'}, request(1, flagEndStream, get("priority: u=6")), request(3, flagEndStream, get())},
		{appendSetting(appendFrame(nil, frameSettings, 0, 0, 12), settingInitialWindowSize, 0), {0, 1, 0, 0, 0, 0}, request(1, flagEndStream, get()), appendWindowUpdate(nil, 1, 5)},
	} {
		f.Add(bytes.Join(seed, nil))
	}
	s := NewServer(handlerFunc(func(x *exchange.Exchange) {
		if x.Request.Upgrade != nil {
			switches(codectest.NewPipe())(x)
			return
		}
		if x.Request.Connect() {
			opens(codectest.NewPipe())(x)
			return
		}
		if x.Request.Body != nil {
			io.Copy(io.Discard, x.Request.Body)
		}
		p := &x.Response
		p.Header.Add([]byte("X-Long"), bytes.Repeat([]byte("x"), len(x.Request.Path)*100))
		p.Trailer.Add([]byte("X-End"), x.Request.Path)
		codectest.Answer(x, 200, "some content")
	}), telemetry.New(), nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		nc := &memConn{in: io.MultiReader(strings.NewReader(Preface), bytes.NewReader(hello), bytes.NewReader(raw))}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.NewConn(nc, &exchange.Conn{ID: 1}, params()).Serve()
		}()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("it does not end")
		}
		fr := http2.NewFramer(nil, &nc.out)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		fr.SetMaxReadFrameSize(1 << 24)
		for {
			_, err := fr.ReadFrame()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatalf("sent what is no HTTP/2: %v", err)
			}
		}
	})
}

// FuzzHead: a head that is accepted means the same to x/net's server.
func FuzzHead(f *testing.F) {
	for _, seed := range [][]string{
		get(), post("content-length: 0"), get("cookie: a=b", "x: y", "cookie: c=d"), get("host: a.example", "te: trailers"),
		{":method: OPTIONS", ":scheme: http", ":path: *", "host: [::1]:8080"}, get("a:  b", "connection: x"),
		connectTo("a.example:443", "x: y"), connectTo("[::1]:80", "host: [::1]:80", "cookie: a=b", "cookie: c=d"),
		{":method: GET", ":path: /%41?x=y", ":scheme: http", ":authority: a:80", "expect: 100-continue"},
	} {
		f.Add(strings.Join(seed, "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		lim := &fields.Limits{Line: 8 << 10, Bytes: 64 << 10, Fields: 100}
		x := &exchange.Exchange{}
		var hd fields.Section
		hd.Begin(lim, &x.Request.Header, &x.Arena, true, false)
		names := map[string]string{}
		for line := range strings.SplitSeq(text, "\n") {
			if line == "" {
				continue
			}
			i := strings.Index(line[1:], ":") + 1
			name, value := line[:i], strings.TrimPrefix(line[i:], ":")
			value = strings.TrimPrefix(value, " ")
			if name == ":scheme" && value != strings.ToLower(value) {
				return // schemes know no case (RFC 3986, 3.1), but x/net's do
			}
			if name == ":authority" || name == "host" {
				names[name] = value
			}
			enc.WriteField(hpack.HeaderField{Name: name, Value: value})
			hd.Take(name, value)
		}
		if a, h := names[":authority"], names["host"]; a != h && strings.EqualFold(a, h) {
			return // nor do hosts (RFC 3986, 3.2.2)
		}
		if hd.Finish(x, fields.SchemeHTTP) != nil || hd.Length > 0 || block.Len() > leastFrameSize {
			return
		}
		r := other(block.Bytes())
		if r == nil {
			t.Fatalf("x/net refuses %q", text)
		}
		q := &x.Request
		if q.Connect() { // x/net has the authority there
			q.Path = q.Authority
		}
		if r.Method != string(q.Method) || r.Host != string(q.Authority) || r.RequestURI != string(q.Path) {
			t.Errorf("got %s %s %s; x/net %s %s %s", q.Method, q.Authority, q.Path, r.Method, r.Host, r.RequestURI)
		}
		next := map[string]int{}
		for _, h := range q.Header.Fields() {
			name := http.CanonicalHeaderKey(string(h.Name))
			i := next[name]
			next[name]++
			if name == "Trailer" {
				continue // x/net takes it out
			}
			if v := r.Header[name]; i >= len(v) || v[i] != string(h.Value) {
				t.Errorf("field %s: got %q; x/net %q", name, h.Value, v)
			}
		}
		if v, ok := q.Header.Get("content-length"); ok {
			if n, err := strconv.ParseInt(string(v), 10, 64); err != nil || n != r.ContentLength {
				t.Errorf("length %s; x/net %d", v, r.ContentLength)
			}
		}
	})
}

// other is what x/net's server makes of a header block; nil: it refuses.
func other(block []byte) *http.Request {
	in := bytes.NewBufferString(Preface)
	fr := http2.NewFramer(in, nil)
	fr.WriteSettings()
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true})
	near, far := net.Pipe()
	seen := make(chan *http.Request, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		(&http2.Server{}).ServeConn(far, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r })}) //nolint:staticcheck // x/net's own server is the oracle
	}()
	go near.Write(in.Bytes())
	back := http2.NewFramer(nil, near)
	for {
		f, err := back.ReadFrame()
		if err != nil {
			break
		}
		if id := f.Header().StreamID; id == 1 || f.Header().Type == http2.FrameGoAway {
			break
		}
	}
	near.Close()
	<-ended
	select {
	case r := <-seen:
		return r
	default:
		return nil
	}
}
