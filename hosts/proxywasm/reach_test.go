package proxywasm

import (
	"io"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// sending hands a request with trailers to an upstream that reads it on a
// goroutine of its own; end waits for that.
func sending(t *testing.T, s *scene) (e *exchangeOf, end func()) {
	t.Helper()
	e = s.exchange(config.Reject)
	e.x.Endpoint = "10.0.0.1:80"
	e.x.Request.Body, e.x.Request.ContentLength = &parts{list: []string{"in"}, trailer: func() { e.x.Request.Trailer.Add([]byte("T"), []byte("1")) }}, -1
	if e.Request(e.chain, []byte("/")) != filter.Passed || e.RequestBody() != filter.Passed {
		t.Fatal(e.Err())
	}
	e.Sending()
	sent, body := make(chan struct{}), e.x.Request.Body
	go func() {
		defer close(sent)
		_, _ = io.ReadAll(body) // it may be stopped
	}()
	return e, func() { <-sent }
}

// answered is what the exchange's own goroutine writes while the response comes.
func answered(x *exchange.Exchange) {
	for range 1000 {
		x.RequestBytes, x.ResponseBytes = 7, 7
		x.Err = &exchange.Error{Side: exchange.SideUpstream, Reason: "reset"}
		x.Consumer = exchange.Consumer{Name: "other"}
	}
}

// TestATickWhileTheResponseComes: the stream is parked on the request's trailers,
// which another goroutine sends; the race detector looks on.
func TestATickWhileTheResponseComes(t *testing.T) {
	s := script(t, "configure: set_tick_period_milliseconds 10", "request_trailers: return 1",
		`tick: set_effective_context 2; get_property "upstream\x00transport_failure_reason" &&; get_property "request\x00size" &&; set_property "k" "v"; `+
			`call_foreign_function "penstock.set_consumer" "{\x22name\x22:\x22tick\x22}" 0 0; get_header_map_value 1 "t" &&; log 2 "end"`)
	e, end := sending(t, s)
	s.until(t, "request_trailers")
	for range 3 {
		s.until(t, "  set_effective_context 0")
		answered(e.x)
		wantLines(t, s.until(t, "end"), `  get_property 1 ""`, `  get_property 1 ""`, "  set_property 1", "  call_foreign_function 2", `  get_header_map_value 0 "1"`, "end")
	}
	e.x.Request.Body.(interface{ Stop() }).Stop()
	end()
	e.Done()
}

// TestABodyCallbackWhileTheResponseComes: it runs on the goroutine that sends the
// request's body.
func TestABodyCallbackWhileTheResponseComes(t *testing.T) {
	s := script(t, `request_body: get_property "request\x00size" &&; get_property "request\x00total_size" &&; get_property "upstream\x00transport_failure_reason" &&; get_property "request\x00path" &&`)
	e, end := sending(t, s)
	answered(e.x)
	end()
	e.Done()
	lines := strings.Join(s.take(), "\n")
	if strings.Contains(lines, "reset") || strings.Contains(lines, `\a`) || !strings.Contains(lines, `  get_property 0 "/a?b"`) {
		t.Errorf("got\n%s\nwant the path, and nothing of the response's way", lines)
	}
}

// TestWhatForeignCallbacksReach: a tick, or a callback of another stream, whose
// effective context is a stream in each of its states.
func TestWhatForeignCallbacksReach(t *testing.T) {
	b := start(t, caller(), nil, "consumer")
	if b.err != nil {
		t.Fatal(b.err)
	}
	const (
		shared   = "connection_id kept path route set_property size upstream "
		request  = "request map "
		response = "response code response map "
	)
	tests := map[string]struct {
		at           phase
		parked, held bool
		want         string
	}{
		"it runs in the request's headers":        {phaseRequestHeaders, false, false, ""},
		"it is parked on the request's":           {phaseRequestHeaders, true, false, shared + request + "set_consumer"},
		"it holds the request's body":             {phaseRequestBody, false, true, ""},
		"it is parked on the request's trailers":  {phaseRequestTrailers, true, false, request + "request trailers"},
		"it runs in the response's headers":       {phaseResponseHeaders, false, false, ""},
		"it is parked on the response's":          {phaseResponseHeaders, true, false, shared + request + response},
		"it holds the response's body":            {phaseResponseBody, false, true, ""},
		"it is parked on the response's trailers": {phaseResponseTrailers, true, false, shared + request + response + "response trailers"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := newExchange()
			x.Route, x.Endpoint, x.Details, x.Response.Status = "r", "10.0.0.1:80", "why", 200
			x.State = map[string][]byte{"k": []byte("v")}
			for _, m := range []*exchange.Header{&x.Response.Header, &x.Request.Trailer, &x.Response.Trailer} {
				m.Add([]byte("X-One"), []byte("1"))
			}
			within(t, b, x, test.at, func(h *hand) {
				w := &h.s.ways[test.at.way]
				w.parked, w.held = test.parked, test.held
				h.s.now, h.beside = wayNone, true
				property := func(path string) func() uint32 {
					return func() uint32 {
						p, n := h.put(100, strings.ReplaceAll(path, ".", "\x00"))
						return h.call("proxy_get_property", p, n, 8, 12)
					}
				}
				field := func(kind uint64) func() uint32 {
					return func() uint32 { _, status := h.get(kind, "x-one"); return status }
				}
				calls := map[string]func() uint32{
					"connection_id": property("connection_id"), "kept": property("k"), "path": property("request.path"), "route": property("route_name"),
					"size": property("request.size"), "upstream": property("upstream.address"), "response code": property("response.code"), "details": property("response.code_details"),
					"request map": field(mapRequestHeaders), "request trailers": field(mapRequestTrailers), "response map": field(mapResponseHeaders), "response trailers": field(mapResponseTrailers),
					"set_property": func() uint32 {
						p, n := h.put(100, "new")
						return h.call("proxy_set_property", p, n, p, n)
					},
					"set_consumer": func() uint32 {
						p, n := h.put(100, "penstock.set_consumer")
						q, m := h.put(2000, `{"name":"shop"}`)
						return h.call("proxy_call_foreign_function", p, n, q, m, 0, 0)
					},
				}
				for name, call := range calls {
					want := statusOK
					if !strings.Contains(test.want+" ", name+" ") {
						want = statusNotFound
						if strings.HasSuffix(name, " map") || strings.HasSuffix(name, " trailers") || name == "set_consumer" {
							want = statusBadArgument
						}
					}
					if got := call(); got != want {
						t.Errorf("%s: got %d; want %d", name, got, want)
					}
				}
			})
		})
	}
}
