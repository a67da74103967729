package proxywasm

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability"
)

// names is a Resolver whose answers the test gives.
type names struct {
	begun  chan *nameBegun
	refuse error
}

type nameBegun struct {
	hostname string
	done     func(netip.Addr, error)
}

func (n *names) Resolve(_ *config.Filter, hostname string, done func(netip.Addr, error)) (func(), error) {
	if n.refuse != nil {
		return nil, n.refuse
	}
	n.begun <- &nameBegun{hostname, done}
	return func() {}, nil
}

const resolveA = `call_foreign_function "resolve_lua" "a.example" &&`

func TestResolve(t *testing.T) {
	s := script(t, "request_headers: "+resolveA+`; call_foreign_function "resolve_lua" "192.0.2.1" &&; call_foreign_function "resolve_lua" "" &&; return 1`,
		`foreign_function: get_buffer_bytes 8 0 100 &&; set_effective_context 2; continue_stream 0`)
	n := &names{begun: make(chan *nameBegun, 2)}
	s.abi.o.Names = n
	e := s.exchange(config.Reject)
	go func() { (<-n.begun).done(netip.MustParseAddr("192.0.2.7"), nil) }()
	e.request("")
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 1", `  call_foreign_function 0 ""`, `  call_foreign_function 0 "\xc0\x00\x02\x01"`, `  call_foreign_function 2 ""`,
		"foreign_function 1 0 14", `  get_buffer_bytes 0 "\x04\xc0\x00\x02\aa.example"`, "  set_effective_context 0", "  continue_stream 0")
	e.Done()

	s = script(t, "request_headers: "+resolveA+"; return 1", `foreign_function: get_buffer_bytes 8 0 100 &&; set_effective_context 2; continue_stream 0`)
	s.abi.o.Names = n
	e = s.exchange(config.Reject)
	go func() { (<-n.begun).done(netip.Addr{}, errors.New("no such host")) }()
	e.request("")
	e.Done()
	if text := strings.Join(s.take(), "\n"); !strings.Contains(text, "foreign_function 1 0 10\n  get_buffer_bytes 0 \"\\x00a.example\"") {
		t.Errorf("got\n%s", text)
	}
}

func TestResolveRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		grant  []string
		refuse error
		want   string
	}{
		"no right":           {nil, nil, "10"},
		"a name of nobody's": {[]string{capability.HTTPCalls}, capability.ErrUnknownUpstream, "1"},
		"too many":           {[]string{capability.HTTPCalls}, capability.ErrBusy, "10"},
	} {
		s := newScene(t, sceneOptions{script: "request_headers: " + resolveA, grant: test.grant})
		s.abi.o.Names = &names{refuse: test.refuse}
		e := s.exchange(config.Reject)
		e.request("")
		e.Done()
		if text := strings.Join(s.take(), "\n"); !strings.Contains(text, "  call_foreign_function "+test.want+" ") {
			t.Errorf("%s: got\n%s", name, text)
		}
	}
}
