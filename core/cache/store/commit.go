package store

import "io"

// Commit makes the object whole: found from now on, and returned. An error says why it
// is not stored; its readers finish all the same, but for ErrSize. It may be evicted at
// any time, also at once.
func (w *Writer) Commit() (*Object, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.done && w.end == nil:
		return nil, ErrClosed
	case w.done:
		return nil, w.end
	case w.size >= 0 && w.written != w.size:
		w.finish(io.ErrUnexpectedEOF)
		return nil, ErrSize
	case w.mode == passing:
		w.finish(nil)
		return nil, w.wrong
	}
	blob, body, err := w.assemble()
	if err == nil {
		err = w.store.commit(w, blob, body)
	}
	w.finish(nil)
	if err != nil {
		return nil, err
	}
	return w.object, nil
}

// assemble returns the blob of the whole object, and its body if that is not in it.
func (w *Writer) assemble() (blob []byte, body *more, err error) {
	blob = w.object.blob
	if w.mode == spilling {
		if err := w.seal(); err != nil {
			return nil, nil, err
		}
		return blob, &more{large: w.large, size: w.written}, nil
	}
	if w.written == 0 {
		return blob, nil, nil
	}
	if w.size >= 0 && len(blob) < cap(blob) && &blob[:len(blob)+1][len(blob)] == &w.chunks[0][0] {
		return blob[:len(blob)+len(w.chunks[0])], nil, nil // it lies there already
	}
	if int64(len(blob))+w.written <= smallBody {
		whole := allocate(len(blob) + int(w.written))
		at := copy(whole, blob)
		for _, c := range w.chunks {
			at += copy(whole[at:], c)
		}
		return whole, nil, nil
	}
	last := len(w.chunks) - 1
	if c := w.chunks[last]; cap(c)-len(c) > cap(c)/8 {
		w.chunks[last] = append(allocate(len(c))[:0], c...)
	}
	return blob, &more{chunks: append([][]byte(nil), w.chunks...), size: w.written}, nil
}

// commit takes the object of w in.
func (s *Store) commit(w *Writer, blob []byte, body *more) error {
	var kills []kill
	s.mu.Lock()
	w.object.blob, w.object.more = blob, body // purges look at it
	err := s.insert(w, &kills)
	s.mu.Unlock()
	if e := s.bury(kills, false); err == nil {
		err = e
	}
	return err
}

// insert takes the object of w in, in the place of what it replaces. mu is held.
func (s *Store) insert(w *Writer, kills *[]kill) error {
	o, purged := w.object, w.purged.Load()
	if s.closed {
		return ErrClosed
	}
	if purged&purgedHard != 0 {
		return ErrPurged
	}
	hash, variant := s.hash.sum(o.Key()), s.hash.variant(o.Variant())
	tags := 0
	for range o.Tags {
		tags++
	}
	if same, _ := s.rivals(o, hash, variant); same != 0 {
		tags -= s.labels.count(s.table.entry(same))
	}
	if !s.tagRoom(w.site.namespace, tags, kills) {
		return ErrTags
	}
	// Room for tags may have been made of one of them.
	same, oldest := s.rivals(o, hash, variant)
	if same != 0 {
		s.count(same, CauseReplaced)
		s.remove(same, kills)
	} else if oldest != 0 {
		s.count(oldest, CauseReplaced)
		s.remove(oldest, kills)
	}
	id := s.table.take()
	if id == 0 {
		return ErrFull
	}
	o.id, o.stored = id, s.stamp()
	if purged&purgedSoft != 0 {
		o.flags.Store(flagStale)
	}
	url := s.hash.url(o.site.namespace.name, o.site.hostname, o.Path())
	e := s.table.entry(id)
	*e = entry{hash: hash, variant: variant, stale: purged&purgedSoft != 0}
	s.supersede(e, o.stored, kills)
	if l := s.table.loc(id); l != nil {
		*l = loc{url: url, stored: o.stored, large: o.more != nil && o.more.large != nil}
	}
	s.join(o.site, id)
	s.addURL(id, url)
	for tag := range o.Tags {
		s.labels.add(e, id, s.hash.tag(o.site.namespace.name, tag))
		o.site.namespace.labels++
	}
	h := s.shard(hash)
	h.mu.Lock()
	*s.table.object(id) = o
	s.link(h, id, o.stored)
	h.mu.Unlock()
	return s.settle(w, o, kills)
}

// settle queues the new object for the disk and puts it into memory.
func (s *Store) settle(w *Writer, o *Object, kills *[]kill) error {
	s.memory.growing -= w.held
	w.held = 0
	queued := s.disk != nil && s.disk.enqueue(o)
	if !queued && o.more != nil && o.more.large != nil {
		s.count(o.id, CauseQueue)
		s.remove(o.id, kills)
		return ErrFull
	}
	s.admit(o.id, o.cost()+s.overhead(o.id))
	return nil
}

// overhead returns what an entry takes of memory with its labels.
func (s *Store) overhead(id uint32) int64 {
	n := int64(entryBytes + labelBytes*s.labels.count(s.table.entry(id)))
	if s.disk != nil {
		n += locBytes
	}
	return n
}

// rivals returns the entry that an object with this key and variant replaces, and the
// oldest of the key if there is no room for one more.
func (s *Store) rivals(o *Object, hash uint64, variant uint32) (same, oldest uint32) {
	h := s.shard(hash)
	if len(h.heads) == 0 {
		return 0, 0
	}
	n := 0
	for id := *h.head(hash); id != 0; id = s.table.entry(id).next {
		e := s.table.entry(id)
		if e.hash != hash {
			continue
		}
		other := *s.table.object(id)
		if other != nil && string(other.Key()) != string(o.Key()) {
			continue
		}
		if e.variant == variant && (other == nil || string(other.Variant()) == string(o.Variant())) {
			return id, 0
		}
		if n++; n >= maxVariants {
			oldest = id
		}
	}
	return 0, oldest
}

// count notes that id leaves the store.
func (s *Store) count(id uint32, cause Cause) {
	s.siteByID[s.table.entry(id).site].left[cause]++
}

// tagRoom makes room for n more tags of an object of namespace by: above its share it
// gets none, else those that have the most lose their oldest objects with tags.
func (s *Store) tagRoom(by *namespace, n int, kills *[]kill) bool {
	for range 64 {
		if n <= 0 || s.labels.used+n <= s.labels.limit {
			return true
		}
		holders, most := 1, by
		for _, other := range s.namespaces {
			if other.labels > 0 && other != by {
				holders++
			}
			if other.labels > most.labels {
				most = other
			}
		}
		if most == by || (by.labels+n)*holders > s.labels.limit {
			return false
		}
		if !s.dropTagged(most, n, kills) {
			return false
		}
	}
	return false
}

// dropTagged removes objects of t's until n tags are gone, or a bounded number was
// looked at.
func (s *Store) dropTagged(of *namespace, n int, kills *[]kill) bool {
	dropped := false
	looked := 0
	for _, sites := range of.sites {
		for _, t := range sites {
			for id := t.oldest; id != 0 && n > 0 && looked < 4096; looked++ {
				e := s.table.entry(id)
				previous := e.sitePrev
				if e.labels != 0 {
					n -= s.labels.count(e)
					s.count(id, CauseQuota)
					s.remove(id, kills)
					dropped = true
				}
				id = previous
			}
			if n <= 0 || looked >= 4096 {
				return dropped
			}
		}
	}
	return dropped
}

// Update returns the object with another head, the same body, and not stale, in the
// place of o; nil if o is gone (purged, removed, replaced, evicted). Then it does not
// come back.
func (s *Store) Update(o *Object, head []byte) *Object {
	if len(head) > MaxHead {
		s.Remove(o)
		return nil
	}
	n := &Object{site: o.site, more: o.more, id: o.id}
	body := o.flat()
	n.lay(o.Key(), o.Variant(), head, o.Path(), o.tags(), len(body))
	n.blob = append(n.blob, body...)
	var kills []kill
	s.mu.Lock()
	ok := s.swap(o, n, &kills)
	s.mu.Unlock()
	if err := s.bury(kills, false); err != nil || !ok {
		return nil
	}
	return n
}

// swap puts n into the place of o, if that is there. mu is held.
func (s *Store) swap(o, n *Object, kills *[]kill) bool {
	if !s.has(o) {
		return false
	}
	e := s.table.entry(o.id)
	if e.in != inNone {
		s.leaveMemory(o.site.namespace, o.id)
	}
	n.stored = s.stamp()
	s.supersede(e, n.stored, kills)
	n.hits.Store(o.hits.Load())
	if s.disk != nil {
		s.disk.leave(o.id, kills)
	}
	h := s.shard(e.hash)
	h.mu.Lock()
	s.unlink(h, o.id)
	*s.table.object(o.id) = n
	if l := s.table.loc(o.id); l != nil {
		l.stored = n.stored
	}
	e.stale = false
	s.link(h, o.id, n.stored)
	h.mu.Unlock()
	queued := s.disk != nil && s.disk.enqueue(n)
	if !queued && n.more != nil && n.more.large != nil {
		s.count(n.id, CauseQueue)
		s.remove(n.id, kills)
		return false
	}
	s.admit(n.id, n.cost()+s.overhead(n.id))
	return true
}

// has reports whether o is what its entry stands for. mu is held.
func (s *Store) has(o *Object) bool {
	return o.id != 0 && o.id < s.table.made && s.stored(o.id) == o.stored
}

// Remove takes o away if it is still there; what has taken its place stays.
func (s *Store) Remove(o *Object) {
	s.expel(func(expel func(id uint32)) []byte {
		if !s.has(o) {
			return nil
		}
		e := s.table.entry(o.id)
		text := appendMissedObject(nil, identity{e.hash, e.variant})
		expel(o.id)
		return text
	})
}

// Forget takes everything away that is stored under key, also what is on disk and not
// known yet. What is being written is stored all the same.
func (s *Store) Forget(key []byte) {
	hash := s.hash.sum(key)
	s.expel(func(expel func(id uint32)) []byte {
		if h := s.shard(hash); len(h.heads) > 0 {
			for id := *h.head(hash); id != 0; {
				e := s.table.entry(id)
				next, o := e.next, *s.table.object(id)
				if e.hash == hash && (o == nil || string(o.Key()) == string(key)) {
					expel(id)
				}
				id = next
			}
		}
		if d := s.disk; d != nil && d.forgotten != nil {
			d.forgotten[hash] = true
		}
		return appendMissedKey(nil, hash)
	})
}

// expel has choose say what is to be removed, and notes it: what choose returns is for a
// folder that another process has, nil if nothing was removed. mu is held meanwhile.
func (s *Store) expel(choose func(expel func(id uint32)) (missed []byte)) {
	d := s.disk
	if d != nil {
		d.noting.RLock()
		defer d.noting.RUnlock()
	}
	var kills []kill
	s.mu.Lock()
	text := choose(func(id uint32) {
		s.supersede(s.table.entry(id), s.stamp(), &kills)
		s.count(id, CauseRemoved)
		s.remove(id, &kills)
	})
	s.mu.Unlock()
	if d != nil && d.waiting.Load() && text != nil {
		if err := d.missed.add(text, false); err != nil {
			d.tell.tell(err)
		}
	}
	_ = s.bury(kills, false) // the disk tier tells, and lets go of what it could not note
}
