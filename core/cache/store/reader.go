package store

import (
	"io"
	"os"
	"runtime"
	"sync/atomic"
)

// Reader reads a part of a body: of an Object, or of one that is being written, which
// it follows as it grows. It is an exchange.Body. Close may be called by any goroutine
// and ends a wait; the rest is for one goroutine at a time.
type Reader struct {
	// w is the body that is followed, nil for an object's. off, rest and the links are
	// then guarded by w.mu.
	w          *Writer
	prev, next *Reader

	off, end int64    // of the body; end -1: where the writer ends
	chunks   [][]byte // what is left of an object in memory
	large    *large   // held: the body is a file, or what w has in one
	block    block    // of large, as read
	rest     []byte   // handed out by Next to Read, and not yet taken
	closed   atomic.Bool
	err      error
}

// Reader returns a reader of n bytes of the body from offset, of fewer if it is
// shorter; n -1 means all that follow. nil: the body is a file that was evicted since
// Get, which counts as a miss.
func (o *Object) Reader(offset, n int64) *Reader {
	r := new(Reader)
	if !o.Read(r, offset, n) {
		return nil
	}
	return r
}

// Read makes r, which is new or closed, a reader as Reader returns it: for who keeps
// one and wants no allocation. False: as nil of Reader.
func (o *Object) Read(r *Reader, offset, n int64) bool {
	size := o.Size()
	offset = min(max(offset, 0), size)
	end := size
	if n >= 0 {
		end = min(end, offset+min(n, size))
	}
	r.reset(offset, end)
	switch {
	case o.more == nil:
		r.rest = o.flat()[offset:end]
		r.off = end
	case o.more.large == nil:
		for i, c := range o.more.chunks {
			if offset < int64(len(c)) {
				r.chunks = o.more.chunks[i:]
				break
			}
			offset -= int64(len(c))
		}
		if len(r.chunks) > 0 {
			r.rest = r.chunks[0][offset:]
			r.rest = r.rest[:min(int64(len(r.rest)), end-r.off)]
			r.off += int64(len(r.rest))
			r.chunks = r.chunks[1:]
		}
	default:
		if !o.more.large.hold() {
			return false
		}
		r.large = o.more.large
	}
	return true
}

func (r *Reader) reset(offset, end int64) {
	r.w, r.prev, r.next = nil, nil, nil
	r.off, r.end, r.chunks, r.large, r.rest, r.err = offset, end, nil, nil, nil, nil
	r.block.n = 0
	r.closed.Store(false)
}

// Read works as io.Reader's and never waits for p to be full. After Close it returns
// ErrClosed.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.rest) == 0 {
		next, err := r.Next()
		if err != nil {
			r.block.drop() // all of it was copied
			return 0, err
		}
		r.rest = next
	} else if r.closed.Load() {
		return 0, ErrClosed
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Next returns the next bytes without copying them, at least one; they are not to be
// changed, and valid until the next call that returns others. At the end it returns nil and io.EOF, or why
// the body is cut short.
func (r *Reader) Next() ([]byte, error) {
	if r.closed.Load() {
		return nil, ErrClosed
	}
	if len(r.rest) > 0 {
		p := r.rest
		r.rest = nil
		return p, nil
	}
	if r.w != nil {
		return r.follow()
	}
	if r.err != nil {
		return nil, r.err
	}
	if r.off >= r.end {
		return nil, io.EOF
	}
	if r.large != nil {
		return r.read(r.large)
	}
	p := r.chunks[0]
	p = p[:min(int64(len(p)), r.end-r.off)]
	r.chunks = r.chunks[1:]
	r.off += int64(len(p))
	return p, nil
}

// read returns what follows in the block of the file that off is in.
func (r *Reader) read(l *large) ([]byte, error) {
	p, err := r.block.at(l, r.off)
	if err != nil {
		r.err = err
		return nil, err
	}
	if r.end >= 0 {
		p = p[:min(int64(len(p)), r.end-r.off)]
	}
	r.off += int64(len(p))
	return p, nil
}

// follow returns what the writer has written, and waits if that is nothing.
func (r *Reader) follow() ([]byte, error) {
	w := r.w
	if r.off > 0 && r.off <= firstBytes {
		runtime.Gosched() // the others of a crowd get their first bytes now
	}
	w.mu.Lock()
	for r.off == w.written && !w.done && !r.closed.Load() {
		w.wake.Wait()
	}
	switch {
	case r.closed.Load():
		w.mu.Unlock()
		return nil, ErrClosed
	case r.off == w.written:
		err := w.end
		w.mu.Unlock()
		if err == nil {
			err = io.EOF
		}
		return nil, err
	case r.off < w.base:
		w.mu.Unlock()
		// Only this goroutine changes off; others look at it.
		p, err := r.block.at(w.large, r.off)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		r.off += int64(len(p))
		w.passed()
		w.mu.Unlock()
		return p, nil
	}
	defer w.mu.Unlock()
	at := w.written
	for i := len(w.chunks) - 1; ; i-- { // most readers are near the end
		c := w.chunks[i]
		if at -= int64(len(c)); r.off >= at {
			p := c[r.off-at : len(c) : len(c)]
			if r.off == 0 { // of a crowd all get something before some get much
				p = p[:min(len(p), firstBytes)]
			}
			r.off += int64(len(p))
			w.passed()
			return p, nil
		}
	}
}

// firstBytes is how much of a body that grows a reader gets at first.
const firstBytes = 16 << 10

// passed tells a writer that waits for its readers. w.mu is held.
func (w *Writer) passed() {
	if w.mode == passing {
		w.space.Signal()
	}
}

// Buffered returns how many bytes Read gives without waiting for the writer.
func (r *Reader) Buffered() int {
	n := int64(len(r.rest))
	if r.w == nil {
		n += r.end - r.off
	} else {
		r.w.mu.Lock()
		n += r.w.written - r.off
		r.w.mu.Unlock()
	}
	return int(min(n, 1<<30))
}

// Close ends the reading; a writer is held up no longer. Calling it again does nothing.
func (r *Reader) Close() {
	if r.closed.Swap(true) {
		return
	}
	w := r.w
	if w == nil {
		if r.large != nil {
			r.large.release()
		}
		return
	}
	w.mu.Lock()
	if r.large != nil {
		r.large.release()
	}
	defer w.mu.Unlock()
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		w.readers = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	}
	w.count--
	w.wake.Broadcast() // it may be waiting itself
	w.space.Signal()
}

// File returns a part of a file that holds what Read would give next, of which all was
// checked: n bytes from offset in f, for sendfile. n is the whole rest if the file was
// checked before, else at most 4 MiB of it; Skip(n) then says that they were sent. ok
// is false if the next bytes lie in memory or fail the check. f is not to be closed,
// nor its offset relied upon, and lives until Close.
func (r *Reader) File() (f *os.File, offset, n int64, ok bool) {
	if r.w != nil || r.large == nil || len(r.rest) > 0 || r.off >= r.end || r.err != nil || r.closed.Load() {
		return nil, 0, 0, false
	}
	n, err := r.large.check(r.off, r.end)
	if err != nil || n == 0 {
		return nil, 0, 0, false
	}
	return r.large.file, r.off, n, true
}

// Skip passes over n bytes of those that File returned.
func (r *Reader) Skip(n int64) { r.off += min(n, r.end-r.off) }
