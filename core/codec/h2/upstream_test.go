package h2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// testUp is a connection to a peer that a test plays.
type testUp struct {
	*UpstreamConn
	t testing.TB

	mu     sync.Mutex
	places []int // what changed was told
	ended  chan struct{}
}

// upstream connects to a peer that script plays. Its connection is closed when
// the script returns.
func upstream(t testing.TB, p *config.ProxyParameters, script func(r *rawClient)) *testUp {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		nc, err := ln.Accept()
		ln.Close()
		if err != nil {
			return
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		r := &rawClient{Framer: http2.NewFramer(nc, nc), nc: nc.(*net.TCPConn), t: t}
		r.AllowIllegalWrites = true
		r.SetMaxReadFrameSize(1 << 20)
		r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		r.encoder()
		hello := make([]byte, len(Preface))
		if _, err := io.ReadFull(nc, hello); err != nil {
			return // nothing is sent
		}
		if string(hello) != Preface {
			t.Errorf("preface %q", hello)
			return
		}
		script(r)
	})
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return serveUp(t, nc, p, &wg)
}

// serveUp serves nc until the test ends; wg is waited for then.
func serveUp(t testing.TB, nc net.Conn, p *config.ProxyParameters, wg *sync.WaitGroup) *testUp {
	u := &testUp{t: t, ended: make(chan struct{})}
	u.UpstreamConn = NewClient(telemetry.New()).NewConn(nc, p, false, func(n int) {
		u.mu.Lock()
		u.places = append(u.places, n)
		u.mu.Unlock()
	})
	go func() {
		u.Serve()
		close(u.ended)
	}()
	t.Cleanup(func() {
		u.Abort()
		<-u.ended
		wg.Wait()
	})
	return u
}

// answering is a script that greets, and answers each request that has ended.
func answering(answer func(r *rawClient, id uint32)) func(r *rawClient) {
	return func(r *rawClient) {
		r.WriteSettings()
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
				r.WriteSettingsAck()
			}
			id := f.Header().StreamID
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				if f.StreamEnded() {
					answer(r, id)
				}
			case *http2.DataFrame:
				if f.StreamEnded() {
					answer(r, id)
				}
			}
		}
	}
}

// informed is a client that notes interim responses.
type informed struct{ statuses []int }

func (c *informed) Inform(_ *exchange.Exchange, status int, _ *exchange.Header) error {
	c.statuses = append(c.statuses, status)
	return nil
}
func (c *informed) Send(*exchange.Exchange) error { return nil }
func (c *informed) Watch(func()) func()           { return func() {} }

// asked is an exchange under way.
type asked struct {
	x      *exchange.Exchange
	s      *UpstreamStream
	client informed
	sent   chan struct{} // the request's body was sent, or not
	err    error

	content []byte // read by outcome
}

func newRequest(method string, body exchange.Body, length int64) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{}}
	q := &x.Request
	q.Method, q.Authority, q.Path, q.Body, q.ContentLength = []byte(method), []byte("a.example"), []byte("/p?q"), body, length
	return x
}

// ask sends a request and reads the head of the answer.
func (u *testUp) ask(x *exchange.Exchange, timeout time.Duration) *asked {
	a := &asked{x: x, sent: make(chan struct{})}
	x.Client = &a.client
	a.s = u.NewStream(func(bool) { a.free() })
	rest, err := a.s.Write(x, false)
	if err != nil {
		close(a.sent)
		a.err = err
		a.s.Recycle()
		return a
	}
	if !rest {
		close(a.sent)
	} else {
		go func() {
			a.s.WriteRest(x)
			a.s.Interrupt()
			close(a.sent)
		}()
	}
	a.s.Arm(time.Now(), timeout)
	wake := time.AfterFunc(5*time.Millisecond, a.s.Interrupt)
	for a.err = a.s.ReadHead(x); a.err == ErrInterrupted; a.err = a.s.ReadHead(x) {
		if a.s.broke {
			break
		}
	}
	if !wake.Stop() {
		time.Sleep(time.Millisecond)
	}
	if a.err != nil {
		a.free()
	} else {
		a.s.Settle()
	}
	return a
}

func (a *asked) free() {
	a.s.Close()
	if a.x.Request.Body != nil {
		a.x.Request.Body.Close()
	}
	<-a.sent
	a.s.Recycle()
}

// outcome reads the answer to its end and says what it was.
func (a *asked) outcome() string {
	text := ""
	for _, s := range a.client.statuses {
		text += fmt.Sprint(s, " ")
	}
	if a.err != nil {
		return text + why(a.err)
	}
	p := &a.x.Response
	text += fmt.Sprint(p.Status)
	if p.Body == nil {
		if p.ContentLength != 0 {
			text += fmt.Sprint(" length ", p.ContentLength)
		}
		return text
	}
	content, err := io.ReadAll(p.Body)
	p.Body.Close()
	a.content = content
	text += " " + string(content)
	if err != nil {
		a.err = err
		return text + " " + why(err)
	}
	for _, f := range p.Trailer.Fields() {
		text += fmt.Sprintf(" %s=%s", f.Name, f.Value)
	}
	return text
}

func why(err error) string {
	var e *exchange.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return err.Error()
}

// closer is a body that Close ends while another goroutine reads.
type closer struct {
	parts chan string
	done  chan struct{}
	once  sync.Once
}

func newCloser() *closer { return &closer{parts: make(chan string, 10), done: make(chan struct{})} }

func (b *closer) Read(p []byte) (int, error) {
	select {
	case s, ok := <-b.parts:
		if !ok {
			return 0, io.EOF
		}
		return copy(p, s), nil
	case <-b.done:
		return 0, errClosed
	}
}
func (b *closer) Buffered() int { return 0 }
func (b *closer) Close()        { b.once.Do(func() { close(b.done) }) }

func TestResponsesOfUpstreams(t *testing.T) {
	say := func(end bool, fields ...string) func(*rawClient, uint32) {
		return func(r *rawClient, id uint32) { r.headers(id, end, fields...) }
	}
	then := func(all ...func(*rawClient, uint32)) func(*rawClient, uint32) {
		return func(r *rawClient, id uint32) {
			for _, f := range all {
				f(r, id)
			}
		}
	}
	data := func(s string, end bool) func(*rawClient, uint32) {
		return func(r *rawClient, id uint32) { r.WriteData(id, end, []byte(s)) }
	}
	rst := func(code http2.ErrCode) func(*rawClient, uint32) {
		return func(r *rawClient, id uint32) { r.WriteRSTStream(id, code) }
	}
	ok, head := say(true, ":status: 200"), say(false, ":status: 200")
	tests := map[string]struct {
		method string // empty: GET
		answer func(*rawClient, uint32)
		want   string
	}{
		"a head alone":              {"", ok, "200"},
		"content":                   {"", then(head, data("hel", false), data("lo", true)), "200 hello"},
		"content of that length":    {"", then(say(false, ":status: 200", "content-length: 5"), data("hello", true)), "200 hello"},
		"an empty end":              {"", then(head, data("hello", false), data("", true)), "200 hello"},
		"no content but an end":     {"", then(head, data("", true)), "200"},
		"a trailer":                 {"", then(head, data("hello", false), say(true, "x-sum: 1", "host: x", "x: y")), "200 hello x-sum=1 x=y"},
		"a trailer without content": {"", then(head, say(true, "grpc-status: 0")), "200  grpc-status=0"},
		"padding":                   {"", then(head, func(r *rawClient, id uint32) { r.WriteDataPadded(id, true, []byte("hello"), make([]byte, 9)) }), "200 hello"},
		"interim responses":         {"", then(say(false, ":status: 100"), say(false, ":status: 103", "link: x"), ok), "100 103 200"},
		"too many interim responses": {"", func(r *rawClient, id uint32) {
			for range 65 {
				r.headers(id, false, ":status: 103")
			}
			r.headers(id, true, ":status: 200")
		}, "bad response: interim"},
		"an interim response that ends":      {"", say(true, ":status: 103"), "bad response: status"},
		"101":                                {"", say(false, ":status: 101"), "bad response: status"},
		"no status":                          {"", say(true, "x: y"), "bad response: pseudo-field"},
		"two of them":                        {"", say(true, ":status: 200", ":status: 200"), "bad response: pseudo-field"},
		"one behind a field":                 {"", say(true, "x: y", ":status: 200"), "bad response: pseudo-field"},
		"a request's pseudo-field":           {"", say(true, ":status: 200", ":path: /"), "bad response: pseudo-field"},
		"a short status":                     {"", say(true, ":status: 20"), "bad response: status"},
		"600":                                {"", say(true, ":status: 600"), "bad response: status"},
		"a status with a sign":               {"", say(true, ":status: +20"), "bad response: status"},
		"a name in upper case":               {"", say(true, ":status: 200", "A: b"), "bad response: field-name"},
		"a value with a line end":            {"", say(true, ":status: 200", "a: b\nc"), "bad response: field-value"},
		"Connection":                         {"", say(true, ":status: 200", "connection: close"), "bad response: connection-field"},
		"Transfer-Encoding":                  {"", say(true, ":status: 200", "transfer-encoding: chunked"), "bad response: connection-field"},
		"two lengths":                        {"", say(true, ":status: 200", "content-length: 0", "content-length: 0"), "bad response: content-length"},
		"a length that is none":              {"", say(true, ":status: 200", "content-length: x"), "bad response: content-length"},
		"a length without content":           {"", say(true, ":status: 200", "content-length: 5"), "bad response: body-length"},
		"less content than its length":       {"", then(say(false, ":status: 200", "content-length: 5"), data("hell", true)), "200  bad-response"},
		"more content than its length":       {"", then(say(false, ":status: 200", "content-length: 5"), data("hello!", true)), "200  bad-response"},
		"a trailer that does not end":        {"", then(head, say(false, "x: y")), "200  bad-response"},
		"a trailer with a pseudo-field":      {"", then(head, say(true, ":status: 200")), "200  bad-response"},
		"to HEAD":                            {"HEAD", say(true, ":status: 200", "content-length: 5"), "200 length 5"},
		"to HEAD with an end of its own":     {"HEAD", then(say(false, ":status: 200", "content-length: 5"), data("", true)), "200 length 5"},
		"to HEAD with content":               {"HEAD", then(say(false, ":status: 200", "content-length: 5"), data("hello", true)), "bad response: body-length"},
		"204":                                {"", say(true, ":status: 204"), "204"},
		"204 with content":                   {"", then(say(false, ":status: 204"), data("x", true)), "bad response: body-length"},
		"304 with a length":                  {"", say(true, ":status: 304", "content-length: 5"), "304 length 5"},
		"content before the head":            {"", then(data("x", false), ok), "bad response: body-length"},
		"an end before the head":             {"", data("", true), "bad response: no-head"},
		"refused":                            {"", rst(http2.ErrCodeRefusedStream), ErrRefused.Error()},
		"reset":                              {"", rst(http2.ErrCodeInternal), "upstream reset the stream: error 2"},
		"reset without an error":             {"", rst(http2.ErrCodeNo), "upstream reset the stream: error 0"},
		"reset in the content":               {"", then(head, data("hel", false), rst(http2.ErrCodeInternal)), "200  response-body-cut"},
		"refused in the content":             {"", then(head, rst(http2.ErrCodeRefusedStream)), "200  response-body-cut"},
		"reset after the end":                {"", then(head, data("hello", true), rst(http2.ErrCodeNo)), "200 hello"},
		"the connection's end after the end": {"", then(head, data("hello", true), func(r *rawClient, _ uint32) { r.nc.CloseWrite() }), "200 hello"},
		"the connection's end":               {"", then(head, data("hel", false), func(r *rawClient, _ uint32) { r.nc.CloseWrite() }), "200  response-body-cut"},
		"the connection's end before":        {"", func(r *rawClient, _ uint32) { r.nc.CloseWrite() }, "connection closed"},
		"a goodbye that includes it":         {"", then(func(r *rawClient, id uint32) { r.WriteGoAway(id, 0, nil) }, head, data("hello", true)), "200 hello"},
		"a goodbye that does not":            {"", func(r *rawClient, _ uint32) { r.WriteGoAway(0, 0, nil) }, ErrRefused.Error()},
		"a second goodbye that promises more": {"", func(r *rawClient, id uint32) {
			r.WriteGoAway(id, 0, nil)
			r.WriteGoAway(id+2, 0, nil)
		}, "bad response: goaway"},
		"a goodbye in two steps": {"", then(func(r *rawClient, id uint32) {
			r.WriteGoAway(1<<31-1, 0, nil)
			r.WriteGoAway(id, 0, nil)
		}, ok), "200"},
		"fields that are too large": {"", func(r *rawClient, id uint32) {
			r.nc.Write(appendHeaders(nil, id, flagEndStream, r.block(":status: 200", "x: "+strings.Repeat("y", 70000)), leastFrameSize))
		}, "bad response: fields-too-large"},
		"too many fields": {"", func(r *rawClient, id uint32) {
			r.headers(id, true, append([]string{":status: 200"}, slicesOf("x: y", 101)...)...)
		}, "bad response: too-many-fields"},
		"more than the window": {"", then(head, func(r *rawClient, id uint32) {
			for range streamWindow/leastFrameSize + 1 {
				r.WriteData(id, false, make([]byte, leastFrameSize))
			}
		}), "200  bad-response"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			u := upstream(t, params(), answering(test.answer))
			method := test.method
			if method == "" {
				method = "GET"
			}
			a := u.ask(newRequest(method, nil, 0), 5*time.Second)
			if name == "more than the window" || strings.Contains(test.want, "  ") && a.err == nil {
				// What goes wrong does so before a byte is read.
				for {
					u.UpstreamConn.mu.Lock()
					open := len(u.streams) > 0 && !a.s.gone && !a.s.in.whole
					u.UpstreamConn.mu.Unlock()
					if !open {
						break
					}
					time.Sleep(time.Millisecond)
				}
			}
			if name == "too many interim responses" {
				a.client.statuses = nil
			}
			if got := a.outcome(); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func slicesOf(s string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}

// TestAHostileUpstreamEndsItsConnection: for each reason the connection ends
// with that error code, and its streams with an error.
func TestAHostileUpstreamEndsItsConnection(t *testing.T) {
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, payload string) func(*rawClient) {
		return func(r *rawClient) { r.WriteRawFrame(kind, flags, id, []byte(payload)) }
	}
	settings := func(id http2.SettingID, v uint32) func(*rawClient) {
		return func(r *rawClient) { r.WriteSettings(http2.Setting{ID: id, Val: v}) }
	}
	many := func(n int, f func(*rawClient)) func(*rawClient) {
		return func(r *rawClient) {
			for range n {
				f(r)
			}
		}
	}
	tests := map[string]struct {
		first bool // no SETTINGS before
		say   func(*rawClient)
		want  string
	}{
		"no HTTP/2":                     {true, func(r *rawClient) { io.WriteString(r.nc, "HTTP/1.1 400 Bad Request\r\n\r\n") }, "no-settings PROTOCOL_ERROR"},
		"another frame first":           {true, raw(http2.FramePing, 0, 0, "12345678"), "no-settings PROTOCOL_ERROR"},
		"a push":                        {false, raw(http2.FramePushPromise, http2.FlagHeadersEndHeaders, 1, "\x00\x00\x00\x02"), "push-promise PROTOCOL_ERROR"},
		"push turned on":                {false, settings(http2.SettingEnablePush, 1), "settings PROTOCOL_ERROR"},
		"a window beyond the largest":   {false, settings(http2.SettingInitialWindowSize, 1<<31), "settings FLOW_CONTROL_ERROR"},
		"a frame size below the least":  {false, settings(http2.SettingMaxFrameSize, 1), "settings PROTOCOL_ERROR"},
		"half a setting":                {false, raw(http2.FrameSettings, 0, 0, "12345"), "settings FRAME_SIZE_ERROR"},
		"settings of a stream":          {false, raw(http2.FrameSettings, 0, 1, ""), "settings PROTOCOL_ERROR"},
		"a long ack":                    {false, raw(http2.FrameSettings, 1, 0, "123456"), "settings-ack FRAME_SIZE_ERROR"},
		"a short ping":                  {false, raw(http2.FramePing, 0, 0, "1"), "ping FRAME_SIZE_ERROR"},
		"a ping of a stream":            {false, raw(http2.FramePing, 0, 1, "12345678"), "ping PROTOCOL_ERROR"},
		"a goodbye of a stream":         {false, raw(http2.FrameGoAway, 0, 1, "12345678"), "goaway PROTOCOL_ERROR"},
		"a short goodbye":               {false, raw(http2.FrameGoAway, 0, 0, "1234"), "goaway FRAME_SIZE_ERROR"},
		"a window of nothing":           {false, raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"), "window-update PROTOCOL_ERROR"},
		"a window that overflows":       {false, raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"), "window-overflow FLOW_CONTROL_ERROR"},
		"a frame that is too long":      {false, raw(http2.FrameData, 0, 1, strings.Repeat("x", 16385)), "frame-size FRAME_SIZE_ERROR"},
		"fields that cannot be decoded": {false, raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\xff\xff\xff\xff\xff\xff"), "compression COMPRESSION_ERROR"},
		"an even stream":                {false, raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 2, "\x88"), "stream-id PROTOCOL_ERROR"},
		"a stream that was not opened":  {false, raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 3, "\x88"), "idle-stream PROTOCOL_ERROR"},
		"data of one":                   {false, raw(http2.FrameData, 0, 3, "x"), "idle-stream PROTOCOL_ERROR"},
		"a reset of one":                {false, raw(http2.FrameRSTStream, 0, 3, "\x00\x00\x00\x00"), "idle-stream PROTOCOL_ERROR"},
		"a window of one":               {false, raw(http2.FrameWindowUpdate, 0, 3, "\x00\x00\x00\x01"), "idle-stream PROTOCOL_ERROR"},
		"a continuation of nothing":     {false, raw(http2.FrameContinuation, 4, 1, ""), "header-block PROTOCOL_ERROR"},
		"a frame within a block": {false, func(r *rawClient) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(r)
			raw(http2.FramePing, 0, 0, "12345678")(r)
		}, "header-block PROTOCOL_ERROR"},
		"continuations without end": {false, func(r *rawClient) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(r)
			many(40, raw(http2.FrameContinuation, 0, 1, ""))(r)
		}, "continuation-flood ENHANCE_YOUR_CALM"},
		"a block without end": {false, func(r *rawClient) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(r)
			many(12, raw(http2.FrameContinuation, 0, 1, strings.Repeat("\x00\x01a\x01b", 3200)))(r)
		}, "continuation-flood ENHANCE_YOUR_CALM"},
		"settings without end": {false, many(3000, raw(http2.FrameSettings, 0, 0, "")), "control-flood ENHANCE_YOUR_CALM"},
		"pings without end":    {false, many(3000, raw(http2.FramePing, 0, 0, "12345678")), "control-flood ENHANCE_YOUR_CALM"},
		"empty data without end": {false, func(r *rawClient) {
			raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x88")(r)
			many(3000, raw(http2.FrameData, 0, 1, ""))(r)
		}, "control-flood ENHANCE_YOUR_CALM"},
		"unknown frames without end": {false, many(3000, raw(0xbb, 0, 0, "")), "control-flood ENHANCE_YOUR_CALM"},
		"resets without end":         {false, many(3000, raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x00")), "control-flood ENHANCE_YOUR_CALM"},
		"windows without end":        {false, many(3000, raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x01")), "control-flood ENHANCE_YOUR_CALM"},
		"answers to nothing without end": {false, func(r *rawClient) {
			raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x07")(r)
			many(3000, raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x88"))(r)
		}, "stream-closed STREAM_CLOSED"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code := make(chan string, 1)
			u := upstream(t, params(), func(r *rawClient) {
				defer close(code)
				if !test.first {
					r.WriteSettings()
				}
				for {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					if _, ok := f.(*http2.MetaHeadersFrame); ok {
						break
					}
				}
				go test.say(r)
				for {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					if g, ok := f.(*http2.GoAwayFrame); ok {
						code <- g.ErrCode.String()
						return
					}
				}
			})
			a := u.ask(newRequest("GET", nil, 0), 10*time.Second)
			got := a.outcome()
			reason, want, _ := strings.Cut(test.want, " ")
			if c := <-code; c != want {
				t.Errorf("goodbye %q; want %q", c, want)
			}
			<-u.ended
			if _, known := u.client.faults[reason]; !known {
				t.Errorf("no such reason: %s", reason)
			}
			if !strings.Contains(got, reason) && !strings.Contains(got, "bad-response") && !strings.HasPrefix(got, "upstream re") {
				t.Errorf("got %q; want %s", got, reason)
			}
			if b := u.ask(newRequest("GET", nil, 0), time.Second); b.err != ErrStale {
				t.Errorf("afterwards: %v", b.err)
			}
		})
	}
}

func TestRequestsOnTheWire(t *testing.T) {
	tests := map[string]struct {
		make func(x *exchange.Exchange)
		want string // empty: refused
	}{
		"a GET":                  {func(*exchange.Exchange) {}, ":method=GET :scheme=http :authority=a.example :path=/p?q"},
		"names in lower case":    {func(x *exchange.Exchange) { x.Request.Header.Add([]byte("X-A"), []byte("B")) }, ":method=GET :scheme=http :authority=a.example :path=/p?q x-a=B"},
		"no authority":           {func(x *exchange.Exchange) { x.Request.Authority = nil }, ":method=GET :scheme=http :path=/p?q"},
		"the root":               {func(x *exchange.Exchange) { x.Request.Path = []byte("/") }, ":method=GET :scheme=http :authority=a.example :path=/"},
		"TE":                     {func(x *exchange.Exchange) { x.Request.TE = true }, ":method=GET :scheme=http :authority=a.example :path=/p?q te=trailers"},
		"a POST without content": {func(x *exchange.Exchange) { x.Request.Method = []byte("POST") }, ":method=POST :scheme=http :authority=a.example :path=/p?q content-length=0"},
		"a method of its own":    {func(x *exchange.Exchange) { x.Request.Method = []byte("QUERY") }, ":method=QUERY :scheme=http :authority=a.example :path=/p?q"},
		"fields of the connection": {func(x *exchange.Exchange) {
			for _, n := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Transfer-Encoding", "Upgrade", "Host", "Expect", "Content-Length"} {
				x.Request.Header.Add([]byte(n), []byte("1"))
			}
		}, ":method=GET :scheme=http :authority=a.example :path=/p?q"},
		"secrets": {func(x *exchange.Exchange) {
			x.Request.Header.Add([]byte("Cookie"), []byte("a=b"))
			x.Request.Header.Add([]byte("Authorization"), []byte("c"))
		}, ":method=GET :scheme=http :authority=a.example :path=/p?q cookie=a=b! authorization=c!"},
		"CONNECT":       {func(x *exchange.Exchange) { x.Request.Method = []byte("CONNECT") }, ""},
		"a bad name":    {func(x *exchange.Exchange) { x.Request.Header.Add([]byte("a b"), nil) }, ""},
		"a bad value":   {func(x *exchange.Exchange) { x.Request.Header.Add([]byte("a"), []byte("b\r\nc")) }, ""},
		"a pseudo name": {func(x *exchange.Exchange) { x.Request.Header.Add([]byte(":path"), []byte("/")) }, ""},
		"a bad path":    {func(x *exchange.Exchange) { x.Request.Path = []byte("/ x") }, ""},
		"an upgrade":    {func(x *exchange.Exchange) { x.Request.Upgrade = []byte("websocket") }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			seen := make(chan string, 1)
			u := upstream(t, params(), func(r *rawClient) {
				r.WriteSettings()
				for {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					h, ok := f.(*http2.MetaHeadersFrame)
					if !ok {
						continue
					}
					var b strings.Builder
					for i, f := range h.Fields {
						if i > 0 {
							b.WriteByte(' ')
						}
						fmt.Fprintf(&b, "%s=%s", f.Name, f.Value)
						if f.Sensitive {
							b.WriteByte('!')
						}
					}
					seen <- b.String()
					r.headers(h.StreamID, true, ":status: 204")
				}
			})
			x := newRequest("GET", nil, 0)
			test.make(x)
			got := u.ask(x, 5*time.Second).outcome()
			if test.want == "" {
				if got != ErrInvalidMessage.Error() && got != ErrUpgrade.Error() {
					t.Errorf("got %q", got)
				}
				return
			}
			if s := <-seen; got != "204" || s != test.want {
				t.Errorf("got %q, %q; want %q", got, s, test.want)
			}
		})
	}
}

// TestWindowsOfTheUpstream: content leaves as windows allow, also while they
// change, and in frames that are not too long.
func TestWindowsOfTheUpstream(t *testing.T) {
	steps := make(chan string, 100)
	u := upstream(t, params(), func(r *rawClient) {
		defer close(steps)
		r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		r.ReadMetaHeaders.SetMaxDynamicTableSize(0)
		got := 0
		// read reads until n bytes of content came in all, and not one more.
		read := func(n int) {
			for got < n {
				f, err := r.ReadFrame()
				if err != nil {
					steps <- err.Error()
					return
				}
				if d, ok := f.(*http2.DataFrame); ok {
					got += len(d.Data())
				}
			}
			steps <- fmt.Sprint(got)
		}
		read(10)
		r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 30})
		read(30)
		r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) // 30 below nothing
		r.WriteWindowUpdate(1, 30)                                                 // nothing
		r.WriteWindowUpdate(1, 5)
		read(35)
		r.WriteWindowUpdate(1, 1<<20)
		read(defaultWindow)
		r.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 15})
		r.WriteWindowUpdate(0, 1<<20)
		read(100000)
		r.headers(1, true, ":status: 204")
		read(1 << 30) // until the end
	})
	for len(u.told()) == 0 { // until the settings are known
		time.Sleep(time.Millisecond)
	}
	body := exchange.NewBytes(make([]byte, 100000))
	if got := u.ask(newRequest("POST", body, 100000), 5*time.Second).outcome(); got != "204" {
		t.Errorf("got %q", got)
	}
	u.Abort()
	var all []string
	for s := range steps {
		all = append(all, s)
	}
	if got := strings.Join(all[:5], " "); got != "10 30 35 65535 100000" {
		t.Errorf("got %s", got)
	}
}

func (u *testUp) told() []int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.places
}

// TestPlaces: what the upstream says of streams is told, down to none.
func TestPlaces(t *testing.T) {
	step := make(chan struct{})
	u := upstream(t, params(), func(r *rawClient) {
		for _, s := range []uint32{5, 2, 1000} {
			r.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: s})
			<-step
		}
		r.WriteGoAway(0, 0, nil)
		<-step
	})
	for _, want := range []string{"[5]", "[5 2]", "[5 2 128]", "[5 2 128 0]"} {
		for end := time.Now().Add(5 * time.Second); fmt.Sprint(u.told()) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("told %v; want %s", u.told(), want)
			}
		}
		step <- struct{}{}
	}
	<-u.ended
}

// TestAnUnreadResponseHoldsUpNoOther: all places but one are full and unread.
func TestAnUnreadResponseHoldsUpNoOther(t *testing.T) {
	u := upstream(t, params(), answering(func(r *rawClient, id uint32) {
		r.headers(id, false, ":status: 200")
		for range streamWindow / leastFrameSize {
			r.WriteData(id, false, make([]byte, leastFrameSize))
		}
		if id/2 == maxStreams-1 {
			r.WriteData(id, true, nil)
		}
	}))
	for len(u.told()) == 0 {
		time.Sleep(time.Millisecond)
	}
	var full []*asked
	for range maxStreams - 1 {
		full = append(full, u.ask(newRequest("GET", nil, 0), 5*time.Second))
	}
	if got := u.ask(newRequest("GET", nil, 0), 5*time.Second).outcome(); len(got) != len("200 ")+streamWindow {
		t.Errorf("got %d bytes: %.100q", len(got), got)
	}
	for _, a := range full {
		if a.err != nil {
			t.Fatal(a.err)
		}
		a.x.Response.Body.Close()
	}
	u.UpstreamConn.mu.Lock()
	defer u.UpstreamConn.mu.Unlock()
	if free := u.recvWindow + u.owed; free != upstreamWindow || len(u.streams) != 0 {
		t.Errorf("window %d of %d, %d streams", free, upstreamWindow, len(u.streams))
	}
}

// TestBothDirectionsAtOnce: the head comes before the request's content, and each
// part is answered before the next is sent.
func TestBothDirectionsAtOnce(t *testing.T) {
	u := upstream(t, params(), func(r *rawClient) {
		r.WriteSettings()
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				r.headers(f.StreamID, false, ":status: 200")
			case *http2.DataFrame:
				r.WriteData(f.StreamID, f.StreamEnded(), bytes.ToUpper(f.Data()))
			}
		}
	})
	body := newCloser()
	a := u.ask(newRequest("POST", body, -1), 5*time.Second)
	if a.err != nil {
		t.Fatal(a.err)
	}
	for _, word := range []string{"one", "two", "six"} {
		body.parts <- word
		b := make([]byte, 3)
		if n, err := io.ReadFull(a.x.Response.Body, b); err != nil || string(b[:n]) != strings.ToUpper(word) {
			t.Fatalf("got %q, %v", b[:n], err)
		}
	}
	close(body.parts)
	if got := a.outcome(); got != "200 " {
		t.Errorf("got %q", got)
	}
}

// TestHowStreamsAreGivenUp: what the upstream sees of it.
func TestHowStreamsAreGivenUp(t *testing.T) {
	tests := map[string]struct {
		answer func(r *rawClient, id uint32) // to the request's head
		do     func(u *testUp)
		want   string
	}{
		"the response is closed early": {func(r *rawClient, id uint32) {
			r.headers(id, false, ":status: 200")
			r.WriteData(id, false, []byte("hello"))
		}, func(u *testUp) {
			a := u.ask(newRequest("GET", nil, 0), 5*time.Second)
			if a.err != nil {
				u.t.Error(a.err)
				return
			}
			a.x.Response.Body.Close()
			a.x.Response.Body.Close()
			if n, err := a.x.Response.Body.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
				u.t.Errorf("read %d, %v", n, err)
			}
		}, "CANCEL"},
		"no answer in time": {func(*rawClient, uint32) {}, func(u *testUp) {
			if a := u.ask(newRequest("GET", nil, 0), 50*time.Millisecond); a.err != ErrTimeout {
				u.t.Error(a.err)
			}
		}, "CANCEL"},
		"no window in time": {func(*rawClient, uint32) {}, func(u *testUp) {
			if a := u.ask(newRequest("POST", exchange.NewBytes(make([]byte, 100000)), 100000), 0); a.err != ErrTimeout {
				u.t.Error(a.err)
			}
		}, "CANCEL"},
		"no content in time": {func(r *rawClient, id uint32) { r.headers(id, false, ":status: 200") }, func(u *testUp) {
			if got := u.ask(newRequest("GET", nil, 0), 5*time.Second).outcome(); got != "200  response-body-timeout" {
				u.t.Error(got)
			}
		}, "CANCEL"},
		"the request's content fails": {func(*rawClient, uint32) {}, func(u *testUp) {
			b := newCloser()
			b.Close()
			if a := u.ask(newRequest("POST", b, -1), 5*time.Second); !a.s.broke && a.err != ErrInterrupted {
				u.t.Error(a.err)
			}
		}, "CANCEL"},
		"the answer ends before the request": {func(r *rawClient, id uint32) { r.headers(id, true, ":status: 413") }, func(u *testUp) {
			if got := u.ask(newRequest("POST", newCloser(), -1), 5*time.Second).outcome(); got != "413" {
				u.t.Error(got)
			}
		}, "CANCEL"},
		"a mistake": {func(r *rawClient, id uint32) { r.headers(id, true, ":status: x") }, func(u *testUp) {
			u.ask(newRequest("GET", nil, 0), 5*time.Second)
		}, "PROTOCOL_ERROR"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan string, 1)
			p := params()
			p.IdleTimeout = 300 * time.Millisecond
			u := upstream(t, p, func(r *rawClient) {
				r.WriteSettings()
				for {
					f, err := r.ReadFrame()
					if err != nil {
						if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
							t.Log(err)
						}
						return
					}
					switch f := f.(type) {
					case *http2.MetaHeadersFrame:
						test.answer(r, f.StreamID)
					case *http2.RSTStreamFrame:
						seen <- f.ErrCode.String()
					case *http2.PingFrame:
						if !f.IsAck() {
							r.WritePing(true, f.Data)
						}
					}
				}
			})
			test.do(u)
			select {
			case got := <-seen:
				if got != test.want {
					t.Errorf("got %s; want %s", got, test.want)
				}
			case <-time.After(5 * time.Second):
				t.Error("the upstream was told nothing")
			}
		})
	}
}

func TestAStoppedRequestIsNoFault(t *testing.T) {
	u := upstream(t, params(), func(r *rawClient) {
		r.WriteSettings()
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				r.headers(h.StreamID, false, ":status: 200")
				r.WriteData(h.StreamID, true, []byte("enough"))
				r.WriteRSTStream(h.StreamID, http2.ErrCodeNo)
			}
		}
	})
	for range 3 {
		if got := u.ask(newRequest("POST", newCloser(), -1), 5*time.Second).outcome(); got != "200 enough" {
			t.Errorf("got %q", got)
		}
	}
}

// TestSilence: an upstream that answers pings lives, at growing distances; one
// that does not has died.
func TestSilence(t *testing.T) {
	for name, answers := range map[string]bool{"it answers": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := params()
			p.IdleTimeout = 200 * time.Millisecond
			var mu sync.Mutex
			pings := 0
			u := upstream(t, p, func(r *rawClient) {
				r.WriteSettings()
				for {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
						mu.Lock()
						pings++
						mu.Unlock()
						if answers {
							r.WritePing(true, p.Data)
						}
					}
				}
			})
			a := u.ask(newRequest("GET", nil, 0), 1200*time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			want, most := errSilent, 1
			if answers {
				want, most = ErrTimeout, 3
			}
			if a.err != want || pings < 1 || pings > most {
				t.Errorf("got %v after %d pings; want %v", a.err, pings, want)
			}
		})
	}
}

func TestAnIdleConnectionSaysGoodbye(t *testing.T) {
	p := params()
	p.IdleTimeout = 100 * time.Millisecond
	said := make(chan string, 1)
	u := upstream(t, p, func(r *rawClient) {
		defer close(said)
		r.WriteSettings()
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				r.headers(f.StreamID, true, ":status: 204")
			case *http2.GoAwayFrame:
				said <- f.ErrCode.String()
				return
			}
		}
	})
	if got := u.ask(newRequest("GET", nil, 0), 5*time.Second).outcome(); got != "204" {
		t.Errorf("got %q", got)
	}
	if got := <-said; got != "NO_ERROR" {
		t.Errorf("got %q", got)
	}
	<-u.ended
	if b := u.ask(newRequest("GET", nil, 0), time.Second); b.err != ErrStale {
		t.Errorf("afterwards: %v", b.err)
	}
}

// TestAStaleConnectionReadsNoBody: the request is for another one.
func TestAStaleConnectionReadsNoBody(t *testing.T) {
	u := upstream(t, params(), func(r *rawClient) {
		r.WriteGoAway(0, 0, nil)
	})
	u.Drain()
	body := exchange.NewBytes([]byte("hello"))
	s := u.NewStream(func(bool) {})
	if _, err := s.Write(newRequest("POST", body, 5), false); err != ErrStale || body.Buffered() != 5 {
		t.Errorf("%v, %d bytes left", err, body.Buffered())
	}
	s.Recycle()
}

func TestDrainOfAConnection(t *testing.T) {
	release := make(chan struct{})
	u := upstream(t, params(), answering(func(r *rawClient, id uint32) {
		r.headers(id, false, ":status: 200")
		<-release
		r.WriteData(id, true, []byte("hello"))
	}))
	a := u.ask(newRequest("GET", nil, 0), 5*time.Second)
	u.Drain()
	if b := u.ask(newRequest("GET", nil, 0), time.Second); b.err != ErrStale {
		t.Errorf("a new one: %v", b.err)
	}
	close(release)
	if got := a.outcome(); got != "200 hello" {
		t.Errorf("got %q", got)
	}
	<-u.ended
}
