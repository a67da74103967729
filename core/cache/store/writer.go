package store

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// Attributes are what a purge or a quota looks at.
type Attributes struct {
	Namespace string // whose quota it counts to; purges never leave it
	Service   string // for counts
	Hostname  []byte // lower case
	Path      []byte // with the query, as in the URL
	Tags      [][]byte
}

// Writer is an object that is being written. Write, Commit and Abort are for one
// goroutine at a time; Abort, Reader, Readers and Written are also for any other.
type Writer struct {
	// Limit bounds the body in bytes, beside the store's own limits; 0: those alone.
	// It is set before the first Write.
	Limit int64

	store  *Store
	site   *site
	object *Object // key, variant, head, path and tags
	size   int64   // announced; -1: unknown
	wrong  error   // why it cannot be stored
	purged atomic.Uint32

	mu      sync.Mutex
	wake    sync.Cond // for readers: there is more, or an end
	space   sync.Cond // for Write: a reader has gone on
	mode    mode
	chunks  [][]byte
	base    int64 // offset of the first chunk
	written int64
	held    int64 // bytes that are reserved
	done    bool
	end     error // what readers get at the end; nil: io.EOF
	readers *Reader
	count   int
	large   *large // what lies before base, in mode spilling
}

// mode is what becomes of a body.
type mode uint8

const (
	holding  mode = iota // in memory
	spilling             // into a file
	passing              // to its readers only
)

const (
	smallBody  = 32 << 10 // an object of at most this lies in one piece
	chunkBytes = 256 << 10
	// passWindow is how far a body that is not stored may be ahead of its slowest
	// reader.
	passWindow = 256 << 10
)

// Bits of Writer.purged.
const (
	purgedHard = 1 << iota
	purgedSoft
)

// Create begins an object under key; it is not found until Commit. variant is what of
// a request it was chosen by (opaque, nil for none): at Commit it replaces the object
// with equal key and variant. A key has at most 32 variants, of which the oldest goes.
// size is that of the body in bytes, -1 if unknown. No slice that is passed is kept.
//
// An object that passes a bound is not stored: readers get it, Commit says why.
func (s *Store) Create(key, variant, head []byte, a Attributes, size int64) *Writer {
	w := &Writer{store: s, size: max(size, -1), object: &Object{}}
	w.wake.L, w.space.L = &w.mu, &w.mu
	if w.wrong = bounds(key, variant, head, a); w.wrong != nil {
		w.mode, w.object = passing, nil
		return w
	}
	room := 0
	tags := distinct(a.Tags)
	if w.size >= 0 && w.size <= smallBody {
		if all := int64(len(key)+len(variant)+len(head)+len(a.Path)) + w.size; all <= smallBody {
			room = int(w.size)
		}
	}
	w.object.lay(key, variant, head, a.Path, appendTags(nil, tags), room)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		w.mode, w.wrong = passing, ErrClosed
		return w
	}
	w.site = s.hold(a.Namespace, a.Service, a.Hostname)
	w.object.site = w.site
	w.site.namespace.writers[w] = struct{}{}
	w.held = int64(cap(w.object.blob)) + objectBytes
	s.memory.growing += w.held
	s.makeRoom(w.site.namespace)
	s.mu.Unlock()
	if room > 0 {
		at := len(w.object.blob)
		w.chunks = [][]byte{w.object.blob[at : at : at+room]}
	}
	return w
}

// Write adds p to the body. What is too large to be stored keeps going to its readers:
// then Write waits for the slowest of them, and returns ErrTooLarge once there is none.
// After Abort it returns what that was given.
func (w *Writer) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := w.write(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// write takes a part of p.
func (w *Writer) write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		if w.end == nil {
			return 0, ErrClosed
		}
		return 0, w.end
	}
	if w.mode != passing {
		if err := w.unfit(len(p)); err != nil {
			w.pass(err)
		}
	}
	if w.mode == passing {
		room, err := w.await()
		if err != nil {
			return 0, err
		}
		p = p[:min(len(p), room)]
	}
	w.room()
	last := &w.chunks[len(w.chunks)-1]
	n := min(len(p), cap(*last)-len(*last))
	*last = append(*last, p[:n]...)
	w.written += int64(n)
	w.wake.Broadcast()
	return n, nil
}

// unfit returns why a body of n bytes more may not be stored.
func (w *Writer) unfit(n int) error {
	all := w.written + int64(n)
	if w.size >= 0 && all > w.size {
		return ErrSize
	}
	if all = max(all, w.size); w.Limit > 0 && all > w.Limit || all > w.store.limit() {
		return ErrTooLarge
	}
	return nil
}

// pass gives up storing. What is in a file stays until the readers are done with it.
// w.mu is held.
func (w *Writer) pass(why error) {
	w.mode = passing
	if w.wrong == nil {
		w.wrong = why
	}
}

// await waits until the slowest reader is near enough, lets go of what none needs, and
// returns how many bytes may be written. w.mu is held.
func (w *Writer) await() (room int, err error) {
	for {
		if w.done {
			return 0, w.end
		}
		if w.readers == nil {
			return 0, w.wrong
		}
		slowest := w.written
		for r := w.readers; r != nil; r = r.next {
			slowest = min(slowest, r.off)
		}
		w.trim(slowest)
		if ahead := w.written - slowest; ahead < passWindow {
			return int(passWindow - ahead), nil
		}
		w.space.Wait()
	}
}

// trim lets go of full chunks before offset. w.mu is held.
func (w *Writer) trim(offset int64) {
	n, freed := 0, int64(0)
	for _, c := range w.chunks {
		if len(c) < cap(c) || w.base+int64(len(c)) > offset {
			break
		}
		w.base += int64(len(c))
		freed += int64(len(c))
		n++
	}
	w.chunks = slices.Delete(w.chunks, 0, n)
	w.unhold(freed)
}

// unhold gives back n reserved bytes.
func (w *Writer) unhold(n int64) {
	n = min(n, w.held)
	if w.held -= n; n > 0 && w.site != nil {
		w.store.unreserve(n)
	}
}

// room sees to a last chunk that is not full. w.mu is held.
func (w *Writer) room() {
	if n := len(w.chunks); n > 0 && len(w.chunks[n-1]) < cap(w.chunks[n-1]) {
		return
	}
	if w.mode == spilling {
		w.spill()
	}
	n := w.next()
	if limit := w.store.memoryLimit(); w.mode == holding &&
		(w.written >= limit || w.size > limit || !w.reserve(n)) {
		w.leaveMemory()
	}
	if w.mode != holding {
		if w.mode == passing {
			n = chunkBytes / 4 // its window is small
		}
		if w.site != nil {
			w.store.hoard(w.site.namespace, int64(n))
			w.held += int64(n)
		}
	}
	w.chunks = append(w.chunks, make([]byte, 0, n))
}

// hoard counts n more bytes of bodies that are being written, whatever there are.
func (s *Store) hoard(by *namespace, n int64) {
	s.mu.Lock()
	s.memory.growing += n
	s.makeRoom(by)
	s.mu.Unlock()
}

// next returns how large the next chunk is: small at first if nobody knows the size;
// after 256 KiB every chunk begins at a multiple of that, which spilling relies on.
func (w *Writer) next() int {
	to := int64(chunkBytes) - w.written%chunkBytes
	if w.size >= 0 {
		return int(max(1, min(to, w.size-w.written)))
	}
	return int(min(to, max(4<<10, w.written)))
}

// reserve counts n bytes more as being written.
func (w *Writer) reserve(n int) bool {
	if !w.store.reserve(w.site.namespace, int64(n)) {
		return false
	}
	w.held += int64(n)
	return true
}

// leaveMemory goes on in a file, or if that cannot be without storing. w.mu is held.
func (w *Writer) leaveMemory() {
	if d := w.store.disk; d != nil {
		if l, err := d.create(w.site.namespace); err == nil {
			w.large, w.mode = l, spilling
			for r := w.readers; r != nil; r = r.next {
				l.hold()
				r.large = l
			}
			w.spill()
			return
		}
	}
	w.pass(ErrTooLarge)
}

// Reader returns a reader from the first byte on, which follows the body as it grows.
// It returns nil if the first bytes are gone because the body is too large to be
// stored.
func (w *Writer) Reader() *Reader {
	r := new(Reader)
	if !w.Read(r) {
		return nil
	}
	return r
}

// Read makes r, which is new or closed, a reader as Reader returns it: for who keeps
// one and wants no allocation. False: as nil of Reader.
func (w *Writer) Read(r *Reader) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.base > 0 && w.mode != spilling || w.large != nil && !w.large.hold() {
		return false
	}
	r.reset(0, -1)
	r.w, r.next, r.large = w, w.readers, w.large
	if w.readers != nil {
		w.readers.prev = r
	}
	w.readers = r
	w.count++
	return true
}

// Readers returns how many readers are not closed.
func (w *Writer) Readers() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// Written returns how many bytes of the body were written so far.
func (w *Writer) Written() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written
}

// Storable reports whether Commit may still store the object: false once it is known
// to be too large or beyond a bound.
func (w *Writer) Storable() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mode != passing && w.purged.Load()&purgedHard == 0
}

// Discard makes the body whole for its readers and does not store it. After Commit or
// Abort it does nothing.
func (w *Writer) Discard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.finish(nil)
	}
}

// Abort ends the body: readers get err, io.ErrUnexpectedEOF if it is nil, after what
// was written. After Commit or Abort it does nothing.
func (w *Writer) Abort(err error) {
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.finish(err)
	}
}

// finish ends the body for its readers and leaves the store's accounts. w.mu is held.
func (w *Writer) finish(end error) {
	w.done, w.end = true, end
	w.wake.Broadcast()
	w.space.Signal()
	if w.site == nil {
		return
	}
	s := w.store
	s.mu.Lock()
	s.memory.growing -= w.held
	w.held = 0
	delete(w.site.namespace.writers, w)
	s.release(w.site)
	s.mu.Unlock()
	if w.large != nil {
		w.large.release() // the file goes with its last reader unless it was committed
	}
}
