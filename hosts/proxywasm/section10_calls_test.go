package proxywasm

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/hosts/capability"
)

const callOut = `id = http_call "svc" {:method=POST;:path=/p;:authority=a;x-h=1} "body" {} 100 &`

func TestPoint08HTTPCalls(t *testing.T) {
	s := script(t,
		"request_headers: "+callOut+"; "+callOut+"; return 1",
		`http_call_response: get_header_map_value 6 ":status" &&; get_header_map_value 6 "x-r" &&; get_header_map_value 7 "x-t" &&; get_buffer_bytes 4 0 100 &&; get_status & &&; `+
			`get_header_map_value 0 "x-one" &&; set_effective_context 2; get_header_map_value 0 "x-one" &&; add_header_map_value 0 "x-new" "1"; continue_stream 0`,
		`log: get_header_map_value 6 ":status" &&; get_buffer_bytes 4 0 100 &&`)
	e := s.exchange(config.Reject)
	var answers sync.WaitGroup
	answers.Go(func() {
		first, second := <-s.calls.begun, <-s.calls.begun
		if v, _ := first.Header.Get("x-h"); string(first.Method) != "POST" || string(first.Path) != "/p" || string(first.Authority) != "a" || string(v) != "1" ||
			string(first.Body) != "body" || first.Timeout != 100*time.Millisecond || first.Header.Len() != 1 {
			t.Errorf("got %+v", first.HTTPCall)
		}
		second.done(&capability.HTTPAnswer{Status: 204, Header: *header("x-r", "v"), Trailer: *header("x-t", "w"), Body: []byte("answer")}, nil)
		second.done(&capability.HTTPAnswer{Status: 500}, nil) // a caller that errs
		first.done(nil, errors.New("reset"))
	})
	if out := e.request(""); out != filter.Passed || e.x.Request.Header.Count("x-new") < 1 {
		t.Errorf("got %v, %v", out, e.Err())
	}
	answers.Wait()
	e.Done()
	s.until(t, "request_headers")
	lines := s.until(t, "delete")
	text := strings.Join(lines, "\n")
	answered := "http_call_response 1 2 2 6 1\n  get_header_map_value 0 \"204\"\n  get_header_map_value 0 \"v\"\n  get_header_map_value 0 \"w\"\n  get_buffer_bytes 0 \"answer\"\n  get_status 0 0 \"\"\n" +
		"  get_header_map_value 2 \"\"\n  set_effective_context 0\n  get_header_map_value 0 \"1\"\n  add_header_map_value 0\n  continue_stream 0"
	failed := "http_call_response 1 1 0 0 0\n  get_header_map_value 2 \"\"\n  get_header_map_value 2 \"\"\n  get_header_map_value 2 \"\"\n  get_buffer_bytes 1 \"\"\n  get_status 0 11 \"reset\""
	if !strings.Contains(text, "  http_call 0 1\n  http_call 0 2\n"+answered) || strings.Count(text, failed) != 1 || strings.Count(text, "http_call_response 1 2") != 1 {
		t.Errorf("got\n%s", text)
	}
	if !strings.Contains(text, "log 2\n  get_header_map_value 2 \"\"\n  get_buffer_bytes 1 \"\"") {
		t.Errorf("an answer can be read after its callback:\n%s", text)
	}
}

func TestPoint08HTTPCallsThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		call   string
		refuse error
		grant  bool
		want   string
	}{
		"an unknown upstream":   {callOut, capability.ErrUnknownUpstream, true, "2"},
		"a forbidden one":       {callOut, capability.ErrNotAllowed, true, "10"},
		"too many":              {callOut, capability.ErrBusy, true, "10"},
		"without the right":     {callOut, nil, false, "10"},
		"a negative timeout":    {`http_call "svc" {:method=GET;:path=/;:authority=a} "" {} -5 &`, nil, true, "2"},
		"no method":             {`http_call "svc" {:path=/;:authority=a} "" {} 5 &`, nil, true, "2"},
		"no path":               {`http_call "svc" {:method=GET;:authority=a} "" {} 5 &`, nil, true, "2"},
		"no authority":          {`http_call "svc" {:method=GET;:path=/} "" {} 5 &`, nil, true, "2"},
		"a bad field":           {`http_call "svc" {:method=GET;:path=/;:authority=a;a b=1} "" {} 5 &`, nil, true, "2"},
		"a map that is no map":  {`http_call "svc" "\x05" "" {} 5 &`, nil, true, "2"},
		"memory that is absent": {`http_call "svc" -1 100 "" {} 5 &`, nil, true, "6"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := sceneOptions{script: "request_headers: " + test.call}
			if test.grant {
				o.grant = []string{capability.HTTPCalls}
			}
			s := newScene(t, o)
			s.calls.refuse = test.refuse
			s.take()
			e := s.exchange(config.Reject)
			e.request("")
			e.Done()
			text := strings.Join(s.take(), "\n")
			if !strings.Contains(text, "  http_call "+test.want+" 0") {
				t.Errorf("got\n%s\nwant %s", text, test.want)
			}
		})
	}
}

// TestPoint08AnAnswerAfterTheStream: it comes to the root, exactly once.
func TestPoint08AnAnswerAfterTheStream(t *testing.T) {
	s := script(t, "request_headers: "+callOut, `http_call_response: set_effective_context 2; set_effective_context 1`)
	e := s.exchange(config.Reject)
	e.request("")
	e.Done()
	c := <-s.calls.begun
	c.done(&capability.HTTPAnswer{Status: 200}, nil)
	lines := s.until(t, "http_call_response 1 1 1 0 0")
	wantLines(t, lines[len(lines)-2:], "delete 2", "http_call_response 1 1 1 0 0")
	wantLines(t, s.until(t, "  set_effective_context 0"), "  set_effective_context 2", "  set_effective_context 0")
}

// TestPoint08CloseCancelsCalls: nothing comes after the root's delete.
func TestPoint08CloseCancelsCalls(t *testing.T) {
	s := script(t, "tick: "+callOut, "configure: set_tick_period_milliseconds 10")
	c := <-s.calls.begun
	s.f.Close(t.Context())
	<-c.cancelled
	c.done(&capability.HTTPAnswer{Status: 200}, nil)
	lines := s.take()
	if last := lines[len(lines)-1]; last != "delete 1" {
		t.Errorf("the last line is %q; want delete 1", last)
	}
}

// TestPoint08AnEmptyAuthority: it is there and empty, as SDK examples send it:
// the upstream's own name is meant.
func TestPoint08AnEmptyAuthority(t *testing.T) {
	s := script(t, `request_headers: http_call "outbound|80||svc.ns.svc.cluster.local" {:method=GET;:path=/;:authority=} "" {} 100 &; return 0`)
	e := s.exchange(config.Reject)
	if out := e.request(""); out != filter.Passed {
		t.Fatalf("got %v, %v", out, e.Err())
	}
	call := <-s.calls.begun
	if got := string(call.Authority); got != "svc.ns.svc.cluster.local" {
		t.Errorf("got authority %q", got)
	}
	call.done(&capability.HTTPAnswer{Status: 200}, nil)
	e.Done()
}
