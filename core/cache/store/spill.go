package store

// keepBytes is how much of the end of a body stays in memory while it goes to a file:
// readers are mostly near the end.
const keepBytes = 1 << 20

// spill writes full chunks to the file, and lets go of those that are far from the
// end. The writer's lock is held over it: readers wait for what comes next anyway. If
// the disk cannot take it, the body is not stored.
func (w *Writer) spill() {
	if err := w.file(false); err != nil {
		w.pass(err)
		return
	}
	keep := w.written - keepBytes
	n, freed := 0, int64(0)
	for _, c := range w.chunks {
		if w.base+int64(len(c)) > keep {
			break
		}
		w.base += int64(len(c))
		freed += int64(cap(c))
		n++
	}
	// The array stays: a reader finds its place by what is left in it.
	w.chunks = append(w.chunks[:0:0], w.chunks[n:]...)
	w.unhold(freed)
}

// file writes chunks that the file does not have: full ones, or all.
func (w *Writer) file(all bool) error {
	at := w.base
	for _, c := range w.chunks {
		from := at
		at += int64(len(c))
		if from < w.large.size || len(c) == 0 || len(c) < cap(c) && !all {
			continue
		}
		if err := w.large.reserve(int64(len(c))); err != nil {
			return err
		}
		if err := w.large.write(c); err != nil {
			w.store.disk.fail(err)
			return err
		}
	}
	return nil
}

// seal makes the file whole; readers go on from it.
func (w *Writer) seal() error {
	err := w.file(true)
	if err == nil {
		if err = w.large.reserve(largeBytes(w.written) - w.written); err == nil {
			if err = w.large.seal(); err != nil {
				w.store.disk.fail(err)
			}
		}
	}
	if err != nil {
		w.mode = passing
		return err
	}
	w.chunks, w.base = nil, w.written
	return nil
}
