package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// castagnoli is the table of CRC-32C, which processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	recordMagic   = 0x52435350 // "PSCR"
	formatVersion = 1
	recordHeader  = 64
	// largeBody is from where on a body is a file of its own.
	largeBody = 256 << 10
)

var errRecord = errors.New("record is not what was written")

// record is one object as it lies in a segment:
//
//	 0 magic, 4 version, 5 kind, 6 flags, 7 zero
//	 8 CRC-32C of all else up to the body, and the salt; 12 CRC-32C of the body
//	16 stamp, 24 length of the body, 32 number of its file, 0 for none
//	40 lengths of key, 44 variant, 48 head; 52 where the path is
//	56 lengths of path, 58 tags, 60 namespace, 61 service, 62 hostname; 63 zero
//	64 namespace, service, hostname; key, variant, head, path unless it is within the
//	   key, tags; the body if it has no file; zeros up to a multiple of 8
//
// The salt comes of the folder's secret and the place. So who writes a body that
// contains what looks like a record makes none that is found when records are looked
// for behind a torn one, and a record that has got to another place is none.
type record struct {
	namespace, service, hostname []byte
	rest                         []byte // from key to tags, as in a blob
	key, variant, head, path     []byte
	tags                         []byte
	pathAt                       uint32
	stored                       int64
	size                         int64 // of the body
	file                         uint64
	stale                        bool
	bodyCRC                      uint32
	bodyAt                       int
	length                       int // of all
}

const recordStale = 1

func padded(n int) int { return (n + 7) &^ 7 }

// recordBytes returns the length of o's record; large: its body is a file.
func recordBytes(o *Object, large bool) int {
	n := recordHeader + len(o.site.namespace.name) + len(o.site.service) + len(o.site.hostname) + o.bodyAt()
	if !large {
		n += int(o.Size())
	}
	return padded(n)
}

// appendRecord appends the record of o, whose body lies in this file unless that is 0.
func appendRecord(dst []byte, o *Object, stale bool, file uint64, salt uint32) []byte {
	start := len(dst)
	le := binary.LittleEndian
	flags := byte(0)
	if stale {
		flags = recordStale
	}
	dst = le.AppendUint32(dst, recordMagic)
	dst = append(dst, formatVersion, 0, flags, 0)
	dst = le.AppendUint64(dst, 0) // the two sums
	dst = le.AppendUint64(dst, uint64(o.stored))
	dst = le.AppendUint64(dst, uint64(o.Size()))
	dst = le.AppendUint64(dst, file)
	for _, n := range []uint32{o.keyLen, o.variantLen, o.headLen, o.pathAt} {
		dst = le.AppendUint32(dst, n)
	}
	dst = le.AppendUint16(dst, o.pathLen)
	dst = le.AppendUint16(dst, o.tagsLen)
	dst = append(dst, byte(len(o.site.namespace.name)), byte(len(o.site.service)), byte(len(o.site.hostname)), 0)
	dst = append(append(append(dst, o.site.namespace.name...), o.site.service...), o.site.hostname...)
	dst = append(dst, o.blob[:o.bodyAt()]...)
	body := len(dst)
	if file == 0 {
		if o.more != nil {
			for _, c := range o.more.chunks {
				dst = append(dst, c...)
			}
		} else {
			dst = append(dst, o.flat()...)
		}
	}
	le.PutUint32(dst[start+12:], crc32.Checksum(dst[body:], castagnoli))
	le.PutUint32(dst[start+8:], headSum(dst[start:body])^salt)
	for (len(dst)-start)%8 != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// headSum returns the sum of a record up to its body, which p is.
func headSum(p []byte) uint32 {
	return crc32.Update(crc32.Checksum(p[:8], castagnoli), castagnoli, p[12:])
}

// parseRecord reads the record that p begins with, without its body: that is
// p[bodyAt:], and bodyCRC its sum. What it returns lies in p. It needs no more of p than
// the part before the body.
func parseRecord(p []byte, salt uint32) (r record, err error) {
	le := binary.LittleEndian
	if len(p) < recordHeader || le.Uint32(p) != recordMagic || p[4] != formatVersion || p[5] != 0 || p[6]&^recordStale != 0 || p[7] != 0 {
		return r, errRecord
	}
	key, variant, head := le.Uint32(p[40:]), le.Uint32(p[44:]), le.Uint32(p[48:])
	pathLen, tagsLen := uint32(le.Uint16(p[56:])), uint32(le.Uint16(p[58:]))
	if key > MaxKey || variant > MaxKey || head > MaxHead || p[63] != 0 {
		return r, errRecord
	}
	r = record{
		stored: int64(le.Uint64(p[16:])), size: int64(le.Uint64(p[24:])), file: le.Uint64(p[32:]),
		pathAt: le.Uint32(p[52:]), stale: p[6]&recordStale != 0, bodyCRC: le.Uint32(p[12:]),
	}
	n := key + variant + head + tagsLen
	switch {
	case pathLen == 0 && r.pathAt == 0:
	case r.pathAt == key+variant+head && r.pathAt >= key && pathLen > 0:
		n += pathLen
	case r.pathAt >= key || r.pathAt+pathLen > key || pathLen == 0:
		return r, errRecord
	}
	names := recordHeader + int(p[60]) + int(p[61]) + int(p[62])
	r.bodyAt = names + int(n)
	if len(p) < r.bodyAt || r.size < 0 || r.size > MaxLarge || r.file == 0 && r.size >= largeBody || p[60] == 0 || r.stored <= 0 ||
		headSum(p[:r.bodyAt])^salt != le.Uint32(p[8:]) {
		return r, errRecord
	}
	r.length = r.bodyAt
	if r.file == 0 {
		r.length += int(r.size)
	}
	r.length = padded(r.length)
	at := recordHeader
	for _, s := range []struct {
		to *[]byte
		n  byte
	}{{&r.namespace, p[60]}, {&r.service, p[61]}, {&r.hostname, p[62]}} {
		*s.to, at = p[at:at+int(s.n)], at+int(s.n)
	}
	r.rest = p[names:r.bodyAt]
	r.key, r.variant = r.rest[:key], r.rest[key:key+variant]
	r.head = r.rest[key+variant : key+variant+head]
	r.path = r.rest[r.pathAt : r.pathAt+pathLen]
	r.tags = r.rest[n-tagsLen:]
	if !tagsWhole(r.tags) {
		return r, errRecord
	}
	return r, nil
}

// tagsWhole reports whether tags lie one behind the other as appendTags puts them.
func tagsWhole(p []byte) bool {
	for n := 0; len(p) > 0; n++ {
		if n == MaxTags || len(p) < 2 {
			return false
		}
		size := int(binary.LittleEndian.Uint16(p))
		if size == 0 || size > MaxTag || len(p) < 2+size {
			return false
		}
		p = p[2+size:]
	}
	return true
}

// checkBody reports whether p, which r was parsed from, holds the body that it says.
func (r *record) checkBody(p []byte) bool {
	if r.file != 0 {
		return r.bodyCRC == 0
	}
	return len(p) >= r.bodyAt+int(r.size) && crc32.Checksum(p[r.bodyAt:r.bodyAt+int(r.size)], castagnoli) == r.bodyCRC
}

// object returns the object that r is the record of, with its body from p.
func (r *record) object(p []byte, site *site) *Object {
	end := r.bodyAt
	if r.file == 0 {
		end += int(r.size)
	}
	o := &Object{
		site: site, stored: r.stored,
		keyLen: uint32(len(r.key)), variantLen: uint32(len(r.variant)), headLen: uint32(len(r.head)),
		pathAt: r.pathAt, pathLen: uint16(len(r.path)), tagsLen: uint16(len(r.tags)),
	}
	from := r.bodyAt - len(r.rest)
	o.blob = allocate(end - from)
	copy(o.blob, p[from:end])
	if r.stale {
		o.flags.Store(flagStale | flagFromDisk)
	} else {
		o.flags.Store(flagFromDisk)
	}
	return o
}
