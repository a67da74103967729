package proxywasm

import (
	"errors"
	"sync"
	"testing"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

// grpcCalls is a GRPCCaller that the test answers.
type grpcCalls struct {
	begun  chan *grpcBegun
	refuse error
}

type grpcBegun struct {
	*capability.GRPCCall
	events    capability.GRPCEvents
	sent      chan string
	cancelled chan struct{}
	once      sync.Once
}

func (g *grpcCalls) GRPCCall(c *capability.GRPCCall, events capability.GRPCEvents) (capability.GRPCStream, error) {
	if g.refuse != nil {
		return nil, g.refuse
	}
	b := &grpcBegun{GRPCCall: c, events: events, sent: make(chan string, 10), cancelled: make(chan struct{})}
	g.begun <- b
	return b, nil
}

func (b *grpcBegun) Send(message []byte, end bool) error {
	if string(message) == "refuse" {
		return errors.New("too much waits")
	}
	text := string(message)
	if end {
		text += "|"
	}
	b.sent <- text
	return nil
}

func (b *grpcBegun) Cancel() { b.once.Do(func() { close(b.cancelled) }) }

func header(pairs ...string) *exchange.Header {
	h := &exchange.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	return h
}

// TestGRPCUpstream: what a guest names, and whether it asks for TLS.
func TestGRPCUpstream(t *testing.T) {
	tests := map[string]struct {
		name   string
		secure bool
	}{
		"auth.example:443":                   {"auth.example:443", false},
		"\n\x06\n\x04auth":                   {"auth", false},
		"\x12\x06\n\x04auth":                 {"auth", false},
		"\x12\x0a\n\x04auth\x12\x02\x0a\x00": {"auth", true},  // ssl_credentials
		"\x12\x0a\x12\x02\x12\x00\n\x04auth": {"auth", true},  // google_default, before the name
		"\x12\x0a\n\x04auth\x12\x02\x1a\x00": {"auth", false}, // local_credentials
		"\x12\x08\n\x04auth\x12\x00":         {"auth", false},
		"\x12\x0a\n\x04auth\x12\x02\x22\x00": {"auth", true},  // unknown ones
		"\x12\x09\n\x04auth\x12\x01\x0a":     {"auth", true},  // broken ones
		"\n\x0a\n\x04auth\x12\x02\x0a\x00":   {"auth", false}, // of envoy_grpc it is authority
		"\x12\x07\n\x04auth\x12":             {},
		"\n\x06\n\x04auth\x12":               {},
		"\n\x07\n\x04auth":                   {},
		"\n\x06\n\x04a/th":                   {},
		"":                                   {},
	}
	for text, want := range tests {
		if name, secure, ok := grpcUpstream([]byte(text)); ok != (want.name != "") || ok && (name != want.name || secure != want.secure) {
			t.Errorf("%q: got %q, %v, %v; want %q, %v", text, name, secure, ok, want.name, want.secure)
		}
	}
}

func TestGRPCCalls(t *testing.T) {
	s := script(t,
		`request_headers: id = grpc_call "grpc.ns:80" "pkg.Service" "Method" {a=b} "hello" 100 &; grpc_send $id "x" 0; return 1`,
		`grpc_receive_initial_metadata: get_header_map_value 4 "k" &&`,
		`grpc_receive: get_buffer_bytes 5 0 100 &&`,
		`grpc_receive_trailing_metadata: get_header_map_value 5 "t" &&; get_header_map_value 4 "k" &&`,
		`grpc_close: get_status & &&; set_effective_context 2; continue_stream 0`)
	e := s.exchange(0)
	go func() {
		b := <-s.grpc.begun
		if b.Upstream != "grpc.ns:80" || b.Service != "pkg.Service" || b.Method != "Method" || b.Metadata.Len() != 1 {
			t.Errorf("got %+v", b.GRPCCall)
		}
		if got := <-b.sent; got != "hello|" {
			t.Errorf("sent %q; want the message and the end", got)
		}
		b.events.InitialMetadata(header("k", "v"))
		b.events.Message([]byte("world"))
		b.events.TrailingMetadata(header("t", "w"))
		b.events.Close(5, "not found")
		b.events.Message([]byte("after the end"))
	}()
	e.request("")
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 1", "  grpc_call 0 1", "  grpc_send 2",
		"grpc_receive_initial_metadata 1 1 1", `  get_header_map_value 0 "v"`,
		"grpc_receive 1 1 5", `  get_buffer_bytes 0 "world"`,
		"grpc_receive_trailing_metadata 1 1 1", `  get_header_map_value 0 "w"`, `  get_header_map_value 2 ""`,
		"grpc_close 1 1 5", `  get_status 0 5 "not found"`, "  set_effective_context 0", "  continue_stream 0")
	e.Done()
}

func TestGRPCStreams(t *testing.T) {
	s := script(t,
		`request_headers: id = grpc_stream "\n\x05\n\x03svc" "pkg.Service" "Method" {} &; grpc_send $id "one" 0; grpc_send $id "two" 1; grpc_send 99 "x" 0; grpc_send $id "refuse" 0`,
		`response_headers: grpc_close $id; grpc_cancel $id; grpc_cancel $id; grpc_send $id "x" 0`)
	e := s.exchange(0)
	e.request("")
	b := <-s.grpc.begun
	if b.Upstream != "svc" || <-b.sent != "one" || <-b.sent != "two|" {
		t.Errorf("got %+v", b.GRPCCall)
	}
	wantLines(t, s.take(), "context_create 2 1", "request_headers 2 5 1", "  grpc_stream 0 1", "  grpc_send 0", "  grpc_send 0", "  grpc_send 1", "  grpc_send 10")
	e.response("")
	<-b.cancelled
	b.events.Message([]byte("late"))
	wantLines(t, s.take(), "response_headers 2 1 1", "  grpc_close 0", "  grpc_cancel 0", "  grpc_cancel 1", "  grpc_send 1")
	e.Done()
}

func TestGRPCRefusals(t *testing.T) {
	tests := map[string]string{
		`grpc_stream "" "s" "m" {} &`:                      "  grpc_stream 4 0",
		`grpc_stream "\n\xff" "s" "m" {} &`:                "  grpc_stream 4 0",
		`grpc_stream "svc" "a b" "m" {} &`:                 "  grpc_stream 2 0",
		`grpc_stream "svc" "s" "" {} &`:                    "  grpc_stream 2 0",
		`grpc_call "svc" "s" "m" {} "x" -1 &`:              "  grpc_call 2 0",
		`grpc_call "svc" "s" "m" "\x01" "x" 1 &`:           "  grpc_call 2 0",
		`grpc_call "svc" "s" "m" {} "refuse" 1 &`:          "  grpc_call 10 1",
		`grpc_call "\x12\x05\n\x03svc" "s" "m" {} "x" 1 &`: "  grpc_call 0 1",
	}
	for call, want := range tests {
		s := script(t, "request_headers: "+call)
		e := s.exchange(0)
		e.request("")
		if lines := s.take(); lines[len(lines)-1] != want {
			t.Errorf("%s: got %q; want %q", call, lines[len(lines)-1], want)
		}
		e.Done()
	}
}
