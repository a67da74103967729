package cache

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strconv"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/exchange"
)

// partial answers with parts of a body of that size (RFC 9110, 15.3.7).
func (s *stream) partial(l *exchange.Local, c *source, size int64, ranges []rfc9111.ByteRange) bool {
	l.Status = 206
	a := &s.x.Arena
	if len(ranges) == 1 {
		only := ranges[0]
		l.Header.Add(contentRange, rfc9111.AppendContentRange(a.Alloc(80)[:0], only, size))
		l.Length = only.Len()
		return s.open(l, c, only.First, only.Len())
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // it never fails
	boundary := hex.EncodeToString(random[:])
	kind, _ := l.Header.Get("Content-Type")
	m := &parts{}
	for i, one := range ranges {
		body := c.object.Reader(one.First, one.Len())
		if body == nil {
			m.Close()
			return false
		}
		m.list = append(m.list, exchange.NewBytes(rfc9111.AppendPartHead(nil, i == 0, boundary, kind, one, size)), body)
	}
	m.list = append(m.list, exchange.NewBytes(rfc9111.AppendPartsEnd(nil, boundary)))
	l.Content, l.Length = m, rfc9111.PartsLength(boundary, kind, ranges, size)
	l.Header.Set(contentType, append(a.Alloc(72)[:0], "multipart/byteranges; boundary="+boundary...))
	return true
}

// maxSkip is how far into a body that is not stored yet a range may begin for its
// client to wait for what lies before it.
const maxSkip = 1 << 20

// distant reports whether the request asks for a part that would be long in coming if
// the whole were fetched: the origin is asked for just that.
func (s *stream) distant() bool {
	v, ok := s.x.Request.Header.Get("range")
	if !ok {
		return false
	}
	_, set, ok := bytes.Cut(v, []byte("="))
	first, _, also := bytes.Cut(set, []byte("-"))
	if !ok || !also {
		return false // it does not count
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(first)), 10, 63)
	return err != nil || n > maxSkip
}
