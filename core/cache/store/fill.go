package store

// Space returns room that the next bytes of the body may be read into, without a copy:
// what was is then told by Advance. It is empty if they are to be given to Write.
func (w *Writer) Space() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done || w.mode == passing || w.unfit(1) != nil {
		return nil
	}
	w.room()
	if w.mode == passing {
		return nil
	}
	last := w.chunks[len(w.chunks)-1]
	return last[len(last):cap(last)]
}

// Advance adds the first n bytes of what Space returned to the body. It is called once
// after each Space, by the same goroutine; its error is as Write's.
func (w *Writer) Advance(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		if w.end == nil {
			return ErrClosed
		}
		return w.end
	}
	if err := w.unfit(n); err != nil {
		w.pass(err) // they are there all the same
	}
	last := &w.chunks[len(w.chunks)-1]
	*last = (*last)[:len(*last)+n]
	w.written += int64(n)
	w.wake.Broadcast()
	return nil
}

// Head returns the head that Create was given, which stays as it is.
func (w *Writer) Head() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.object == nil {
		return nil
	}
	return w.object.Head()
}
