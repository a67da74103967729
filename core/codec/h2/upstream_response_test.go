package h2

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

func TestResponsesOfUpstreams(t *testing.T) {
	say := func(end bool, fields ...string) func(*rawClient, uint32) {
		return func(r *rawClient, id uint32) { r.headers(id, end, fields...) }
	}
	then := func(all ...func(*rawClient, uint32)) func(*rawClient, uint32) {
		return func(r *rawClient, id uint32) {
			for _, f := range all {
				f(r, id)
			}
		}
	}
	data := func(s string, end bool) func(*rawClient, uint32) {
		return func(r *rawClient, id uint32) { r.WriteData(id, end, []byte(s)) }
	}
	rst := func(code http2.ErrCode) func(*rawClient, uint32) {
		return func(r *rawClient, id uint32) { r.WriteRSTStream(id, code) }
	}
	ok, head := say(true, ":status: 200"), say(false, ":status: 200")
	tests := map[string]struct {
		method string // empty: GET
		answer func(*rawClient, uint32)
		want   string
	}{
		"a head alone":              {"", ok, "200"},
		"content":                   {"", then(head, data("hel", false), data("lo", true)), "200 hello"},
		"content of that length":    {"", then(say(false, ":status: 200", "content-length: 5"), data("hello", true)), "200 hello"},
		"an empty end":              {"", then(head, data("hello", false), data("", true)), "200 hello"},
		"no content but an end":     {"", then(head, data("", true)), "200"},
		"a trailer":                 {"", then(head, data("hello", false), say(true, "x-sum: 1", "host: x", "x: y")), "200 hello x-sum=1 x=y"},
		"a trailer without content": {"", then(head, say(true, "grpc-status: 0")), "200  grpc-status=0"},
		"padding":                   {"", then(head, func(r *rawClient, id uint32) { r.WriteDataPadded(id, true, []byte("hello"), make([]byte, 9)) }), "200 hello"},
		"interim responses":         {"", then(say(false, ":status: 100"), say(false, ":status: 103", "link: x"), ok), "100 103 200"},
		"too many interim responses": {"", func(r *rawClient, id uint32) {
			for range 65 {
				r.headers(id, false, ":status: 103")
			}
			r.headers(id, true, ":status: 200")
		}, "bad response: interim"},
		"an interim response that ends":      {"", say(true, ":status: 103"), "bad response: status"},
		"101":                                {"", say(false, ":status: 101"), "bad response: status"},
		"no status":                          {"", say(true, "x: y"), "bad response: pseudo-field"},
		"two of them":                        {"", say(true, ":status: 200", ":status: 200"), "bad response: pseudo-field"},
		"one behind a field":                 {"", say(true, "x: y", ":status: 200"), "bad response: pseudo-field"},
		"a request's pseudo-field":           {"", say(true, ":status: 200", ":path: /"), "bad response: pseudo-field"},
		"a short status":                     {"", say(true, ":status: 20"), "bad response: status"},
		"600":                                {"", say(true, ":status: 600"), "bad response: status"},
		"a status with a sign":               {"", say(true, ":status: +20"), "bad response: status"},
		"a name in upper case":               {"", say(true, ":status: 200", "A: b"), "bad response: field-name"},
		"a value with a line end":            {"", say(true, ":status: 200", "a: b\nc"), "bad response: field-value"},
		"Connection":                         {"", say(true, ":status: 200", "connection: close"), "bad response: connection-field"},
		"Transfer-Encoding":                  {"", say(true, ":status: 200", "transfer-encoding: chunked"), "bad response: connection-field"},
		"two lengths":                        {"", say(true, ":status: 200", "content-length: 0", "content-length: 0"), "bad response: content-length"},
		"a length that is none":              {"", say(true, ":status: 200", "content-length: x"), "bad response: content-length"},
		"a length without content":           {"", say(true, ":status: 200", "content-length: 5"), "bad response: body-length"},
		"less content than its length":       {"", then(say(false, ":status: 200", "content-length: 5"), data("hell", true)), "200  bad-response"},
		"more content than its length":       {"", then(say(false, ":status: 200", "content-length: 5"), data("hello!", true)), "200  bad-response"},
		"a trailer that does not end":        {"", then(head, say(false, "x: y")), "200  bad-response"},
		"a trailer with a pseudo-field":      {"", then(head, say(true, ":status: 200")), "200  bad-response"},
		"to HEAD":                            {"HEAD", say(true, ":status: 200", "content-length: 5"), "200 length 5"},
		"to HEAD with an end of its own":     {"HEAD", then(say(false, ":status: 200", "content-length: 5"), data("", true)), "200 length 5"},
		"to HEAD with content":               {"HEAD", then(say(false, ":status: 200", "content-length: 5"), data("hello", true)), "bad response: body-length"},
		"204":                                {"", say(true, ":status: 204"), "204"},
		"204 with content":                   {"", then(say(false, ":status: 204"), data("x", true)), "bad response: body-length"},
		"304 with a length":                  {"", say(true, ":status: 304", "content-length: 5"), "304 length 5"},
		"content before the head":            {"", then(data("x", false), ok), "bad response: body-length"},
		"an end before the head":             {"", data("", true), "bad response: no-head"},
		"refused":                            {"", rst(http2.ErrCodeRefusedStream), ErrRefused.Error()},
		"reset":                              {"", rst(http2.ErrCodeInternal), "upstream reset the stream: error 2"},
		"reset without an error":             {"", rst(http2.ErrCodeNo), "upstream reset the stream: error 0"},
		"reset in the content":               {"", then(head, data("hel", false), rst(http2.ErrCodeInternal)), "200  response-body-cut"},
		"refused in the content":             {"", then(head, rst(http2.ErrCodeRefusedStream)), "200  response-body-cut"},
		"reset after the end":                {"", then(head, data("hello", true), rst(http2.ErrCodeNo)), "200 hello"},
		"the connection's end after the end": {"", then(head, data("hello", true), func(r *rawClient, _ uint32) { r.nc.CloseWrite() }), "200 hello"},
		"the connection's end":               {"", then(head, data("hel", false), func(r *rawClient, _ uint32) { r.nc.CloseWrite() }), "200  response-body-cut"},
		"the connection's end before":        {"", func(r *rawClient, _ uint32) { r.nc.CloseWrite() }, "connection closed"},
		"a goodbye that includes it":         {"", then(func(r *rawClient, id uint32) { r.WriteGoAway(id, 0, nil) }, head, data("hello", true)), "200 hello"},
		"a goodbye that does not":            {"", func(r *rawClient, _ uint32) { r.WriteGoAway(0, 0, nil) }, ErrRefused.Error()},
		"a second goodbye that promises more": {"", func(r *rawClient, id uint32) {
			r.WriteGoAway(id, 0, nil)
			r.WriteGoAway(id+2, 0, nil)
		}, "bad response: goaway"},
		"a goodbye in two steps": {"", then(func(r *rawClient, id uint32) {
			r.WriteGoAway(1<<31-1, 0, nil)
			r.WriteGoAway(id, 0, nil)
		}, ok), "200"},
		"fields that are too large": {"", func(r *rawClient, id uint32) {
			r.nc.Write(appendHeaders(nil, id, flagEndStream, r.block(":status: 200", "x: "+strings.Repeat("y", 70000)), leastFrameSize))
		}, "bad response: fields-too-large"},
		"too many fields": {"", func(r *rawClient, id uint32) {
			r.headers(id, true, append([]string{":status: 200"}, slicesOf("x: y", 101)...)...)
		}, "bad response: too-many-fields"},
		"more than the window": {"", then(head, func(r *rawClient, id uint32) {
			for range streamWindow/leastFrameSize + 1 {
				r.WriteData(id, false, make([]byte, leastFrameSize))
			}
		}), "200  bad-response"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			u := upstream(t, params(), answering(test.answer))
			method := test.method
			if method == "" {
				method = "GET"
			}
			a := u.ask(newRequest(method, nil, 0), 5*time.Second)
			if name == "more than the window" || strings.Contains(test.want, "  ") && a.err == nil {
				// What goes wrong does so before a byte is read.
				for {
					u.UpstreamConn.mu.Lock()
					open := len(u.streams) > 0 && !a.s.gone && !a.s.in.whole
					u.UpstreamConn.mu.Unlock()
					if !open {
						break
					}
					time.Sleep(time.Millisecond)
				}
			}
			if name == "too many interim responses" {
				a.client.statuses = nil
			}
			if got := a.outcome(); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func slicesOf(s string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}
