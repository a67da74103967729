package http3

import (
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/downgrade"
	"penstock.dev/penstock/conformance/harness"
)

// inFrames is a case of HTTP/3 alone: what frames can do and fields cannot.
type inFrames struct {
	name, section, level string
	end                  bool // the stream ends behind them
	frames               [][]byte
	want, origin         string // as in downgrade.Case; or how stream or connection end
}

const hidden = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"

func framed() []inFrames {
	grease := frame(frameGrease, []byte(hidden))
	five := headers(post("content-length: 5")...)
	chunked := headers(post()...)
	list := func(parts ...[]byte) [][]byte { return parts }
	// section is a request made of a field section's bytes.
	section := func(b ...byte) [][]byte { return list(frame(frameHeaders, append([]byte{0, 0}, b...))) }
	a := "\x50\x09a.example" // :authority, a name of the static table
	return []inFrames{
		{"content in many frames", "RFC 9114, 4.1", "MUST", true, list(five, data("he"), data(""), data("l"), data("lo")), "200", "content-length: 5|hello"},
		{"frames of unknown types between", "RFC 9114, 9", "MUST", true, list(grease, five, grease, data("he"), grease, data("llo"), grease), "200", "content-length: 5|hello|!smuggled"},
		{"frames of unknown types behind trailers", "RFC 9114, 9", "MUST", true, list(chunked, data("hello"), headers("x-sum: 1"), grease), "200", "hello|x-sum: 1|!smuggled"},
		{"frames whose numbers are longer than need be", "RFC 9000, 16", "MUST", true, list([]byte{0x40, frameHeaders, 0x80, 0, 0, byte(len(packed(post())))}, packed(post()), []byte{0x80, 0, 0, frameData, 0x40, 5}, []byte("hello")), "200", "hello"},
		{"frames of DATA that look like chunks", "RFC 9114, 4.1", "MUST", true, list(chunked, data("0\r\n"), data("\r\n"), data(hidden)), "200", "transfer-encoding: chunked"},
		{"more frames of DATA than the length", "RFC 9114, 4.1.2", "MUST", true, list(five, data("hel"), data("low")), "stream H3_MESSAGE_ERROR", downgrade.Begun},
		{"a request in a frame behind the length", "RFC 9114, 4.1.2", "MUST", true, list(five, data("hello"), data(hidden)), "stream H3_MESSAGE_ERROR", downgrade.Begun},
		{"a frame of DATA longer than the length, and not whole", "RFC 9114, 4.1.2", "MUST", false, list(five, numbers(frameData, mostVarint), []byte("hello")), "stream H3_MESSAGE_ERROR", downgrade.Begun},
		{"a length of 0 and a frame of DATA behind an empty one", "RFC 9114, 4.1.2", "MUST", true, list(headers(post("content-length: 0")...), data(""), data(hidden)), "stream H3_MESSAGE_ERROR", ""},
		{"a length of 0 and empty frames of DATA", "RFC 9114, 4.1.2", "MUST", true, list(headers(post("content-length: 0")...), data(""), data("")), "200", "content-length: 0"},
		{"a length of 0 and a stream that stays open", "RFC 9114, 4.1", "MUST", false, list(headers(post("content-length: 0")...)), "200", "content-length: 0"},
		{"content that is cut within a frame", "RFC 9114, 7.1", "MUST", true, list(chunked, numbers(frameData, 10), []byte("hello")), "connection H3_FRAME_ERROR", downgrade.Begun},
		{"content of a known length that is cut within a frame", "RFC 9114, 7.1", "MUST", true, list(five, numbers(frameData, 5), []byte("hell")), "connection H3_FRAME_ERROR", downgrade.Begun},
		{"trailers that are cut", "RFC 9114, 7.1", "MUST", true, list(chunked, data("hello"), headers("x-sum: 1")[:5]), "connection H3_FRAME_ERROR", downgrade.Begun},
		{"content behind trailers", "RFC 9114, 4.1", "MUST", true, list(chunked, data("hello"), headers("x-sum: 1"), data(hidden)), "connection H3_FRAME_UNEXPECTED", downgrade.Begun},
		{"trailers behind trailers", "RFC 9114, 4.1", "MUST", true, list(chunked, data("hello"), headers("x-sum: 1"), headers("x-sum: 2")), "connection H3_FRAME_UNEXPECTED", downgrade.Begun},
		{"two requests on one stream", "RFC 9114, 4.1", "MUST", true, list(headers(get()...), headers(get()...)), "stream H3_MESSAGE_ERROR", downgrade.Begun},
		{"trailers that cannot be decoded", "RFC 9204, 2.2.3", "MUST", true, list(chunked, data("hello"), frame(frameHeaders, []byte{0, 0, 0x80})), "connection QPACK_DECOMPRESSION_FAILED", downgrade.Begun},
		{"a method of the static table, twice", "RFC 9114, 4.3.1", "MUST", true, section(append([]byte("\xd1\xd1\xd7\xc1"), a...)...), "stream H3_MESSAGE_ERROR", ""},
		{"CONNECT of the static table, with a path", "RFC 9114, 4.4", "MUST", true, section(append([]byte("\xcf\xd7\xc1"), a...)...), "stream H3_MESSAGE_ERROR", ""},
		{"the authority of the static table, which is empty", "RFC 9114, 4.3.1", "MUST", true, section([]byte("\xd1\xd7\xc1\xc0")...), "400", ""},
		{"a path under a name of the static table, with a line end", "RFC 9114, 4.3.1", "MUST", true, section(append([]byte("\xd1\xd7\x51\x08/\r\nX: y\n"), a...)...), "400", ""},
		{"a length under a name of the static table, that is a list", "RFC 9110, 8.6", "MUST", true, section(append(append([]byte("\xd4\xd7\xc1"), a...), "\x54\x035,5"...)...), "stream H3_MESSAGE_ERROR", ""},
		{"a length of the static table, and another", "RFC 9110, 8.6", "MUST", true, append(section(append(append([]byte("\xd4\xd7\xc1"), a...), "\xc4\x54\x015"...)...), data("hello")), "stream H3_MESSAGE_ERROR", ""},
		{"a coding in a field that is never to be indexed", "RFC 9114, 4.2", "MUST", true, append(section(append(append([]byte("\xd4\xd7\xc1"), a...), "\x37\x0atransfer-encoding\x07chunked"...)...), data("hello")), "stream H3_MESSAGE_ERROR", ""},
	}
}

// TestDowngrade: nothing of a request over HTTP/3 can be read twice, or otherwise,
// once it is written as HTTP/1.1. Fields go in each of QPACK's two forms.
func TestDowngrade(t *testing.T) {
	o := harness.NewOrigin(t)
	b := startBefore(t, strings.Replace(harness.Service("a", "", o.Port()), "value: /a", "value: /", 1))
	try := func(t *testing.T, c *downgrade.Case, end bool, frames ...[]byte) {
		o.Reset(nil)
		r := b.raw(t, true)
		got := answer(r.request(end, frames...))
		if got == "stream H3_MESSAGE_ERROR" && c.Want == "reset" {
			got = "reset"
		}
		if strings.HasPrefix(got, "connection") {
			r = b.raw(t, true)
		}
		if next := r.well(downgrade.Next); next != "200" {
			t.Errorf("%s: then got %s", c.Name, next)
		}
		downgrade.Judge(t, o, c, got)
		_ = r.CloseWithError(0x100, "")
	}
	for name, encode := range map[string]func([]string) []byte{"packed": packed, "literal": literal} {
		t.Run(name, func(t *testing.T) {
			all := downgrade.Cases("https")
			t.Logf("%d cases", len(all))
			for _, c := range all {
				frames := [][]byte{frame(frameHeaders, encode(c.Fields))}
				if c.Content != "" {
					frames = append(frames, data(c.Content))
				}
				if c.Trailer != nil {
					frames = append(frames, frame(frameHeaders, encode(c.Trailer)))
				}
				try(t, &c, true, frames...)
			}
		})
	}
	t.Run("frames", func(t *testing.T) {
		all := framed()
		t.Logf("%d cases", len(all))
		for _, c := range all {
			try(t, &downgrade.Case{Name: c.name, Section: downgrade.Section{HTTP3: c.section}, Level: c.level, Want: c.want, Origin: c.origin}, c.end, c.frames...)
		}
	})
	t.Run("reset", func(t *testing.T) { // RFC 9114, 4.1.1, MUST: it is not made whole
		for _, head := range [][]string{post(), post("content-length: 5")} {
			for pause := range 4 { // whatever the origin has got by then
				o.Reset(nil)
				r := b.raw(t, true)
				s := r.request(false, headers(head...), data("hel"))
				time.Sleep(time.Duration(pause) * 10 * time.Millisecond)
				s.CancelWrite(0x10c)
				got := answer(s)
				if next := r.well(downgrade.Next); next != "200" {
					t.Errorf("then got %s", next)
				}
				downgrade.Judge(t, o, &downgrade.Case{Name: "content that is reset", Want: got, Origin: downgrade.Begun}, got)
			}
		}
	})
}
