package httpwasm

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
)

// op is one step of a guest: a host function that is called with constants, or
// raw code. Its result is left at the address resultAt(n).
type op struct {
	name string
	args []any // int, or string: its address and its length; or result: of an earlier step, cut to 32 bits
	code []byte
}

// result is what step n of this handler returned.
type result int

// do calls a host function.
func do(name string, args ...any) op { return op{name: name, args: args} }

// trap is unreachable.
var trap = op{code: []byte{0}}

// buffer is where a guest has room to read into, of two pages.
const (
	buffer     = 0x8000
	requestAt  = 0x1f000 // results of handle_request's steps
	responseAt = 0x1f800
)

// guest is a module with these steps.
type guest struct {
	start    []op // in _start
	init     []op // in the start section
	request  []op
	response []op
	next     uint64 // what handle_request returns
	exports  map[string][2]string
	imports  [][3]string // module, name, params: they are never called
}

func leb(n int) []byte {
	var b []byte
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// sleb encodes a signed constant.
func sleb(n int64) []byte {
	var b []byte
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func vec(s string) []byte { return append(leb(len(s)), s...) }

func types(letters string) []byte {
	b := leb(len(letters))
	for _, l := range letters {
		b = append(b, map[rune]byte{'i': 0x7f, 'l': 0x7e}[l])
	}
	return b
}

type encoder struct {
	names                                 []string
	types, imports, funcs, exports, codes []byte
	ntypes, nimports, nfuncs, nexports    int
	data                                  []byte
	texts                                 map[string]int
}

func (e *encoder) kind(params, results string) []byte {
	e.types = slices.Concat(e.types, []byte{0x60}, types(params), types(results))
	e.ntypes++
	return leb(e.ntypes - 1)
}

func (e *encoder) imported(module, name, params, results string) {
	e.imports = slices.Concat(e.imports, vec(module), vec(name), []byte{0}, e.kind(params, results))
	e.nimports++
}

func (e *encoder) function(name, params, results string, code []byte) int {
	e.funcs = append(e.funcs, e.kind(params, results)...)
	index := e.nimports + e.nfuncs
	if name != "" {
		e.exports = slices.Concat(e.exports, vec(name), []byte{0}, leb(index))
		e.nexports++
	}
	body := slices.Concat([]byte{0}, code, []byte{0x0b})
	e.codes = slices.Concat(e.codes, leb(len(body)), body)
	e.nfuncs++
	return index
}

// text puts a text into the guest's memory.
func (e *encoder) text(s string) int {
	at, ok := e.texts[s]
	if !ok {
		at = 16 + len(e.data)
		e.texts[s] = at
		e.data = append(e.data, s...)
	}
	return at
}

func constant(n int) []byte { return append([]byte{0x41}, sleb(int64(int32(uint32(n))))...) }

func (e *encoder) steps(ops []op, at int) []byte {
	var code []byte
	for n, o := range ops {
		if o.name == "" {
			code = append(code, o.code...)
			continue
		}
		h := hostFuncs[o.name]
		if h.result != "" {
			code = append(code, constant(at+8*n)...)
		}
		for _, a := range o.args {
			switch a := a.(type) {
			case int:
				code = append(code, constant(a)...)
			case string:
				code = slices.Concat(code, constant(e.text(a)), constant(len(a)))
			case result:
				code = slices.Concat(code, constant(at+8*int(a)), []byte{0x28, 2, 0})
			}
		}
		code = slices.Concat(code, []byte{0x10}, leb(slices.Index(e.names, o.name)))
		switch h.result {
		case "i":
			code = append(code, 0xad, 0x37, 3, 0) // i64.extend_i32_u, i64.store
		case "l":
			code = append(code, 0x37, 3, 0)
		}
	}
	return code
}

func hostNames() []string {
	var names []string
	for name := range hostFuncs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// module encodes the guest. It also exports call_NAME for every host function.
func (g *guest) module() []byte {
	e := &encoder{names: hostNames(), texts: map[string]int{}}
	for _, name := range e.names {
		e.imported(hostModule, name, hostFuncs[name].params, hostFuncs[name].result)
	}
	for _, i := range g.imports {
		e.imported(i[0], i[1], i[2], "i")
	}
	for n, name := range e.names {
		var code []byte
		for p := range hostFuncs[name].params {
			code = append(code, 0x20, byte(p))
		}
		e.function("call_"+name, hostFuncs[name].params, hostFuncs[name].result, slices.Concat(code, []byte{0x10}, leb(n)))
	}
	start := -1
	if g.init != nil {
		start = e.function("", "", "", e.steps(g.init, requestAt))
	}
	if g.start != nil {
		e.function("_start", "", "", e.steps(g.start, requestAt))
	}
	e.function("handle_request", "", "l", slices.Concat(e.steps(g.request, requestAt), []byte{0x42}, sleb(int64(g.next))))
	// handle_response notes its arguments at 0 and 4
	e.function("handle_response", "ii", "", slices.Concat([]byte{0x41, 0, 0x20, 0, 0x36, 2, 0, 0x41, 4, 0x20, 1, 0x36, 2, 0}, e.steps(g.response, responseAt)))
	for name, t := range g.exports {
		e.function(name, t[0], t[1], []byte{0})
	}
	section := func(id byte, n int, body []byte) []byte {
		body = append(leb(n), body...)
		return slices.Concat([]byte{id}, leb(len(body)), body)
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = append(out, section(1, e.ntypes, e.types)...)
	out = append(out, section(2, e.nimports, e.imports)...)
	out = append(out, section(3, e.nfuncs, e.funcs)...)
	out = append(out, section(5, 1, []byte{0, 2})...) // two pages
	out = append(out, section(7, e.nexports+1, append(append(e.exports, vec("memory")...), 2, 0))...)
	if start >= 0 {
		out = slices.Concat(out, []byte{8}, leb(len(leb(start))), leb(start))
	}
	out = append(out, section(10, e.nfuncs, e.codes)...)
	return append(out, section(11, 1, slices.Concat([]byte{0, 0x41, 16, 0x0b}, leb(len(e.data)), e.data))...)
}

// bed is a started filter.
type bed struct {
	tb  testing.TB
	f   *Filter
	log *lineLog
	err error
}

// lineLog is what a guest has logged.
type lineLog struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *lineLog) Sync() error { return nil }

func (l *lineLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

func start(tb testing.TB, g *guest, change func(*config.Filter)) *bed {
	tb.Helper()
	b := load(tb, g.module(), change)
	if b.err != nil {
		tb.Fatal(b.err)
	}
	return b
}

func load(tb testing.TB, wasm []byte, change func(*config.Filter)) *bed {
	tb.Helper()
	m := telemetry.New()
	e, err := sandbox.New(sandbox.Options{Dir: filepath.Join(tb.TempDir(), "compiled")}, zap.NewNop(), m)
	if err != nil {
		tb.Fatal(err)
	}
	module, err := e.Load(tb.Context(), wasm)
	if err != nil {
		tb.Fatal(err)
	}
	c := &config.Filter{Part: "service", Name: "x", Owner: config.Object{Kind: "Service", Namespace: "ns", Name: "svc"}, Config: []byte("config"), Limits: config.DefaultLimits()}
	c.Limits.CPUTime, c.Limits.CPUTimeStart, c.Limits.MemoryBytes = 5*time.Millisecond, 50*time.Millisecond, 4<<20
	if change != nil {
		change(c)
	}
	b := &bed{tb: tb, log: &lineLog{}}
	b.f, b.err = New(infoLog(b.log), m).Start(tb.Context(), module, c, config.Loaded{})
	tb.Cleanup(func() {
		if b.f != nil {
			b.f.Close(context.Background())
		}
		_ = e.Close()
	})
	return b
}

func newExchange() *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{ID: 7, Remote: netip.MustParseAddrPort("192.0.2.1:99"), RemoteIP: []byte("192.0.2.1")}}
	q := &x.Request
	q.Method, q.Path, q.Authority, q.Scheme, q.Version = []byte("GET"), []byte("/a?b"), []byte("a.example"), []byte("http"), exchange.HTTP11
	q.Header.Add([]byte("X-One"), []byte("1"))
	q.Header.Add([]byte("X-Two"), []byte("2a"))
	q.Header.Add([]byte("x-tWO"), []byte("2b"))
	return x
}

// post gives the exchange a request body that comes in parts.
func post(x *exchange.Exchange, length int64, parts ...string) {
	x.Request.Method = []byte("POST")
	x.Request.Body, x.Request.ContentLength = &partsBody{parts: parts, trailer: &x.Request.Trailer}, length
	x.Request.Header.Add([]byte("Content-Length"), fmt.Append(nil, length))
}

// respondWith gives it the next handler's response.
func respondWith(x *exchange.Exchange, status int, parts ...string) {
	p := &x.Response
	p.Status, p.ContentLength = status, 0
	p.Header.Add([]byte("Content-Type"), []byte("text/plain"))
	p.Body = nil
	if len(parts) > 0 {
		p.ContentLength = int64(len(strings.Join(parts, "")))
		p.Body = &partsBody{parts: parts, trailer: &p.Trailer}
	}
}

// partsBody gives one part with each Read, then maybe a trailer.
type partsBody struct {
	parts   []string
	trailer *exchange.Header
	fields  []string // of the trailer: names, each with value 1
	err     error    // instead of the end
	wait    func()
	closed  bool
}

func (b *partsBody) Read(p []byte) (int, error) {
	if b.wait != nil {
		b.wait()
	}
	if len(b.parts) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.trailer.Reset()
		for _, name := range b.fields {
			b.trailer.Add([]byte(name), []byte("1"))
		}
		return 0, io.EOF
	}
	n := copy(p, b.parts[0])
	if b.parts[0] = b.parts[0][n:]; b.parts[0] == "" {
		b.parts = b.parts[1:]
	}
	return n, nil
}

func (b *partsBody) Buffered() int { return 0 }
func (b *partsBody) Close()        { b.closed = true }

func content(tb testing.TB, body exchange.Body) string {
	tb.Helper()
	if body == nil {
		return ""
	}
	text, err := io.ReadAll(struct{ io.Reader }{body})
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// begin makes the stream and its request callback.
func (b *bed) begin(x *exchange.Exchange) (*stream, filter.Verdict, error) {
	b.tb.Helper()
	begun, err := b.f.Begin(x, &filter.Waker{})
	if err != nil {
		b.tb.Fatal(err)
	}
	s := begun.(*stream)
	v, err := s.RequestHeaders(x.Request.Body == nil)
	return s, v, err
}

// pass runs a whole exchange that goes to the next handler; next makes the response.
func (b *bed) pass(x *exchange.Exchange, next func()) {
	b.tb.Helper()
	s, v, err := b.begin(x)
	if err != nil || v != filter.Continue {
		b.tb.Fatalf("handle_request: got %v, %v; want Continue", v, err)
	}
	next()
	if v, err := s.ResponseHeaders(x.Response.Body == nil); err != nil || v != filter.Continue {
		b.tb.Fatalf("handle_response: got %v, %v", v, err)
	}
	b.tb.Cleanup(s.Done)
}

// memory reads what a guest left, with one instance alive.
func (b *bed) memory(at, size uint32) (out []byte) {
	b.tb.Helper()
	b.f.pool.Each(func(i *sandbox.Instance) {
		view, ok := i.Memory().Read(at, size)
		if !ok {
			b.tb.Fatal("outside of memory")
		}
		out = slices.Clone(view)
	})
	return out
}

// results returns what n steps returned; at is requestAt or responseAt.
func (b *bed) results(at uint32, n int) []uint64 {
	b.tb.Helper()
	view := b.memory(at, uint32(8*n))
	out := make([]uint64, n)
	for k := range out {
		for j := range 8 {
			out[k] |= uint64(view[8*k+j]) << (8 * j)
		}
	}
	return out
}

func infoLog(w zapcore.WriteSyncer) *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zapcore.EncoderConfig{LevelKey: "l", MessageKey: "m", EncodeLevel: zapcore.LowercaseLevelEncoder}), w, zapcore.InfoLevel))
}

// text returns what stands in the buffer.
func (b *bed) text(size int) string {
	b.tb.Helper()
	return string(b.memory(buffer, uint32(size)))
}
