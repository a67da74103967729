package proxywasm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/hosts/capability"
)

// setting is a call of penstock.set_response_headers in a script, with names and values.
func setting(pairs ...string) string {
	var h exchange.Header
	for i := 0; i < len(pairs); i += 2 {
		h.Add([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	return fmt.Sprintf(`call_foreign_function "penstock.set_response_headers" "%s" 0 0`, escaped(appendPairs(nil, nil, &h)))
}

func escaped(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}

// headersOf are the response's fields as text.
func headersOf(x *exchange.Exchange) (all []string) {
	for _, f := range x.Response.Header.Fields() {
		all = append(all, string(f.Name)+": "+string(f.Value))
	}
	return all
}

// TestSetResponseHeaders: what a plugin sets at the request is in the response when its
// own callback sees that, in place of what was there, as often as a response comes.
func TestSetResponseHeaders(t *testing.T) {
	s := script(t, "request_headers: "+setting("Server", "edge", "X-Left", "7")+"; "+setting("X-Left", "6", "Connection", "close"),
		`response_headers: get_header_map_value 2 "server" &&; get_header_map_value 2 "x-left" &&; `+setting("X-Late", "1"))
	e := s.exchange(config.Reject)
	e.request("")
	e.x.Response.Header.Add([]byte("server"), []byte("inner"))
	e.x.Response.Header.Add([]byte("Server"), []byte("another"))
	e.response("")
	if got, want := headersOf(e.x), []string{"server: edge", "x-left: 6"}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	e.Done()
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 1", "  call_foreign_function 0", "  call_foreign_function 0",
		"response_headers 2 3 1", `  get_header_map_value 0 "edge"`, `  get_header_map_value 0 "6"`, "  call_foreign_function 2", "done 2", "log 2", "delete 2")
}

// TestSetResponseHeadersAlone: a plugin that wants no callback of the response has its
// fields set all the same, if it says so.
func TestSetResponseHeadersAlone(t *testing.T) {
	for _, test := range []struct {
		name, wanted string
		callbacks    filter.Callbacks
		status       string
		want         []string
	}{
		{"said", `\x01\x01\x00\x00`, filter.OnRequestHeaders | filter.OnResponseHeaders, "0", []string{"x-left: 7"}},
		{"not said", `\x01\x00\x00\x00`, filter.OnRequestHeaders, "2", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := script(t, `configure: call_foreign_function "penstock.set_callbacks" "`+test.wanted+`" 0 0`, "request_headers: "+setting("X-Left", "7"), `response_headers: get_header_map_value 2 "x-left" &&`)
			if got := s.f.Callbacks() &^ filter.OnConnection; got != test.callbacks {
				t.Errorf("got callbacks %b; want %b", got, test.callbacks)
			}
			s.take()
			for range 3 { // streams are used again
				e := s.exchange(config.Reject)
				e.request("")
				e.response("")
				if got := headersOf(e.x); !slices.Equal(got, test.want) {
					t.Errorf("got %q; want %q", got, test.want)
				}
				e.Done()
			}
			if text := strings.Join(s.take(), "\n"); strings.Contains(text, "response_headers") || strings.Count(text, "call_foreign_function "+test.status) != 3 {
				t.Errorf("got\n%s", text)
			}
		})
	}
}

// TestSetResponseHeadersWaiting: a request that waits may have its response's fields set by
// who lets it go on.
func TestSetResponseHeadersWaiting(t *testing.T) {
	s := script(t, `request_headers: http_call "svc" {:method=GET;:path=/;:authority=a} "" {} 5000 &; return 1`,
		"http_call_response: "+setting("X-Left", "7")+"; set_effective_context 2; "+setting("X-Left", "7")+"; continue_stream 0")
	e := s.exchange(config.Reject)
	go func() { (<-s.calls.begun).done(&capability.HTTPAnswer{Status: 200}, nil) }()
	if out := e.request(""); out != filter.Passed {
		t.Fatalf("got %v; want that it passes: %q", out, s.take())
	}
	e.response("")
	if got, want := headersOf(e.x), []string{"x-left: 7"}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	e.Done()
}

// TestSetResponseHeadersRefuses: what cannot be set changes nothing, also of what stands
// beside it.
func TestSetResponseHeadersRefuses(t *testing.T) {
	many := make([]string, 0, 2*(maxSetFields+1))
	for i := range maxSetFields + 1 {
		many = append(many, fmt.Sprintf("x-%d", i), "1")
	}
	tests := map[string]string{
		"no map":        `request_headers: call_foreign_function "penstock.set_response_headers" "\x01\x00\x00\x00" 0 0`,
		"a pseudo one":  "request_headers: " + setting("X-One", "1", ":status", "204"),
		"no token":      "request_headers: " + setting("X-One", "1", "x y", "1"),
		"a line's end":  "request_headers: " + setting("X-One", "1", "x", "a\r\nset-cookie: b"),
		"too large":     "request_headers: " + setting("X-One", "1", "x", strings.Repeat("a", maxValueBytes+1)),
		"too many":      "request_headers: " + setting(many...),
		"without name":  "request_headers: " + setting("X-One", "1", "", "1"),
		"at its body":   "request_body: " + setting("X-One", "1"),
		"no request":    "configure: " + setting("X-One", "1"),
		"the response":  "response_headers: " + setting("X-One", "1"),
		"too much, all": "request_headers: " + strings.Repeat(setting("X-One", strings.Repeat("a", maxValueBytes))+"; ", 3) + setting("X-Two", strings.Repeat("a", maxValueBytes)),
	}
	for name, lines := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, sceneOptions{script: lines})
			e := s.exchange(config.Reject)
			e.request("body")
			e.response("")
			got := headersOf(e.x)
			e.Done()
			if text := strings.Join(s.take(), "\n"); !strings.Contains(text, "call_foreign_function 2") {
				t.Errorf("got\n%s", text)
			}
			if name == "too much, all" { // what was set before stays
				if len(got) != 1 || !strings.HasPrefix(got[0], "x-one: aaa") {
					t.Errorf("got %d fields", len(got))
				}
			} else if len(got) > 0 {
				t.Errorf("got %.80q", got)
			}
		})
	}
}
