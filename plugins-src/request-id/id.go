package main

import (
	"encoding/binary"
	"encoding/hex"
	"time"
)

// random is bytes that nobody can guess.
type random [16]byte

// uuidV4 makes one (RFC 9562, 5.4).
func uuidV4(r random) string { return uuid(r, 4) }

// uuidV7 makes one (RFC 9562, 5.7), which sorts by its time.
func uuidV7(r random, now time.Time) string {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(now.UnixMilli(), 0)))
	copy(r[:6], ms[2:])
	return uuid(r, 7)
}

func uuid(b random, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:8], b[:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

const maxID = 128

// acceptable reports whether an id of somebody else may go on: into logs, and into the
// searches of people.
func acceptable(id string) bool {
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == ':' || c == '/' || c == '+' || c == '=') {
			return false
		}
	}
	return id != "" && len(id) <= maxID
}
