package rfc9111

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// ByteRange is a range of bytes, both ends counted: 0 <= First <= Last (RFC 9110, 14.1.2).
type ByteRange struct{ First, Last int64 }

// Len returns how many bytes the range has.
func (r ByteRange) Len() int64 { return r.Last - r.First + 1 }

// MaxRanges bounds the ranges of one request; with more Range does not count.
const MaxRanges = 16

// Ranges is what a request asks for, in its order.
type Ranges struct {
	n    int
	list [MaxRanges]ByteRange
}

// All returns the ranges, at least one after a 206. They live in r.
func (r *Ranges) All() []ByteRange { return r.list[:r.n] }

// Range evaluates Range and If-Range of a GET against the stored response with size
// bytes that would answer it (RFC 9110, 14.2, 13.1.5), after Conditional returned 0. It
// returns 206 with ranges that all lie in it; 416: none does; or 200: send it whole,
// because nothing else was asked for or what was asked for does not count. So it is if
// the field is malformed, is there twice, has another unit than bytes or more than
// MaxRanges ranges, if more than two of these overlap, if sending them apart would cost
// as much as the whole, if size is 0 or, being -1, unknown, if the stored status is not
// 200, and if an If-Match or If-Unmodified-Since does not hold: then the client has parts
// of something else. It allocates nothing.
func Range(q, stored *exchange.Header, size int64, f *Facts) (r Ranges, status int) {
	v, ok := q.Get("range")
	if !ok || size <= 0 || f.Status != 200 || q.Count("range") != 1 || !unchanged(q, stored, f) || !ifRange(q, stored, f) {
		return r, 200
	}
	switch inside, ok := r.parse(v, size); {
	case !ok || r.wasteful(size):
		return Ranges{}, 200
	case !inside:
		return r, 416
	}
	return r, 206
}

// parse reads the field; ok is false if it does not count, inside false if no range
// of it lies in size bytes.
func (r *Ranges) parse(v []byte, size int64) (inside, ok bool) {
	unit, set, found := bytes.Cut(v, []byte{'='})
	if !found || !exchange.EqualFold(unit, "bytes") {
		return false, false
	}
	members := 0
	for len(set) > 0 {
		var spec []byte
		spec, set, _ = bytes.Cut(set, []byte{','})
		if spec = trim(spec); len(spec) == 0 {
			continue
		}
		if members++; members > MaxRanges {
			return false, false
		}
		b, inside, ok := parseRange(spec, size)
		if !ok {
			return false, false
		}
		if inside {
			r.list[r.n] = b
			r.n++
		}
	}
	return r.n > 0, members > 0
}

// parseRange reads "0-499", "500-" or "-500"; inside is false if nothing of it lies in
// size bytes.
func parseRange(spec []byte, size int64) (b ByteRange, inside, ok bool) {
	from, to, found := bytes.Cut(spec, []byte{'-'})
	if !found || len(from) == 0 && len(to) == 0 {
		return b, false, false
	}
	first, last := int64(0), size-1
	if len(from) == 0 {
		n, ok := position(to)
		return ByteRange{max(size-n, 0), last}, n > 0, ok
	}
	if first, ok = position(from); !ok {
		return b, false, false
	}
	if len(to) > 0 {
		if last, ok = position(to); !ok || last < first {
			return b, false, false
		}
	}
	return ByteRange{first, min(last, size-1)}, first < size, true
}

// position reads digits; more than fit count as the greatest number.
func position(b []byte) (int64, bool) {
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if d := int64(c - '0'); n > (math.MaxInt64-d)/10 {
			n = math.MaxInt64
		} else {
			n = n*10 + d
		}
	}
	return n, len(b) > 0
}

// partOverhead is about what a part costs beside its bytes.
const partOverhead = 128

// wasteful reports whether several ranges are not worth to be sent apart, or meant to
// exhaust us (RFC 9110, 14.2, 17.15).
func (r *Ranges) wasteful(size int64) bool {
	if r.n < 2 {
		return false
	}
	left, overlaps := size, 0
	for i, a := range r.All() {
		if left -= a.Len() + partOverhead; left <= 0 {
			return true
		}
		for _, b := range r.list[:i] {
			if a.First <= b.Last && b.First <= a.Last {
				overlaps++
			}
		}
	}
	return overlaps > 2
}

// ifRange reports whether Range counts as far as If-Range goes: there is none, or it
// names the stored response by its strong entity tag, or by a Last-Modified that is
// strong (RFC 9110, 8.8.2.2): a second or more before its Date.
func ifRange(q, stored *exchange.Header, f *Facts) bool {
	v, ok := q.Get("if-range")
	if !ok {
		return true
	}
	if q.Count("if-range") != 1 {
		return false
	}
	if tagLen(v) > 0 {
		return equalStrong(v, etagOf(stored))
	}
	have, ok := stored.Get("last-modified")
	if !ok {
		return false
	}
	received := time.UnixMilli(f.Received)
	want, ok := ParseDate(v, received)
	changed, also := ParseDate(have, received)
	return ok && also && want.Equal(changed) && f.Date-changed.UnixMilli() >= 1000
}

// PartialRange returns the one range that a 206 with header h holds, and the size of the
// whole, -1 if that is not known (RFC 9110, 14.4). ok is false if it holds several, or
// does not say.
func PartialRange(h *exchange.Header) (r ByteRange, size int64, ok bool) {
	v, ok := h.Get("content-range")
	if !ok || h.Count("content-range") != 1 {
		return r, 0, false
	}
	if kind, _ := h.Get("content-type"); len(kind) >= 20 && exchange.EqualFold(kind[:20], "multipart/byteranges") {
		return r, 0, false
	}
	unit, rest, found := bytes.Cut(v, []byte{' '})
	if !found || !exchange.EqualFold(unit, "bytes") {
		return r, 0, false
	}
	span, total, found := bytes.Cut(rest, []byte{'/'})
	from, to, also := bytes.Cut(span, []byte{'-'})
	if !found || !also {
		return r, 0, false
	}
	var a, b bool
	r.First, a = position(from)
	r.Last, b = position(to)
	size, ok = -1, true
	if len(total) != 1 || total[0] != '*' {
		size, ok = position(total)
		ok = ok && r.Last < size
	}
	return r, size, ok && a && b && r.First <= r.Last && r.Last < math.MaxInt64
}

// AppendContentRange appends the value of Content-Range for a range of size bytes; -1 is
// an unknown size.
func AppendContentRange(dst []byte, r ByteRange, size int64) []byte {
	dst = strconv.AppendInt(append(dst, "bytes "...), r.First, 10)
	dst = strconv.AppendInt(append(dst, '-'), r.Last, 10)
	if size < 0 {
		return append(dst, "/*"...)
	}
	return strconv.AppendInt(append(dst, '/'), size, 10)
}

// AppendUnsatisfied appends the value of Content-Range for a 416 (RFC 9110, 14.4).
func AppendUnsatisfied(dst []byte, size int64) []byte {
	return strconv.AppendInt(append(dst, "bytes */"...), size, 10)
}
