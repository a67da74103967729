package sdk

import (
	"encoding/binary"
	"math"
	"time"
)

// appendPath appends a property's path: its segments with a NUL between them.
func appendPath(dst []byte, path []string) []byte {
	for i, p := range path {
		if i > 0 {
			dst = append(dst, 0)
		}
		dst = append(dst, p...)
	}
	return dst
}

// readInt reads an integer, a time or a duration: 8 bytes, little endian.
func readInt(b []byte) (n int64, ok bool) {
	if len(b) != 8 {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(b)), true
}

// readBool reads a truth value: one byte.
func readBool(b []byte) (value, ok bool) {
	if len(b) != 1 {
		return false, false
	}
	return b[0] != 0, true
}

// milliseconds returns a time as the ABI has it, rounded up, so that what is more than
// nothing stays so. The error is ErrBadArgument: it is negative, or beyond 24 days.
func milliseconds(d time.Duration) (uint32, error) {
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	if d < 0 || ms > math.MaxInt32 {
		return 0, ErrBadArgument
	}
	return uint32(ms), nil
}

// appendText appends a text behind its length in 16 bits; one that is longer is cut: no
// proxy knows the name or the hash that is left.
func appendText(dst []byte, text string) []byte {
	text = text[:min(len(text), math.MaxUint16)]
	return append(binary.LittleEndian.AppendUint16(dst, uint16(len(text))), text...)
}
