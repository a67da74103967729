package http3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"penstock.dev/penstock/conformance/downgrade"
)

// Types of frames (RFC 9114, 7.2 and 7.2.8; RFC 9218, 7.2) and of streams (RFC 9114,
// 6.2; RFC 9204, 4.2).
const (
	frameData, frameHeaders, frameCancelPush, frameSettings, framePushPromise, frameGoAway, frameMaxPushID = 0x0, 0x1, 0x3, 0x4, 0x5, 0x7, 0xd
	framePriority, framePing, frameWindowUpdate, frameContinuation                                         = 0x2, 0x6, 0x8, 0x9
	frameUpdateRequest, frameUpdatePush                                                                    = 0xf0700, 0xf0701
	frameGrease, streamGrease                                                                              = 0x1f*7 + 0x21, 0x1f*9 + 0x21
	streamControl, streamPush, streamEncoder, streamDecoder                                                = 0x0, 0x1, 0x2, 0x3
)

// mostVarint is the largest number that can be written.
const mostVarint = 1<<62 - 1

// codes are the error codes by their names (RFC 9114, 8.1; RFC 9204, 6).
var codes = map[uint64]string{
	0x100: "H3_NO_ERROR", 0x101: "H3_GENERAL_PROTOCOL_ERROR", 0x102: "H3_INTERNAL_ERROR", 0x103: "H3_STREAM_CREATION_ERROR",
	0x104: "H3_CLOSED_CRITICAL_STREAM", 0x105: "H3_FRAME_UNEXPECTED", 0x106: "H3_FRAME_ERROR", 0x107: "H3_EXCESSIVE_LOAD",
	0x108: "H3_ID_ERROR", 0x109: "H3_SETTINGS_ERROR", 0x10a: "H3_MISSING_SETTINGS", 0x10b: "H3_REQUEST_REJECTED",
	0x10c: "H3_REQUEST_CANCELLED", 0x10d: "H3_REQUEST_INCOMPLETE", 0x10e: "H3_MESSAGE_ERROR", 0x10f: "H3_CONNECT_ERROR",
	0x110: "H3_VERSION_FALLBACK", 0x200: "QPACK_DECOMPRESSION_FAILED", 0x201: "QPACK_ENCODER_STREAM_ERROR", 0x202: "QPACK_DECODER_STREAM_ERROR",
}

// patience bounds what should take no time, on a machine that has much to do.
const patience = 60 * time.Second

// raw is a connection on which streams are written by hand.
type raw struct {
	*quic.Conn
	t       testing.TB
	ctx     context.Context
	control *quic.SendStream // nil: not greeted
}

// raw connects, and sends SETTINGS if it is to greet.
func (b *bed) raw(t testing.TB, greet bool) *raw {
	t.Helper()
	qc, err := b.dial("a.example")
	if err != nil {
		t.Fatal(err)
	}
	ctx, done := context.WithTimeout(t.Context(), patience)
	t.Cleanup(func() {
		done()
		_ = qc.CloseWithError(0x100, "")
	})
	c := &raw{Conn: qc, t: t, ctx: ctx}
	if greet {
		c.control = c.uni(streamControl, frame(frameSettings))
	}
	return c
}

// uni opens a unidirectional stream. What comes of what is written is seen
// elsewhere.
func (c *raw) uni(kind uint64, parts ...[]byte) *quic.SendStream {
	c.t.Helper()
	s, err := c.OpenUniStreamSync(c.ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = s.SetWriteDeadline(time.Now().Add(patience))
	_, _ = s.Write(append(number(kind), bytes.Join(parts, nil)...))
	return s
}

// request opens a request's stream, writes, and ends it.
func (c *raw) request(end bool, parts ...[]byte) *quic.Stream {
	c.t.Helper()
	s, err := c.OpenStreamSync(c.ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(patience))
	_, _ = s.Write(bytes.Join(parts, nil))
	if end {
		_ = s.Close()
	}
	return s
}

// well sends a request that there is nothing wrong with.
func (c *raw) well(path string) string {
	c.t.Helper()
	return answer(c.request(true, headers(at(path)...)))
}

// end waits for the connection's end: "connection H3_...".
func (c *raw) end() string {
	select {
	case <-c.Context().Done():
		return ending(context.Cause(c.Context()))
	case <-c.ctx.Done():
		return "connection open"
	}
}

// stopped waits until a stream may send no more, and says why.
func stopped(ctx context.Context) string {
	select {
	case <-ctx.Done():
		return ending(context.Cause(ctx))
	case <-time.After(patience):
		return "stream open"
	}
}

// ending says how a stream or a connection ended.
func ending(err error) string {
	var one *quic.StreamError
	var all *quic.ApplicationError
	name := func(code uint64) string {
		if n := codes[code]; n != "" {
			return n
		}
		return fmt.Sprintf("%#x", code)
	}
	switch {
	case errors.As(err, &all) && all.Remote:
		return "connection " + name(uint64(all.ErrorCode))
	case errors.As(err, &one) && one.Remote:
		return "stream " + name(uint64(one.ErrorCode))
	}
	return fmt.Sprint("ended: ", err)
}

// answer reads a response to its end and returns the status of its final head; or how
// stream or connection ended.
func answer(s *quic.Stream) string {
	in := quicvarint.NewReader(s)
	status := ""
	for {
		kind, err := quicvarint.Read(in)
		if err == io.EOF && status != "" {
			return status
		}
		var size uint64
		if err == nil {
			size, err = quicvarint.Read(in)
		}
		payload := make([]byte, min(size, 1<<20))
		if err == nil {
			_, err = io.ReadFull(in, payload)
		}
		if err != nil {
			return ending(err)
		}
		if kind != frameHeaders {
			continue
		}
		next := qpack.NewDecoder().Decode(payload)
		for f, err := next(); err != io.EOF; f, err = next() {
			if err != nil {
				return err.Error()
			}
			if f.Name == ":status" {
				status = f.Value
			}
		}
	}
}

// number is a number of QUIC's (RFC 9000, 16).
func number(n uint64) []byte { return quicvarint.Append(nil, n) }

func numbers(list ...uint64) (b []byte) {
	for _, n := range list {
		b = quicvarint.Append(b, n)
	}
	return b
}

// frame is a frame of that type.
func frame(kind uint64, parts ...[]byte) []byte {
	payload := bytes.Join(parts, nil)
	return append(numbers(kind, uint64(len(payload))), payload...)
}

func data(s string) []byte { return frame(frameData, []byte(s)) }

// headers is a HEADERS frame with fields, "name: value" each.
func headers(fields ...string) []byte { return frame(frameHeaders, packed(fields)) }

// packed encodes fields as quic-go does: static table, Huffman's code.
func packed(fields []string) []byte {
	var b bytes.Buffer
	enc := qpack.NewEncoder(&b)
	for _, f := range fields {
		name, value := downgrade.Split(f)
		_ = enc.WriteField(qpack.HeaderField{Name: name, Value: value})
	}
	return b.Bytes()
}

// literal encodes fields as they are: neither table nor code (RFC 9204, 4.5.6).
func literal(fields []string) []byte {
	b := []byte{0, 0}
	for _, f := range fields {
		name, value := downgrade.Split(f)
		b = append(prefixed(b, 0x20, 3, len(name)), name...)
		b = append(prefixed(b, 0, 7, len(value)), value...)
	}
	return b
}

// prefixed appends a number that begins in the last bits of a byte (RFC 7541, 5.1).
func prefixed(b []byte, first byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(b, first|byte(n))
	}
	b = append(b, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, 0x80|byte(n))
	}
	return append(b, byte(n))
}

// at is a plain request's fields for a path.
func at(path string) []string {
	return []string{":method: GET", ":scheme: https", ":authority: a.example", ":path: " + path}
}

// get is a plain request's fields, and more of them.
func get(more ...string) []string { return append(at("/a"), more...) }

func post(more ...string) []string {
	return append([]string{":method: POST", ":scheme: https", ":authority: a.example", ":path: /a"}, more...)
}

// counted returns penstock_codec_rejected_total by reason.
func (b *bed) counted() map[string]string {
	counts := map[string]string{}
	for _, line := range strings.Split(b.Metrics(), "\n") {
		if rest, is := strings.CutPrefix(line, `penstock_codec_rejected_total{reason="`); is {
			reason, n, _ := strings.Cut(rest, `"} `)
			counts[reason] = n
		}
	}
	return counts
}
