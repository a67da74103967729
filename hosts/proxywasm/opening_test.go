package proxywasm

import (
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/telemetry"
)

// openingGuest has penstock_on_request_headers, and notes each callback with its arguments
// in its memory: their number at 0, as bytes from 16 on. A context without a body is not
// kept.
func openingGuest() []byte {
	note := func(values ...[]byte) (code []byte) {
		for _, v := range values {
			code = append(code, 0x41, 0, 0x28, 2, 0) // the address
			code = append(code, v...)
			code = append(code, 0x3a, 0, 16)
			code = append(code, 0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0) // one more
		}
		return code
	}
	tag := func(c byte) []byte { return append([]byte{0x41}, leb(int(c)&0x3f)...) }
	local := func(n byte) []byte { return []byte{0x20, n} }
	g := minimal()
	g.has("proxy_on_context_create", "ii", 0, note(tag('c'), local(0))...)
	g.has("proxy_on_request_headers", "iii", 1, append(note(tag('h'), local(0)), 0x41, 0)...)
	g.has(openingExport, "iiiii", 1, append(note(tag('o'), local(0), local(1), local(4)), 0x20, 3, 0x41, 8, 0x74)...)
	g.has("proxy_on_response_headers", "iii", 1, append(note(tag('r'), local(0)), 0x41, 0)...)
	g.has("proxy_on_delete", "i", 0, note(tag('d'), local(0))...)
	return g.complete()
}

// noted returns what the guest has noted since the last time.
func noted(t *testing.T, f *Filter) (all []byte) {
	t.Helper()
	f.eachRoot(func(r *root) {
		m := r.v.i.Memory()
		n, _ := m.ReadUint32Le(0)
		view, ok := m.Read(16, n)
		if !ok {
			t.Fatalf("%d notes", n)
		}
		all = append(all, view...)
		m.WriteUint32Le(0, 0)
	})
	return all
}

// notes are bytes that a guest notes: letters as they are, numbers by their value.
func notes(text string) (all []byte) {
	for _, word := range strings.Fields(text) {
		c := word[0]
		if c >= 'a' {
			c &= 0x3f
		} else {
			c -= '0'
		}
		all = append(all, c)
	}
	return all
}

// TestOpening: one callback makes a context and shows it the request, and takes the end of
// another one.
func TestOpening(t *testing.T) {
	tests := map[string]struct {
		loud bool // it wants proxy_on_done or proxy_on_log
		run  func(exchange func(body bool) func())
		want string
	}{
		"a context that is not kept has no other callback": {run: func(exchange func(bool) func()) { exchange(false)(); exchange(false)() }, want: "o 1 2 0 o 1 3 0"},
		"the end of one comes with the next": {run: func(exchange func(bool) func()) { exchange(true)(); exchange(true)(); exchange(false)() },
			want: "o 1 2 0 r 2 o 1 3 2 r 3 o 1 4 3"},
		"the first that ended comes first": {run: func(exchange func(bool) func()) {
			one, two := exchange(true), exchange(true)
			one()
			two()
			exchange(false)()
			exchange(false)()
		}, want: "o 1 2 0 o 1 3 0 r 2 r 3 o 1 4 2 o 1 5 3"},
		"who wants the last callbacks gets each end": {loud: true, run: func(exchange func(bool) func()) { exchange(true)(); exchange(false)() },
			want: "o 1 2 0 r 2 d 2 o 1 3 0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t, openingGuest(), nil)
			if b.err != nil {
				t.Fatal(b.err)
			}
			b.f.quiet = !test.loud
			if got, want := noted(t, b.f), notes("c 1"); !slices.Equal(got, want) {
				t.Errorf("the start: got %v; want %v", got, want)
			}
			test.run(openExchange(t, b.f))
			if got, want := noted(t, b.f), notes(test.want); !slices.Equal(got, want) {
				t.Errorf("got %v; want %v", got, want)
			}
		})
	}
}

// openExchange returns what begins an exchange through f, with a request's body or
// without; and that returns what ends it, with a response.
func openExchange(t *testing.T, f *Filter) func(body bool) func() {
	failures := telemetry.New().Counters("penstock_test_failures_total", "test", "name")
	chain := filter.New([]filter.Entry{{Filter: f, ID: "service/x", OnError: config.Reject, BodyBytes: 1 << 20, Failures: failures.With("x")}})
	return func(body bool) func() {
		x := newExchange()
		x.Client = quietClient{}
		if body {
			x.Request.Body, x.Request.ContentLength = exchange.NewBytes([]byte("body")), 4
		}
		run := new(filter.Run)
		run.Start(x)
		if out := run.Request(chain, []byte("/")); out != filter.Passed {
			t.Errorf("got outcome %v, %v; want that it passed", out, run.Err())
		}
		return func() {
			x.Response.Status = 200
			if out := run.Response(); out != filter.Passed {
				t.Errorf("got outcome %v, %v; want that it passed", out, run.Err())
			}
			run.Done()
		}
	}
}

// TestEndsAreNotForgotten: the guest keeps no more than a few contexts that have ended, and
// none when its root context ends.
func TestEndsAreNotForgotten(t *testing.T) {
	b := start(t, openingGuest(), nil)
	if b.err != nil {
		t.Fatal(b.err)
	}
	b.f.quiet = true
	var ends []func()
	for range maxEnded + 1 {
		ends = append(ends, openExchange(t, b.f)(true))
	}
	noted(t, b.f)
	for _, end := range ends {
		end()
	}
	want := notes("r 2 r 3 r 4 r 5 r 6 r 7 r 8 r 9")
	want = append(append(want, 'r'&0x3f, 10), 'd'&0x3f, 10)
	if got := noted(t, b.f); !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	b.f.eachRoot(func(r *root) {
		r.end()
		n, _ := r.v.i.Memory().ReadUint32Le(0)
		got, _ := r.v.i.Memory().Read(16, n)
		if want := notes("d 2 d 3 d 4 d 5 d 6 d 7 d 8 d 9 d 1"); !slices.Equal(got, want) {
			t.Errorf("the end: got %v; want %v", got, want)
		}
	})
}
