package proxywasm

import (
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
)

func TestPoint10SharedData(t *testing.T) {
	s := script(t, `request_headers: get_shared_data "k" && &; set_shared_data "k" "v" 77; cas = get_shared_data "k" && &; set_shared_data "k" "w" 99; set_shared_data "k" "" $cas; get_shared_data "k" && &; set_shared_data "k" "z" 0`)
	e := s.exchange(config.Reject)
	e.request("")
	e.Done()
	wantLines(t, s.until(t, "  set_shared_data 0")[:1], "context_create 2 1")
	wantLines(t, s.until(t, "done"), `  get_shared_data 0 "v" 1`, "  set_shared_data 8", "  set_shared_data 0", `  get_shared_data 0 "" 2`, "  set_shared_data 0", "done 2")
}

func TestPoint10SharedDataIsScoped(t *testing.T) {
	of := func(with *scene, namespace, vmID, name, lines string, edit func([]byte) []byte) *scene {
		return newScene(t, sceneOptions{script: lines, with: with, edit: edit, change: func(c *config.Filter) {
			c.Namespace, c.VMID, c.Owner.Namespace, c.Owner.Name = namespace, vmID, namespace, name
		}})
	}
	writer := of(nil, "ns", "shared", "writer", `configure: set_shared_data "k" "v" 0; register_shared_queue "q" &`, nil)
	another := func(wasm []byte) []byte { return append(slices.Clone(wasm), 0, 2, 1, 'x') } // a custom section: another digest
	tests := map[string]struct {
		namespace, vmID, want string
		edit                  func([]byte) []byte
	}{
		"the same namespace and VM id": {"ns", "shared", "0 0 0", nil},
		"they, and another digest":     {"ns", "shared", "0 0 0", another},
		"another VM id":                {"ns", "other", "1 1 1", nil},
		"another namespace":            {"away", "shared", "1 1 1", nil},
		"no VM id":                     {"ns", "", "1 1 1", nil},
	}
	for name, test := range tests {
		writer.take()
		of(writer, test.namespace, test.vmID, "reader", `configure: get_shared_data "k" && &; resolve_shared_queue "" "q" &; resolve_shared_queue "shared" "q" &`, test.edit)
		var got []string
		for _, line := range writer.take() {
			if strings.HasPrefix(line, "  ") {
				got = append(got, strings.Fields(line)[1])
			}
		}
		if have := strings.Join(got, " "); have != test.want {
			t.Errorf("%s: got %s; want %s", name, have, test.want)
		}
	}
}

func TestPoint11Queues(t *testing.T) {
	s := script(t, `configure: id = register_shared_queue "q" &; register_shared_queue "q" &`,
		`request_headers: dequeue_shared_queue $id &&; enqueue_shared_queue $id "a"; enqueue_shared_queue $id ""; enqueue_shared_queue 99 "x"; dequeue_shared_queue 99 &&`,
		`queue_ready: dequeue_shared_queue $id &&`)
	e := s.exchange(config.Reject)
	e.request("")
	e.Done()
	wantLines(t, s.until(t, "request_headers")[:1], "context_create 2 1")
	lines := append(s.until(t, "queue_ready 1 1"), s.until(t, "queue_ready 1 1")...)
	lines = append(lines, s.until(t, "  dequeue")...)
	text := strings.Join(lines, "\n")
	for _, want := range []string{`  dequeue_shared_queue 7 ""`, "  enqueue_shared_queue 0", "  enqueue_shared_queue 1", `  dequeue_shared_queue 1 ""`, `  dequeue_shared_queue 0 "a"`, `  dequeue_shared_queue 0 ""`} {
		if !strings.Contains(text, want) {
			t.Errorf("got\n%s\nwant %s", text, want)
		}
	}
}

func TestPoint12Ticks(t *testing.T) {
	s := script(t, "configure: set_tick_period_milliseconds 10", `tick: set_tick_period_milliseconds 0`)
	s.until(t, "  set_tick_period_milliseconds 0")
	time.Sleep(50 * time.Millisecond) // longer than a period: nothing may come
	if lines := s.take(); len(lines) != 0 {
		t.Errorf("got %q after the tick was turned off", lines)
	}
}

// TestPoint12TicksAndExchanges: many exchanges and ticks on the same instances;
// the race detector looks on.
func TestPoint12TicksAndExchanges(t *testing.T) {
	s := script(t, "configure: set_tick_period_milliseconds 10",
		`tick: set_effective_context 2; add_header_map_value 0 "x-tick" "1"; get_property "request\x00path" &&; continue_stream 0`,
		`request_headers: return 1`)
	done := make(chan filter.Outcome)
	for range 8 {
		go func() {
			e := s.exchange(config.Reject)
			e.Wait(200 * time.Millisecond)
			out := e.request("")
			e.response("")
			e.Done()
			done <- out
		}()
	}
	passed := 0
	for range 8 {
		if <-done == filter.Passed {
			passed++
		}
	}
	if passed == 0 {
		t.Error("no tick reached a paused exchange")
	}
}

func TestPoint13TheEffectiveContextEndsWithTheCallback(t *testing.T) {
	s := script(t, `request_headers: set_effective_context 1; get_header_map_value 0 "x-one" &&; set_effective_context 99; set_effective_context 2; get_header_map_value 0 "x-one" &&; set_effective_context 1`,
		`response_headers: get_header_map_value 0 "x-one" &&`)
	e := s.exchange(config.Reject)
	e.request("")
	e.response("")
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 1", "  set_effective_context 0", `  get_header_map_value 2 ""`, "  set_effective_context 2", "  set_effective_context 0",
		`  get_header_map_value 0 "1"`, "  set_effective_context 0", "response_headers 2 1 1", `  get_header_map_value 0 "1"`)
	e.Done()
}

func TestPoint15EmptyAndMissing(t *testing.T) {
	s := script(t, `request_headers: get_header_map_value 0 "x-empty" &&; get_header_map_value 0 "x-none" &&; get_property "plugin_root_id" &&; get_property "no\x00such" &&; get_header_map_size 1 &; get_shared_data "" && &`)
	e := s.exchange(config.Reject)
	e.x.Request.Header.Add([]byte("X-Empty"), nil)
	e.request("")
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 6 1", `  get_header_map_value 0 ""`, `  get_header_map_value 1 ""`, `  get_property 0 ""`, `  get_property 1 ""`, "  get_header_map_size 2 0", `  get_shared_data 1 "" 0`)
	e.Done()
}

func TestPoint16MemoryThatTheAllocatorGrows(t *testing.T) {
	s := script(t, `request_headers: get_header_map_value 0 "x-long" &&; get_header_map_value 0 "x-one" &&`)
	long := strings.Repeat("y", 60<<10)
	for range 20 {
		e := s.exchange(config.Reject)
		e.x.Request.Header.Add([]byte("X-Long"), []byte(long))
		e.request("")
		e.Done()
		if text := strings.Join(s.take(), "\n"); !strings.Contains(text, `get_header_map_value 0 "1"`) {
			t.Fatalf("got %.300s", text)
		}
	}
}

func TestPoint17AFailedInstance(t *testing.T) {
	for _, how := range []string{"trap", "spin"} {
		for _, onError := range []config.OnError{config.Reject, config.Skip} {
			s := newScene(t, sceneOptions{script: "request_headers: " + how, change: func(c *config.Filter) { c.Limits.CPUTime = 10 * time.Millisecond }})
			e := s.exchange(onError)
			out := e.request("")
			switch {
			case onError == config.Reject && (out != filter.Failed || e.Err().Status != 500):
				t.Errorf("%s, reject: got %v, %v; want 500", how, out, e.Err())
			case onError == config.Skip && out != filter.Passed:
				t.Errorf("%s, skip: got %v, %v; want it left out", how, out, e.Err())
			}
			e.Done()
		}
	}
	// Exchanges that pause on the instance fail with it.
	s := newScene(t, sceneOptions{script: "configure: set_tick_period_milliseconds 30\nrequest_headers: return 1\ntick: trap"})
	e := s.exchange(config.Reject)
	if out := e.request(""); out != filter.Failed || e.Err().Status != 500 {
		t.Errorf("got %v, %v; want 500", out, e.Err())
	}
	e.Done()
}

func TestPoint18Trailers(t *testing.T) {
	s := script(t, `request_body: add_header_map_value 1 "x-a" "1"`, `request_trailers: get_header_map_value 1 "x-t" &&; add_header_map_value 1 "x-b" "2"`)
	e := s.exchange(config.Reject)
	e.request("body")
	e.read(t, e.x.Request.Body)
	if e.x.Request.Trailer.Count("x-a") != 1 {
		t.Error("no trailer could be added on the last part")
	}
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 0", "request_body 2 4 0", "  add_header_map_value 2", "request_body 2 0 1", "  add_header_map_value 0")
	e.Done()

	e = s.exchange(config.Reject)
	e.x.Request.Body, e.x.Request.ContentLength = &parts{list: []string{"abc"}, trailer: func() { e.x.Request.Trailer.Add([]byte("X-T"), []byte("t")) }}, -1
	e.Request(e.chain, []byte("/"))
	e.RequestBody()
	e.read(t, e.x.Request.Body)
	lines := s.until(t, "request_trailers")
	if last := lines[len(lines)-1]; !strings.HasSuffix(last, " 1") {
		t.Errorf("got %q; want one trailer", last)
	}
	wantLines(t, s.take(), `  get_header_map_value 0 "t"`, "  add_header_map_value 0")
	e.Done()
}

// TestPoint18TrailersOfABodyThatIsHeld: as in Envoy, a plugin that waits for the whole body
// finds it in the trailers' callback, and may change it there; once it has let go it is gone.
func TestPoint18TrailersOfABodyThatIsHeld(t *testing.T) {
	s := script(t, `request_body: return 1`, `request_trailers: get_buffer_bytes 0 0 99 &&; set_buffer_bytes 0 0 99 "whole"`)
	send := func(s *scene) (body string, lines []string) {
		e := s.exchange(config.Reject)
		e.x.Request.Body, e.x.Request.ContentLength = &parts{list: []string{"abc", "def"}, trailer: func() { e.x.Request.Trailer.Add([]byte("X-T"), []byte("t")) }}, -1
		e.Request(e.chain, []byte("/"))
		e.RequestBody()
		body = e.read(t, e.x.Request.Body)
		s.until(t, "request_trailers")
		lines = s.take()
		e.Done()
		return body, lines
	}
	body, lines := send(s)
	if body != "whole" {
		t.Errorf("the upstream gets %q", body)
	}
	wantLines(t, lines, `  get_buffer_bytes 0 "abcdef"`, "  set_buffer_bytes 0")
	body, lines = send(script(t, `request_trailers: get_buffer_bytes 0 0 99 &&`))
	if body != "abcdef" {
		t.Errorf("the upstream gets %q", body)
	}
	wantLines(t, lines, `  get_buffer_bytes 1 ""`)
}

func TestPoint20LogLinesOfTheStart(t *testing.T) {
	s := newScene(t, sceneOptions{script: `configure: log 3 "two\nlines\xff"; log 9 "x"`})
	lines := s.take()
	if lines[0] != "init" {
		t.Errorf("the first line is %q; want what init wrote, before any context", lines[0])
	}
	wantLines(t, lines[len(lines)-3:], "two\nlines\uFFFD", "  log 0", "  log 2")
}

func TestPoint21Metrics(t *testing.T) {
	s := script(t, `request_headers: c = define_metric 0 "hits_x=1" &; define_metric 0 "hits_x=1" &; g = define_metric 1 "hits_x=1" &; h = define_metric 2 "h" &; define_metric 3 "x" &; `+
		`increment_metric $c 2; increment_metric $c 0; increment_metric $c -1; record_metric $c 3; get_metric $c &8; record_metric $g -5; increment_metric $g -1; get_metric $g &8; record_metric $h 7; increment_metric $h 1; get_metric $h &8; get_metric 4444 &8`)
	e := s.exchange(config.Reject)
	e.request("")
	e.Done()
	s.until(t, "request_headers")
	wantLines(t, s.until(t, "done"), "  define_metric 0 4", "  define_metric 0 4", "  define_metric 0 9", "  define_metric 0 14", "  define_metric 2 0",
		"  increment_metric 0", "  increment_metric 2", "  increment_metric 2", "  record_metric 0", "  get_metric 0 5", "  record_metric 0", "  increment_metric 0", "  get_metric 0 18446744073709551610",
		"  record_metric 0", "  increment_metric 2", "  get_metric 2 0", "  get_metric 1 0", "done 2")
}

func TestPoint24NumbersAtTheEdge(t *testing.T) {
	s := script(t, `request_body: set_buffer_bytes 0 0xffffffff 0 "!"; set_buffer_bytes 0 0 0x7fffffff "all"; get_buffer_bytes 0 0 0xffffffff &&; get_buffer_bytes 0 5 0xffffffff &&; get_buffer_bytes 0 0x80000000 0x90000000 &&; get_buffer_status 0 & &`)
	e := s.exchange(config.Reject)
	e.request("x")
	lines := s.until(t, "  get_buffer_status")
	wantLines(t, lines[2:], "request_body 2 1 0", "  set_buffer_bytes 0", "  set_buffer_bytes 0", `  get_buffer_bytes 0 "all"`, `  get_buffer_bytes 0 ""`, `  get_buffer_bytes 2 ""`, "  get_buffer_status 0 3 0")
	e.Done()
}
