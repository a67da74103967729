package h2

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// gatedConn is a memConn whose peer says something only when a number of
// requests has come.
type gatedConn struct {
	memConn
	requests int
	open     chan struct{}
	once     sync.Once
	closed   chan struct{}
	close    sync.Once
}

func newGatedConn(in io.Reader, requests int) *gatedConn {
	return &gatedConn{memConn: memConn{in: in}, requests: requests, open: make(chan struct{}), closed: make(chan struct{})}
}

func (c *gatedConn) Read(p []byte) (int, error) {
	select {
	case <-c.open:
	case <-c.closed:
		return 0, io.EOF
	}
	return c.memConn.Read(p)
}

func (c *gatedConn) Write(p []byte) (int, error) {
	n, err := c.memConn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := 0
	for b := bytes.TrimPrefix(c.out.Bytes(), []byte(Preface)); len(b) >= frameHeaderLen; {
		size := frameHeaderLen + int(b[0])<<16 + int(b[1])<<8 + int(b[2])
		if b[3] == frameHeaders {
			seen++
		}
		b = b[min(size, len(b)):]
	}
	if seen >= c.requests {
		c.once.Do(func() { close(c.open) })
	}
	return n, err
}

func (c *gatedConn) Close() error {
	c.close.Do(func() { close(c.closed) })
	return nil
}

func addResponseSeeds(f *testing.F) {
	hello := appendFrame(nil, frameSettings, 0, 0, 0)
	r := (&rawClient{}).encoder()
	head := func(id uint32, flags uint8, fields ...string) []byte {
		return appendHeaders(nil, id, flags, r.block(fields...), leastFrameSize)
	}
	data := func(id uint32, flags uint8, s string) []byte {
		return append(appendFrame(nil, frameData, flags, id, len(s)), s...)
	}
	for _, seed := range [][][]byte{
		{head(1, flagEndStream, ":status: 200", "x: y")},
		{head(1, 0, ":status: 200", "content-length: 5"), data(1, flagEndStream, "hello")},
		{head(1, 0, ":status: 103"), head(1, 0, ":status: 200"), data(1, 0, "hello"), head(1, flagEndStream, "x-sum: 1")},
		{head(1, 0, ":status: 200"), data(1, 0, "hel"), appendRST(nil, 1, codeCancel), head(3, flagEndStream, ":status: 204"), head(5, flagEndStream, ":status: 304", "content-length: 7")},
		{appendRST(nil, 1, codeRefusedStream), appendGoAway(nil, 3, codeNo), head(3, 0, ":status: 200"), data(3, flagEndStream, "x")},
		{head(1, 0, ":status: 200"), appendPing(nil, 0, alivePing), appendWindowUpdate(nil, 1, 9), appendSetting(appendFrame(nil, frameSettings, 0, 0, 6), settingMaxConcurrentStreams, 0), data(1, flagEndStream, "x")},
		{head(1, 0, ":status: 200", "connection: x"), head(3, 0, ":status: 2000"), head(5, 0, "x: y")},
		{appendFrame(nil, frameHeaders, flagEndStream, 1, 1), {0x88}, appendFrame(nil, frameContinuation, flagEndHeaders, 1, 3), {0x00, 0x01, 'a'}},
		{appendSetting(appendFrame(nil, frameSettings, 0, 0, 12), settingInitialWindowSize, 0), {0, 1, 0, 0, 0, 0}, head(1, flagEndStream, ":status: 200")},
		{head(1, 0, ":status: 200"), head(3, 0, ":status: 200"), head(5, 0, ":status: 200"), head(7, 0, ":status: 200", "content-length: 3"), data(7, 0, "abc"), data(7, flagEndStream, "d"), appendRST(nil, 7, codeNo)},
		{head(7, 0, ":status: 407"), data(7, flagEndStream, "no"), head(1, flagEndStream, ":status: 200")},
	} {
		f.Add(append(bytes.Clone(hello), bytes.Join(seed, nil)...))
	}
}

// run runs exchanges on a connection whose peer says raw, and returns what
// became of them and what was sent.
func (c *gatedConn) run(t *testing.T, exchanges ...*exchange.Exchange) ([]*asked, []byte) {
	u := &testUp{t: t, ended: make(chan struct{})}
	u.UpstreamConn = NewClient(telemetry.New()).NewConn(c, params(), false, func(int) {})
	u.known = true // else they would wait for one another
	outcomes := make([]*asked, len(exchanges))
	var wg sync.WaitGroup
	for i, x := range exchanges {
		wg.Go(func() {
			outcomes[i] = u.ask(x, 10*time.Second)
			outcomes[i].outcome()
		})
	}
	go func() {
		u.Serve()
		close(u.ended)
	}()
	done := make(chan struct{})
	go func() {
		wg.Wait()
		u.Abort()
		<-u.ended
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	if n := len(u.streams); n > 0 || u.blocked > 0 {
		t.Errorf("%d streams are left, %d blocked", n, u.blocked)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return outcomes, bytes.Clone(c.out.Bytes())
}

// FuzzUpstream: whatever an upstream says, exchanges end, and what is sent is
// HTTP/2 to x/net's framer.
func FuzzUpstream(f *testing.F) {
	addResponseSeeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := newGatedConn(bytes.NewReader(raw), 4)
		tunnel := newRequest("CONNECT", nil, 0)
		tunnel.Request.Authority, tunnel.Request.Path = []byte("a:80"), nil
		_, sent := c.run(t, newRequest("GET", nil, 0), newRequest("POST", exchange.NewBytes([]byte("some content")), -1), newRequest("HEAD", nil, 0), tunnel)
		fr := http2.NewFramer(nil, bytes.NewReader(bytes.TrimPrefix(sent, []byte(Preface))))
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

// FuzzResponse: a response that is accepted, and that x/net's client accepts,
// means the same to both.
func FuzzResponse(f *testing.F) {
	addResponseSeeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		x := newRequest("GET", nil, 0)
		all, _ := newGatedConn(bytes.NewReader(raw), 1).run(t, x)
		got := all[0]
		want, ok := otherResponse(raw)
		if !ok || got.err != nil { // there is no end to compare
			return
		}
		if !strings.HasPrefix(want, fmt.Sprint(x.Response.Status)) {
			t.Errorf("status %d; x/net %q", x.Response.Status, want)
		}
		for _, h := range x.Response.Header.Fields() {
			name := http.CanonicalHeaderKey(string(h.Name))
			if name == "Trailer" || name == "Content-Length" {
				continue // x/net takes them out, or changes them
			}
			if !strings.Contains(want, fmt.Sprintf("\n%s: %s\n", name, h.Value)) {
				t.Errorf("field %s: %q; x/net %q", h.Name, h.Value, want)
			}
		}
		if !strings.HasSuffix(want, "\n\n"+string(got.content)) {
			t.Errorf("got %q; x/net %q", got.content, want)
		}
	})
}

// otherResponse is what x/net's client makes of it; false: an error.
func otherResponse(raw []byte) (string, bool) {
	c := newGatedConn(bytes.NewReader(raw), 1)
	cc, err := (&http2.Transport{AllowHTTP: true, DisableCompression: true}).NewClientConn(c) //nolint:staticcheck // x/net's own client is the oracle
	if err != nil {
		return "", false
	}
	defer cc.Close()
	r, _ := http.NewRequest("GET", "http://a.example/p?q", nil)
	resp, err := cc.RoundTrip(r)
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", resp.StatusCode)
	for name, values := range resp.Header {
		for _, v := range values {
			fmt.Fprintf(&b, "\n%s: %s\n", name, v)
		}
	}
	return b.String() + "\n\n" + string(body), true
}
