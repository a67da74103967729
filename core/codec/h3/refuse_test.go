package h3

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// mistake is what a client does wrong, and what it gets for it.
type mistake struct {
	rfc    string
	do     func(r *rawClient) *quic.Stream // returns the stream whose end is looked at; nil: the connection's
	want   string                          // "CLOSE code" for the connection, "RESET code" for the stream, or a status
	reason string                          // as it is told of; empty: of nothing, since a response or the body tells
}

// onRequest is a mistake on a request's stream, which ends behind it.
func onRequest(rfc, want, reason string, b ...[]byte) mistake {
	return mistake{rfc, func(r *rawClient) *quic.Stream {
		s := r.request(join(b...), true)
		if strings.HasPrefix(want, "CLOSE") {
			return nil
		}
		return s
	}, want, reason}
}

// inHead is a request with these fields.
func inHead(rfc, want, reason string, list ...string) mistake {
	return onRequest(rfc, want, reason, headers(list...))
}

// inSection is a request with this encoded field section.
func inSection(b ...byte) mistake {
	return onRequest("9204, 4.5", "CLOSE 0x200", "qpack", appendFrame(nil, frameHeaders, b))
}

// onControl is a mistake on the control stream, behind SETTINGS.
func onControl(rfc, want, reason string, b ...[]byte) mistake {
	return mistake{rfc, func(r *rawClient) *quic.Stream {
		r.control.Write(join(b...))
		return nil
	}, want, reason}
}

// onUni is a mistake on another unidirectional stream.
func onUni(kind uint64, rfc, want, reason string, b ...[]byte) mistake {
	return mistake{rfc, func(r *rawClient) *quic.Stream {
		r.uni(kind, join(b...))
		return nil
	}, want, reason}
}

// inSettings are settings that are wrong.
func inSettings(rfc, want string, pairs ...uint64) mistake {
	var b []byte
	for _, v := range pairs {
		b = appendVarint(b, v)
	}
	return mistake{rfc, func(r *rawClient) *quic.Stream {
		r.uni(streamControl, appendFrame(nil, frameSettings, b))
		return nil
	}, want, "settings"}
}

// number is a frame that is one number.
func number(kind, n uint64) []byte { return appendFrame(nil, kind, appendVarint(nil, n)) }

// without leaves one of get's fields out.
func without(name string, more ...string) []string {
	var list []string
	for _, f := range get() {
		if !strings.HasPrefix(f, name+":") {
			list = append(list, f)
		}
	}
	return append(list, more...)
}

const unexpected, badFrame, badID = "CLOSE 0x105", "CLOSE 0x106", "CLOSE 0x108"

// mistakes are those of clients that have sent SETTINGS.
var mistakes = map[string]mistake{
	// Frames of requests.
	"DATA before HEADERS":                   onRequest("9114, 4.1", unexpected, "frame-unexpected", data("abc"), headers(get()...)),
	"DATA behind the trailer":               onRequest("9114, 4.1", unexpected, "frame-unexpected", headers(post()...), data("a"), headers("a: b"), data("c")),
	"HEADERS behind the trailer":            onRequest("9114, 4.1", unexpected, "frame-unexpected", headers(post()...), data("a"), headers("a: b"), headers("c: d")),
	"SETTINGS on a request":                 onRequest("9114, 7.2.4", unexpected, "frame-unexpected", appendFrame(nil, frameSettings, nil)),
	"GOAWAY on a request":                   onRequest("9114, 7.2.6", unexpected, "frame-unexpected", number(frameGoAway, 0)),
	"MAX_PUSH_ID on a request":              onRequest("9114, 7.2.7", unexpected, "frame-unexpected", number(frameMaxPushID, 0)),
	"CANCEL_PUSH on a request":              onRequest("9114, 7.2.3", unexpected, "frame-unexpected", number(frameCancelPush, 0)),
	"PUSH_PROMISE from a client":            onRequest("9114, 7.2.5", unexpected, "frame-unexpected", headers(post()...), appendFrame(nil, framePushPromise, []byte{0, 0, 0})),
	"HTTP/2's PRIORITY on a request":        onRequest("9114, 7.2.8", unexpected, "frame-unexpected", appendFrame(nil, framePriority, nil)),
	"HTTP/2's PING on a request":            onRequest("9114, 7.2.8", unexpected, "frame-unexpected", headers(post()...), appendFrame(nil, framePing, make([]byte, 8))),
	"HTTP/2's WINDOW_UPDATE on a request":   onRequest("9114, 7.2.8", unexpected, "frame-unexpected", appendFrame(nil, frameWindowUpdate, nil)),
	"HTTP/2's CONTINUATION on a request":    onRequest("9114, 7.2.8", unexpected, "frame-unexpected", appendFrame(nil, frameContinuation, nil)),
	"PRIORITY_UPDATE on a request":          onRequest("9218, 7.2", unexpected, "frame-unexpected", number(framePriorityUpdateRequest, 0)),
	"a request ends within a type":          onRequest("9114, 7.1", badFrame, "frame-truncated", []byte{0x40}),
	"a request ends behind a type":          onRequest("9114, 7.1", badFrame, "frame-truncated", []byte{frameHeaders}),
	"a request ends within HEADERS":         onRequest("9114, 7.1", badFrame, "frame-truncated", headers(get()...)[:10]),
	"a request ends within DATA":            onRequest("9114, 7.1", badFrame, "frame-truncated", headers(post()...), data("abc")[:4]),
	"a request ends within a DATA's header": onRequest("9114, 7.1", badFrame, "frame-truncated", headers(post()...), []byte{frameData, 0x80}),
	"a request ends within the trailer":     onRequest("9114, 7.1", badFrame, "frame-truncated", headers(post()...), headers("a: b")[:4]),
	"a request ends within an unknown one":  onRequest("9114, 7.1", badFrame, "frame-truncated", []byte{0x21, 5, 1}),
	"a request without HEADERS":             onRequest("9114, 4.1", "RESET 0x10d", "request-incomplete"),
	"a request of unknown frames alone":     onRequest("9114, 4.1", "RESET 0x10d", "request-incomplete", appendFrame(nil, 0x21, []byte("x"))),

	// Field sections (RFC 9204).
	"an empty field section":           inSection(),
	"a section without Base":           inSection(0),
	"a Required Insert Count":          inSection(1, 0, 0xd1),
	"a negative Base":                  inSection(0, 0x80, 0xd1),
	"an indexed dynamic field":         inSection(0, 0, 0x80),
	"an indexed field past the Base":   inSection(0, 0, 0x10),
	"a name of the dynamic table":      inSection(0, 0, 0x40, 0),
	"a name past the Base":             inSection(0, 0, 0x00, 0),
	"an index past the static table":   inSection(0, 0, 0xff, 99-63),
	"a name past the static table":     inSection(0, 0, 0x5f, 99-15, 0),
	"an index that is cut":             inSection(0, 0, 0xff),
	"an index that has no end":         inSection(0, 0, 0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0),
	"an index above 62 bits":           inSection(0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
	"a name without a value":           inSection(0, 0, 0x51),
	"a value longer than the section":  inSection(0, 0, 0x51, 5, 'a'),
	"a name longer than the section":   inSection(0, 0, 0x27, 0x7f, 'a'),
	"a literal without a value":        inSection(0, 0, 0x21, 'a'),
	"Huffman padding that is not ones": inSection(0, 0, 0x51, 0x81, 0x00),
	"Huffman padding of a whole byte":  inSection(0, 0, 0x51, 0x82, 0x1f, 0xff),
	"Huffman code with an end (EOS)":   inSection(0, 0, 0x51, 0x84, 0xff, 0xff, 0xff, 0xff),
	"a trailer that cannot be decoded": onRequest("9204, 4.5", "CLOSE 0x200", "qpack", headers(post()...), appendFrame(nil, frameHeaders, []byte{1, 0})),
	"the encoder inserts a field":      onUni(streamEncoder, "9204, 3.2.3", "CLOSE 0x201", "qpack-encoder", []byte{0xc0, 0}),
	"the encoder inserts a name":       onUni(streamEncoder, "9204, 3.2.3", "CLOSE 0x201", "qpack-encoder", []byte{0x41, 'a', 0}),
	"the encoder duplicates":           onUni(streamEncoder, "9204, 3.2.3", "CLOSE 0x201", "qpack-encoder", []byte{0x00}),
	"the encoder sets a capacity":      onUni(streamEncoder, "9204, 4.3.1", "CLOSE 0x201", "qpack-encoder", []byte{0x20, 0x21}),
	"the decoder acknowledges":         onUni(streamDecoder, "9204, 4.4.1", "CLOSE 0x202", "qpack-decoder", []byte{0x80}),
	"the decoder counts inserts":       onUni(streamDecoder, "9204, 4.4.3", "CLOSE 0x202", "qpack-decoder", []byte{0x40, 0x01}),
	"the decoder counts none":          onUni(streamDecoder, "9204, 4.4.3", "CLOSE 0x202", "qpack-decoder", []byte{0x00}),
	"the decoder's number has no end":  onUni(streamDecoder, "9204, 4.1.1", "CLOSE 0x202", "qpack-decoder", []byte{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}),
	"a second encoder stream":          {"9204, 4.2", func(r *rawClient) *quic.Stream { r.uni(streamEncoder, nil); r.uni(streamEncoder, nil); return nil }, "CLOSE 0x103", "stream-creation"},
	"a second decoder stream":          {"9204, 4.2", func(r *rawClient) *quic.Stream { r.uni(streamDecoder, nil); r.uni(streamDecoder, nil); return nil }, "CLOSE 0x103", "stream-creation"},
	"the encoder stream ends":          {"9204, 4.2", func(r *rawClient) *quic.Stream { r.uni(streamEncoder, nil).Close(); return nil }, "CLOSE 0x104", "closed-critical"},
	"the decoder stream is reset":      {"9204, 4.2", resetDecoder, "CLOSE 0x104", "closed-critical"},
	"the decoder ends within a number": {"9204, 4.2", func(r *rawClient) *quic.Stream { r.uni(streamDecoder, []byte{0x7f}).Close(); return nil }, "CLOSE 0x104", "closed-critical"},
	"the control stream ends":          {"9114, 6.2.1", func(r *rawClient) *quic.Stream { r.control.Close(); return nil }, "CLOSE 0x104", "closed-critical"},
	"our control stream is refused": {"9114, 6.2.1", func(r *rawClient) *quic.Stream {
		s, err := r.AcceptUniStream(r.ctx)
		if err != nil {
			r.t.Fatal(err)
		}
		s.CancelRead(0x100)
		return nil
	}, "CLOSE 0x104", "closed-critical"},
	"the control stream is reset": {"9114, 6.2.1", resetControl, "CLOSE 0x104", "closed-critical"},
	"the control stream ends too early": {"9114, 7.1", func(r *rawClient) *quic.Stream {
		r.control.Write([]byte{frameGoAway, 4, 0x80})
		r.control.Close()
		return nil
	}, badFrame, "frame-truncated"},
	"a second control stream":     onUni(streamControl, "9114, 6.2.1", "CLOSE 0x103", "stream-creation", appendFrame(nil, frameSettings, nil)),
	"a push stream from a client": onUni(streamPush, "9114, 6.2.2", "CLOSE 0x103", "stream-creation", []byte{0}),

	// Frames of the control stream.
	"a second SETTINGS":                    onControl("9114, 7.2.4", unexpected, "frame-unexpected", appendFrame(nil, frameSettings, nil)),
	"DATA on the control stream":           onControl("9114, 7.2.1", unexpected, "frame-unexpected", data("a")),
	"HEADERS on the control stream":        onControl("9114, 7.2.2", unexpected, "frame-unexpected", headers(get()...)),
	"PUSH_PROMISE on the control stream":   onControl("9114, 7.2.5", unexpected, "frame-unexpected", appendFrame(nil, framePushPromise, []byte{0})),
	"HTTP/2's PING on the control stream":  onControl("9114, 7.2.8", unexpected, "frame-unexpected", appendFrame(nil, framePing, make([]byte, 8))),
	"HTTP/2's PRIORITY there":              onControl("9114, 7.2.8", unexpected, "frame-unexpected", appendFrame(nil, framePriority, make([]byte, 5))),
	"HTTP/2's WINDOW_UPDATE there":         onControl("9114, 7.2.8", unexpected, "frame-unexpected", appendFrame(nil, frameWindowUpdate, make([]byte, 4))),
	"HTTP/2's CONTINUATION there":          onControl("9114, 7.2.8", unexpected, "frame-unexpected", appendFrame(nil, frameContinuation, nil)),
	"CANCEL_PUSH of what was not promised": onControl("9114, 7.2.3", badID, "push-id", number(frameMaxPushID, 9), number(frameCancelPush, 0)),
	"MAX_PUSH_ID becomes smaller":          onControl("9114, 7.2.7", badID, "push-id", number(frameMaxPushID, 9), number(frameMaxPushID, 9), number(frameMaxPushID, 8)),
	"GOAWAY becomes larger":                onControl("9114, 7.2.6", badID, "goaway", number(frameGoAway, 9), number(frameGoAway, 9), number(frameGoAway, 10)),
	"GOAWAY without a number":              onControl("9114, 7.1", badFrame, "frame-size", appendFrame(nil, frameGoAway, nil)),
	"GOAWAY with half a number":            onControl("9114, 7.1", badFrame, "frame-size", appendFrame(nil, frameGoAway, []byte{0x40})),
	"GOAWAY with more than a number":       onControl("9114, 7.1", badFrame, "frame-size", appendFrame(nil, frameGoAway, []byte{0, 0})),
	"MAX_PUSH_ID with more than a number":  onControl("9114, 7.1", badFrame, "frame-size", appendFrame(nil, frameMaxPushID, []byte{0, 0})),
	"PRIORITY_UPDATE of no request":        onControl("9218, 7.2", badID, "priority-update", number(framePriorityUpdateRequest, 1)),
	"PRIORITY_UPDATE of no push":           onControl("9218, 7.2", badID, "priority-update", number(framePriorityUpdatePush, 0)),
	"PRIORITY_UPDATE without a number":     onControl("9114, 7.1", badFrame, "frame-size", appendFrame(nil, framePriorityUpdateRequest, nil)),

	// Messages.
	"no :method":                         inHead("9114, 4.3.1", "RESET 0x10e", "method", without(":method")...),
	"an empty :method":                   inHead("9110, 9.1", "RESET 0x10e", "method", without(":method", ":method: ")...),
	"a :method that is no token":         inHead("9110, 9.1", "RESET 0x10e", "method", without(":method", ":method: G T")...),
	"no :scheme":                         inHead("9114, 4.3.1", "RESET 0x10e", "pseudo-field", without(":scheme")...),
	"no :path":                           inHead("9114, 4.3.1", "RESET 0x10e", "pseudo-field", without(":path")...),
	"an empty :path":                     inHead("9114, 4.3.1", "RESET 0x10e", "pseudo-field", without(":path", ":path: ")...),
	"two :path":                          inHead("9114, 4.3", "RESET 0x10e", "pseudo-field", get(":path: /")...),
	":status in a request":               inHead("9114, 4.3", "RESET 0x10e", "pseudo-field", get(":status: 200")...),
	"an unknown pseudo-field":            inHead("9114, 4.3", "RESET 0x10e", "pseudo-field", get(":x: y")...),
	"a pseudo-field behind others":       inHead("9114, 4.3", "RESET 0x10e", "pseudo-field", without(":path", "a: b", ":path: /")...),
	"upper case in a name":               inHead("9114, 4.2", "RESET 0x10e", "field-name", get("A: b")...),
	"a name that is no token":            inHead("9110, 5.1", "RESET 0x10e", "field-name", get("a b: c")...),
	"an empty name":                      onRequest("9110, 5.1", "RESET 0x10e", "field-name", appendFrame(nil, frameHeaders, append(section(get()...), 0x20, 1, 'a'))),
	"a line feed in a value":             inHead("9114, 10.3", "RESET 0x10e", "field-value", get("a: b\nc")...),
	"a NUL in a value":                   inHead("9114, 10.3", "RESET 0x10e", "field-value", get("a: b\x00c")...),
	"a value that begins with space":     inHead("9110, 5.5", "RESET 0x10e", "field-value", get("a:  b")...),
	"Connection":                         inHead("9114, 4.2", "RESET 0x10e", "connection-field", get("connection: close")...),
	"Transfer-Encoding":                  inHead("9114, 4.2", "RESET 0x10e", "connection-field", post("transfer-encoding: chunked")...),
	"Upgrade":                            inHead("9114, 4.2", "RESET 0x10e", "connection-field", get("upgrade: websocket")...),
	"Keep-Alive":                         inHead("9114, 4.2", "RESET 0x10e", "connection-field", get("keep-alive: 1")...),
	"TE with more than trailers":         inHead("9114, 4.2", "RESET 0x10e", "connection-field", get("te: gzip")...),
	"two Content-Length":                 inHead("9110, 8.6", "RESET 0x10e", "content-length", post("content-length: 1", "content-length: 1")...),
	"a Content-Length that is no number": inHead("9110, 8.6", "RESET 0x10e", "content-length", post("content-length: +1")...),
	"a length and no body":               inHead("9114, 4.1.2", "RESET 0x10e", "", post("content-length: 3")...),
	"a length of 0 and a body":           onRequest("9114, 4.1.2", "RESET 0x10e", "body-length", headers(post("content-length: 0")...), data(""), data("ab")),
	"a length of 0 and a bad trailer":    onRequest("9114, 4.3", "RESET 0x10e", "trailer", headers(post("content-length: 0")...), headers(":path: /")),
	"a body that is too short":           onRequest("9114, 4.1.2", "RESET 0x10e", "", headers(post("content-length: 3")...), data("ab")),
	"a body that is too long":            onRequest("9114, 4.1.2", "RESET 0x10e", "", headers(post("content-length: 3")...), data("ab"), data("cd")),
	"a body too short with a trailer":    onRequest("9114, 4.1.2", "RESET 0x10e", "", headers(post("content-length: 3")...), data("ab"), headers("a: b")),
	"a pseudo-field in a trailer":        onRequest("9114, 4.3", "RESET 0x10e", "", headers(post()...), data("ab"), headers(":path: /")),
	"Connection in a trailer":            onRequest("9114, 4.2", "RESET 0x10e", "", headers(post()...), data("ab"), headers("connection: x")),
	"no authority":                       inHead("9114, 4.3.1", "400", "host", without(":authority")...),
	"an empty authority":                 inHead("9114, 4.3.1", "400", "host", without(":authority", ":authority: ")...),
	"user information":                   inHead("9114, 4.3.1", "400", "host", without(":authority", ":authority: u@a")...),
	"Host that differs":                  inHead("9114, 4.3.1", "400", "host", get("host: b.example")...),
	"two Host":                           inHead("9110, 7.2", "400", "host", without(":authority", "host: a", "host: a")...),
	"another :scheme":                    inHead("9114, 4.3.1", "400", "target", without(":scheme", ":scheme: http")...),
	"a :path that is no path":            inHead("9114, 4.3.1", "400", "target", without(":path", ":path: a")...),
	"* without OPTIONS":                  inHead("9114, 4.3.1", "400", "target", without(":path", ":path: *")...),
	"a fragment in :path":                inHead("9114, 4.3.1", "400", "target", without(":path", ":path: /#a")...),
	"CONNECT with a path":                inHead("9114, 4.4", "RESET 0x10e", "pseudo-field", without(":method", ":method: CONNECT")...),
	"CONNECT without an authority":       inHead("9114, 4.4", "RESET 0x10e", "pseudo-field", ":method: CONNECT"),
	"CONNECT-UDP without a path":         inHead("9220, 3", "RESET 0x10e", "pseudo-field", ":method: CONNECT", ":scheme: https", ":authority: a", ":protocol: connect-udp"),
	"an unknown Expect":                  inHead("9110, 10.1.1", "417", "expect", get("expect: wonders")...),
	"a :path that is too long":           inHead("9110, 15.5.15", "414", "line-too-long", without(":path", ":path: /"+strings.Repeat("a", 9000))...),
	"a head that is too large":           inHead("9114, 4.2.2", "431", "fields-too-large", get("a: "+strings.Repeat("a", 70000))...),
	"a section that is far too long":     onRequest("9114, 4.2.2", "431", "fields-too-large", appendFrame(nil, frameHeaders, make([]byte, 140<<10))),
	"too many fields":                    inHead("6585, 5", "431", "too-many-fields", get(strings.Split(strings.Repeat("a: b,", 100)+"a: b", ",")...)...),
}

// firsts are mistakes of clients that have sent nothing yet.
var firsts = map[string]mistake{
	"a first frame that is not SETTINGS": {"9114, 6.2.1", func(r *rawClient) *quic.Stream { r.uni(streamControl, number(frameGoAway, 0)); return nil }, "CLOSE 0x10a", "no-settings"},
	"a first frame of an unknown type":   {"9114, 6.2.1", func(r *rawClient) *quic.Stream { r.uni(streamControl, appendFrame(nil, 0x21, nil)); return nil }, "CLOSE 0x10a", "no-settings"},
	"HTTP/2's ENABLE_PUSH":               inSettings("9114, 7.2.4.1", "CLOSE 0x109", 0x2, 0),
	"HTTP/2's MAX_CONCURRENT_STREAMS":    inSettings("9114, 7.2.4.1", "CLOSE 0x109", 0x3, 1),
	"HTTP/2's INITIAL_WINDOW_SIZE":       inSettings("9114, 7.2.4.1", "CLOSE 0x109", 0x4, 1),
	"HTTP/2's MAX_FRAME_SIZE":            inSettings("9114, 7.2.4.1", "CLOSE 0x109", 0x5, 1<<14),
	"a setting twice":                    inSettings("9114, 7.2.4", "CLOSE 0x109", 0x6, 1, 0x21, 1, 0x6, 1),
	"an unknown setting twice":           inSettings("9114, 7.2.4", "CLOSE 0x109", 0x21, 1, 0x21, 1),
	"ENABLE_CONNECT_PROTOCOL of 2":       inSettings("8441, 3", "CLOSE 0x109", 0x8, 2),
	"H3_DATAGRAM of 2":                   inSettings("9297, 2.1.1", "CLOSE 0x109", 0x33, 2),
	"H3_DATAGRAM without datagrams":      inSettings("9297, 2.1.1", "CLOSE 0x109", 0x33, 1),
	"too many settings":                  inSettings("9114, 10.5", "CLOSE 0x107", many(200)...),
	"half a setting":                     {"9114, 7.1", func(r *rawClient) *quic.Stream { r.uni(streamControl, number(frameSettings, 6)); return nil }, badFrame, "frame-size"},
	"SETTINGS that are too long": {"9114, 10.5", func(r *rawClient) *quic.Stream {
		r.uni(streamControl, appendFrame(nil, frameSettings, make([]byte, 2000)))
		return nil
	}, "CLOSE 0x107", "settings"},
}

// resetDecoder resets the decoder stream once it is known.
func resetDecoder(r *rawClient) *quic.Stream {
	s := r.uni(streamDecoder, []byte{0x41})
	r.claimed(streamDecoder)
	s.CancelWrite(0)
	return nil
}

func resetControl(r *rawClient) *quic.Stream {
	r.claimed(streamControl)
	r.control.CancelWrite(0)
	return nil
}

// claimed waits until the server knows a stream's type.
func (r *rawClient) claimed(kind int) {
	c := r.ts.conn(r.t)
	for known := false; !known && r.Context().Err() == nil; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		known = c.critical[kind]
		c.mu.Unlock()
	}
}

func many(n int) []uint64 {
	var list []uint64
	for i := range n {
		list = append(list, uint64(0x40+i/2))
	}
	for i := range list {
		if i%2 == 1 {
			list[i] = 0
		}
	}
	return list
}

func TestMistakes(t *testing.T) {
	try := func(name string, m mistake, connect func(*testServer, testing.TB) *rawClient) {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), describe)
			r := connect(ts, t)
			s := m.do(r)
			got := ""
			if s == nil {
				got = r.closed()
			} else {
				got = response(s)
				// The connection lives on.
				if again := response(r.request(headers(get()...), true)); !strings.HasPrefix(again, "200 ") {
					t.Errorf("RFC %s: then got %q", m.rfc, again)
				}
			}
			if got != m.want {
				t.Errorf("RFC %s: got %q; want %q", m.rfc, got, m.want)
			}
			if m.reason != "" && !strings.HasSuffix(ts.reasons(), " "+m.reason) {
				t.Errorf("RFC %s: told of %q; want %q", m.rfc, ts.reasons(), m.reason)
			}
		})
	}
	for name, m := range mistakes {
		try(name, m, (*testServer).dial)
	}
	for name, m := range firsts {
		try(name, m, (*testServer).connect)
	}
}

// settle waits until what was sent before has been read.
func (r *rawClient) settle() { response(r.request(headers(get()...), true)) }

func TestWhatIsNoMistake(t *testing.T) {
	tests := map[string]func(r *rawClient){
		"frames of unknown types on the control stream": func(r *rawClient) {
			r.control.Write(join(appendFrame(nil, 0x21, nil), appendFrame(nil, 0xfff, make([]byte, 5000))))
		},
		"PRIORITY_UPDATE of a request": func(r *rawClient) { r.control.Write(appendFrame(nil, framePriorityUpdateRequest, []byte("\x04u=1"))) },
		"PRIORITY_UPDATE of a push that is allowed": func(r *rawClient) {
			r.control.Write(join(number(frameMaxPushID, 5), appendFrame(nil, framePriorityUpdatePush, []byte("\x04u=1"))))
		},
		"GOAWAY":                     func(r *rawClient) { r.control.Write(join(number(frameGoAway, 8), number(frameGoAway, 0))) },
		"a capacity of 0":            func(r *rawClient) { r.uni(streamEncoder, []byte{0x20}) },
		"streams that are cancelled": func(r *rawClient) { r.uni(streamDecoder, []byte{0x41, 0x7f, 0x80, 0x01}) },
		"a stream of an unknown type": func(r *rawClient) {
			s := r.uni(0x21, []byte("abc"))
			<-s.Context().Done()
			if got := ending(context.Cause(s.Context())); got != "RESET 0x103" {
				r.t.Errorf("got %s", got)
			}
		},
		"a stream that ends before its type": func(r *rawClient) { s, _ := r.OpenUniStream(); s.Write([]byte{0x40}); s.Close() },
		"a stream that is reset at once":     func(r *rawClient) { s, _ := r.OpenUniStream(); s.CancelWrite(0) },
		"a Base above 0":                     func(r *rawClient) { response(r.request(appendFrame(nil, frameHeaders, []byte{0, 5, 0xd1}), true)) },
		"a length that is longer than need be": func(r *rawClient) {
			r.request(append([]byte{frameHeaders, 0x40, byte(len(section(get()...)))}, section(get()...)...), true)
		},
		"a request that is reset":       func(r *rawClient) { r.request(headers(post()...), false).CancelWrite(0) },
		"a response that is not wanted": func(r *rawClient) { r.request(headers(get()...), false).CancelRead(0) },
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t, params(), describe)
			r := ts.dial(t)
			do(r)
			r.settle()
			if got := response(r.request(headers(get()...), true)); !strings.HasPrefix(got, "200 ") {
				t.Errorf("then got %q", got)
			}
		})
	}
}

// TestSettingsOfClients: those of browsers are taken.
func TestSettingsOfClients(t *testing.T) {
	ts := newTestServer(t, params(), func(x *exchange.Exchange) { codectest.Answer(x, 200, "") })
	r := ts.connect(t)
	var b []byte
	for _, v := range []uint64{1, 65536, 6, 262144, 7, 100, 8, 1, 0x33, 0, 0x1f*9 + 0x21, 5} {
		b = appendVarint(b, v)
	}
	r.control = r.uni(streamControl, appendFrame(nil, frameSettings, b))
	r.settle()
	if got := response(r.request(headers(get()...), true)); got != "200" {
		t.Errorf("got %q", got)
	}
}
