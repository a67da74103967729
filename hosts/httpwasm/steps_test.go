package httpwasm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

// stepsOf returns what handle_request spends with these steps, or handle_response.
func stepsOf(t *testing.T, features int, request, response []op, change func(*exchange.Exchange)) int64 {
	t.Helper()
	b := start(t, &guest{start: []op{do("enable_features", features)}, request: request, response: response, next: 1}, nil)
	x := newExchange()
	if change != nil {
		change(x)
	}
	s, v, err := b.begin(x)
	if err != nil || v != filter.Continue {
		t.Fatal(v, err)
	}
	respondWith(x, 200)
	if _, err := s.ResponseHeaders(true); err != nil {
		t.Fatal(err)
	}
	spent := sandbox.Steps(b.f.config.Limits.CPUTimeExchange) - s.left
	s.Done()
	return spent
}

// TestHostFunctionsArePaid: by the call, by the bytes that are handed over, and by
// the fields that are looked at.
func TestHostFunctionsArePaid(t *testing.T) {
	const fields, size = 500, 60_000
	long := strings.Repeat("x", 800)
	many := func(x *exchange.Exchange) {
		x.Request.Header.Reset()
		for n := range fields {
			x.Request.Header.Add(fmt.Appendf(nil, "x-many-%09d", n), []byte("1")) // 16 bytes
		}
	}
	path := func(x *exchange.Exchange) { x.Request.Path = []byte("/" + strings.Repeat("x", size-1)) }
	body := func(x *exchange.Exchange) { post(x, size, strings.Repeat("y", size/2), strings.Repeat("z", size/2)) }
	tests := map[string]struct {
		features          int
		request, response []op
		change            func(*exchange.Exchange)
		want              int64 // beside what the call itself costs
	}{
		"a call":                {0, []op{do("log_enabled", 0)}, nil, nil, 0},
		"a text":                {0, []op{do("get_uri", buffer, size)}, nil, path, size / bytesOfAStep},
		"the size of a text":    {0, []op{do("get_uri", 0, 0)}, nil, path, size / bytesOfAStep},
		"a log line":            {0, []op{do("log", 0, buffer, size)}, nil, nil, size / bytesOfAStep},
		"a changed text":        {0, []op{do("set_uri", "/"+long)}, nil, nil, 50},
		"values":                {0, []op{do("get_header_values", 0, long, buffer, 99)}, nil, many, fields*(1+100) + 50},
		"a short name's values": {0, []op{do("get_header_values", 0, "x-many", buffer, 99)}, nil, many, fields},
		"of another map":        {0, []op{do("get_header_values", 1, long, buffer, 99)}, nil, many, 50},
		"names, each compared with the ones before": {0, []op{do("get_header_names", 0, buffer, 9000)}, nil, many, fields*(fields+1)/2*(1+2) + (fields*17+5)/bytesOfAStep},
		"setting a field":                      {0, []op{do("set_header_value", 0, long, "1")}, nil, many, fields*(1+100) + 50},
		"adding a field":                       {0, []op{do("add_header_value", 0, long, "1")}, nil, many, fields*(1+100) + 50},
		"removing a field":                     {0, []op{do("remove_header", 0, long)}, nil, many, fields*(1+100) + 50},
		"a consumed body":                      {0, []op{do("read_body", 0, buffer, size)}, nil, body, size / bytesOfAStep},
		"a kept body":                          {bufferRequest, []op{do("read_body", 0, buffer, size)}, nil, body, size / bytesOfAStep},
		"a small body in a large buffer":       {0, []op{do("read_body", 0, buffer, size)}, nil, func(x *exchange.Exchange) { post(x, 3, "abc") }, 0},
		"a body that is read for its trailers": {bufferRequest | trailers, []op{do("get_header_names", 2, buffer, 99)}, nil, body, size / bytesOfAStep},
		"a body that is written":               {0, []op{do("write_body", 0, buffer, size)}, nil, nil, size / bytesOfAStep},
		"an answer":                            {0, []op{do("write_body", 1, buffer, size)}, nil, nil, size / bytesOfAStep},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := stepsOf(t, test.features, test.request, test.response, test.change) - stepsOf(t, test.features, nil, nil, test.change)
			if want := stepsOfCall + test.want; got < want || got > want+20 { // the guest's own instructions
				t.Errorf("got %d steps; want %d", got, want)
			}
		})
	}
}

// TestBodiesReadAgainArePaid: what is kept is copied once more.
func TestBodiesReadAgainArePaid(t *testing.T) {
	const size = 60_000
	read := do("read_body", 0, buffer, size)
	body := func(x *exchange.Exchange) { post(x, size, strings.Repeat("y", size)) }
	got := stepsOf(t, bufferRequest, []op{read}, []op{read}, body) - stepsOf(t, bufferRequest, []op{read}, nil, body)
	if want := int64(stepsOfCall + size/bytesOfAStep); got < want || got > want+20 {
		t.Errorf("got %d steps; want %d", got, want)
	}
}

// TestHostFunctionsMeetTheBudget: a guest that does nothing but call them ends, and
// the body that it kept goes on whole where it is left out.
func TestHostFunctionsMeetTheBudget(t *testing.T) {
	endless := func(o ...op) []op { // loop ... end
		return append(append([]op{{code: []byte{0x03, 0x40}}}, o...), op{code: []byte{0x0c, 0, 0x0b}})
	}
	for name, steps := range map[string][]op{
		"lookups":  endless(do("get_header_values", 0, "x-two", buffer, 99)),
		"a body":   endless(do("read_body", 0, buffer, 4)),
		"trailers": {do("get_header_names", 2, buffer, 99), op{code: []byte{0x03, 0x40, 0x0c, 0, 0x0b}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, &guest{start: []op{do("enable_features", bufferRequest|trailers)}, request: steps}, func(c *config.Filter) {
				c.Limits.CPUTime = 8 * time.Microsecond // 8,000 steps
			})
			x := newExchange()
			text := strings.Repeat("0123456789", 20_000) // 12,500 steps
			post(x, int64(len(text)), text[:9], text[9:])
			s, _, err := b.begin(x)
			var failure *filter.Error
			if !errors.As(err, &failure) || failure.Cause != sandbox.CauseCPU {
				t.Errorf("got %v; want cause cpu", err)
			}
			if got := content(t, x.Request.Body); got != text {
				t.Errorf("%d bytes of the body go on; want %d", len(got), len(text))
			}
			s.Done()
		})
	}
}
