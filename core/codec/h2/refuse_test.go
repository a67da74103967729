package h2

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// TestMalformedRequests: RFC 9113, 8.
func TestMalformedRequests(t *testing.T) {
	tests := map[string]struct {
		fields []string
		want   string
	}{
		"fine":                                     {get(), "200"},
		"no :method":                               {[]string{":scheme: http", ":path: /", ":authority: a"}, "RST PROTOCOL_ERROR"},
		"no :scheme":                               {[]string{":method: GET", ":path: /", ":authority: a"}, "RST PROTOCOL_ERROR"},
		"no :path":                                 {[]string{":method: GET", ":scheme: http", ":authority: a"}, "RST PROTOCOL_ERROR"},
		"an empty :path":                           {[]string{":method: GET", ":scheme: http", ":path: ", ":authority: a"}, "RST PROTOCOL_ERROR"},
		"two :method":                              {get(":method: GET"), "RST PROTOCOL_ERROR"},
		"two :authority":                           {get(":authority: a.example"), "RST PROTOCOL_ERROR"},
		"an unknown pseudo-field":                  {get(":protocol: websocket"), "RST PROTOCOL_ERROR"},
		"a pseudo-field of responses":              {get(":status: 200"), "RST PROTOCOL_ERROR"},
		"a pseudo-field after a field":             {[]string{":method: GET", ":scheme: http", "a: b", ":path: /", ":authority: a"}, "RST PROTOCOL_ERROR"},
		"no field at all":                          {nil, "RST PROTOCOL_ERROR"},
		"a bad method":                             {[]string{":method: G T", ":scheme: http", ":path: /", ":authority: a"}, "RST PROTOCOL_ERROR"},
		"a name with upper case":                   {get("Ab: c"), "RST PROTOCOL_ERROR"},
		"a name with a space":                      {get("a b: c"), "RST PROTOCOL_ERROR"},
		"a name with a control":                    {get("x: y", "\x01: y"), "RST PROTOCOL_ERROR"},
		"a value with a line end":                  {get("a: b\r\nc: d"), "RST PROTOCOL_ERROR"},
		"a value with NUL":                         {get("a: b\x00"), "RST PROTOCOL_ERROR"},
		"a value with a space before":              {get("a:  b"), "RST PROTOCOL_ERROR"},
		"a value with a tab behind":                {get("a: b\t"), "RST PROTOCOL_ERROR"},
		"connection":                               {get("connection: close"), "RST PROTOCOL_ERROR"},
		"keep-alive":                               {get("keep-alive: 1"), "RST PROTOCOL_ERROR"},
		"proxy-connection":                         {get("proxy-connection: x"), "RST PROTOCOL_ERROR"},
		"transfer-encoding":                        {get("transfer-encoding: chunked"), "RST PROTOCOL_ERROR"},
		"upgrade":                                  {get("upgrade: websocket"), "RST PROTOCOL_ERROR"},
		"te other than trailers":                   {get("te: trailers, gzip"), "RST PROTOCOL_ERROR"},
		"te: trailers":                             {get("te: trailers"), "200"},
		"two lengths":                              {get("content-length: 0", "content-length: 0"), "RST PROTOCOL_ERROR"},
		"a length that is a list":                  {get("content-length: 0, 0"), "RST PROTOCOL_ERROR"},
		"a length with a sign":                     {get("content-length: +0"), "RST PROTOCOL_ERROR"},
		"a length without content":                 {get("content-length: 1"), "RST PROTOCOL_ERROR"},
		"no authority":                             {[]string{":method: GET", ":scheme: http", ":path: /"}, "400"},
		"Host alone":                               {[]string{":method: GET", ":scheme: http", ":path: /", "host: a"}, "200"},
		"Host is :authority":                       {get("host: A.example"), "200"},
		"Host is not :authority":                   {get("host: b.example"), "400"},
		"two Hosts":                                {get("host: a.example", "host: a.example"), "400"},
		":authority with user information":         {[]string{":method: GET", ":scheme: http", ":path: /", ":authority: u@a"}, "400"},
		"an empty :authority":                      {[]string{":method: GET", ":scheme: http", ":path: /", ":authority: "}, "400"},
		"another scheme":                           {[]string{":method: GET", ":scheme: https", ":path: /", ":authority: a"}, "400"},
		"an unknown scheme":                        {[]string{":method: GET", ":scheme: ftp", ":path: /", ":authority: a"}, "400"},
		"a path in absolute form":                  {[]string{":method: GET", ":scheme: http", ":path: http://a/", ":authority: a"}, "400"},
		"a path with a fragment":                   {[]string{":method: GET", ":scheme: http", ":path: /a#b", ":authority: a"}, "400"},
		"a path with a space":                      {[]string{":method: GET", ":scheme: http", ":path: /a b", ":authority: a"}, "400"},
		"a path with a broken escape":              {[]string{":method: GET", ":scheme: http", ":path: /%2", ":authority: a"}, "400"},
		"an asterisk with GET":                     {[]string{":method: GET", ":scheme: http", ":path: *", ":authority: a"}, "400"},
		"an asterisk with OPTIONS":                 {[]string{":method: OPTIONS", ":scheme: http", ":path: *", ":authority: a"}, "200"},
		"CONNECT with a path":                      {get(":method: CONNECT")[1:], "RST PROTOCOL_ERROR"},
		"an unknown expectation":                   {get("expect: wonders"), "417"},
		"a path that is too long":                  {[]string{":method: GET", ":scheme: http", ":path: /" + strings.Repeat("a", 9000), ":authority: a"}, "414"},
		"fields that are too large":                {get("a: "+strings.Repeat("b", 9000), "c: "+strings.Repeat("d", 7300)), "431"},
		"many crumbs of a cookie":                  {get(strings.Split(strings.Repeat("cookie: a=b|", 150)+"x: y", "|")...), "200"},
		"too many fields":                          {get(strings.Split(strings.Repeat("a: b|", 100)+"x: y", "|")...), "431"},
		"a table's entry, often":                   {get(strings.Split(strings.Repeat("a: "+strings.Repeat("b", 3000)+"|", 50)+"x: y", "|")...), "431"},
		"identity fields are none of its business": {get("x-forwarded-for: 1.2.3.4"), "200"},
	}
	p := params()
	p.HeaderBytes = 16 << 10
	ts := newTestServer(t, p, func(x *exchange.Exchange) { codectest.Answer(x, 200, "") })
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := ts.dial(t)
			block := r.block(test.fields...)
			first := block[:min(len(block), 16<<10)]
			r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: true, EndHeaders: len(first) == len(block)})
			if len(first) < len(block) {
				r.WriteContinuation(1, true, block[len(first):])
			}
			if got := r.outcome(1); got != test.want {
				t.Errorf("got %s; want %s", got, test.want)
			}
			// The connection, and its table, are fine.
			r.headers(3, true, get("a: b")...)
			if got := r.outcome(3); got != "200" {
				t.Errorf("the next request: %s", got)
			}
		})
	}
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// TestProtocolErrors: RFC 9113, 5 and 6.
func TestProtocolErrors(t *testing.T) {
	const settings = frameSettings
	open := func(r *rawClient) { r.headers(1, false, post()...) }
	whole := func(r *rawClient) { r.headers(1, true, get()...) }
	raw := func(kind, flags uint8, id uint32, payload ...byte) func(*rawClient) {
		return func(r *rawClient) { r.WriteRawFrame(http2.FrameType(kind), http2.Flags(flags), id, payload) }
	}
	both := func(steps ...func(*rawClient)) func(*rawClient) {
		return func(r *rawClient) {
			for _, s := range steps {
				s(r)
			}
		}
	}
	window := func(id, n uint32) func(*rawClient) { return raw(frameWindowUpdate, 0, id, u32(n)...) }
	setting := func(id uint16, v uint32) func(*rawClient) {
		return raw(settings, 0, 0, appendSetting(nil, id, v)...)
	}
	tests := map[string]struct {
		send func(r *rawClient)
		want string
	}{
		"an unknown frame is ignored":            {both(raw(0xbb, 0xff, 1), raw(0xbb, 0, 0), whole), "200"},
		"a frame that is too large":              {both(open, raw(frameData, 0, 1, make([]byte, leastFrameSize+1)...)), "GOAWAY FRAME_SIZE_ERROR"},
		"padding longer than the frame":          {both(open, raw(frameData, flagPadded, 1, 5, 1)), "GOAWAY PROTOCOL_ERROR"},
		"padding without its length":             {both(open, raw(frameData, flagPadded, 1)), "GOAWAY FRAME_SIZE_ERROR"},
		"DATA on stream 0":                       {raw(frameData, 0, 0, 1), "GOAWAY PROTOCOL_ERROR"},
		"DATA on an idle stream":                 {raw(frameData, 0, 1, 1), "GOAWAY PROTOCOL_ERROR"},
		"DATA after END_STREAM":                  {both(open, raw(frameData, flagEndStream, 1), raw(frameData, 0, 1, 1)), "RST STREAM_CLOSED"},
		"DATA beyond the length":                 {both(func(r *rawClient) { r.headers(1, false, post("content-length: 1")...) }, raw(frameData, 0, 1, 1, 2)), "RST PROTOCOL_ERROR"},
		"DATA short of the length":               {both(func(r *rawClient) { r.headers(1, false, post("content-length: 2")...) }, raw(frameData, flagEndStream, 1, 1)), "RST PROTOCOL_ERROR"},
		"DATA with a length of 0":                {both(func(r *rawClient) { r.headers(1, false, post("content-length: 0", "x-wait: 1")...) }, raw(frameData, flagEndStream, 1, 1)), "RST PROTOCOL_ERROR"},
		"HEADERS on stream 0":                    {raw(frameHeaders, flagEndHeaders, 0, 0x82), "GOAWAY PROTOCOL_ERROR"},
		"HEADERS on an even stream":              {raw(frameHeaders, flagEndHeaders, 2, 0x82), "GOAWAY PROTOCOL_ERROR"},
		"HEADERS on a lower stream":              {both(func(r *rawClient) { r.headers(5, true, get()...) }, func(r *rawClient) { r.headers(3, true, get()...) }), "GOAWAY STREAM_CLOSED"},
		"HEADERS after END_STREAM":               {both(func(r *rawClient) { r.headers(1, true, get("x-wait: 1")...) }, open), "RST STREAM_CLOSED"},
		"a trailer without END_STREAM":           {both(open, open), "RST PROTOCOL_ERROR"},
		"a trailer with a pseudo-field":          {both(open, whole), "RST PROTOCOL_ERROR"},
		"a trailer with upper case":              {both(open, func(r *rawClient) { r.headers(1, true, "A: b") }), "RST PROTOCOL_ERROR"},
		"HEADERS with a short priority":          {raw(frameHeaders, flagPriority|flagEndHeaders, 1, 1, 2), "GOAWAY FRAME_SIZE_ERROR"},
		"HEADERS that depend on themselves":      {raw(frameHeaders, flagPriority|flagEndHeaders|flagEndStream, 1, 0, 0, 0, 1, 0, 0x82), "RST PROTOCOL_ERROR"},
		"HEADERS amid a header block":            {both(raw(frameHeaders, 0, 1, 0x82), raw(frameHeaders, flagEndHeaders, 3, 0x82)), "GOAWAY PROTOCOL_ERROR"},
		"PING amid a header block":               {both(raw(frameHeaders, 0, 1, 0x82), raw(framePing, 0, 0, make([]byte, 8)...)), "GOAWAY PROTOCOL_ERROR"},
		"CONTINUATION of another stream":         {both(raw(frameHeaders, 0, 1, 0x82), raw(frameContinuation, flagEndHeaders, 3, 0x82)), "GOAWAY PROTOCOL_ERROR"},
		"CONTINUATION of nothing":                {raw(frameContinuation, flagEndHeaders, 1, 0x82), "GOAWAY PROTOCOL_ERROR"},
		"an index beyond the table":              {raw(frameHeaders, flagEndHeaders, 1, 0xff, 0x70), "GOAWAY COMPRESSION_ERROR"},
		"a header block that is cut":             {raw(frameHeaders, flagEndHeaders, 1, 0x40, 0x05, 'a'), "GOAWAY COMPRESSION_ERROR"},
		"a table that is larger than allowed":    {raw(frameHeaders, flagEndHeaders, 1, 0x3f, 0xff, 0x7f), "GOAWAY COMPRESSION_ERROR"},
		"PRIORITY":                               {both(raw(framePriority, 0, 3, 0, 0, 0, 1, 9), whole), "200"},
		"PRIORITY on stream 0":                   {raw(framePriority, 0, 0, 0, 0, 0, 1, 9), "GOAWAY PROTOCOL_ERROR"},
		"PRIORITY of a wrong size":               {both(open, raw(framePriority, 0, 1, 0, 0)), "RST FRAME_SIZE_ERROR"},
		"PRIORITY of a wrong size, idle":         {raw(framePriority, 0, 1, 0, 0), "GOAWAY FRAME_SIZE_ERROR"},
		"PRIORITY on itself":                     {both(open, raw(framePriority, 0, 1, 0, 0, 0, 1, 9)), "RST PROTOCOL_ERROR"},
		"PRIORITY_UPDATE":                        {both(raw(framePriorityUpdate, 0, 0, 0, 0, 0, 1, 'u', '=', '1'), whole), "200"},
		"PRIORITY_UPDATE on a stream":            {raw(framePriorityUpdate, 0, 1, 0, 0, 0, 1), "GOAWAY PROTOCOL_ERROR"},
		"PRIORITY_UPDATE of nothing":             {raw(framePriorityUpdate, 0, 0, 0, 0, 0, 0), "GOAWAY PROTOCOL_ERROR"},
		"PRIORITY_UPDATE of a wrong size":        {raw(framePriorityUpdate, 0, 0, 0), "GOAWAY FRAME_SIZE_ERROR"},
		"RST_STREAM on stream 0":                 {raw(frameRSTStream, 0, 0, 0, 0, 0, 8), "GOAWAY PROTOCOL_ERROR"},
		"RST_STREAM on an idle stream":           {raw(frameRSTStream, 0, 1, 0, 0, 0, 8), "GOAWAY PROTOCOL_ERROR"},
		"RST_STREAM of a wrong size":             {both(open, raw(frameRSTStream, 0, 1, 8)), "GOAWAY FRAME_SIZE_ERROR"},
		"SETTINGS on a stream":                   {raw(settings, 0, 1), "GOAWAY PROTOCOL_ERROR"},
		"SETTINGS of a wrong size":               {raw(settings, 0, 0, 1, 2, 3), "GOAWAY FRAME_SIZE_ERROR"},
		"SETTINGS ACK with a payload":            {raw(settings, flagAck, 0, make([]byte, 6)...), "GOAWAY FRAME_SIZE_ERROR"},
		"ENABLE_PUSH 2":                          {setting(settingEnablePush, 2), "GOAWAY PROTOCOL_ERROR"},
		"INITIAL_WINDOW_SIZE beyond":             {setting(settingInitialWindowSize, 1<<31), "GOAWAY FLOW_CONTROL_ERROR"},
		"INITIAL_WINDOW_SIZE overflows a stream": {both(open, window(1, 1<<31-1-defaultWindow), setting(settingInitialWindowSize, defaultWindow+1)), "GOAWAY FLOW_CONTROL_ERROR"},
		"MAX_FRAME_SIZE below":                   {setting(settingMaxFrameSize, 1<<14-1), "GOAWAY PROTOCOL_ERROR"},
		"MAX_FRAME_SIZE beyond":                  {setting(settingMaxFrameSize, 1<<24), "GOAWAY PROTOCOL_ERROR"},
		"an unknown setting is ignored":          {both(setting(0xff, 1), whole), "200"},
		"PUSH_PROMISE":                           {raw(framePushPromise, flagEndHeaders, 1, 0, 0, 0, 2), "GOAWAY PROTOCOL_ERROR"},
		"PING on a stream":                       {raw(framePing, 0, 1, make([]byte, 8)...), "GOAWAY PROTOCOL_ERROR"},
		"PING of a wrong size":                   {raw(framePing, 0, 0, 1), "GOAWAY FRAME_SIZE_ERROR"},
		"GOAWAY on a stream":                     {raw(frameGoAway, 0, 1, make([]byte, 8)...), "GOAWAY PROTOCOL_ERROR"},
		"GOAWAY of a wrong size":                 {raw(frameGoAway, 0, 0, 1), "GOAWAY FRAME_SIZE_ERROR"},
		"GOAWAY does not end streams":            {both(raw(frameGoAway, 0, 0, make([]byte, 8)...), whole), "200"},
		"WINDOW_UPDATE of 0":                     {window(0, 0), "GOAWAY PROTOCOL_ERROR"},
		"WINDOW_UPDATE of 0 on a stream":         {both(open, window(1, 0)), "RST PROTOCOL_ERROR"},
		"WINDOW_UPDATE beyond":                   {window(0, 1<<31-1), "GOAWAY FLOW_CONTROL_ERROR"},
		"WINDOW_UPDATE beyond on a stream":       {both(open, window(1, 1<<31-1)), "RST FLOW_CONTROL_ERROR"},
		"WINDOW_UPDATE of a wrong size":          {raw(frameWindowUpdate, 0, 0, 1), "GOAWAY FRAME_SIZE_ERROR"},
		"WINDOW_UPDATE on an idle stream":        {window(1, 1), "GOAWAY PROTOCOL_ERROR"},
		"DATA beyond the stream's window":        {both(open, flood(streamWindow/leastFrameSize+1, raw(frameData, 0, 1, make([]byte, leastFrameSize)...))), "RST FLOW_CONTROL_ERROR"},
		"DATA beyond the connection's window": {both(manyOpen, flood(8, func(r *rawClient) {
			for id := uint32(1); id <= 33; id += 2 {
				r.WriteRawFrame(frameData, 0, id, make([]byte, leastFrameSize))
			}
		})), "GOAWAY FLOW_CONTROL_ERROR"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), func(x *exchange.Exchange) {
				_, waits := x.Request.Header.Get("x-wait")
				if x.Request.Body != nil || waits { // wait for the reset
					gone := make(chan struct{})
					stop := x.Client.Watch(func() { close(gone) })
					<-gone
					stop()
				}
				codectest.Answer(x, 200, "")
			})
			r := ts.dial(t)
			go test.send(r)
			if got := r.outcome(1); got != test.want {
				t.Errorf("got %s; want %s (%s)", got, test.want, ts.reasons())
			}
		})
	}
}

func flood(n int, send func(*rawClient)) func(*rawClient) {
	return func(r *rawClient) {
		for range n {
			send(r)
		}
	}
}

// manyOpen opens 17 streams: together their windows are more than the
// connection's.
func manyOpen(r *rawClient) {
	for id := uint32(1); id <= 33; id += 2 {
		r.headers(id, false, post()...)
	}
}

// TestReasons: each reason has its counter.
func TestReasons(t *testing.T) {
	known := map[string]bool{}
	for _, r := range reasons() {
		known[r] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	used := regexp.MustCompile(`(?:connError\{|streamError\{[^,]+, |count\(|, )(?:code\w+, )?"([a-z-]+)"[})]`)
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "errors.go" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, "Error{") && !strings.Contains(line, "count(") {
				continue
			}
			for _, m := range used.FindAllStringSubmatch(line, -1) {
				found++
				if !known[m[1]] {
					t.Errorf("%s: %q has no counter", name, m[1])
				}
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d uses found", found)
	}
}

func TestTLSThatIsTooWeak(t *testing.T) {
	tests := map[string]struct {
		state *tls.ConnectionState
		want  bool
	}{
		"none":                      {nil, true},
		"1.3":                       {&tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}, true},
		"1.2 with an AEAD":          {&tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, true},
		"1.2 with CBC":              {&tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}, false},
		"1.2 without ephemeral key": {&tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, false},
		"1.1":                       {&tls.ConnectionState{Version: tls.VersionTLS11, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}, false},
	}
	for name, test := range tests {
		if got := secure(test.state); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestAHeaderBlockThatDoesNotEnd(t *testing.T) {
	p := params()
	p.HeaderTimeout = 100 * time.Millisecond
	ts := newTestServer(t, p, func(x *exchange.Exchange) { codectest.Answer(x, 200, "") })
	r := ts.dial(t)
	r.WriteRawFrame(frameHeaders, 0, 1, r.block(get()...))
	if got := r.outcome(1); got != "GOAWAY ENHANCE_YOUR_CALM" || ts.reasons() != "400 header-timeout" {
		t.Errorf("got %s, %s", got, ts.reasons())
	}
}

func TestPreface(t *testing.T) {
	tests := map[string]struct{ send, want string }{
		"HTTP/1.1":                  {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GOAWAY PROTOCOL_ERROR"},
		"almost":                    {"PRI * HTTP/2.0\r\n\r\nSM\r\nx\n", "GOAWAY PROTOCOL_ERROR"},
		"no SETTINGS":               {Preface + "\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh", "GOAWAY PROTOCOL_ERROR"},
		"an acknowledgement":        {Preface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00", "GOAWAY PROTOCOL_ERROR"},
		"half, and nothing follows": {Preface[:12], "GOAWAY ENHANCE_YOUR_CALM"},
	}
	p := params()
	p.HeaderTimeout = time.Second
	ts := newTestServer(t, p, func(*exchange.Exchange) { t.Error("served") })
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := ts.connect(t)
			io.WriteString(r.nc, test.send)
			if got := r.outcome(1); got != test.want {
				t.Errorf("got %s; want %s", got, test.want)
			}
		})
	}
}
