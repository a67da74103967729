// Package bufpool lends byte buffers of a few fixed sizes.
package bufpool

import "sync"

// The sizes that are lent, in bytes. A request for more than Largest is made
// and dropped, never kept.
const (
	Small   = 4 << 10
	Medium  = 16 << 10
	Large   = 64 << 10
	Largest = 128 << 10
)

var sizes = [...]int{Small, Medium, Large, Largest}

// Buffer is a lent buffer. Bytes has its full length; it may be resliced and
// changed, but not replaced by other memory.
type Buffer struct {
	Bytes []byte
	class int // index in sizes; -1: not kept
}

// Pool keeps buffers that were put back. The zero value is ready; it is safe
// for use by several goroutines.
type Pool struct{ classes [len(sizes)]sync.Pool }

// Get returns a buffer of at least size bytes. Its content is undefined.
func (p *Pool) Get(size int) *Buffer {
	for i, n := range sizes {
		if size > n {
			continue
		}
		if b, ok := p.classes[i].Get().(*Buffer); ok {
			return b
		}
		return &Buffer{Bytes: make([]byte, n), class: i}
	}
	return &Buffer{Bytes: make([]byte, size), class: -1}
}

// Put takes a buffer back. Nobody may use it, or slices of it, afterwards. nil
// is allowed.
func (p *Pool) Put(b *Buffer) {
	if b == nil || b.class < 0 {
		return
	}
	b.Bytes = b.Bytes[:sizes[b.class]]
	p.classes[b.class].Put(b)
}
