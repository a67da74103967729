package store

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// hasher is a keyed hash of 64 bits: chained folded multiplication, as the Go
// runtime's for machines without AES. It is our own because the index on disk holds
// hashes, and a seed of hash/maphash ends with its process.
//
// Who does not know the secret cannot choose keys that meet; those that meet all the
// same cost time, never a wrong answer for an object in memory: keys are compared.
type hasher struct{ secret [4]uint64 }

// newHasher returns a hasher with a secret of its own.
func newHasher() hasher {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails: crypto/rand ends the process instead
	return hasherOf(seed[:])
}

// hasherOf returns the hasher with this secret of 32 bytes.
func hasherOf(seed []byte) (h hasher) {
	for i := range h.secret {
		h.secret[i] = binary.LittleEndian.Uint64(seed[8*i:]) | 1 // never 0
	}
	return h
}

// appendSecret appends the secret, 32 bytes.
func (h *hasher) appendSecret(dst []byte) []byte {
	for _, s := range h.secret {
		dst = binary.LittleEndian.AppendUint64(dst, s)
	}
	return dst
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// sum returns the hash of p.
func (h *hasher) sum(p []byte) uint64 { return h.add(h.secret[0], p) }

// add returns the hash of p after what state stands for. The length of p is part of
// it, so that add(add(s, "a"), "bc") and add(add(s, "ab"), "c") differ.
func (h *hasher) add(state uint64, p []byte) uint64 {
	length := uint64(len(p))
	for len(p) > 16 {
		state = fold(binary.LittleEndian.Uint64(p)^h.secret[1], binary.LittleEndian.Uint64(p[8:])^state)
		p = p[16:]
	}
	var a, b uint64
	switch {
	case len(p) >= 8:
		a, b = binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[len(p)-8:])
	case len(p) >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(p)), uint64(binary.LittleEndian.Uint32(p[len(p)-4:]))
	case len(p) > 0:
		a = uint64(p[0])<<16 | uint64(p[len(p)/2])<<8 | uint64(p[len(p)-1])
	}
	return fold(h.secret[3]^length, fold(a^h.secret[2], b^state))
}

// Kinds of labels, so that a tag never meets a URL.
const (
	labelTag uint64 = 1 + iota
	labelURL
)

// tag returns the hash of a tag within namespace.
func (h *hasher) tag(namespace string, tag []byte) uint64 {
	return h.add(h.add(h.secret[0]^labelTag<<32, []byte(namespace)), tag)
}

// url returns the hash of a URL within namespace.
func (h *hasher) url(namespace, hostname string, path []byte) uint64 {
	return h.add(h.add(h.add(h.secret[0]^labelURL<<32, []byte(namespace)), []byte(hostname)), path)
}

// variant returns the hash by which variants of one key are told apart on disk.
func (h *hasher) variant(variant []byte) uint32 {
	return uint32(h.add(h.secret[1], variant) >> 16)
}

// salt returns what the sum of a record at this place is changed by.
func (h *hasher) salt(segment, offset uint32) uint32 {
	return uint32(fold(h.secret[2]^uint64(segment), h.secret[3]^uint64(offset)<<16) >> 20)
}
