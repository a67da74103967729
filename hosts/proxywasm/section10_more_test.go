package proxywasm

import (
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
)

func TestPoint06Splices(t *testing.T) {
	tests := map[string]struct{ call, want string }{
		"prepend":                       {`set_buffer_bytes 0 0 0 "ab"`, "ab0123"},
		"append":                        {`set_buffer_bytes 0 4 0 "ab"`, "0123ab"},
		"append far beyond":             {`set_buffer_bytes 0 0xffffffff 9 "ab"`, "0123ab"},
		"replace all":                   {`set_buffer_bytes 0 0 4 "ab"`, "ab"},
		"replace more than there is":    {`set_buffer_bytes 0 0 0x7fffffff "ab"`, "ab"},
		"replace a range":               {`set_buffer_bytes 0 1 2 "ab"`, "0ab3"},
		"replace up to beyond the end":  {`set_buffer_bytes 0 2 100 "ab"`, "01ab"},
		"remove all":                    {`set_buffer_bytes 0 0 100 ""`, ""},
		"twice":                         {`set_buffer_bytes 0 0 0 "a"; set_buffer_bytes 0 0 0 "b"`, "ba0123"},
		"of the other direction (none)": {`set_buffer_bytes 1 0 0 "ab"`, "0123"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := script(t, "request_body: "+test.call)
			c, err := s.f.Begin(newExchange(), &filter.Waker{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Done()
			if _, err := c.RequestHeaders(false); err != nil {
				t.Fatal(err)
			}
			body := &filter.Buffer{Data: []byte("0123")}
			if v, err := c.RequestBody(body, true); v != filter.Continue || err != nil {
				t.Fatalf("got %v, %v", v, err)
			}
			if got := string(body.Data); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func TestPoint14HeaderNames(t *testing.T) {
	s := script(t, `request_headers: get_header_map_value 0 "X-ONE" &&; replace_header_map_value 0 "x-ONE" "2"; remove_header_map_value 0 "X-Two"; remove_header_map_value 0 "X-Three"; `+
		`replace_header_map_value 0 ":path" "/new?q"; replace_header_map_value 0 ":authority" "b.example"; get_header_map_value 0 "Host" &&; get_header_map_pairs 0 &&`,
		`response_headers: get_header_map_value 2 ":status" &&; replace_header_map_value 2 ":status" "404"`)
	e := s.exchange(config.Reject)
	e.x.Request.Header.Add([]byte("X-Two"), []byte("t"))
	e.request("")
	if string(e.x.Request.Path) != "/new?q" || string(e.x.Request.Authority) != "b.example" || e.x.Request.Header.Count("x-one") != 1 || e.x.Request.Header.Count("x-two") != 0 {
		t.Errorf("got %s, %s, %q", e.x.Request.Path, e.x.Request.Authority, e.x.Request.Header.Fields())
	}
	e.response("")
	if e.x.Response.Status != 404 {
		t.Errorf("got status %d", e.x.Response.Status)
	}
	e.Done()
	lines := s.take()
	wantLines(t, lines[:9], "context_create 2 1", "request_headers 2 6 1", `  get_header_map_value 0 "1"`, "  replace_header_map_value 0", "  remove_header_map_value 0", "  remove_header_map_value 0",
		"  replace_header_map_value 0", "  replace_header_map_value 0", `  get_header_map_value 0 "b.example"`)
	if pairs := lines[9]; !strings.Contains(pairs, "x-one") || strings.Contains(pairs, "X-One") {
		t.Errorf("got %s; want names in lower case", pairs)
	}
}

// TestPoint22DirtyArguments: the upper half of what is a 32 bit argument means
// nothing, in any function.
func TestPoint22DirtyArguments(t *testing.T) {
	const dirt = 0xdead << 32
	b := start(t, caller(), nil)
	within(t, b, newExchange(), phaseRequestHeaders, func(h *hand) {
		p, n := h.put(100, "x-one")
		q, m := h.put(2000, "2")
		for name, args := range map[string][]uint64{
			"proxy_replace_header_map_value":     {0, p, n, q, m},
			"proxy_get_header_map_value":         {0, p, n, 8, 12},
			"proxy_get_property":                 {p, 0, 8, 12}, // no such property
			"proxy_set_shared_data":              {p, n, q, m, 0},
			"proxy_get_shared_data":              {p, n, 8, 12, 16},
			"proxy_define_metric":                {1, p, n, 8},
			"proxy_log":                          {2, p, n},
			"proxy_set_effective_context":        {uint64(h.s.id)},
			"proxy_set_tick_period_milliseconds": {0},
			"proxy_continue_stream":              {0},
			"proxy_send_local_response":          {403, p, n, q, m, 0, 0, 0xffffffff},
			"proxy_get_current_time_nanoseconds": {8},
			"proxy_get_buffer_status":            {6, 8, 12},
			"proxy_get_header_map_size":          {0, 8},
			"proxy_remove_header_map_value":      {0, p, 0},
			"proxy_call_foreign_function":        {p, n, q, m, 8, 12},
			"proxy_get_log_level":                {8},
			"proxy_get_configuration":            {8, 12},
			"proxy_get_header_map_pairs":         {0, 8, 12},
			"proxy_get_buffer_bytes":             {7, 0, 3, 8, 12},
			"proxy_http_call":                    {p, n, 0, 0, 0, 0, 0, 0, 5, 8},
			"proxy_redis_call":                   {p, n, q, m, 8},
		} {
			h.s.answer = nil
			clean := h.call(name, args...)
			h.s.answer = nil
			dirty := make([]uint64, len(args))
			for i, a := range args {
				dirty[i] = a | dirt
			}
			if got := h.call(name, dirty...); got != clean {
				t.Errorf("%s: got %d with dirty arguments; want %d", name, got, clean)
			}
		}
		h.s.answer = nil
	})
}

func TestPoint23TheOrderOfALocalResponse(t *testing.T) {
	s := script(t, `request_headers: send_local_response 418 "details" "body" {x-a=1} 7`)
	e := s.exchange(config.Reject)
	if out := e.request(""); out != filter.Answered {
		t.Fatalf("got %v", out)
	}
	v, _ := e.x.Response.Header.Get("x-a")
	if body := e.read(t, e.x.Response.Body); body != "body" || e.x.Details != "details" || string(v) != "1" || e.x.Response.Status != 418 {
		t.Errorf("got %q, %q, %q, %d", body, e.x.Details, v, e.x.Response.Status)
	}
	e.Done()

	// For a gRPC request it is a response of trailers only.
	for text, want := range map[string]struct{ code, message string }{
		`send_local_response 418 "" "no %\n" {} 7`: {"7", "no %25%0A"},
		`send_local_response 401 "" "" {} -1`:      {"16", ""},
	} {
		s := script(t, "request_headers: "+text)
		e := s.exchange(config.Reject)
		e.x.Request.Header.Set([]byte("Content-Type"), []byte("application/grpc+proto"))
		e.request("")
		code, _ := e.x.Response.Header.Get("grpc-status")
		message, _ := e.x.Response.Header.Get("grpc-message")
		if string(code) != want.code || string(message) != want.message || e.x.Response.Status != 200 {
			t.Errorf("%s: got %d, grpc-status %q, message %q; want 200 and %v", text, e.x.Response.Status, code, message, want)
		}
		e.Done()
	}
}

// TestMainAfterInitialize: main, or __main_void, runs after _initialize, and
// alone it does not; _start runs where there is no _initialize.
func TestMainAfterInitialize(t *testing.T) {
	// Each adds its digit to what address 0 has: n = 10*n + digit.
	digit := func(d byte) []byte {
		return []byte{0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 10, 0x6c, 0x41, d, 0x6a, 0x36, 2, 0}
	}
	for name, test := range map[string]struct {
		build func(*guest)
		want  uint32
	}{
		"_initialize and main": {func(g *guest) {
			g.has("_initialize", "", 0, digit(1)...)
			g.has("main", "ii", 1, append(digit(2), 0x41, 0)...)
		}, 12},
		"_initialize and __main_void": {func(g *guest) {
			g.has("_initialize", "", 0, digit(1)...)
			g.has("__main_void", "", 1, append(digit(3), 0x41, 0)...)
		}, 13},
		"main alone":             {func(g *guest) { g.has("main", "ii", 1, append(digit(2), 0x41, 0)...) }, 0},
		"_start":                 {func(g *guest) { g.has("_start", "", 0, digit(4)...) }, 4},
		"_start and _initialize": {func(g *guest) { g.has("_start", "", 0, digit(4)...); g.has("_initialize", "", 0, digit(1)...) }, 1},
	} {
		g := minimal()
		test.build(g)
		g.has("proxy_on_request_headers", "iii", 1, 0x41, 0)
		b := start(t, g.complete(), nil)
		if b.err != nil {
			t.Fatalf("%s: %v", name, b.err)
		}
		within(t, b, newExchange(), phaseRequestHeaders, func(h *hand) {
			if got, _ := h.s.i.Memory().ReadUint32Le(0); got != test.want {
				t.Errorf("%s: got %d; want %d", name, got, test.want)
			}
		})
	}
}

// TestTheOtherNameOfTrailingMetadata: the AssemblyScript SDK's.
func TestTheOtherNameOfTrailingMetadata(t *testing.T) {
	g := minimal()
	g.has("proxy_on_grpc_trailing_metadata", "iii", 0)
	b := start(t, g.complete(), nil)
	if b.err != nil {
		t.Fatal(b.err)
	}
	r, err := b.f.acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.v.i.Unlock()
	if r.v.fn.grpcTrailing == nil {
		t.Error("the callback is not found")
	}
}

// TestSetCallbacks: a plugin that has no use for callbacks with its
// configuration does without them; it gets none that it does not export.
func TestSetCallbacks(t *testing.T) {
	s := newScene(t, sceneOptions{script: `configure: call_foreign_function "penstock.set_callbacks" "\x01\x00\x00\x00" 0 0; call_foreign_function "penstock.set_callbacks" "\x01" 0 0` +
		"\n" + `request_headers: call_foreign_function "penstock.set_callbacks" "\xff\xff\xff\xff" 0 0`})
	if got := s.f.Callbacks() &^ filter.OnConnection; got != filter.OnRequestHeaders {
		t.Errorf("got callbacks %b; want the request's headers alone", got)
	}
	text := strings.Join(s.take(), "\n")
	if !strings.Contains(text, "  call_foreign_function 0\n  call_foreign_function 2") {
		t.Errorf("got\n%s", text)
	}
	e := s.exchange(config.Reject)
	e.request("")
	e.Done()
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 1", "  call_foreign_function 2", "delete 2")
}
