package h1

import (
	"time"

	"penstock.dev/penstock/core/internal/bufpool"
)

// reader is the read buffer of a connection. Bytes before base are a head
// whose slices are in use; [r:end] is what was read and not yet taken.
type reader struct {
	w            *wire
	pool         *bufpool.Pool
	lent, pinned *bufpool.Buffer // pinned: holds the head after the rest moved on
	buf          []byte          // lent's bytes; nil: none
	base, r, end int
}

func (in *reader) buffered() []byte { return in.buf[in.r:in.end] }

// take takes n bytes of what is buffered.
func (in *reader) take(n int) { in.r += n }

// pin keeps what was taken so far from being overwritten until unpin.
func (in *reader) pin() { in.base = in.r }

// unpin ends pin. Without buffered bytes no buffer is held afterwards.
func (in *reader) unpin() {
	in.base = 0
	if in.pinned != nil {
		in.pool.Put(in.pinned)
		in.pinned = nil
	}
	if in.r == in.end {
		in.release()
	}
}

// release gives the buffer back, with what is in it.
func (in *reader) release() {
	in.pool.Put(in.lent)
	in.pool.Put(in.pinned)
	in.lent, in.pinned, in.buf = nil, nil, nil
	in.base, in.r, in.end = 0, 0, 0
}

// drop gives the buffer back, with what is in it, but not the bytes that are
// pinned: whoever reads on does so with first.
func (in *reader) drop() {
	if in.base > 0 && in.pinned == nil {
		in.pinned = in.lent
	} else {
		in.pool.Put(in.lent)
	}
	in.lent, in.buf = nil, nil
	in.base, in.r, in.end = 0, 0, 0
}

// minRoom is the least space that is worth a read.
const minRoom = 1 << 10

// fill reads at least one byte more; the deadline is in d from now.
func (in *reader) fill(d time.Duration) error {
	if in.r == in.end {
		in.r, in.end = in.base, in.base
	}
	if len(in.buf)-in.end < minRoom {
		in.makeRoom()
	}
	in.w.armRead(time.Now(), d)
	n, err := in.w.read(in.buf[in.end:])
	in.end += n
	return err
}

// first waits for the first bytes, without a buffer while it waits; the
// deadline is the armed one.
func (in *reader) first() error {
	b, n, err := in.w.first()
	if err != nil {
		return err
	}
	in.lent, in.buf = b, b.Bytes
	in.base, in.r, in.end = 0, 0, n
	return nil
}

// next is first for bytes that are not parsed: over TLS, which first takes one byte
// of, the rest of the record comes with it.
func (in *reader) next() error {
	err := in.first()
	if err == nil && in.w.raw == nil {
		in.end += in.w.more(in.buf[in.end:])
	}
	return err
}

// makeRoom moves the buffered bytes to the front or into another buffer, a
// larger one if they fill this one. Pinned bytes stay where they are.
func (in *reader) makeRoom() {
	size := in.end - in.r
	if in.r-in.base >= minRoom && len(in.buf)-in.base-size >= minRoom {
		copy(in.buf[in.base:], in.buf[in.r:in.end])
		in.r, in.end = in.base, in.base+size
		return
	}
	want := bufpool.Medium
	for want < size+minRoom {
		want *= 2
	}
	next := in.pool.Get(want)
	copy(next.Bytes, in.buf[in.r:in.end])
	if in.base > 0 && in.pinned == nil {
		in.pinned = in.lent
	} else {
		in.pool.Put(in.lent)
	}
	in.lent, in.buf = next, next.Bytes
	in.base, in.r, in.end = 0, 0, size
}
