package proxywasm

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/compress"
)

func encoding(way, level byte, coding string) string {
	return foreign("encode_body", string([]byte{way, level})+coding)
}

func decoding(way byte, limit uint64, codings string) string {
	return foreign("decode_body", string(binary.LittleEndian.AppendUint64([]byte{way}, limit))+codings)
}

// recoding is a scene with a Recoder.
func recoding(t *testing.T, r *compress.Recoder, lines ...string) *scene {
	t.Helper()
	first := newScene(t, sceneOptions{name: "first"})
	first.abi.o.Recoder = r
	first.take()
	return newScene(t, sceneOptions{with: first, grant: []string{capability.Compress}, script: strings.Join(lines, "\n")})
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// TestRecode: a filter's own callbacks do not see the body; what it holds is free at the end.
func TestRecode(t *testing.T) {
	r := compress.New(64<<20, telemetry.New())
	s := recoding(t, r,
		"request_headers: "+decoding(0, 100, ""),
		"request_body: log the request",
		"response_headers: "+encoding(1, 5, "gzip"),
		"response_body: log the response",
	)
	s.trace.take()
	e := s.exchange(config.Reject)
	e.x.Request.Header.Add([]byte("Content-Encoding"), []byte("gzip"))
	if out := e.request(zipped("hello")); out != filter.Passed {
		t.Fatal(out, e.Err())
	}
	if got := e.read(t, e.x.Request.Body); got != "hello" || e.x.Request.Header.Count("content-encoding") != 0 {
		t.Errorf("the request: %q, %v", got, e.x.Request.Header)
	}
	if out := e.response("a page"); out != filter.Passed {
		t.Fatal(out, e.Err())
	}
	got := e.read(t, e.x.Response.Body)
	if z, err := gzip.NewReader(strings.NewReader(got)); err != nil {
		t.Error(err)
	} else if text, err := io.ReadAll(z); err != nil || string(text) != "a page" {
		t.Errorf("the response: %q, %v", text, err)
	}
	e.Done()
	if got := results(s.trace.take()); !slices.Equal(got, []string{`0 ""`, `0 ""`}) {
		t.Errorf("got %q", got)
	}
	if r.Held() != 0 {
		t.Errorf("%d bytes are held", r.Held())
	}
}

// TestRecodeRefused: what cannot be encoded or decoded, and when, is said by the status.
func TestRecodeRefused(t *testing.T) {
	r := compress.New(64<<20, telemetry.New())
	tests := map[string]struct {
		line  string
		ready func(*exchange.Exchange)
		body  string // of both
		want  []string
	}{
		"bad arguments":       {"request_headers: " + foreign("encode_body", "\x00") + "; " + encoding(2, 1, "gzip") + "; " + encoding(0, 10, "gzip") + "; " + decoding(0, 0, "") + "; " + decoding(0, 1<<63, "") + "; " + foreign("decode_body", "\x00\x01"), nil, "x", []string{`2 ""`, `2 ""`, `2 ""`, `2 ""`, `2 ""`, `2 ""`}},
		"no such coding":      {"request_headers: " + encoding(0, 1, "deflate") + "; " + encoding(0, 1, "") + "; " + decoding(0, 1, "gzip, foo") + "; " + decoding(0, 1, "br,br,br,br"), nil, "x", []string{`1 ""`, `1 ""`, `1 ""`, `1 ""`}},
		"no body":             {"request_headers: " + encoding(0, 1, "gzip") + "; " + decoding(0, 1, "gzip"), nil, "", []string{`7 ""`, `7 ""`}},
		"nothing to do":       {"request_headers: " + decoding(0, 1, "") + "; " + decoding(0, 1, "identity"), nil, "x", []string{`7 ""`, `7 ""`}},
		"twice":               {"request_headers: " + encoding(0, 1, "gzip") + "; " + encoding(0, 1, "gzip"), nil, "x", []string{`0 ""`, `2 ""`}},
		"the other way":       {"request_headers: " + encoding(1, 1, "gzip"), nil, "x", []string{`2 ""`}},
		"too late":            {"request_body: " + encoding(0, 1, "gzip"), nil, "x", []string{`2 ""`, `2 ""`}}, // a part, and the end
		"a part":              {"response_headers: " + encoding(1, 1, "gzip"), func(x *exchange.Exchange) { x.Response.Header.Add([]byte("Content-Range"), []byte("bytes 0-1/2")) }, "x", []string{`2 ""`}},
		"a part of a request": {"request_headers: " + decoding(0, 1, "gzip"), func(x *exchange.Exchange) { x.Request.Header.Add([]byte("Content-Range"), []byte("bytes 0-1/2")) }, "x", []string{`2 ""`}},
		"answer to HEAD":      {"response_headers: " + encoding(1, 1, "gzip"), func(x *exchange.Exchange) { x.Request.Method = []byte("HEAD") }, "", []string{`0 ""`}},
		"an empty answer":     {"response_headers: " + encoding(1, 1, "gzip"), nil, "", []string{`7 ""`}},
		"the configuration":   {"configure: " + encoding(1, 1, "gzip"), nil, "", []string{`2 ""`}},
	}
	for name, test := range tests {
		s := recoding(t, r, test.line)
		e := s.exchange(config.Reject)
		if test.ready != nil {
			test.ready(e.x)
		}
		e.request(test.body)
		e.read(t, e.x.Request.Body)
		e.response(test.body)
		e.read(t, e.x.Response.Body)
		e.Done()
		if got := results(s.trace.take()); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q; want %q", name, got, test.want)
		}
	}
	if r.Held() != 0 {
		t.Errorf("%d bytes are held", r.Held())
	}
	one := encoding(0, 1, "gzip")
	if got := answers(t, served{}, []string{capability.Compress}, one); !slices.Equal(got, []string{`12 ""`}) {
		t.Errorf("without a Recoder: %q", got)
	}
	if got := answers(t, served{}, []string{capability.KV}, one); !slices.Equal(got, []string{`10 ""`}) {
		t.Errorf("without the right: %q", got)
	}
	s := recoding(t, compress.New(1, telemetry.New()), "response_headers: "+encoding(1, 1, "gzip"))
	e := s.exchange(config.Reject)
	e.request("")
	e.response("a page")
	if got := e.read(t, e.x.Response.Body); got != "a page" {
		t.Errorf("without room: %q", got)
	}
	e.Done()
	if got := results(s.trace.take()); !slices.Contains(got, `10 ""`) {
		t.Errorf("without room: %q", got)
	}
}

// TestRecodeTrapped: a filter that fails after it has asked leaves the message as it was.
func TestRecodeTrapped(t *testing.T) {
	r := compress.New(64<<20, telemetry.New())
	s := recoding(t, r, "response_headers: "+encoding(1, 1, "gzip")+"; trap")
	e := s.exchange(config.Skip)
	e.request("")
	if out := e.response("a page"); out != filter.Passed {
		t.Fatal(out, e.Err())
	}
	if got := e.read(t, e.x.Response.Body); got != "a page" || e.x.Response.Header.Count("content-encoding") != 0 {
		t.Errorf("got %q, %v", got, e.x.Response.Header)
	}
	e.Done()
	if r.Held() != 0 {
		t.Errorf("%d bytes are held", r.Held())
	}
}

// TestRecodeFaults: what is not what its coding makes is the sender's fault.
func TestRecodeFaults(t *testing.T) {
	r := compress.New(64<<20, telemetry.New())
	s := recoding(t, r, "request_headers: "+decoding(0, 4, "gzip"), "response_headers: "+decoding(1, 4, "gzip"))
	for body, want := range map[string][2]int{zipped("hello"): {413, 502}, "hello": {400, 502}} {
		for _, length := range []int64{-1, int64(len(body))} {
			e := s.exchange(config.Reject)
			e.x.Request.Body, e.x.Request.ContentLength = exchange.NewBytes([]byte(body)), length
			out := e.Request(e.chain, []byte("/"))
			err := e.Err()
			if length < 0 {
				if _, read := io.ReadAll(e.x.Request.Body); read == nil {
					t.Errorf("%q is read", body)
				}
			} else if out != filter.Failed || err == nil || err.Status != want[0] {
				t.Errorf("request %q: %v, %v; want %d", body, out, err, want[0])
			}
			e.Done()
			e = s.exchange(config.Reject)
			e.request("")
			e.x.Response = exchange.Response{Status: 200, Body: exchange.NewBytes([]byte(body)), ContentLength: length}
			if out := e.Response(); length >= 0 && (out != filter.Failed || e.Err().Status != want[1]) {
				t.Errorf("response %q: %v, %v; want %d", body, out, e.Err(), want[1])
			}
			e.Done()
		}
	}
	if r.Held() != 0 {
		t.Errorf("%d bytes are held", r.Held())
	}
}
