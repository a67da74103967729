package store

import "errors"

// clearAtOnce is how many entries Clear goes through before others have their turn.
const clearAtOnce = 1024

// Clear removes all objects that there are now, in both tiers and of all namespaces, and
// returns how many that were. Objects that are being written now are not counted; their
// Commit does not make them visible. What an earlier process left on disk and is still
// being read is not taken in: Clear waits until all of that has been read. If another
// process has the folder, that is empty, and not counted, once it is adopted. Others store
// and find what comes meanwhile.
//
// Nothing of it comes back after a crash once Clear has returned without an error. An
// error is as Purge's, or ErrClosed: then a later process may find some of it.
func (s *Store) Clear() (n int, err error) {
	d := s.disk
	if d == nil {
		return s.clear()
	}
	d.noting.RLock()
	n, err = s.clear()
	if d.waiting.Load() {
		err = errors.Join(err, d.missed.add(appendMissedAll(nil), true))
		d.noting.RUnlock()
		return n, err
	}
	d.noting.RUnlock()
	left, e := d.forsake()
	return n + left, errors.Join(err, e)
}

// clear is Clear for what is known.
func (s *Store) clear() (n int, err error) {
	s.mu.Lock()
	// Marked at once: an Update that comes before its object's turn changes nothing.
	for id := range s.table.made {
		if e := s.table.entry(id); e.site != 0 {
			e.bits |= bitCleared
		}
	}
	for _, name := range s.namespaces {
		for w := range name.writers {
			w.purged.Or(purgedHard)
		}
	}
	if s.disk != nil {
		s.disk.forsaken = true
	}
	var kills []kill
	for id := range s.table.made {
		if id%clearAtOnce == clearAtOnce-1 {
			s.mu.Unlock()
			err = errors.Join(err, s.bury(kills, false))
			kills = kills[:0]
			s.mu.Lock()
		}
		if s.table.entry(id).bits&bitCleared != 0 {
			s.count(id, CausePurged)
			s.remove(id, &kills)
			n++
		}
	}
	s.mu.Unlock()
	return n, errors.Join(err, s.bury(kills, true))
}

// forsake waits until all that was in the folder has been read and, since Clear, not been
// taken in, and returns how much that was.
func (d *disk) forsake() (n int, err error) {
	d.loaded()
	d.store.mu.Lock()
	n, d.left = d.left, 0
	ending := d.ending
	d.store.mu.Unlock()
	if ending { // it may not have been read to its end
		return n, ErrClosed
	}
	d.poke() // segments in which all is dead go
	return n, d.kills.add(nil, true)
}
