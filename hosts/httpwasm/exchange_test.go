package httpwasm

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		steps  []op
		status int
		header string
		body   string
	}{
		"nothing said":     {nil, 200, "", ""},
		"a status":         {[]op{do("set_status_code", 401)}, 401, "", ""},
		"headers":          {[]op{do("set_header_value", 1, "A", "1"), do("add_header_value", 1, "a", "2"), do("set_header_value", 1, "b", "3"), do("remove_header", 1, "B"), do("set_header_value", 1, "content-length", "7")}, 200, "A: 1\na: 2", ""},
		"a body in parts":  {[]op{do("write_body", 1, "hello"), do("write_body", 1, ""), do("write_body", 1, " world")}, 200, "", "hello world"},
		"no content":       {[]op{do("set_status_code", 204), do("write_body", 1, "hello")}, 204, "", ""},
		"what it set read": {[]op{do("set_status_code", 418), do("get_status_code"), do("set_header_value", 1, "a", "1"), do("get_header_values", 1, "a", buffer, 9)}, 418, "a: 1", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t, &guest{request: test.steps, next: 7 << 32, response: []op{trap}}, nil)
			for range 2 {
				x := newExchange()
				x.Local.Header.Add([]byte("old"), []byte("1"))
				s, v, err := b.begin(x)
				if v != filter.Respond || err != nil {
					t.Fatalf("got %v, %v; want Respond", v, err)
				}
				if s.i != nil {
					t.Error("the instance is not given back")
				}
				l := &x.Local
				if l.Status != test.status || fields(&l.Header) != test.header || string(l.Body) != test.body || l.GRPCStatus != -1 {
					t.Errorf("got %d, %q, %q; want %d, %q, %q", l.Status, fields(&l.Header), l.Body, test.status, test.header, test.body)
				}
				if v, err := s.ResponseHeaders(true); v != filter.Continue || err != nil { // the chain shows it its own answer
					t.Errorf("got %v, %v", v, err)
				}
				s.Done()
			}
		})
	}
}

// TestAnswerWithTrailers: they come after a body without a length.
func TestAnswerWithTrailers(t *testing.T) {
	b := start(t, &guest{start: []op{do("enable_features", trailers)}, request: []op{do("write_body", 1, "hello"), do("set_header_value", 3, "grpc-status", "0"), do("get_header_names", 3, buffer, 99)}}, nil)
	x := newExchange()
	s, v, err := b.begin(x)
	if v != filter.Respond || err != nil {
		t.Fatal(v, err)
	}
	p := &x.Response
	p.Status, p.Body, p.ContentLength = 200, exchange.NewBytes(x.Local.Body), 5
	if v, err := s.ResponseHeaders(false); v != filter.Continue || err != nil {
		t.Fatal(v, err)
	}
	if got := content(t, p.Body); got != "hello" || p.ContentLength != -1 || fields(&p.Trailer) != "grpc-status: 0" {
		t.Errorf("got %q, length %d, %q", got, p.ContentLength, fields(&p.Trailer))
	}
	s.Done()
}

// TestContext: handle_response gets what handle_request returned, and whether
// there was an error.
func TestContext(t *testing.T) {
	tests := map[string]struct {
		next    uint64
		err     *exchange.Error
		isError byte
	}{
		"no context":                 {1, nil, 0},
		"a context":                  {0xfe<<32 | 1, nil, 0},
		"any low word but 0 is next": {3<<32 | 0x80000000, nil, 0},
		"an error":                   {5<<32 | 1, &exchange.Error{Err: io.EOF}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t, &guest{next: test.next}, nil)
			x := newExchange()
			b.pass(x, func() { respondWith(x, 502); x.Err = test.err })
			if got := b.memory(0, 8); got[0] != byte(test.next>>32) || got[4] != test.isError {
				t.Errorf("got %v; want %d, %d", got, test.next>>32, test.isError)
			}
		})
	}
}

// TestNoResponse: a guest that has called next is told of the end, and can
// change nothing.
func TestNoResponse(t *testing.T) {
	b := start(t, &guest{start: []op{do("enable_features", 7)}, next: 9<<32 | 1, response: []op{do("set_header_value", 1, "a", "b"), do("set_header_value", 3, "a", "b"), do("set_status_code", 404),
		do("write_body", 1, "text"), do("read_body", 1, buffer, 9), do("get_status_code"), do("get_header_names", 3, buffer, 9), do("log", 1, "told")}}, nil)
	x := newExchange()
	s, _, err := b.begin(x)
	if err != nil {
		t.Fatal(err)
	}
	x.Response.Status = 500
	s.Done()
	if got := b.memory(0, 8); got[0] != 9 || got[4] != 1 || !strings.Contains(b.log.String(), "told") || x.Response.Status != 500 || x.Response.Header.Len() != 0 || x.Response.Trailer.Len() != 0 {
		t.Errorf("got %v, %q, %d; want an error that changes nothing", got, b.log, x.Response.Status)
	}
}

func TestResponseChanges(t *testing.T) {
	b := start(t, &guest{start: []op{do("enable_features", bufferResponse)}, next: 1,
		request: []op{do("set_header_value", 1, "Set-Cookie", "a"), do("add_header_value", 1, "set-cookie", "b"), do("set_status_code", 499)},
		response: []op{do("get_status_code"), do("set_status_code", 404), do("get_header_values", 1, "set-cookie", buffer, 99), do("remove_header", 1, "content-type"),
			do("set_header_value", 1, "etag", "x"), do("add_header_value", 1, "x-more", "1"), do("set_header_value", 1, "host", "h")}}, nil)
	x := newExchange()
	b.pass(x, func() { respondWith(x, 200, "body"); x.Response.Header.Add([]byte("Set-Cookie"), []byte("up")) })
	p := &x.Response
	if got := fields(&p.Header); p.Status != 404 || got != "Set-Cookie: up\nSet-Cookie: a\nset-cookie: b\netag: x\nx-more: 1" {
		t.Errorf("got %d, %s", p.Status, got)
	}
	if got := b.results(responseAt, 3); got[0] != 200 || got[2] != 3<<32|7 || b.text(7) != "up\x00a\x00b\x00" {
		t.Errorf("got %v, %q", got, b.text(7))
	}
	if body, ok := p.Body.(*partsBody); !ok || p.ContentLength != 4 || len(body.parts) != 1 {
		t.Errorf("got %T, %d; want the body as it came, unread", p.Body, p.ContentLength)
	}
}

// TestBodyBeforeNext: it comes before the next handler's.
func TestBodyBeforeNext(t *testing.T) {
	for features, steps := range map[int][]op{0: nil, bufferResponse: {do("read_body", 1, buffer, 99)}, trailers: nil} {
		request := []op{do("write_body", 1, "first "), do("write_body", 1, "and ")}
		if features == trailers {
			request = append(request, do("set_header_value", 3, "a", "1"))
		}
		b := start(t, &guest{start: []op{do("enable_features", features)}, next: 1, request: request, response: steps}, nil)
		for parts, want := range map[string]string{"second": "first and second", "": "first and "} {
			x := newExchange()
			b.pass(x, func() { respondWith(x, 200, strings.Fields(parts)...) })
			length := int64(len(want))
			if features == trailers {
				length = -1
			}
			if got := content(t, x.Response.Body); got != want || x.Response.ContentLength != length {
				t.Errorf("got %q, %d; want %q, %d", got, x.Response.ContentLength, want, length)
			}
			if features == bufferResponse && b.text(len(want)) != want {
				t.Errorf("the guest read %q; want %q", b.text(len(want)), want)
			}
		}
		x := newExchange()
		b.pass(x, func() { respondWith(x, 304) })
		if x.Response.Body != nil {
			t.Error("a 304 has a body")
		}
	}
}

// TestReadsWithoutBuffering: the head of the response can be looked at.
func TestReadsWithoutBuffering(t *testing.T) {
	b := start(t, &guest{next: 1, response: []op{do("get_header_values", 1, "content-type", buffer, 99), do("get_header_names", 1, buffer, 99), do("get_method", buffer, 99), do("get_header_names", 0, buffer, 99)}}, nil)
	x := newExchange()
	b.pass(x, func() { respondWith(x, 200) })
	if got := b.results(responseAt, 4); got[0] != 1<<32|11 || got[1] != 1<<32|13 || got[2] != 3 || got[3] != 3<<32|17 {
		t.Errorf("got %#x", got)
	}
}

func TestRequestBodies(t *testing.T) {
	long := strings.Repeat("0123456789", 900)
	read := do("read_body", 0, buffer, 4)
	tests := map[string]struct {
		features int
		steps    []op
		parts    []string
		chunked  bool
		want     string
		length   int64
		header   bool // Content-Length is still there
		results  []uint64
		text     string
	}{
		"not read":                         {0, nil, []string{"hello"}, false, "hello", 5, true, nil, ""},
		"read in part and consumed":        {0, []op{read}, []string{"hel", "lo"}, false, "o", 1, false, []uint64{4}, "hell"},
		"all consumed":                     {0, []op{read, read, read}, []string{"hel", "lo"}, false, "", 0, false, []uint64{4, 1<<32 | 1, 1 << 32}, "oell"},
		"consumed, of unknown length":      {0, []op{read}, []string{"hel", "lo"}, true, "o", -1, false, []uint64{4}, "hell"},
		"read in part and kept":            {1, []op{read}, []string{"hel", "lo world"}, false, "hello world", 11, true, []uint64{4}, "hell"},
		"read whole in small steps, kept":  {1, []op{read, read, read, read}, []string{"hello world"}, false, "hello world", 11, true, []uint64{4, 4, 1<<32 | 3, 1 << 32}, "rldo"},
		"read whole, of unknown length":    {1, []op{read, read}, []string{"hello"}, true, "hello", 5, true, []uint64{4, 1<<32 | 1}, "oell"},
		"read in part, of unknown length":  {1, []op{read}, []string{"hello"}, true, "hello", -1, true, []uint64{4}, "hell"},
		"more than the buffer":             {1, []op{do("read_body", 0, buffer, 4096), do("read_body", 0, buffer, 4096), do("read_body", 0, buffer, 4096)}, []string{long[:5000], long[5000:]}, false, long, 9000, true, []uint64{4096, 4096, 1<<32 | 808}, ""},
		"replaced":                         {0, []op{do("write_body", 0, "new"), do("write_body", 0, "er")}, []string{"hello"}, false, "newer", 5, false, nil, ""},
		"made empty":                       {0, []op{do("write_body", 0, "")}, []string{"hello"}, false, "", 0, false, nil, ""},
		"read and then replaced":           {1, []op{read, do("write_body", 0, "new"), read}, []string{"hello"}, false, "new", 3, false, []uint64{4, 0, 1<<32 | 1}, "oell"},
		"made where there was none":        {0, []op{do("write_body", 0, "new")}, nil, false, "new", 3, false, nil, ""},
		"the feature comes after the read": {0, []op{read, do("enable_features", 1), read}, []string{"hello world"}, false, "o world", 7, false, []uint64{4, 1, 4}, "o wo"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := &guest{request: test.steps, next: 1}
			if test.features != 0 {
				g.start = []op{do("enable_features", test.features)}
			}
			b := start(t, g, nil)
			for range 2 { // memory of the first exchange is used again
				x := newExchange()
				length := int64(len(strings.Join(test.parts, "")))
				if test.chunked {
					length = -1
				}
				var body *partsBody
				if test.parts != nil {
					post(x, length, append([]string(nil), test.parts...)...)
					body = x.Request.Body.(*partsBody)
				}
				s, v, err := b.begin(x)
				if v != filter.Continue || err != nil {
					t.Fatal(v, err)
				}
				q := &x.Request
				if q.ContentLength != test.length {
					t.Errorf("length: got %d; want %d", q.ContentLength, test.length)
				}
				if _, ok := q.Header.Get("content-length"); ok != (test.header && body != nil) {
					t.Errorf("Content-Length: got %v; want %v", ok, test.header)
				}
				if got := content(t, q.Body); got != test.want {
					t.Errorf("got %d bytes, %.30q; want %d, %.30q", len(got), got, len(test.want), test.want)
				}
				if body != nil {
					if q.Body.Close(); !body.closed {
						t.Error("the client's body is not closed")
					}
				}
				respondWith(x, 200)
				if _, err := s.ResponseHeaders(true); err != nil {
					t.Fatal(err)
				}
				s.Done()
				got := b.results(requestAt, len(test.results))
				for n, want := range test.results {
					if test.steps[n].name != "write_body" && got[n] != want {
						t.Errorf("step %d: got %#x; want %#x", n, got[n], want)
					}
				}
				if got := b.text(len(test.text)); got != test.text {
					t.Errorf("got %q; want %q", got, test.text)
				}
			}
		})
	}
}

// TestBufferedRequestAfterNext: what was read before can be read once more.
func TestBufferedRequestAfterNext(t *testing.T) {
	b := start(t, &guest{start: []op{do("enable_features", bufferRequest)}, next: 1, request: []op{do("read_body", 0, buffer, 4)},
		response: []op{do("read_body", 0, buffer+100, 3), do("read_body", 0, buffer+103, 9)}}, nil)
	x := newExchange()
	post(x, -1, "hello world")
	b.pass(x, func() { respondWith(x, 200) })
	if got := b.results(responseAt, 2); got[0] != 3 || got[1] != 1<<32|1 || string(b.memory(buffer+100, 4)) != "hell" {
		t.Errorf("got %#x, %q", got, b.memory(buffer+100, 4))
	}
	if got := content(t, x.Request.Body); got != "hello world" {
		t.Errorf("got %q", got)
	}
}

func TestResponseBodies(t *testing.T) {
	read := do("read_body", 1, buffer, 4)
	tests := map[string]struct {
		steps   []op
		parts   []string
		want    string
		length  int64
		results []uint64
	}{
		"read in part":    {[]op{read}, []string{"hel", "lo world"}, "hello world", 11, []uint64{4}},
		"read whole":      {[]op{read, read}, []string{"hel", "lo"}, "hello", 5, []uint64{4, 1<<32 | 1}},
		"replaced":        {[]op{do("write_body", 1, "new"), do("write_body", 1, "er")}, []string{"hello"}, "newer", 5, nil},
		"made empty":      {[]op{do("write_body", 1, "")}, []string{"hello"}, "", 0, nil},
		"read, replaced":  {[]op{read, do("write_body", 1, "new")}, []string{"hello"}, "new", 3, []uint64{4}},
		"where none is":   {[]op{read, do("write_body", 1, "new")}, nil, "new", 3, []uint64{1 << 32}},
		"none, untouched": {nil, nil, "", 0, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t, &guest{start: []op{do("enable_features", bufferResponse)}, next: 1, response: test.steps}, nil)
			for range 2 {
				x := newExchange()
				b.pass(x, func() { respondWith(x, 200, append([]string(nil), test.parts...)...) })
				if got := content(t, x.Response.Body); got != test.want || x.Response.ContentLength != test.length {
					t.Errorf("got %q, %d; want %q, %d", got, x.Response.ContentLength, test.want, test.length)
				}
				got := b.results(responseAt, len(test.results))
				for n, want := range test.results {
					if got[n] != want {
						t.Errorf("step %d: got %#x; want %#x", n, got[n], want)
					}
				}
			}
		})
	}
}

// TestTrailers: they are there when the body has been read, or can be.
func TestTrailers(t *testing.T) {
	b := start(t, &guest{start: []op{do("enable_features", 7)}, next: 1,
		request:  []op{do("get_header_values", 2, "One", buffer, 99), do("set_header_value", 2, "two", "2"), do("remove_header", 2, "gone"), do("read_body", 0, buffer+20, 99)},
		response: []op{do("get_header_names", 3, buffer, 99), do("add_header_value", 3, "four", "4"), do("get_header_values", 2, "two", buffer+50, 99), do("get_status_code")}}, nil)
	x := newExchange()
	post(x, -1, "hello", " world")
	x.Request.Body.(*partsBody).fields = []string{"one", "gone"}
	b.pass(x, func() {
		if got := content(t, x.Request.Body); got != "hello world" || x.Request.ContentLength != -1 || fields(&x.Request.Trailer) != "one: 1\ntwo: 2" {
			t.Errorf("request: got %q, length %d, %q", got, x.Request.ContentLength, fields(&x.Request.Trailer))
		}
		if got := b.results(requestAt, 4); got[0] != 1<<32|2 || got[3] != 1<<32|11 || string(b.memory(buffer+20, 11)) != "hello world" {
			t.Errorf("got %#x", got)
		}
		respondWith(x, 200, "abc")
		x.Response.Body.(*partsBody).fields = []string{"Three"}
	})
	if got := content(t, x.Response.Body); got != "abc" || x.Response.ContentLength != -1 || fields(&x.Response.Trailer) != "Three: 1\nfour: 4" {
		t.Errorf("response: got %q, length %d, %q", got, x.Response.ContentLength, fields(&x.Response.Trailer))
	}
	if got := b.results(responseAt, 3); got[0] != 1<<32|6 || b.text(6) != "three\x00" || got[2] != 1<<32|2 {
		t.Errorf("got %#x, %q", got, b.text(6))
	}

	early := start(t, &guest{start: []op{do("enable_features", trailers)}, next: 1, request: []op{do("get_header_names", 2, buffer, 99), do("add_header_value", 3, "early", "1")},
		response: []op{do("get_header_names", 2, buffer, 99)}}, nil)
	x = newExchange()
	post(x, -1, "hello")
	x.Request.Body.(*partsBody).fields = []string{"one"}
	early.pass(x, func() {
		if got := early.results(requestAt, 1)[0]; got != 0 {
			t.Errorf("trailers before the body was read: got %#x", got)
		}
		respondWith(x, 200, "abc")
	})
	if got := early.results(responseAt, 1)[0]; got != 0 {
		t.Errorf("trailers of a body that is being sent: got %#x", got)
	}
	if got := content(t, x.Response.Body); got != "abc" || fields(&x.Response.Trailer) != "early: 1" || x.Response.ContentLength != -1 {
		t.Errorf("got %q, %q", got, fields(&x.Response.Trailer))
	}

	unseen := start(t, &guest{start: []op{do("enable_features", 3)}, next: 1, request: []op{do("read_body", 0, buffer, 99)}, response: []op{do("read_body", 1, buffer, 99)}}, nil)
	x = newExchange()
	post(x, -1, "hello")
	x.Request.Body.(*partsBody).fields = []string{"one"}
	unseen.pass(x, func() {
		respondWith(x, 200, "abc")
		x.Response.Body.(*partsBody).fields = []string{"two"}
	})
	if x.Request.ContentLength != -1 || x.Response.ContentLength != -1 || content(t, x.Request.Body) != "hello" || content(t, x.Response.Body) != "abc" {
		t.Errorf("got lengths %d, %d; want none, or the trailers are lost", x.Request.ContentLength, x.Response.ContentLength)
	}

	alone := start(t, &guest{start: []op{do("enable_features", trailers)}, next: 1, request: []op{do("set_header_value", 2, "a", "1")}}, nil)
	x = newExchange()
	alone.pass(x, func() { respondWith(x, 204) })
	if x.Request.Body == nil || x.Request.ContentLength != -1 || content(t, x.Request.Body) != "" {
		t.Error("trailers without a body need an empty one")
	}
}

// TestBodyLimits: what is held is bounded, and the exchange learns which side
// was too large. The instance's end is no failure of the guest.
func TestBodyLimits(t *testing.T) {
	all := func(kind int) (steps []op) {
		for range 4 {
			steps = append(steps, do("read_body", kind, buffer, 300))
		}
		return steps
	}
	tests := map[string]struct {
		features          int
		request, response []op
		size              int
		fails             bool
	}{
		"request as large as may be":     {1, all(0), nil, 1000, false},
		"request too large":              {1, all(0), nil, 1001, true},
		"consumed requests have no end":  {0, all(0), nil, 1200, false},
		"a written request too large":    {0, []op{do("write_body", 0, strings.Repeat("x", 1001))}, nil, 1, true},
		"request held for its trailers":  {5, []op{do("get_header_names", 2, buffer, 9)}, nil, 1001, true},
		"response as large as may be":    {2, nil, all(1), 1000, false},
		"response too large":             {2, nil, all(1), 1001, true},
		"a written response too large":   {2, nil, []op{do("write_body", 1, strings.Repeat("x", 1001))}, 1, true},
		"response held for its trailers": {6, nil, []op{do("get_header_names", 3, buffer, 9)}, 1001, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := &guest{request: append([]op{do("enable_features", test.features)}, test.request...), response: test.response, next: 1}
			b := start(t, g, func(c *config.Filter) { c.Limits.BodyBytes = 1000 })
			for range 10 { // more than are replaced at once if they were failures
				x := newExchange()
				text := strings.Repeat("y", test.size)
				post(x, int64(test.size), text)
				s, _, err := b.begin(x)
				if test.response != nil {
					if err != nil {
						t.Fatal(err)
					}
					respondWith(x, 200, text)
					_, err = s.ResponseHeaders(false)
				}
				if test.fails != errors.Is(err, filter.ErrBodyLimit) || !test.fails && err != nil {
					t.Fatalf("got %v; want failure: %v", err, test.fails)
				}
				s.Done()
			}
		})
	}
}

// TestBodiesThatFail: the reader's error is the callback's.
func TestBodiesThatFail(t *testing.T) {
	cut := &exchange.Error{Status: 400, Err: io.ErrUnexpectedEOF}
	b := start(t, &guest{start: []op{do("enable_features", 2)}, request: []op{do("read_body", 0, buffer, 99)}, response: []op{do("read_body", 1, buffer, 99)}, next: 1}, nil)
	for range 10 {
		x := newExchange()
		post(x, 50, "hello")
		x.Request.Body.(*partsBody).err = cut
		s, _, err := b.begin(x)
		var got *exchange.Error
		if !errors.As(err, &got) || got != cut {
			t.Fatalf("got %v; want the body's error", err)
		}
		if _, err := x.Request.Body.Read(make([]byte, 10)); err == nil {
			t.Error("what is left of a consumed body looks whole")
		}
		s.Done()
		x = newExchange()
		if s, _, err = b.begin(x); err != nil {
			t.Fatal(err)
		}
		respondWith(x, 200, "abc")
		x.Response.Body.(*partsBody).err = cut
		if _, err = s.ResponseHeaders(false); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("got %v; want the body's error", err)
		}
		s.Done()
	}
}

// TestSkipAfterTrap: what a filter that is left out has read and kept is sent
// on; what it has consumed fails.
func TestSkipAfterTrap(t *testing.T) {
	for features, want := range map[int]string{0: "", 1: "hello world"} {
		b := start(t, &guest{request: []op{do("enable_features", features), do("read_body", 0, buffer, 4), do("write_body", 0, "new"), trap}}, nil)
		x := newExchange()
		post(x, 11, "hello world")
		s, _, err := b.begin(x)
		if err == nil {
			t.Fatal("no error")
		}
		got, err := io.ReadAll(struct{ io.Reader }{x.Request.Body})
		if string(got) != want || (err != nil) != (want == "") || x.Request.ContentLength != 11 {
			t.Errorf("features %d: got %q, %v; want %q", features, got, err, want)
		}
		s.Done()
	}
}

// TestExclusive: an instance serves one exchange, from handle_request to
// handle_response; there are 32 at most, and whoever waits too long is told.
func TestExclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, &guest{next: 1}, nil)
		var streams []*stream
		var mu sync.Mutex
		seen := map[*sandbox.Instance]bool{}
		var group sync.WaitGroup
		for range mostInstances {
			group.Go(func() {
				s, _, err := b.begin(newExchange())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if seen[s.i] {
					t.Error("two exchanges on one instance")
				}
				seen[s.i] = true
				streams = append(streams, s)
			})
		}
		group.Wait()
		before := time.Now()
		late, _, err := b.begin(newExchange())
		var failure *filter.Error
		if !errors.As(err, &failure) || failure.Cause != sandbox.CauseUnavailable || !failure.Busy || time.Since(before) != takeWait {
			t.Errorf("got %v after %v; want busy after %v", err, time.Since(before), takeWait)
		}
		late.Done()
		go func() {
			time.Sleep(takeWait / 2)
			s := streams[0]
			streams = streams[1:]
			s.Done()
		}()
		next, _, err := b.begin(newExchange())
		if err != nil || !seen[next.i] {
			t.Errorf("got %v; want the instance that was given back", err)
		}
		next.Done()
		for _, s := range streams {
			s.Done()
		}
	})
}

// TestCrowdedOut: who finds no processor is told to come again.
func TestCrowdedOut(t *testing.T) {
	b := start(t, &guest{request: []op{do("read_body", 0, buffer, 99)}, next: 1}, nil)
	x := newExchange()
	post(x, 5, "hello")
	begun, err := b.f.Begin(x, &filter.Waker{})
	if err != nil {
		t.Fatal(err)
	}
	s := begun.(*stream)
	// as the sandbox ends a call while other slow guests have the processors
	x.Request.Body.(*partsBody).wait = func() {
		s.i.Abort(&sandbox.Failure{Cause: sandbox.CauseUnavailable, Err: sandbox.ErrCrowded})
	}
	_, err = s.RequestHeaders(false)
	var failure *filter.Error
	if !errors.As(err, &failure) || failure.Cause != sandbox.CauseUnavailable || !failure.Busy {
		t.Errorf("got %+v; want busy", failure)
	}
	s.Done()
}

// TestClosedUnderAnExchange: that the filter has ended is not the guest's failure.
func TestClosedUnderAnExchange(t *testing.T) {
	b := start(t, &guest{next: 1}, nil)
	x := newExchange()
	s, _, err := b.begin(x)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.f.Close(ctx)
	respondWith(x, 200)
	_, err = s.ResponseHeaders(true)
	var failure *filter.Error
	if !errors.As(err, &failure) || failure.Cause != sandbox.CauseUnavailable {
		t.Errorf("got %v; want cause unavailable", err)
	}
	s.Done()
}

// TestWaitingIsNotTheGuests: a slow body does not make a guest stuck.
func TestWaitingIsNotTheGuests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// counts to 100,000: with that the guest is slow, and its clock runs
		work := []op{{code: slices.Concat([]byte{0x41, 8, 0x41}, sleb(100_000), []byte{0x36, 2, 0, 0x03, 0x40,
			0x41, 8, 0x41, 8, 0x28, 2, 0, 0x41, 1, 0x6b, 0x36, 2, 0, 0x41, 8, 0x28, 2, 0, 0x0d, 0, 0x0b})}}
		steps := slices.Concat(work, []op{do("read_body", 0, buffer, 99)}, work)
		b := start(t, &guest{request: steps, next: 1}, func(c *config.Filter) {
			c.Limits.CPUTime, c.Limits.CPUTimeExchange = 20*time.Millisecond, 20*time.Millisecond
		})
		x := newExchange()
		post(x, 5, "hello")
		x.Request.Body.(*partsBody).wait = func() { time.Sleep(time.Hour) }
		b.pass(x, func() { respondWith(x, 200) })
	})
}

// TestAllocations: the header path of a warm exchange allocates nothing.
func TestAllocations(t *testing.T) {
	b := start(t, &guest{next: 1, request: []op{do("get_uri", buffer, 99), do("get_header_values", 0, "x-two", buffer, 99), do("set_header_value", 0, "a", "b"), do("set_header_value", 1, "c", "d")},
		response: []op{do("get_header_names", 1, buffer, 99)}}, nil)
	x := newExchange()
	w := &filter.Waker{}
	run := func() {
		x.Arena.Reset()
		x.Response.Header.Reset()
		s, _ := b.f.Begin(x, w)
		if _, err := s.RequestHeaders(true); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ResponseHeaders(true); err != nil {
			t.Fatal(err)
		}
		s.Done()
	}
	run()
	if n := testing.AllocsPerRun(100, run); n > 0 && !raceEnabled {
		t.Errorf("%v allocations per exchange; want 0", n)
	}
}
