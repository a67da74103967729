package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// item is an object on its way into a segment.
type item struct {
	object *Object
	large  *large // its body
	size   int    // of the record
	offset uint32
	stale  bool
	gone   bool // purged, replaced or removed before it had a place
}

// writeSome writes some of what is queued; false: there is nothing.
func (d *disk) writeSome() bool {
	batch, of := d.pick()
	if len(batch) == 0 {
		return false
	}
	g, err := d.write(of, batch)
	d.settle(batch, err)
	if g != nil && g.torn { // what was purged later might be found in it
		if err := d.discard(g.number); err != nil {
			d.tell.tell(err)
		}
	}
	if err != nil && !errors.Is(err, errNoRoom) {
		d.fail(err)
	}
	d.store.mu.Lock()
	of.pins--
	d.store.forsake(of)
	d.store.mu.Unlock()
	return true
}

// pick takes objects of one namespace from the queue, which stays while they are
// written.
func (d *disk) pick() (batch []item, of *namespace) {
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	n, taken := 0, 0
	for ; taken < len(d.queue); taken++ {
		q := d.queue[taken]
		o := q.object
		if !s.has(o) || !s.table.entry(o.id).pending {
			d.queueBytes -= q.bytes
			continue
		}
		i := item{object: o}
		whole := o.more != nil && o.more.large == nil && o.more.size >= largeBody
		if o.more != nil {
			i.large = o.more.large
		}
		i.size = recordBytes(o, whole || i.large != nil)
		if len(batch) > 0 && (whole || o.site.namespace != of || n+i.size > batchBytes || len(batch) == batchObjects) {
			break
		}
		d.queueBytes -= q.bytes
		of = o.site.namespace
		batch = append(batch, i)
		if n += i.size; whole {
			taken++
			break
		}
	}
	clear(d.queue[:taken])
	if d.queue = d.queue[taken:]; len(d.queue) == 0 {
		d.queue = nil
	}
	if of != nil {
		of.pins++
	}
	return batch, of
}

// write puts a batch into the segment of its namespace.
func (d *disk) write(of *namespace, batch []item) (*segment, error) {
	first := &batch[0]
	if o := first.object; o.more != nil && o.more.large == nil && o.more.size >= largeBody {
		l, err := d.writeBody(of, o.more)
		if err != nil {
			return nil, err
		}
		defer l.release()
		first.large = l
	}
	need := int64(headerBytes(of.name)) * 2
	for i := range batch {
		need += int64(batch[i].size) + indexBytes(batch[i].object)
	}
	d.turn.Lock()
	defer d.turn.Unlock()
	if err := d.roomFor(of, need, len(batch)); err != nil {
		return nil, err
	}
	g, before, err := d.segment(of, need)
	if err == nil {
		err = d.append(g, batch)
	}
	// What was reserved and not used goes back.
	d.store.mu.Lock()
	if g != nil {
		need -= g.bytes() - before
	}
	d.used -= need
	of.disk.bytes -= need
	d.store.mu.Unlock()
	return g, err
}

// indexBytes bounds what the index needs for o.
func indexBytes(o *Object) int64 {
	n := indexEntry + 12 + len(o.site.service) + len(o.site.hostname)
	for range o.Tags {
		n += 8
	}
	return int64(n)
}

// segment returns the segment of a namespace that is written to, a new one if there is
// none with room, and what it took before. The turn is held.
func (d *disk) segment(of *namespace, need int64) (g *segment, before int64, err error) {
	s := d.store
	s.mu.Lock()
	if n := len(of.segments); n > 0 {
		g = of.segments[n-1]
	}
	target := d.target()
	if g != nil && g.index != nil && (g.size+need > target || g.size+g.attached > 4*target || g.objects > d.limit/16) && len(g.records) > 0 {
		g.index.Close()
		g.index = nil
	}
	if g != nil && g.index != nil {
		s.mu.Unlock()
		return g, g.bytes(), nil
	}
	number := d.nextSegment
	d.nextSegment++
	s.mu.Unlock()
	if g, err = d.newSegment(of, number); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	of.segments = append(of.segments, g)
	s.mu.Unlock()
	d.filesMu.Lock()
	d.files[number] = g
	d.filesMu.Unlock()
	return g, 0, nil
}

// target returns how large a segment becomes: a share of a namespace holds several, and
// all namespaces together have about a thousand.
func (d *disk) target() int64 {
	active := int64(1)
	for _, n := range d.store.namespaces {
		if len(n.segments) > 0 {
			active++
		}
	}
	most := max(min(64<<20, d.budget/16), d.budget/1024)
	return max(min(d.budget/active/8, most), d.budget/1024)
}

// newSegment makes the two files.
func (d *disk) newSegment(of *namespace, number uint32) (*segment, error) {
	g := &segment{number: number, namespace: of, sites: map[siteName]uint32{}}
	for _, f := range []struct {
		to     **os.File
		size   *int64
		magic  uint32
		suffix string
	}{{&g.file, &g.size, segmentMagic, segmentSuffix}, {&g.index, &g.indexSize, indexMagic, indexSuffix}} {
		file, err := os.OpenFile(d.path(number, f.suffix), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			*f.to = file
			header := appendHeader(nil, f.magic, number, of.name)
			*f.size = int64(len(header))
			_, err = file.WriteAt(header, 0)
		}
		if err != nil {
			for _, made := range []*os.File{g.file, g.index} {
				if made != nil {
					made.Close()
					os.Remove(made.Name())
				}
			}
			return nil, fmt.Errorf("make a segment: %w", err)
		}
	}
	return g, nil
}

// append writes records behind those of g, then what the index says of them. The places
// are noted before: a purge that comes meanwhile knows what to kill.
func (d *disk) append(g *segment, batch []item) error {
	s := d.store
	s.mu.Lock()
	offset := g.size
	for i := range batch {
		if d.place(g, &batch[i], uint32(offset)) {
			offset += int64(batch[i].size)
		}
	}
	s.mu.Unlock()
	size := int(offset - g.size)
	buffer := records.Get(size)
	defer records.Put(buffer)
	data := buffer.Bytes[:0]
	var index []byte
	named := map[siteName]uint32{}
	for i := range batch {
		if it := &batch[i]; !it.gone {
			file := uint64(0)
			if it.large != nil {
				file = it.large.number
			}
			data = appendRecord(data, it.object, it.stale, file, s.hash.salt(g.number, it.offset))
			index = d.appendIndex(index, g, it, file, named)
		}
	}
	_, err := g.file.WriteAt(data, g.size)
	if err == nil {
		_, err = g.index.WriteAt(index, g.indexSize)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		// What lies behind the end may be anything: no record comes there any more.
		if g.file.Truncate(g.size) != nil || g.index.Truncate(g.indexSize) != nil {
			g.size, g.indexSize, g.torn = offset, g.indexSize+int64(len(index)), true
		}
		g.index.Close()
		g.index = nil
		return fmt.Errorf("write a segment: %w", err)
	}
	g.size, g.indexSize = offset, g.indexSize+int64(len(index))
	for name, n := range named {
		g.sites[name] = n
	}
	return nil
}

// place gives an object its place in g, unless it is gone. mu is held.
func (d *disk) place(g *segment, it *item, offset uint32) bool {
	s, o := d.store, it.object
	e := s.table.entry(o.id)
	if !s.has(o) || !e.pending {
		it.gone = true
		return false
	}
	it.offset, it.stale = offset, e.stale
	l := s.table.loc(o.id)
	h := s.shard(e.hash)
	h.mu.Lock()
	l.segment, l.offset, l.size, l.stored, l.used = g.number, offset, uint32(it.size), o.stored, false
	l.large = it.large != nil
	h.mu.Unlock()
	g.records = append(g.records, placed{o.id, offset})
	g.objects++
	d.objects++
	g.namespace.disk.objects++
	if it.large != nil {
		d.larges[o.id] = it.large
		it.large.mu.Lock()
		it.large.indexed = true
		it.large.mu.Unlock()
		if old := it.large.segment; old != nil {
			old.attached -= it.large.bytes
		}
		it.large.entry, it.large.segment = o.id, g
		g.attached += it.large.bytes
	}
	return true
}

// appendIndex appends what the index says of an item, after its site if that is new.
func (d *disk) appendIndex(dst []byte, g *segment, it *item, file uint64, named map[siteName]uint32) []byte {
	o, h := it.object, &d.store.hash
	name := siteName{o.site.service, o.site.hostname}
	site, ok := g.sites[name]
	if !ok {
		if site, ok = named[name]; !ok {
			site = uint32(len(g.sites) + len(named))
			named[name] = site
			dst = appendSite(dst, name.service, name.hostname)
		}
	}
	x := indexed{
		site: site, hash: h.sum(o.Key()), url: h.url(o.site.namespace.name, o.site.hostname, o.Path()), file: file,
		stored: o.stored, size: o.Size(), variant: h.variant(o.Variant()), offset: it.offset, length: uint32(it.size), stale: it.stale,
	}
	for tag := range o.Tags {
		x.tags = binary.LittleEndian.AppendUint64(x.tags, h.tag(o.site.namespace.name, tag))
	}
	return appendIndexed(dst, &x)
}

// settle ends the waiting of a batch.
func (d *disk) settle(batch []item, err error) {
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range batch {
		o := batch[i].object
		e := s.table.entry(o.id)
		if batch[i].gone || !s.has(o) || !e.pending {
			continue
		}
		if err != nil {
			d.unqueue(o.id)
			continue
		}
		if e.bits&bitOwed != 0 {
			s.memory.fixed -= int64(e.cost)
		}
		e.pending, e.bits = false, e.bits&^bitOwed
		if e.in == inNone {
			h := s.shard(e.hash)
			h.mu.Lock()
			*s.table.object(o.id) = nil
			h.mu.Unlock()
		}
	}
	if err == nil {
		d.retry = 0
	}
}
