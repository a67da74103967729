package store

import (
	"fmt"
	"os"
	"slices"
)

// errNoRoom: nothing can be evicted from disk for what is to be written.
var errNoRoom = fmt.Errorf("%w: no room on disk", ErrFull)

// margin is what is kept free for kills.
func (d *disk) margin() int64 { return max(d.budget/128, 32<<10) }

// free returns how many bytes may be written. mu is held.
func (d *disk) free() int64 { return d.budget - d.used - d.margin() - d.kills.bytes() }

// afford returns an error if n bytes more of kills pass the budget.
func (d *disk) afford(n int64) error {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if d.used+d.kills.bytes()+2*n > d.budget {
		return errNoRoom
	}
	return nil
}

// roomFor reserves bytes of the budget for a namespace, and evicts segments until they
// are free, and as many objects. The turn is held.
func (d *disk) roomFor(of *namespace, bytes int64, objects int) error {
	s := d.store
	for {
		d.sweep()
		s.mu.Lock()
		if d.shut.Load() {
			s.mu.Unlock()
			return ErrClosed
		}
		if d.free() >= bytes && d.objects+objects <= d.limit {
			d.used += bytes
			of.disk.bytes += bytes
			s.mu.Unlock()
			return nil
		}
		g := d.loser(of, bytes)
		s.mu.Unlock()
		if g == nil {
			return errNoRoom
		}
		cause := CauseDisk
		if g.namespace != of {
			cause = CauseQuota
		}
		if err := d.evict(g, cause); err != nil {
			return err
		}
	}
}

// loser returns the segment that goes next: the oldest of the namespace that needs the
// room if it holds more than its share, else of the one that holds most. mu is held.
func (d *disk) loser(of *namespace, bytes int64) *segment {
	active, most := 0, of
	byObjects := d.free() >= bytes
	holds := func(n *namespace) int64 {
		if len(n.segments) == 0 {
			return -1
		}
		if byObjects {
			return int64(n.disk.objects)
		}
		return n.disk.bytes
	}
	for _, n := range d.store.namespaces {
		if len(n.segments) == 0 && n != of {
			continue
		}
		active++
		if holds(n) > holds(most) {
			most = n
		}
	}
	total := d.budget
	if byObjects {
		total = int64(d.limit)
	}
	if n := holds(of); n > 0 && n*int64(active) >= total {
		most = of
	}
	if len(most.segments) == 0 {
		return nil
	}
	return most.segments[0]
}

// survivor is an object of a segment that goes, which is written again.
type survivor struct {
	candidate
	object *Object
}

// evict removes a segment. What was asked for since it was written is queued again, up
// to a quarter of its bytes; if it is more than half, the segment is spared once. The
// turn is held.
func (d *disk) evict(g *segment, cause Cause) error {
	s := d.store
	s.mu.Lock()
	all := g.bytes() + g.attached
	used := int64(0)
	var kept []survivor
	for i, p := range g.records {
		s.breathe(i)
		l := s.table.loc(p.entry)
		if l.segment != g.number || l.offset != p.offset || !l.used {
			continue
		}
		n := int64(l.size)
		if f := d.larges[p.entry]; f != nil {
			n += f.bytes
		}
		if used += n; used <= all/4 {
			kept = append(kept, survivor{candidate: candidate{id: p.entry, loc: *l}, object: *s.table.object(p.entry)})
		}
	}
	if used > all/2 && !g.spared {
		d.spare(g)
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	for i := range kept {
		if kept[i].object == nil {
			kept[i].object = d.head(&kept[i].candidate) // one that is damaged goes with the rest
		}
	}
	d.drop(g, cause, kept)
	return d.erase(g)
}

// breathe lets others have mu, which is held, now and then while much is done under it.
func (s *Store) breathe(i int) {
	if i%256 == 255 {
		s.mu.Unlock()
		s.mu.Lock()
	}
}

// spare makes g the newest of its namespace's whole segments. mu is held.
func (d *disk) spare(g *segment) {
	s := d.store
	g.spared = true
	for i, p := range g.records {
		s.breathe(i)
		if l := s.table.loc(p.entry); l.segment == g.number && l.offset == p.offset {
			h := s.shard(s.table.entry(p.entry).hash)
			h.mu.Lock()
			l.used = false
			h.mu.Unlock()
		}
	}
	n := g.namespace
	n.segments = slices.DeleteFunc(n.segments, func(o *segment) bool { return o == g })
	if g.index != nil {
		n.segments = append(n.segments, g)
		return
	}
	at := len(n.segments)
	if at > 0 && n.segments[at-1].index != nil {
		at--
	}
	n.segments = slices.Insert(n.segments, at, g)
}

// drop takes g and its records out of the index, and queues what is kept.
func (d *disk) drop(g *segment, cause Cause, kept []survivor) {
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range kept {
		k := &kept[i]
		l := s.table.loc(k.id)
		if k.object == nil || l.segment != k.loc.segment || l.offset != k.loc.offset || s.stored(k.id) != k.object.stored {
			continue
		}
		d.keep(k.id, k.object)
	}
	for i, p := range g.records {
		s.breathe(i)
		l := s.table.loc(p.entry)
		if l.segment != g.number || l.offset != p.offset {
			continue
		}
		e := s.table.entry(p.entry)
		s.count(p.entry, cause)
		if e.in != inNone && d.larges[p.entry] == nil {
			d.leave(p.entry, nil)
			continue
		}
		s.remove(p.entry, nil)
	}
	d.filesMu.Lock()
	delete(d.files, g.number)
	d.filesMu.Unlock()
	g.namespace.segments = slices.DeleteFunc(g.namespace.segments, func(o *segment) bool { return o == g })
}

// keep queues an object whose record goes. mu is held.
func (d *disk) keep(id uint32, o *Object) {
	s := d.store
	e := s.table.entry(id)
	d.leave(id, nil)
	if f := d.larges[id]; f != nil && f.segment != nil {
		f.segment.attached -= f.bytes
		f.segment = nil
	}
	if *s.table.object(id) == nil {
		o.id = id
		h := s.shard(e.hash)
		h.mu.Lock()
		*s.table.object(id) = o
		h.mu.Unlock()
		e.cost = uint32(o.cost() + s.overhead(id))
	} else {
		o = *s.table.object(id)
	}
	if !d.enqueue(o) {
		if e.in == inNone || d.larges[id] != nil {
			s.count(id, CauseQueue)
			s.remove(id, nil)
		}
		return
	}
	if e.in == inNone {
		e.bits |= bitOwed
		s.memory.fixed += int64(e.cost)
	}
}

// erase unlinks the files of a segment that is out of the index, and gives their room
// back.
func (d *disk) erase(g *segment) error {
	g.file.Close()
	if g.index != nil {
		g.index.Close()
	}
	var err error
	for _, suffix := range []string{segmentSuffix, indexSuffix} {
		if e := os.Remove(d.path(g.number, suffix)); e != nil && !os.IsNotExist(e) {
			err = e
		}
	}
	d.sweep()
	s := d.store
	s.mu.Lock()
	d.used -= g.bytes()
	g.namespace.disk.bytes -= g.bytes()
	s.forsake(g.namespace)
	s.mu.Unlock()
	return err
}

// discard removes a segment with all that is in it: its kills could not be noted.
func (d *disk) discard(number uint32) error {
	d.turn.Lock()
	defer d.turn.Unlock()
	d.filesMu.RLock()
	g := d.files[number]
	d.filesMu.RUnlock()
	if g == nil || d.shut.Load() {
		return nil
	}
	d.drop(g, CauseDamaged, nil)
	return d.erase(g)
}

// tidy shortens the log of kills, and removes segments in which all is dead.
func (d *disk) tidy() {
	err := d.kills.shrink(d.dir, func(segment uint32) bool {
		d.filesMu.RLock()
		defer d.filesMu.RUnlock()
		return d.files[segment] != nil
	})
	if err != nil {
		d.fail(err)
	}
	d.turn.Lock()
	defer d.turn.Unlock()
	var empty []*segment
	d.store.mu.Lock()
	for _, n := range d.store.namespaces {
		for _, g := range n.segments {
			if g.objects == 0 && g.index == nil {
				empty = append(empty, g)
			}
		}
	}
	d.store.mu.Unlock()
	for _, g := range empty {
		d.drop(g, CauseDisk, nil)
		if err := d.erase(g); err != nil {
			d.tell.tell(err)
		}
	}
}
