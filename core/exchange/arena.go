package exchange

import "sync"

// arenaBlock is the size of an arena's first block in bytes; a later block is
// larger if one copy needs it.
const arenaBlock = 4 << 10

// firstBlocks are first blocks that no arena holds.
var firstBlocks = sync.Pool{New: func() any { return new([arenaBlock]byte) }}

// Arena holds the bytes that an exchange's fields point to: copies made by
// filters, rewritten paths, added fields. Memory is handed out until Reset,
// never moved. The zero value is ready.
type Arena struct {
	block []byte // len: used, cap: size
	first *[arenaBlock]byte
}

// Copy returns a copy of b that lives until Reset.
func (a *Arena) Copy(b []byte) []byte {
	p := a.Alloc(len(b))
	copy(p, b)
	return p
}

// CopyString returns the bytes of s, living until Reset.
func (a *Arena) CopyString(s string) []byte {
	p := a.Alloc(len(s))
	copy(p, s)
	return p
}

// Alloc returns n bytes that live until Reset. Their content is undefined.
// The slice's capacity is n, so that appending to it never overwrites a
// neighbour.
func (a *Arena) Alloc(n int) []byte {
	if n > cap(a.block)-len(a.block) {
		if a.first == nil && n <= arenaBlock {
			a.first = firstBlocks.Get().(*[arenaBlock]byte)
			a.block = a.first[:0]
		} else {
			a.block = make([]byte, 0, max(arenaBlock, n))
		}
	}
	start := len(a.block)
	a.block = a.block[:start+n]
	return a.block[start : start+n : start+n]
}

// Reset forgets everything and keeps the first block.
func (a *Arena) Reset() {
	if a.block = nil; a.first != nil {
		a.block = a.first[:0]
	}
}

// Release forgets everything and gives the first block to whichever arena wants one
// next: for a connection that waits, maybe for long.
func (a *Arena) Release() {
	if a.first != nil {
		firstBlocks.Put(a.first)
	}
	*a = Arena{}
}
