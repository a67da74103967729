package h3

import (
	"errors"

	"golang.org/x/net/http2/hpack"

	"penstock.dev/penstock/core/codec/fields"
	"penstock.dev/penstock/core/exchange"
)

// errSection means that a field section cannot be decoded: it is malformed, or it
// refers to a dynamic table that it was told not to have.
var errSection = errors.New("field section cannot be decoded")

// decode gives hd the fields of an encoded field section (RFC 9204, 4.5), up to the
// first that hd refuses. b is not kept: bytes are copied to arena. A section that
// refers to the dynamic table is an error, as there is none.
func decode(b []byte, hd *fields.Section, arena *exchange.Arena) error {
	b, ok := readPrefix(b)
	for ok && len(b) > 0 {
		var name, value []byte
		if name, value, b, ok = readLine(b, arena); ok && !hd.TakeBytes(name, value) {
			return nil
		}
	}
	if !ok {
		return errSection
	}
	return nil
}

// readPrefix reads what a section begins with (RFC 9204, 4.5.1): no Required Insert
// Count, and a Base that is not negative.
func readPrefix(b []byte) (rest []byte, ok bool) {
	inserts, b, ok := readInt(b, 8)
	if !ok || inserts != 0 || len(b) == 0 || b[0]&0x80 != 0 {
		return nil, false
	}
	_, b, ok = readInt(b, 7)
	return b, ok
}

// readLine reads a field line (RFC 9204, 4.5.2 to 4.5.6).
func readLine(b []byte, arena *exchange.Arena) (name, value, rest []byte, ok bool) {
	switch {
	case b[0]&0xc0 == 0xc0: // indexed, static
		f, rest, ok := readStatic(b, 6)
		return f.Name, f.Value, rest, ok
	case b[0]&0xd0 == 0x50: // literal with the name of a static field
		f, b, ok := readStatic(b, 4)
		if !ok {
			return nil, nil, nil, false
		}
		value, rest, ok = readString(b, 7, arena)
		return f.Name, value, rest, ok
	case b[0]&0xe0 == 0x20: // literal with a literal name
		if name, b, ok = readString(b, 3, arena); !ok {
			return nil, nil, nil, false
		}
		value, rest, ok = readString(b, 7, arena)
		return name, value, rest, ok
	}
	return nil, nil, nil, false // of the dynamic table
}

// readStatic reads an index of that many bits, and returns the field.
func readStatic(b []byte, bits int) (f exchange.Field, rest []byte, ok bool) {
	i, rest, ok := readInt(b, bits)
	if !ok || i >= uint64(len(static)) {
		return f, nil, false
	}
	return static[i], rest, true
}

// readInt reads an integer with a prefix of that many bits (RFC 7541, 5.1), up to
// 62 bits (RFC 9204, 4.1.1).
func readInt(b []byte, bits int) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	most := uint64(1)<<bits - 1
	if n = uint64(b[0]) & most; n < most {
		return n, b[1:], true
	}
	for i, shift := 1, 0; i < len(b) && shift <= 56; i, shift = i+1, shift+7 {
		n += uint64(b[i]&0x7f) << shift
		if b[i]&0x80 == 0 {
			return n, b[i+1:], n <= maxVarint
		}
	}
	return 0, nil, false
}

// readString reads a string whose length has a prefix of that many bits; the bit
// before it says that it is in Huffman's code (RFC 9204, 4.1.2).
func readString(b []byte, bits int, arena *exchange.Arena) (s, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	huffman := b[0]>>bits&1 != 0
	n, b, ok := readInt(b, bits)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	s, rest = b[:n], b[n:]
	if !huffman {
		return arena.Copy(s), rest, true
	}
	w := writers.Get().(*arenaWriter)
	w.arena = arena
	_, err := hpack.HuffmanDecode(w, s)
	s = w.text
	*w = arenaWriter{}
	writers.Put(w)
	return s, rest, err == nil
}
