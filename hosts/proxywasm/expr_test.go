package proxywasm

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability/cel"
)

// number64 is how a number of 64 bits reads in a trace.
func number64(n uint64) string {
	return fmt.Sprintf("%q", string(binary.LittleEndian.AppendUint64(nil, n)))
}

// TestExpressions: attributes have the types that Envoy gives them.
func TestExpressions(t *testing.T) {
	tests := map[string]string{
		`request.path`:                                     `0 "/a?b"`,
		`request.url_path + '!' + request.query`:           `0 "/a!b"`,
		`request.normal_path`:                              `0 "/a"`,
		`request.headers['X-One'] == '1'`:                  `10 ""`, // names in maps are lower case
		`request.headers['x-one'] == '1'`:                  `0 "\x01"`,
		`'x-none' in request.headers`:                      `0 "\x00"`,
		`request.headers.exists(h, h == ':path')`:          `0 "\x01"`,
		`has(request.headers) && !has(request.referer)`:    `0 "\x01"`,
		`request.time > timestamp('2000-01-01T00:00:00Z')`: `0 "\x00"`,
		`source.port`:                                      "0 " + number64(99),
		`source.address`:                                   `0 "192.0.2.1:99"`,
		`connection.id == 7u && connection_id == 7u`:       `0 "\x01"`,
		`connection.mtls`:                                  `0 "\x00"`,
		`plugin_name`:                                      `0 "service/script"`,
		`node.id + xds.node.id + node.metadata.NAMESPACE`:  `0 "node-1node-1ns"`,
		`listener_direction`:                               "0 " + number64(1),
		`kept`:                                             `0 "value"`,
		`filter_state.kept == b'value' && filter_state['wasm.kept'] == kept`: `0 "\x01"`,
		`response.code`:    `10 ""`, // not yet
		`nothing`:          `10 ""`,
		`upstream.address`: `10 ""`,
		`1 / 0`:            `10 ""`,
		`request`:          `3 ""`,
		`null`:             `3 ""`,
	}
	calls := []string{`set_property "kept" "value"`}
	var texts []string
	for text := range tests {
		texts = append(texts, text)
		token := fmt.Sprintf(`\x%02x\x00\x00\x00`, len(texts))
		calls = append(calls, `call_foreign_function "expr_create" "`+text+`" &&`, `call_foreign_function "expr_evaluate" "`+token+`" &&`)
	}
	s := script(t, "request_headers: "+strings.Join(calls, "; "))
	e := s.exchange(config.Reject)
	e.request("")
	e.Done()
	lines := s.take()[3:]
	for i, text := range texts {
		if created, got := lines[2*i], lines[2*i+1]; !strings.HasPrefix(created, "  call_foreign_function 0 ") || got != "  call_foreign_function "+tests[text] {
			t.Errorf("%s: got %s, then %s; want %s", text, created, got, tests[text])
		}
	}
}

// TestExpressionTokens: what the three functions answer to what they are given.
func TestExpressionTokens(t *testing.T) {
	call := func(name, args string) string { return `call_foreign_function "` + name + `" "` + args + `" &&` }
	s := script(t, "request_headers: "+strings.Join([]string{
		call("expr_create", "a +"), call("expr_create", ""), call("expr_create", "nobody(1)"), call("expr_create", "[1].map(a, [a, a])"),
		call("expr_create", strings.Repeat("a", cel.MaxText+1)),
		call("expr_create", "1"), call("expr_create", "2"),
		call("expr_evaluate", `\x02\x00\x00\x00`), call("expr_evaluate", `\x03\x00\x00\x00`), call("expr_evaluate", `\x02`), call("expr_evaluate", `\x02\x00\x00\x00\x00`),
		call("expr_delete", `\x02\x00\x00\x00`), call("expr_delete", `\x02\x00\x00\x00`), call("expr_delete", `\x02`),
		call("expr_evaluate", `\x02\x00\x00\x00`), call("expr_evaluate", `\x01\x00\x00\x00`),
		`call_foreign_function "expr_create" "3" 0 0`,
	}, "; "))
	e := s.exchange(config.Reject)
	e.request("")
	e.Done()
	var got []string
	for _, line := range s.take() {
		if rest, ok := strings.CutPrefix(line, "  call_foreign_function "); ok {
			got = append(got, rest)
		}
	}
	wantLines(t, got, `2 ""`, `2 ""`, `2 ""`, `2 ""`, `2 ""`, `0 "\x01\x00\x00\x00"`, `0 "\x02\x00\x00\x00"`,
		"0 "+number64(2), `1 ""`, `2 ""`, `2 ""`, `0 ""`, `0 ""`, `2 ""`, `1 ""`, "0 "+number64(1), "0")
}

// TestExpressionsAreBounded: a guest cannot hoard them, and pays for them.
func TestExpressionsAreBounded(t *testing.T) {
	s := script(t)
	r, err := s.f.acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.v.i.Unlock()
	r.v.r = r
	for i := range maxExpressions {
		if _, status := createExpression(r.v, []byte("1")); status != statusOK {
			t.Fatalf("%d: got %d", i, status)
		}
	}
	if _, status := createExpression(r.v, []byte("1")); status != statusInternal {
		t.Errorf("got %d; want it refused", status)
	}
	for token := range uint32(maxExpressions) {
		deleteExpression(r.v, binary.LittleEndian.AppendUint32(nil, token+1))
	}
	r.v.i.Spend(-1 << 40)
	long := []byte("'" + strings.Repeat("a", cel.MaxText-2) + "'")
	n := 0
	for ; ; n++ {
		if _, status := createExpression(r.v, long); status != statusOK {
			break
		}
	}
	if n != maxExpressionText/cel.MaxText {
		t.Errorf("%d texts of %d bytes; want %d", n, len(long), maxExpressionText/cel.MaxText)
	}
}

func TestExpressionsCostSteps(t *testing.T) {
	s := newScene(t, sceneOptions{
		script: `request_headers: call_foreign_function "expr_create" "` + strings.Repeat("1 + ", 95) + `1" &&; log 2 "never"`,
		change: func(c *config.Filter) { c.Limits.CPUTime = 1_000_000 }, // one million steps
	})
	e := s.exchange(config.Reject)
	e.request("")
	if e.Err() == nil {
		t.Error("an expression of 381 bytes fits into a million steps")
	}
	e.Done()
}

// FuzzExpressionArguments: an argument is a token of four bytes, or it is
// refused; the oracle is a plain map.
func FuzzExpressionArguments(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0}, uint8(0))
	f.Add([]byte{0}, uint8(1))
	s := script(f)
	r, err := s.f.acquire()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(r.v.i.Unlock)
	f.Fuzz(func(t *testing.T, args []byte, what uint8) {
		r.v.r = r
		r.v.i.Spend(-1 << 40)
		r.expressions = expressions{}
		known := map[string]bool{}
		for _, text := range []string{"1", "2", "3"} {
			token, _ := createExpression(r.v, []byte(text))
			known[string(token)] = true
		}
		want := statusOK
		switch {
		case len(args) != 4:
			want = statusBadArgument
		case what%2 == 0 && !known[string(args)]:
			want = statusNotFound
		}
		var got uint32
		if what%2 == 0 {
			_, got = evaluateExpression(r.v, args)
		} else if got = deleteExpression(r.v, args); known[string(args)] && len(r.expressions.by) != 2 {
			t.Errorf("%q was not deleted", args)
		}
		if got != want {
			t.Errorf("%q: got %d; want %d", args, got, want)
		}
	})
}
