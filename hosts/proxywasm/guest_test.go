package proxywasm

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
)

// guest builds Wasm modules: each import is also exported as "call_NAME", a
// function that only calls it; exports are functions with code of their own.
type guest struct {
	types, imports, funcs, exports, code []byte
	ntypes, nimports, nfuncs, nexports   int
}

func leb(n int) []byte {
	var b []byte
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func vec(s string) []byte { return append(leb(len(s)), s...) }

func (g *guest) kind(params string, results int) int {
	g.types = append(append(g.types, 0x60), leb(len(params))...)
	for _, p := range params {
		g.types = append(g.types, map[rune]byte{'i': 0x7f, 'l': 0x7e}[p])
	}
	g.types = append(g.types, byte(results))
	g.types = append(g.types, slices.Repeat([]byte{0x7f}, results)...)
	g.ntypes++
	return g.ntypes - 1
}

// asks adds an import from env; all imports come before any export.
func (g *guest) asks(name, params string) {
	kind := g.kind(params, 1)
	g.imports = append(append(g.imports, vec("env")...), vec(name)...)
	g.imports = append(append(g.imports, 0), leb(kind)...)
	g.nimports++
}

// has adds an exported function.
func (g *guest) has(name, params string, results int, code ...byte) {
	kind := g.kind(params, results)
	g.funcs = append(g.funcs, leb(kind)...)
	g.exports = append(append(append(g.exports, vec(name)...), 0), leb(g.nimports+g.nfuncs)...)
	body := append(append([]byte{0}, code...), 0x0b)
	g.code = append(append(g.code, leb(len(body))...), body...)
	g.nfuncs++
	g.nexports++
}

func (g *guest) module() []byte {
	section := func(id byte, n int, body []byte) []byte {
		body = append(leb(n), body...)
		return append(append([]byte{id}, leb(len(body))...), body...)
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = append(out, section(1, g.ntypes, g.types)...)
	out = append(out, section(2, g.nimports, g.imports)...)
	out = append(out, section(3, g.nfuncs, g.funcs)...)
	out = append(out, section(5, 1, []byte{0, 2})...) // two pages
	out = append(out, section(7, g.nexports+1, append(append(g.exports, vec("memory")...), 2, 0))...)
	return append(out, section(10, g.nfuncs, g.code)...)
}

// minimal has a marker and an allocator that always returns 64 KiB.
func minimal() *guest {
	g := &guest{}
	return g
}

func (g *guest) complete() []byte {
	g.has("proxy_abi_version_0_2_1", "", 0)
	g.has("malloc", "i", 1, 0x41, 0x80, 0x80, 0x04)
	return g.module()
}

type bed struct {
	abi    *ABI
	engine *sandbox.Engine
	f      *Filter
	err    error
}

func start(tb testing.TB, wasm []byte, change func(*config.Filter), grant ...string) *bed {
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
	b := &bed{abi: New(Options{Log: zap.NewNop(), Metrics: m, NodeID: "node-1"}), engine: e}
	b.f, b.err = b.abi.Start(tb.Context(), module, c, config.Loaded{Grant: grant})
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
	x.Request.Method, x.Request.Path, x.Request.Authority, x.Request.Scheme = []byte("GET"), []byte("/a?b"), []byte("a.example"), []byte("http")
	x.Request.Header.Add([]byte("X-One"), []byte("1"))
	x.FindClient(false)
	return x
}

// TestHostileGuests: the exchange gets the cause, the next one works or is
// told that there is no instance, and everything is given back.
func TestHostileGuests(t *testing.T) {
	tests := map[string]struct {
		code  []byte
		cause string
	}{
		"spins":                  {[]byte{0x03, 0x40, 0x0c, 0, 0x0b, 0}, sandbox.CauseCPU},
		"recurses":               {[]byte{0x20, 0, 0x20, 1, 0x20, 2, 0x10, 0}, sandbox.CauseStack},
		"traps":                  {[]byte{0}, sandbox.CauseTrap},
		"reads outside":          {[]byte{0x41, 0x7f, 0x28, 0, 0, 0x1a, 0}, sandbox.CauseTrap},
		"grows and then traps":   {[]byte{0x03, 0x40, 0x41, 1, 0x40, 0, 0x41, 0x7f, 0x47, 0x0d, 0, 0x0b, 0}, sandbox.CauseTrap},
		"divides by zero":        {[]byte{0x41, 1, 0x41, 0, 0x6e}, sandbox.CauseTrap},
		"spends with bulk fills": {[]byte{0x03, 0x40, 0x41, 0, 0x41, 0, 0x41, 0x80, 0x80, 0x08, 0xfc, 11, 0, 0x0c, 0, 0x0b, 0}, sandbox.CauseCPU},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := minimal()
			g.has("proxy_on_request_headers", "iii", 1, test.code...)
			b := start(t, g.complete(), nil)
			if b.err != nil {
				t.Fatal(b.err)
			}
			for range 2 {
				x := newExchange()
				s, err := b.f.Begin(x, &filter.Waker{})
				if err != nil {
					t.Fatal(err)
				}
				_, err = s.RequestHeaders(true)
				var failure *filter.Error
				if !errors.As(err, &failure) || failure.Cause != test.cause {
					t.Errorf("got %v; want %s", err, test.cause)
				}
				s.Done()
			}
		})
	}
}

func TestStartFailures(t *testing.T) {
	tests := map[string]struct {
		build func(*guest)
		err   error
		text  string
	}{
		"the plugin refuses its configuration": {func(g *guest) { g.has("proxy_on_configure", "ii", 1, 0x41, 0) }, ErrConfigRefused, "proxy_on_configure"},
		"the plugin refuses to start":          {func(g *guest) { g.has("proxy_on_vm_start", "ii", 1, 0x41, 0) }, ErrConfigRefused, "proxy_on_vm_start"},
		"an endless configure":                 {func(g *guest) { g.has("proxy_on_configure", "ii", 1, 0x03, 0x40, 0x0c, 0, 0x0b, 0) }, sandbox.ErrCPU, "proxy_on_configure"},
		"an endless _initialize":               {func(g *guest) { g.has("_initialize", "", 0, 0x03, 0x40, 0x0c, 0, 0x0b) }, sandbox.ErrCPU, "_initialize"},
		"a trap in _start":                     {func(g *guest) { g.has("_start", "", 0, 0) }, nil, "_start"},
		"a callback of a wrong type":           {func(g *guest) { g.has("proxy_on_request_body", "i", 1, 0x41, 0) }, nil, "proxy_on_request_body"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := minimal()
			test.build(g)
			b := start(t, g.complete(), nil)
			if b.err == nil || test.err != nil && !errors.Is(b.err, test.err) || !strings.Contains(b.err.Error(), test.text) {
				t.Errorf("got %v; want %v in %s", b.err, test.err, test.text)
			}
		})
	}
	g := minimal()
	g.has("proxy_abi_version_0_2_1", "", 0)
	if b := start(t, g.module(), nil); !errors.Is(b.err, errNoAllocator) {
		t.Errorf("got %v; want errNoAllocator", b.err)
	}
}

// parameters of the host functions that take effect here.
var parameters = map[string]string{
	"proxy_log": "iii", "proxy_get_log_level": "i", "proxy_get_current_time_nanoseconds": "i", "proxy_set_tick_period_milliseconds": "i", "proxy_get_configuration": "ii",
	"proxy_get_buffer_bytes": "iiiii", "proxy_get_buffer_status": "iii", "proxy_set_buffer_bytes": "iiiii",
	"proxy_get_header_map_size": "ii", "proxy_get_header_map_pairs": "iii", "proxy_set_header_map_pairs": "iii", "proxy_get_header_map_value": "iiiii",
	"proxy_add_header_map_value": "iiiii", "proxy_replace_header_map_value": "iiiii", "proxy_remove_header_map_value": "iii",
	"proxy_send_local_response": "iiiiiiii", "proxy_continue_stream": "i", "proxy_close_stream": "i", "proxy_set_effective_context": "i", "proxy_done": "",
	"proxy_call_foreign_function": "iiiiii", "proxy_get_shared_data": "iiiii", "proxy_set_shared_data": "iiiii",
	"proxy_define_metric": "iiii", "proxy_increment_metric": "il", "proxy_record_metric": "il", "proxy_get_metric": "ii",
	"proxy_get_property": "iiii", "proxy_set_property": "iiii", "proxy_http_call": "iiiiiiiiii", "proxy_redis_call": "iiiii", "proxy_nobody_knows": "iii",
}

func sortedImports() []string {
	var names []string
	for name := range parameters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// caller is a guest that exports call_NAME for every host function.
func caller() []byte {
	g := minimal()
	names := sortedImports()
	for _, name := range names {
		g.asks(name, parameters[name])
	}
	for i, name := range names {
		var code []byte
		for p := range parameters[name] {
			code = append(code, 0x20, byte(p))
		}
		g.has("call_"+name, parameters[name], 1, append(append(code, 0x10), leb(i)...)...)
	}
	g.has("proxy_on_request_headers", "iii", 1, 0x41, 0)
	g.has("proxy_on_request_body", "iii", 1, 0x41, 0)
	g.has("proxy_on_response_headers", "iii", 1, 0x41, 0)
	return g.complete()
}

// hand calls host functions as if a callback of the stream did.
type hand struct {
	tb testing.TB
	s  *stream
	v  *vm
	// beside: a foreign callback makes the calls, as a tick.
	beside bool
	spent  int64 // steps of the last call
}

// phase is which callback a test is in.
type phase struct {
	way   uint8
	stage stage
	done  bool
}

var (
	phaseRequestHeaders   = phase{wayRequest, stageHeaders, false}
	phaseRequestBody      = phase{wayRequest, stageBody, false}
	phaseRequestTrailers  = phase{wayRequest, stageTrailers, false}
	phaseResponseHeaders  = phase{wayResponse, stageHeaders, false}
	phaseResponseBody     = phase{wayResponse, stageBody, false}
	phaseResponseTrailers = phase{wayResponse, stageTrailers, false}
	phaseDone             = phase{wayNone, stageNone, true}
	phases                = []phase{phaseRequestHeaders, phaseRequestBody, phaseRequestTrailers, phaseResponseHeaders, phaseResponseBody, phaseResponseTrailers, phaseDone}
)

// within runs f as a guest's callback in that phase.
func within(tb testing.TB, b *bed, x *exchange.Exchange, p phase, f func(h *hand)) {
	tb.Helper()
	begun, err := b.f.Begin(x, &filter.Waker{})
	if err != nil {
		tb.Fatal(err)
	}
	s := begun.(*stream)
	if _, err := s.RequestHeaders(false); err != nil {
		tb.Fatal(err)
	}
	if err := s.i.Lock(); err != nil {
		tb.Fatal(err)
	}
	s.now, s.done = p.way, p.done
	if p.way != wayNone {
		if p.way == wayResponse {
			s.ways[wayRequest].headers = false
		}
		s.ways[p.way] = way{stage: p.stage, headers: p.stage == stageHeaders, buffer: &filter.Buffer{Data: []byte("0123456789")}}
	}
	f(&hand{tb: tb, s: s, v: s.v})
	s.v.current, s.v.effective = nil, nil
	s.now, s.done = wayNone, false
	s.i.Unlock()
	s.Done()
}

func (h *hand) call(name string, args ...uint64) uint32 {
	h.tb.Helper()
	h.v.current, h.v.effective = h.s, h.s
	if h.beside {
		h.v.current = nil
	}
	stack := make([]uint64, 12)
	copy(stack, args)
	left := int64(1 << 40)
	if err := h.s.i.Call(h.s.i.Func("call_"+name), &sandbox.Budget{Call: left, Exchange: &left}, stack); err != nil {
		h.tb.Fatalf("%s: %v", name, err)
	}
	h.spent = 1<<40 - left
	return uint32(stack[0])
}

// put stores text in guest memory at an address below the allocator's.
func (h *hand) put(at uint32, text string) (ptr, size uint64) {
	h.tb.Helper()
	if !h.s.i.Memory().Write(at, []byte(text)) {
		h.tb.Fatal("no room")
	}
	return uint64(at), uint64(len(text))
}

// got reads what a host function returned: where and how much stand at 8 and 12.
func (h *hand) got() string {
	h.tb.Helper()
	at, _ := h.s.i.Memory().ReadUint32Le(8)
	n, _ := h.s.i.Memory().ReadUint32Le(12)
	text, ok := h.s.i.Memory().Read(at, n)
	if !ok {
		h.tb.Fatal("result outside of memory")
	}
	return string(text)
}

func (h *hand) get(kind uint64, name string) (string, uint32) {
	p, n := h.put(100, name)
	status := h.call("proxy_get_header_map_value", kind, p, n, 8, 12)
	if status != statusOK {
		return "", status
	}
	return h.got(), status
}

func (h *hand) change(function string, kind uint64, name, value string) uint32 {
	p, n := h.put(100, name)
	q, m := h.put(2000, value)
	return h.call(function, kind, p, n, q, m)
}

// TestConnect: a CONNECT has neither path nor scheme, as in Envoy, and stays one.
func TestConnect(t *testing.T) {
	b := start(t, caller(), nil)
	if b.err != nil {
		t.Fatal(b.err)
	}
	const set = "proxy_replace_header_map_value"
	x := newExchange()
	x.Request.Method, x.Request.Authority, x.Request.Path = []byte("CONNECT"), []byte("b.example:443"), nil
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		for name, want := range map[string]string{":method": "CONNECT", ":authority": "b.example:443", "host": "b.example:443", ":path": "", ":scheme": ""} {
			if got, status := h.get(mapRequestHeaders, name); got != want || (status == statusOK) != (want != "") {
				t.Errorf("%s: got %q, %d; want %q", name, got, status, want)
			}
		}
		for name, want := range map[string]string{"method": "CONNECT", "host": "b.example:443", "path": "", "url_path": "", "query": "", "scheme": ""} {
			p, n := h.put(100, "request\x00"+name)
			if status := h.call("proxy_get_property", p, n, 8, 12); (status == statusOK) != (want != "") || want != "" && h.got() != want {
				t.Errorf("request.%s: got %d; want %q", name, status, want)
			}
		}
		if status := h.change(set, mapRequestHeaders, ":method", "GET"); status != statusBadArgument {
			t.Errorf("another method: got %d; want it refused", status)
		}
		h.change(set, mapRequestHeaders, ":path", "/")
		h.change(set, mapRequestHeaders, "x-one", "2")
	})
	if v, _ := x.Request.Header.Get("x-one"); !x.Request.Connect() || len(x.Request.Path) > 0 || string(v) != "2" {
		t.Errorf("got %s %q, %q", x.Request.Method, x.Request.Path, v)
	}
	y := newExchange()
	within(t, b, y, phaseRequestHeaders, func(h *hand) {
		if status := h.change(set, mapRequestHeaders, ":method", "CONNECT"); status != statusBadArgument {
			t.Errorf("a CONNECT of a guest's: got %d; want it refused", status)
		}
	})
}

func TestHeaderMaps(t *testing.T) {
	b := start(t, caller(), nil)
	if b.err != nil {
		t.Fatal(b.err)
	}
	x := newExchange()
	x.Response.Status = 200
	x.Response.Header.Add([]byte("X-Up"), []byte("u"))
	const add, set = "proxy_add_header_map_value", "proxy_replace_header_map_value"
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		for name, want := range map[string]string{":path": "/a?b", ":method": "GET", ":authority": "a.example", ":scheme": "http", "host": "a.example", "x-one": "1", "X-ONE": "1"} {
			if got, status := h.get(mapRequestHeaders, name); got != want || status != statusOK {
				t.Errorf("%s: got %q, %d; want %q", name, got, status, want)
			}
		}
		if _, status := h.get(mapRequestHeaders, "none"); status != statusNotFound {
			t.Errorf("a missing field: got %d", status)
		}
		if _, status := h.get(mapResponseHeaders, "x-up"); status != statusBadArgument {
			t.Errorf("the response's map on the way in: got %d", status)
		}
		if _, status := h.get(99, "x"); status != statusBadArgument {
			t.Errorf("an unknown map: got %d", status)
		}
		for _, bad := range [][2]string{
			{"a b", "1"}, {"", "1"}, {"a", "1\r\nb: 2"}, {"a", "x\x00"}, {"a:", "1"}, {":path", "x"}, {":path", "/ x"}, {":path", "/\r\n"}, {":method", "G T"},
			{":status", "200"}, {":unknown", "1"}, {":authority", "a b"}, {":scheme", "gopher"}, {"a", " lead"},
		} {
			if status := h.change(add, mapRequestHeaders, bad[0], bad[1]); status != statusBadArgument {
				t.Errorf("%q: got %d; want it refused", bad, status)
			}
		}
		h.change(set, mapRequestHeaders, "X-One", "2")
		h.change(add, mapRequestHeaders, "x-two", "b")
		h.change(set, mapRequestHeaders, ":path", "/new")
		h.change(set, mapRequestHeaders, "transfer-encoding", "chunked")
		h.change(set, mapRequestHeaders, "connection", "close")
	})
	if got := string(x.Request.Path); got != "/new" || x.Request.Header.Len() != 2 || x.Request.Header.Count("x-one") != 1 {
		t.Errorf("got %s and %d fields; want /new and 2", got, x.Request.Header.Len())
	}
	within(t, b, x, phaseResponseHeaders, func(h *hand) {
		if got, status := h.get(mapResponseHeaders, ":status"); got != "200" || status != statusOK {
			t.Errorf("got %q, %d", got, status)
		}
		if status := h.change(add, mapRequestHeaders, "late", "1"); status != statusBadArgument {
			t.Errorf("the request's map on the way back can be written: %d", status)
		}
		if status := h.change(set, mapResponseHeaders, ":status", "404"); status != statusOK || x.Response.Status != 404 {
			t.Errorf("got %d, %d; want the status changed", status, x.Response.Status)
		}
		for _, bad := range []string{"99", "600", "20", "abc", "100"} {
			if status := h.change(set, mapResponseHeaders, ":status", bad); status != statusBadArgument {
				t.Errorf("status %s: got %d", bad, status)
			}
		}
		p, n := h.put(100, "\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00a\x001")
		if status := h.call("proxy_set_header_map_pairs", mapResponseHeaders, p, n); status != statusBadArgument || x.Response.Header.Len() != 1 {
			t.Errorf("a malformed map: got %d, %d fields; want nothing changed", status, x.Response.Header.Len())
		}
		p, n = h.put(100, "\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00a\x001\x00")
		if status := h.call("proxy_set_header_map_pairs", mapResponseHeaders, p, n); status != statusOK || x.Response.Header.Len() != 1 {
			t.Errorf("a good map: got %d, %d fields", status, x.Response.Header.Len())
		}
	})
}

func TestBuffers(t *testing.T) {
	b := start(t, caller(), nil)
	tests := map[string]struct {
		start, size uint64
		text, want  string
	}{
		"prepend":            {0, 0, "ab", "ab0123456789"},
		"append":             {0xffffffff, 0, "ab", "0123456789ab"},
		"replace all":        {0, 0xffffffff, "ab", "ab"},
		"replace a range":    {2, 3, "ab", "01ab56789"},
		"remove a range":     {2, 3, "", "0156789"},
		"dirty upper halves": {1<<32 + 2, 1<<40 + 3, "ab", "01ab56789"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			within(t, b, newExchange(), phaseRequestBody, func(h *hand) {
				p, n := h.put(100, test.text)
				if status := h.call("proxy_set_buffer_bytes", bufferRequestBody, test.start, test.size, p, n); status != statusOK {
					t.Fatalf("got %d", status)
				}
				if got := string(h.s.ways[wayRequest].buffer.Data); got != test.want {
					t.Errorf("got %q; want %q", got, test.want)
				}
				if status := h.call("proxy_get_buffer_bytes", bufferResponseBody, 0, 10, 8, 12); status != statusNotFound {
					t.Errorf("the other body: got %d", status)
				}
				if h.call("proxy_get_buffer_bytes", bufferPluginConfig, 0, 100, 8, 12); h.got() != "config" {
					t.Errorf("got %q; want the configuration", h.got())
				}
			})
		})
	}
}

func TestLocalResponseAndConsumer(t *testing.T) {
	b := start(t, caller(), nil, "consumer")
	x := newExchange()
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		q, m := h.put(2000, "body")
		if status := h.call("proxy_send_local_response", 99, 0, 0, q, m, 0, 0, 0xffffffff); status != statusBadArgument {
			t.Errorf("status 99: got %d", status)
		}
		if status := h.call("proxy_send_local_response", 401, 0, 0, q, m, 0, 0, 0xffffffff); status != statusOK {
			t.Errorf("got %d", status)
		}
		if status := h.call("proxy_send_local_response", 200, 0, 0, q, m, 0, 0, 0xffffffff); status != statusBadArgument {
			t.Errorf("a second answer: got %d", status)
		}
		if a := h.s.answer; a == nil || a.status != 401 || string(a.body) != "body" || a.grpc != -1 {
			t.Errorf("got %+v", a)
		}
		consumer := func(text string) uint32 {
			p, n := h.put(100, "penstock.set_consumer")
			q, m := h.put(2000, text)
			return h.call("proxy_call_foreign_function", p, n, q, m, 0, 0)
		}
		for _, bad := range []string{``, `{}`, `{"name":""}`, `{"name":"a","x":1}`, `{"name":"a\r\nb"}`, `{"name":"a","groups":["b,c"]}`, `{"name":"a"}{}`, `[]`} {
			if status := consumer(bad); status != statusBadArgument {
				t.Errorf("%s: got %d; want it refused", bad, status)
			}
		}
		if status := consumer(`{"name":"shop","groups":["a"]}`); status != statusOK || x.Consumer.Name != "shop" {
			t.Errorf("got %d, %+v", status, x.Consumer)
		}
	})
	without := start(t, caller(), nil)
	within(t, without, newExchange(), phaseRequestHeaders, func(h *hand) {
		p, n := h.put(100, "penstock.set_consumer")
		q, m := h.put(2000, `{"name":"shop"}`)
		if status := h.call("proxy_call_foreign_function", p, n, q, m, 0, 0); status != statusInternal {
			t.Errorf("without the capability: got %d; want %d", status, statusInternal)
		}
		p, n = h.put(100, "nobody.knows")
		if status := h.call("proxy_call_foreign_function", p, n, 0, 0, 0, 0); status != statusNotFound {
			t.Errorf("an unknown function: got %d", status)
		}
		if status := h.call("proxy_nobody_knows"); status != statusUnimplemented {
			t.Errorf("an unknown import: got %d; want UNIMPLEMENTED", status)
		}
		for _, out := range []string{"proxy_http_call", "proxy_redis_call"} {
			if status := h.call(out); status != statusInternal {
				t.Errorf("%s without the capability: got %d; want %d", out, status, statusInternal)
			}
		}
	})
}

func TestSharedDataAndProperties(t *testing.T) {
	b := start(t, caller(), nil)
	x := newExchange()
	within(t, b, x, phaseRequestHeaders, func(h *hand) {
		p, n := h.put(100, "key")
		q, m := h.put(2000, "value")
		if status := h.call("proxy_get_shared_data", p, n, 8, 12, 16); status != statusNotFound {
			t.Errorf("a missing key: got %d", status)
		}
		if status := h.call("proxy_set_shared_data", p, n, q, m, 0); status != statusOK {
			t.Errorf("got %d", status)
		}
		h.call("proxy_get_shared_data", p, n, 8, 12, 16)
		cas, _ := h.s.i.Memory().ReadUint32Le(16)
		if h.got() != "value" || cas == 0 {
			t.Errorf("got %q, cas %d", h.got(), cas)
		}
		if status := h.call("proxy_set_shared_data", p, n, q, m, uint64(cas)+1); status != statusCASMismatch {
			t.Errorf("a wrong cas: got %d", status)
		}
		if status := h.call("proxy_set_shared_data", p, n, q, m, uint64(cas)); status != statusOK {
			t.Errorf("the right cas: got %d", status)
		}
		for path, want := range map[string]string{
			"request\x00path": "/a?b", "request\x00url_path": "/a", "request\x00query": "b", "request\x00host": "a.example", "request\x00method": "GET",
			"request\x00headers\x00x-one": "1", "source\x00address": "192.0.2.1:99", "source\x00port": "\x63\x00\x00\x00\x00\x00\x00\x00", "plugin_root_id": "", "plugin_name": "service/x",
		} {
			p, n := h.put(100, path)
			if status := h.call("proxy_get_property", p, n, 8, 12); status != statusOK || h.got() != want {
				t.Errorf("%q: got %d, %q; want %q", path, status, h.got(), want)
			}
		}
		p, n = h.put(100, "my\x00state")
		h.call("proxy_set_property", p, n, q, m)
		if status := h.call("proxy_get_property", p, n, 8, 12); status != statusOK || h.got() != "value" {
			t.Errorf("state: got %d, %q", status, h.got())
		}
		p, n = h.put(100, "response\x00code")
		if status := h.call("proxy_get_property", p, n, 8, 12); status != statusNotFound {
			t.Errorf("the response on the way in: got %d", status)
		}
	})
}

// FuzzHostCalls: no argument makes the host panic, and what stays in the
// exchange can be sent.
func FuzzHostCalls(f *testing.F) {
	b := start(f, caller(), nil, "consumer")
	if b.err != nil {
		f.Fatal(b.err)
	}
	names := sortedImports()
	for i := range names {
		f.Add(byte(i), byte(1), uint32(0), uint32(100), uint32(10), uint32(200), uint32(10), uint32(300), []byte("x-a: b\r\n"))
		f.Add(byte(i), byte(2), uint32(2), uint32(0xffffffff), uint32(0xfffffff0), uint32(8), uint32(12), uint32(0), []byte{1, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, function, p byte, a0, a1, a2, a3, a4, a5 uint32, memory []byte) {
		x := newExchange()
		x.Response.Status = 200
		within(t, b, x, phases[int(p)%len(phases)], func(h *hand) {
			for i, at := range []uint32{0, 100, 200, 300, 2000} {
				h.s.i.Memory().Write(at+uint32(i), memory[:min(len(memory), 1<<10)])
			}
			h.call(names[int(function)%len(names)], uint64(a0), uint64(a1), uint64(a2), uint64(a3), uint64(a4), uint64(a5), 0, 0)
		})
		for _, header := range []*exchange.Header{&x.Request.Header, &x.Response.Header, &x.Request.Trailer, &x.Response.Trailer} {
			for _, field := range header.Fields() {
				if !isToken(field.Name) || !isValue(field.Value) {
					t.Fatalf("a field that cannot be sent: %q", field)
				}
			}
		}
		if !isPath(x.Request.Path) || !isToken(x.Request.Method) || !isAuthority(x.Request.Authority) || x.Response.Status < 200 || x.Response.Status > 599 {
			t.Fatalf("a head that cannot be sent: %q %q %q %d", x.Request.Method, x.Request.Path, x.Request.Authority, x.Response.Status)
		}
	})
}
