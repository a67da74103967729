package cache

import (
	"encoding/binary"
	"slices"
	"time"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/exchange"
)

// A stored head is what rfc9111 knows of the response, at fixed places, and then the
// fields as they came: 16 bits of the name's length, 32 of the value's, name, value.
const (
	headVersion = 1
	factsBytes  = 2 + 2 + 6*8 + 2 // version, flags; status; times; number of fields
)

// head is a stored head as it is read. The zero value is none.
type head struct {
	facts  rfc9111.Facts
	fields []byte
	count  int
}

// appendHead appends a head.
func appendHead(dst []byte, f *rfc9111.Facts, fields *exchange.Header) []byte {
	b := binary.LittleEndian
	size := factsBytes
	for _, field := range fields.Fields() {
		size += 6 + len(field.Name) + len(field.Value)
	}
	dst = slices.Grow(dst, size)
	dst = append(dst, headVersion, byte(f.Flags))
	dst = b.AppendUint16(dst, uint16(f.Status))
	for _, n := range [...]int64{f.Date, f.Received, int64(f.InitialAge), int64(f.Lifetime), int64(f.StaleWhileRevalidate), int64(f.StaleIfError)} {
		dst = b.AppendUint64(dst, uint64(n))
	}
	dst = b.AppendUint16(dst, uint16(fields.Len()))
	for _, field := range fields.Fields() {
		dst = b.AppendUint16(dst, uint16(len(field.Name)))
		dst = b.AppendUint32(dst, uint32(len(field.Value)))
		dst = append(append(dst, field.Name...), field.Value...)
	}
	return dst
}

// read makes h what p holds, which is kept. false: p is no head, or one of another
// version.
func (h *head) read(p []byte) bool {
	if len(p) < factsBytes || p[0] != headVersion {
		return false
	}
	b := binary.LittleEndian
	at := func(i int) int64 { return int64(b.Uint64(p[4+8*i:])) }
	h.facts = rfc9111.Facts{
		Status: int(b.Uint16(p[2:])), Flags: rfc9111.Flags(p[1]),
		Date: at(0), Received: at(1), InitialAge: time.Duration(at(2)), Lifetime: time.Duration(at(3)),
		StaleWhileRevalidate: time.Duration(at(4)), StaleIfError: time.Duration(at(5)),
	}
	h.count, h.fields = int(b.Uint16(p[factsBytes-2:])), p[factsBytes:]
	return h.facts.Status >= 200 && h.facts.Status <= 599
}

// fieldsInto adds the fields to a header; they borrow from the stored head, which never
// changes.
func (h *head) fieldsInto(to *exchange.Header) {
	b, rest := binary.LittleEndian, h.fields
	for range h.count {
		if len(rest) < 6 {
			return
		}
		name, value := int(b.Uint16(rest)), int(b.Uint32(rest[2:]))
		if rest = rest[6:]; len(rest) < name+value || name+value < 0 {
			return
		}
		to.Add(rest[:name:name], rest[name:name+value:name+value])
		rest = rest[name+value:]
	}
}
