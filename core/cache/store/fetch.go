package store

import (
	"errors"
	"fmt"
	"os"
)

// fetch reads the object of a candidate from disk, whole but for a large body. It
// returns nil if it is not there, is of another key (nil: of any), or is damaged: then
// it is gone.
func (s *Store) fetch(c *candidate, key []byte) *Object {
	if s.disk == nil || c.loc.segment == 0 {
		return nil
	}
	o, err := s.disk.read(c)
	if err != nil {
		s.spoilt(c, err)
		return nil
	}
	if o == nil || key != nil && string(o.Key()) != string(key) {
		return nil
	}
	return o
}

// spoilt removes an object whose record cannot be read.
func (s *Store) spoilt(c *candidate, err error) {
	var kills []kill
	s.mu.Lock()
	there := s.table.loc(c.id)
	same := there.segment == c.loc.segment && there.offset == c.loc.offset
	if same {
		s.count(c.id, CauseDamaged)
		s.remove(c.id, &kills)
	}
	s.mu.Unlock()
	if same { // else it was evicted while it was read
		s.disk.tell.tell(err)
	}
	_ = s.bury(kills, false) // it tells itself
}

// read returns the object of a candidate, nil if it has gone or moved.
func (d *disk) read(c *candidate) (*Object, error) {
	d.filesMu.RLock()
	g := d.files[c.loc.segment]
	d.filesMu.RUnlock()
	if g == nil {
		return nil, nil
	}
	buffer := records.Get(int(c.loc.size))
	defer records.Put(buffer)
	p := buffer.Bytes[:c.loc.size]
	wrong := func(err error) error {
		return fmt.Errorf("%s: record at %d: %w", d.path(g.number, segmentSuffix), c.loc.offset, err)
	}
	if _, err := g.file.ReadAt(p, int64(c.loc.offset)); errors.Is(err, os.ErrClosed) {
		return nil, nil
	} else if err != nil {
		return nil, wrong(noEOF(err))
	}
	r, err := parseRecord(p, d.store.hash.salt(c.loc.segment, c.loc.offset))
	if err != nil {
		return nil, wrong(err)
	}
	if r.length != len(p) || !r.checkBody(p) || r.file != 0 != c.loc.large {
		return nil, wrong(errRecord)
	}
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.table.loc(c.id)
	if there.segment != c.loc.segment || there.offset != c.loc.offset {
		if o := *s.table.object(c.id); o != nil && o.stored == c.loc.stored {
			return o, nil // it was moved, or promoted by another
		}
		return nil, nil
	}
	e := s.table.entry(c.id)
	t := s.siteByID[e.site]
	if r.stored != there.stored || s.hash.sum(r.key) != e.hash || string(r.namespace) != t.namespace.name ||
		string(r.service) != t.service || string(r.hostname) != t.hostname {
		return nil, wrong(errRecord)
	}
	o := r.object(p, t)
	o.id = c.id
	if e.stale {
		o.flags.Or(flagStale)
	}
	if r.file != 0 {
		l := d.larges[c.id]
		if l == nil || l.number != r.file || l.size != r.size {
			return nil, wrong(errRecord)
		}
		o.more = &more{large: l, size: r.size}
	}
	return o, nil
}

// head returns the object of a candidate for its path.
func (d *disk) head(c *candidate) *Object {
	o, err := d.read(c)
	if err != nil {
		return nil
	}
	return o
}

// promote puts an object that was read from disk into memory, and returns it: with the
// body in memory, unless that is large.
func (s *Store) promote(c *candidate, o *Object) *Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.table.loc(c.id)
	if l.segment == 0 || l.stored != o.stored || *s.table.object(c.id) != nil {
		return o // gone, or somebody else did it
	}
	in := o.twin()
	in.hits.Store(1)
	e := s.table.entry(c.id)
	h := s.shard(e.hash)
	h.mu.Lock()
	*s.table.object(c.id) = in
	l.used = true
	if e.stale {
		in.flags.Or(flagStale)
		o.flags.Or(flagStale)
	}
	h.mu.Unlock()
	s.admit(c.id, in.cost()+s.overhead(c.id))
	return o
}
