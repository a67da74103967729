package proxywasm

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/hosts/capability"
)

// The points of the edge semantics that hosts get wrong, in their order
// (conformance/proxywasm/README.md has the list).

func TestPoint01EffectsComeAfterTheCallback(t *testing.T) {
	s := script(t,
		`request_headers: continue_stream 0; send_local_response 403 "d" "b" {} -1; log 2 "still here"; return 1`,
		`response_headers: log 2 "later"`)
	e := s.exchange(config.Reject)
	if out := e.request(""); out != filter.Answered {
		t.Fatalf("got %v; want Answered", out)
	}
	e.Response()
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 1", "  continue_stream 0", "  send_local_response 0", "still here", "  log 0",
		"response_headers 2 1 0", "later", "  log 0")
	e.Done()
}

func TestPoint02LocalResponseWinsOverTheAction(t *testing.T) {
	for _, action := range []string{"0", "1"} {
		s := script(t, `request_headers: send_local_response 401 "" "no" {x-why=key} -1; return `+action, `request_body: log 2 "never"`)
		e := s.exchange(config.Reject)
		if out := e.request("body"); out != filter.Answered || e.x.Response.Status != 401 {
			t.Errorf("action %s: got %v, %d; want 401", action, out, e.x.Response.Status)
		}
		if v, _ := e.x.Response.Header.Get("x-why"); string(v) != "key" {
			t.Errorf("X-Why: got %q", v)
		}
		e.Done()
		for _, line := range s.take() {
			if line == "never" {
				t.Error("a request callback ran after the local response")
			}
		}
	}
}

func TestPoint03PauseInHeadersHoldsTheBody(t *testing.T) {
	lines := []string{`request_headers: http_call "a" {:method=GET;:path=/;:authority=a} "" {} 100 &; return 1`,
		`request_body: replace_header_map_value 0 "x-late" "1"`,
		`http_call_response: set_effective_context 2; add_header_map_value 0 "x-call" "1"; continue_stream 0`}
	tests := map[string]struct {
		stop    config.HeaderStop
		dialect bool
		body    bool // the body callback comes while the headers are held
	}{
		"by default":       {config.HeaderStopDefault, false, false},
		"headerStop all":   {config.HeaderStopAll, true, false},
		"headerStop":       {config.HeaderStopHeaders, false, true},
		"0.2.100":          {config.HeaderStopDefault, true, true},
		"0.2.100, headers": {config.HeaderStopHeaders, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := sceneOptions{script: strings.Join(lines, "\n"), grant: []string{capability.HTTPCalls}, change: func(c *config.Filter) { c.HeaderStop = test.stop }}
			if test.dialect {
				o.edit = dialect
			}
			s := newScene(t, o)
			s.take()
			e := s.exchange(config.Reject)
			if !test.body { // else the body's callback lets the headers go
				go func() { (<-s.calls.begun).done(&capability.HTTPAnswer{Status: 200}, nil) }()
			}
			if out := e.request("body"); out != filter.Passed {
				t.Fatalf("got %v, %v", out, e.Err())
			}
			if got := e.read(t, e.x.Request.Body); got != "body" {
				t.Errorf("got body %q", got)
			}
			_, late := e.x.Request.Header.Get("x-late")
			if late != test.body {
				t.Errorf("headers could be changed in the body callback: %v; want %v", late, test.body)
			}
			e.Done()
		})
	}
}

// dialect makes a module one of 0.2.100: the marker's export name and the
// sections around it are as long as before, a second name takes what is left.
func dialect(wasm []byte) []byte {
	// The export section holds name vectors: the marker and "proxy_on_grpc_close"
	// are renamed so that the lengths add up.
	return renameExport(renameExport(wasm, "proxy_on_grpc_close", "proxy_on_grpc_clo"), "proxy_abi_version_0_2_1", "proxy_abi_version_0_2_100")
}

// renameExport replaces the first name vector, which is the export's; two calls whose lengths cancel out keep
// every section's size.
func renameExport(wasm []byte, from, to string) []byte {
	old := append([]byte{byte(len(from))}, from...)
	if !bytes.Contains(wasm, old) {
		panic("no export " + from)
	}
	return bytes.Replace(wasm, old, append([]byte{byte(len(to))}, to...), 1)
}

func TestPoint04PauseInBodyBuffers(t *testing.T) {
	s := script(t, `request_body: get_buffer_bytes 0 0 0x7fffffff &&; return 1`, `request_headers: return 0`)
	e := s.exchange(config.Reject)
	e.x.Request.Body, e.x.Request.ContentLength = &parts{list: []string{"abc", "def"}}, -1
	e.Request(e.chain, []byte("/"))
	e.Wait(50 * time.Millisecond)
	if out := e.RequestBody(); out != filter.Passed {
		t.Fatal(e.Err())
	}
	if _, err := e.x.Request.Body.Read(make([]byte, 10)); err == nil {
		t.Error("a body that is never let go ended well")
	}
	if got := e.Err(); got == nil || got.Status != 504 {
		t.Errorf("got %v; want 504", got)
	}
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 0",
		"request_body 2 3 0", `  get_buffer_bytes 0 "abc"`, "request_body 2 6 0", `  get_buffer_bytes 0 "abcdef"`, "request_body 2 6 1", `  get_buffer_bytes 0 "abcdef"`)
	e.Done()

	over := func(c *config.Filter) { c.Limits.BodyBytes = 4 }
	s = newScene(t, sceneOptions{script: "request_body: return 1\nresponse_body: return 1", change: over})
	e = s.exchange(config.Reject)
	e.x.Request.Body, e.x.Request.ContentLength = &parts{list: []string{"abc", "def"}}, 6
	e.Request(e.chain, []byte("/"))
	if out := e.RequestBody(); out != filter.Failed || e.Err().Status != 413 {
		t.Errorf("got %v, %v; want 413", out, e.Err())
	}
	e.Done()
	e = s.exchange(config.Reject)
	e.request("")
	e.x.Response.Body, e.x.Response.ContentLength = &parts{list: []string{"abc", "def"}}, 6
	e.Response()
	if out := e.ResponseBody(); out != filter.Failed || e.Err().Status != 502 {
		t.Errorf("got %v, %v; want 502", out, e.Err())
	}
	e.Done()
}

// parts is a body that comes in parts.
type parts struct {
	list    []string
	trailer func()
}

func (p *parts) Read(b []byte) (int, error) {
	if len(p.list) == 0 {
		if p.trailer != nil {
			p.trailer()
		}
		return 0, io.EOF
	}
	n := copy(b, p.list[0])
	p.list = p.list[1:]
	return n, nil
}
func (p *parts) Buffered() int { return 0 }
func (p *parts) Close()        {}

func TestPoint05WhereALocalResponseIsAllowed(t *testing.T) {
	answer := `send_local_response 418 "why" "tea" {:status=200;x-a=1;=nameless;content-length=99;transfer-encoding=chunked} -1`
	tests := map[string]struct {
		at     string
		status string
		want   filter.Outcome
	}{
		"request headers":   {"request_headers", "0", filter.Answered},
		"request body":      {"request_body", "0", filter.Answered},
		"response headers":  {"response_headers", "0", filter.Passed}, // the earlier filters see it
		"response body":     {"response_body", "2", filter.Passed},
		"the end of stream": {"log", "2", filter.Passed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := script(t, test.at+": "+answer)
			e := s.exchange(config.Reject)
			out := e.request("body")
			if out == filter.Passed {
				out = e.response("body")
			}
			if out != test.want {
				t.Errorf("got %v, %v; want %v", out, e.Err(), test.want)
			}
			if test.status == "0" {
				h := &e.x.Response.Header
				if e.x.Response.Status != 418 || h.Count("x-a") != 1 || h.Count(":status")+h.Count("content-length")+h.Count("transfer-encoding") != 0 || e.x.Details != "why" {
					t.Errorf("got %d, %q, %q", e.x.Response.Status, h.Fields(), e.x.Details)
				}
			}
			e.Done()
			found := false
			for _, line := range s.take() {
				found = found || line == "  send_local_response "+test.status
			}
			if !found {
				t.Errorf("the call did not answer %s", test.status)
			}
		})
	}
}

func TestPoint07WhatIsAvailableWhen(t *testing.T) {
	all := `get_header_map_value 0 "x-one" &&; add_header_map_value 0 "n" "1"; get_header_map_value 1 "t" &&; get_header_map_value 2 "x-up" &&; add_header_map_value 2 "n" "1"; ` +
		`get_header_map_value 3 "t" &&; get_header_map_value 6 "x" &&; get_buffer_bytes 0 0 9 &&; get_buffer_bytes 1 0 9 &&; get_buffer_bytes 4 0 9 &&; get_buffer_bytes 99 0 9 &&`
	s := script(t, "request_headers: "+all, "request_body: "+all, "response_headers: "+all, "response_body: "+all, "log: "+all)
	e := s.exchange(config.Reject)
	e.request("in")
	e.read(t, e.x.Request.Body)
	e.x.Response.Header.Add([]byte("X-Up"), []byte("u"))
	e.response("out")
	e.read(t, e.x.Response.Body)
	e.Done()
	got := map[string][]string{}
	name := ""
	for _, line := range s.take() {
		if !strings.HasPrefix(line, "  ") {
			name, _, _ = strings.Cut(line, " ")
			got[name] = nil
			continue
		}
		words := strings.Fields(line)
		got[name] = append(got[name], words[1])
	}
	// request header get, add; request trailer; response header get, add;
	// response trailer; call header; request, response, call and unknown buffer
	for at, want := range map[string]string{
		"request_headers":  "0 0 2 2 2 2 2 1 1 1 2",
		"request_body":     "0 2 1 2 2 2 2 0 1 1 2", // the last part: trailers can be added
		"response_headers": "0 2 2 0 0 2 2 1 1 1 2",
		"response_body":    "0 2 2 0 2 1 2 1 0 1 2",
		"log":              "0 2 1 0 2 1 2 1 1 1 2",
	} {
		if have := strings.Join(got[at], " "); have != want {
			t.Errorf("%s: got %s; want %s", at, have, want)
		}
	}
}

func TestPoint09TheEndOfAStream(t *testing.T) {
	s := script(t, `log: get_header_map_value 0 "x-one" &&; get_header_map_value 1 "t" &&; get_header_map_value 2 ":status" &&; get_header_map_value 3 "t" &&; replace_header_map_value 2 "a" "b"`)
	e := s.exchange(config.Reject)
	e.request("")
	e.x.Request.Trailer.Add([]byte("T"), []byte("1"))
	e.x.Response.Trailer.Add([]byte("T"), []byte("2"))
	e.response("")
	e.Done()
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 1", "response_headers 2 1 1", "done 2", "log 2",
		`  get_header_map_value 0 "1"`, `  get_header_map_value 0 "1"`, `  get_header_map_value 0 "200"`, `  get_header_map_value 0 "2"`, "  replace_header_map_value 2", "delete 2")

	// A filter that the exchange never came to hears nothing, not even on_log.
	first := script(t, `request_headers: send_local_response 403 "" "" {} -1`)
	later := script(t, `log: log 2 "never"`)
	x := first.exchange(config.Reject)
	x.chain = chainOf(first, later)
	x.request("")
	x.Response()
	x.Done()
	if lines := later.take(); len(lines) != 0 {
		t.Errorf("a filter that was never reached got %q", lines)
	}
}

func TestPoint09TheRootIsDoneWhenItSaysSo(t *testing.T) {
	s := script(t, "configure: set_tick_period_milliseconds 10", "done: return 0", "tick: done")
	s.f.Close(t.Context())
	text := strings.Join(s.take(), "\n")
	i, j := strings.Index(text, "done 1\n"), strings.LastIndex(text, "tick 1\n  done 0\n")
	if i < 0 || j < i || !strings.HasSuffix(text, "delete 1") {
		t.Errorf("got\n%s\nwant done, then ticks until proxy_done, then delete", text)
	}
}

func chainOf(scenes ...*scene) *filter.Chain {
	var entries []filter.Entry
	for _, s := range scenes {
		entries = append(entries, filter.Entry{Filter: s.f, ID: "service/x", BodyBytes: 1 << 20})
	}
	return filter.New(entries)
}

var _ exchange.Body = (*parts)(nil)
