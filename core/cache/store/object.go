package store

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// Tier says where an object is read from.
type Tier uint8

// The tiers.
const (
	Memory Tier = iota
	Disk
)

func (t Tier) String() string {
	if t == Disk {
		return "disk"
	}
	return "memory"
}

// Object is one stored object. It never changes but in its counts and in Stale, is
// safe for all goroutines, and stays whole for who holds it when the store has let go
// of it: the garbage collector keeps its bytes. Slices that it returns are not to be
// changed.
type Object struct {
	// blob is key, variant, head, path (unless it is found within the key), tags, and
	// the body unless that is in more.
	blob       []byte
	more       *more
	site       *site
	stored     int64 // UnixNano, of no other object of this store
	id         uint32
	keyLen     uint32
	variantLen uint32
	headLen    uint32
	pathAt     uint32
	hits       atomic.Uint32
	flags      atomic.Uint32
	pathLen    uint16
	tagsLen    uint16
}

// more is the body of an object that is too large to lie with the rest.
type more struct {
	chunks [][]byte
	large  *large // or it is a file
	size   int64
}

// Bits of Object.flags.
const (
	flagStale uint32 = 1 << iota
	flagFromDisk
)

// objectBytes is what an Object itself takes; a test holds it.
const objectBytes = 80

// Key returns the key in full.
func (o *Object) Key() []byte { return o.blob[:o.keyLen:o.keyLen] }

// Variant returns what the object was created with to be chosen by.
func (o *Object) Variant() []byte {
	return o.blob[o.keyLen : o.keyLen+o.variantLen : o.keyLen+o.variantLen]
}

// Head returns the head, as it was given to Create or Update.
func (o *Object) Head() []byte {
	at := o.keyLen + o.variantLen
	return o.blob[at : at+o.headLen : at+o.headLen]
}

// Size returns the length of the body in bytes.
func (o *Object) Size() int64 {
	if o.more != nil {
		return o.more.size
	}
	return int64(len(o.blob) - o.bodyAt())
}

// Stale reports whether a soft purge met the object. It may become true at any time.
func (o *Object) Stale() bool { return o.flags.Load()&flagStale != 0 }

// Stored returns when the object was committed or last updated.
func (o *Object) Stored() time.Time { return time.Unix(0, o.stored) }

// Tier returns where this Object was found: Disk if its body is read from there, or
// was for the Get that returned it.
func (o *Object) Tier() Tier {
	if o.flags.Load()&flagFromDisk != 0 || o.more != nil && o.more.large != nil {
		return Disk
	}
	return Memory
}

// Hits returns how often Get has returned this object since it came to memory. It is
// exact unless it passes 2^32.
func (o *Object) Hits() int { return int(o.hits.Load()) }

// Namespace returns whose object it is.
func (o *Object) Namespace() string { return o.site.namespace.name }

// Service returns the Service that it is counted for.
func (o *Object) Service() string { return o.site.service }

// Hostname returns the hostname of its URL.
func (o *Object) Hostname() string { return o.site.hostname }

// Path returns the path of its URL, with the query.
func (o *Object) Path() []byte {
	return o.blob[o.pathAt : o.pathAt+uint32(o.pathLen) : o.pathAt+uint32(o.pathLen)]
}

// Tags calls yield with each tag until it returns false.
func (o *Object) Tags(yield func(tag []byte) bool) {
	rest := o.tags()
	for len(rest) > 2 {
		n := 2 + int(binary.LittleEndian.Uint16(rest))
		if !yield(rest[2:n:n]) {
			return
		}
		rest = rest[n:]
	}
}

// tags returns the tags as they lie in the blob: each with its length, 16 bits.
func (o *Object) tags() []byte {
	end := o.bodyAt()
	return o.blob[end-int(o.tagsLen) : end]
}

// bodyAt returns where in the blob the body begins.
func (o *Object) bodyAt() int {
	n := o.keyLen + o.variantLen + o.headLen + uint32(o.tagsLen)
	if o.pathAt >= o.keyLen {
		n += uint32(o.pathLen)
	}
	return int(n)
}

// flat returns the body that lies in the blob.
func (o *Object) flat() []byte { return o.blob[o.bodyAt():] }

// twin returns the same object without saying that it came from disk.
func (o *Object) twin() *Object {
	return &Object{
		blob: o.blob, more: o.more, site: o.site, stored: o.stored, id: o.id, keyLen: o.keyLen, variantLen: o.variantLen,
		headLen: o.headLen, pathAt: o.pathAt, pathLen: o.pathLen, tagsLen: o.tagsLen,
	}
}

// lay fills in the blob of o, with room for body bytes of a body behind it, and
// returns what the blob takes of memory.
func (o *Object) lay(key, variant, head, path, tags []byte, body int) {
	n := len(key) + len(variant) + len(head) + len(tags) + body
	within := bytes.Index(key, path)
	if within < 0 {
		n += len(path)
	}
	blob := allocate(n)[:0]
	blob = append(append(append(blob, key...), variant...), head...)
	o.pathAt = uint32(max(within, 0))
	if within < 0 {
		o.pathAt = uint32(len(blob))
		blob = append(blob, path...)
	}
	o.blob = append(blob, tags...)
	o.keyLen, o.variantLen, o.headLen = uint32(len(key)), uint32(len(variant)), uint32(len(head))
	o.pathLen, o.tagsLen = uint16(len(path)), uint16(len(tags))
}

// allocate returns n bytes whose capacity is what the allocator really took.
func allocate(n int) []byte { return append([]byte(nil), make([]byte, n)...) }

// cost returns the bytes of memory that o takes, without its entry.
func (o *Object) cost() int64 {
	n := int64(cap(o.blob)) + objectBytes
	if o.more != nil {
		n += moreBytes + int64(cap(o.more.chunks))*24
		for _, c := range o.more.chunks {
			n += int64(cap(c))
		}
	}
	return n
}

// moreBytes is what a more takes.
const moreBytes = 48

// appendTags appends tags as an Object keeps them.
func appendTags(dst []byte, tags [][]byte) []byte {
	for _, t := range tags {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(t)))
		dst = append(dst, t...)
	}
	return dst
}
