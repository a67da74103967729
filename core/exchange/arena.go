package exchange

// arenaBlock is the size of an arena's first block in bytes; a later block is
// larger if one copy needs it.
const arenaBlock = 4 << 10

// Arena holds the bytes that an exchange's fields point to: copies made by
// filters, rewritten paths, added fields. Memory is handed out until Reset,
// never moved. The zero value is ready.
type Arena struct {
	block []byte // len: used, cap: size
	first []byte
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
		size := max(arenaBlock, n)
		a.block = make([]byte, 0, size)
		if a.first == nil && size == arenaBlock {
			a.first = a.block
		}
	}
	start := len(a.block)
	a.block = a.block[:start+n]
	return a.block[start : start+n : start+n]
}

// Reset forgets everything and keeps the first block.
func (a *Arena) Reset() { a.block = a.first[:0] }
