package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// remains is what a folder holds when it is opened.
type remains struct {
	segments []uint32         // newest first
	bodies   map[uint64]int64 // length of each
	dead     dead
	kills    []kill // of what was found to be superseded
	missed   missed
}

// survey lists the folder, and opens the log of kills. fresh: nothing that is there can
// be used.
func (d *disk) survey(fresh bool) (*remains, error) {
	left := &remains{bodies: map[uint64]int64{}}
	if !fresh {
		var whole bool
		if left.dead, whole = readKills(d.dir); !whole {
			d.tell.tell(fmt.Errorf("%s: what was removed from the cache is not known: all of it is dropped", d.dir))
			fresh = true
		}
	}
	if fresh {
		left.dead = dead{map[place]kill{}, map[identity]int64{}}
		if err := clearFolder(d.dir); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	there := map[uint32]bool{}
	nextBody, nextSegment := uint64(1), uint32(1)
	for _, e := range entries {
		number, suffix, ok := numbered(e.Name())
		if !ok || !e.Type().IsRegular() {
			if ok || ours(e.Name()) && !fixed(e.Name()) && e.Name() != killNames[0] && e.Name() != killNames[1] {
				os.RemoveAll(d.dir + "/" + e.Name()) // half of what was to replace another
			}
			continue
		}
		info, err := e.Info()
		switch {
		case err != nil:
		case suffix == largeSuffix:
			nextBody = max(nextBody, number+1)
			left.bodies[number] = info.Size()
		case suffix == segmentSuffix && number < 1<<32-1:
			nextSegment = max(nextSegment, uint32(number)+1)
			left.segments = append(left.segments, uint32(number))
			there[uint32(number)] = true
		}
	}
	for _, e := range entries { // an index whose segment is gone
		if number, suffix, ok := numbered(e.Name()); ok && suffix == indexSuffix && !there[uint32(number)] {
			os.Remove(d.dir + "/" + e.Name())
		}
	}
	for at := range left.dead.records {
		nextSegment = max(nextSegment, at.segment+1)
	}
	slices.Sort(left.segments)
	slices.Reverse(left.segments)
	d.store.mu.Lock()
	d.nextBody, d.nextSegment, d.used = nextBody, nextSegment, 64
	d.store.mu.Unlock()
	return left, d.kills.rewrite(d.dir, left.dead.kills(func(segment uint32) bool { return there[segment] }))
}

// load reads the indexes of all segments, newest first. False: close came before it was
// done, and the rest stays as it is.
func (d *disk) load(left *remains) bool {
	for _, number := range left.segments {
		select {
		case <-d.stop:
			_ = d.store.bury(left.kills, false) // the next load finds them again
			return false
		default:
		}
		if err := d.loadSegment(number, left); err != nil {
			d.tell.tell(err)
			_ = d.removeSegment(number) // what is not known cannot be purged
		}
	}
	for number := range left.bodies { // those that no record names
		os.Remove(d.dir + "/" + fileName(number, largeSuffix))
	}
	err := d.store.bury(left.kills, left.missed.any())
	if err == nil {
		err = d.missed.done(left.missed.end)
	}
	if err != nil {
		d.tell.tell(err)
	}
	d.store.mu.Lock()
	d.superseded, d.forgotten = nil, nil
	for _, n := range d.store.namespaces {
		slices.SortFunc(n.segments, func(a, b *segment) int { return int(int64(a.number) - int64(b.number)) })
		for i, g := range n.segments {
			if i == len(n.segments)-1 && g.size < d.target()/2 {
				// It goes on being written. If it cannot be, it is not.
				g.index, _ = os.OpenFile(d.path(g.number, indexSuffix), os.O_RDWR, 0)
			}
		}
	}
	d.store.mu.Unlock()
	d.turn.Lock()
	defer d.turn.Unlock()
	if err := d.roomFor(&namespace{}, 0, 0); err != nil { // the budgets may be smaller now
		d.tell.tell(err)
	}
	return true
}

// found is a record of a segment that is loaded.
type found struct {
	indexed
	site siteName
}

// loadSegment takes in what a segment holds.
func (d *disk) loadSegment(number uint32, left *remains) error {
	path := d.path(number, segmentSuffix)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	if info.Size() == 0 { // the process ended before it had written the header: there was nothing
		file.Close()
		return d.removeSegment(number)
	}
	head := make([]byte, min(info.Size(), fileHeader+256))
	if _, err := io.ReadFull(file, head); err != nil {
		file.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	name, start, ok := parseHeader(head, segmentMagic, number)
	if !ok {
		file.Close()
		return fmt.Errorf("%s: header is damaged: its objects are dropped", path)
	}
	g := &segment{number: number, file: file, size: info.Size(), sites: map[siteName]uint32{}}
	all, whole := d.readIndex(g, name, info.Size())
	end := int64(start)
	for i := range all {
		end = max(end, int64(all[i].offset)+int64(all[i].length))
	}
	if end < info.Size() || !whole {
		more, last := d.scan(file, number, name, end, info.Size())
		all = append(all, more...)
		if len(more) > 0 {
			end = last
		}
		err = d.rewriteIndex(g, name, all)
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("index of a segment: %w", err)
	}
	// Behind the last record there may be half of one.
	if end < info.Size() && file.Truncate(end) == nil {
		g.size = end
	}
	d.heed(g, name, all, left)
	d.takeIn(g, name, all, left)
	return nil
}

// removeSegment removes a segment's files; one that is not there is no error.
func (d *disk) removeSegment(number uint32) (all error) {
	for _, suffix := range []string{segmentSuffix, indexSuffix} {
		if err := os.Remove(d.path(number, suffix)); !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// readIndex reads the index of g. whole: to its end.
func (d *disk) readIndex(g *segment, name string, size int64) (all []found, whole bool) {
	text, err := os.ReadFile(d.path(g.number, indexSuffix))
	if err != nil {
		return nil, false
	}
	of, start, ok := parseHeader(text, indexMagic, g.number)
	if !ok || of != name {
		return nil, false
	}
	var sites []siteName
	all = make([]found, 0, len(text)/indexEntry)
	good := parseIndex(text[start:], &sites, func(x *indexed) {
		if int64(x.offset) >= int64(headerBytes(name)) && int64(x.offset)+int64(x.length) <= size && x.stored > 0 && x.size >= 0 && x.size <= MaxLarge {
			all = append(all, found{*x, sites[x.site]})
		}
	})
	for i, n := range sites {
		g.sites[n] = uint32(i)
	}
	g.indexSize = int64(len(text))
	return all, start+good == len(text) && len(g.sites) == len(sites)
}

// rewriteIndex writes an index of these records.
func (d *disk) rewriteIndex(g *segment, name string, all []found) error {
	text := appendHeader(nil, indexMagic, g.number, name)
	clear(g.sites)
	for i := range all {
		n, ok := g.sites[all[i].site]
		if !ok {
			n = uint32(len(g.sites))
			g.sites[all[i].site] = n
			text = appendSite(text, all[i].site.service, all[i].site.hostname)
		}
		all[i].indexed.site = n
		text = appendIndexed(text, &all[i].indexed)
	}
	g.indexSize = int64(len(text))
	f, err := replaceFile(d.path(g.number, indexSuffix), text)
	if err != nil {
		return err
	}
	return f.Close()
}

// scan looks for records from an offset on, which the index does not know, and returns
// the end of the last one.
func (d *disk) scan(file *os.File, number uint32, name string, from, size int64) (all []found, end int64) {
	h := &d.store.hash
	const window = 256 << 10
	buffer := make([]byte, window)
	for at := int64(padded(int(from))); at+recordHeader <= size; {
		n, err := file.ReadAt(buffer[:min(int64(len(buffer)), size-at)], at)
		if err != nil && err != io.EOF || n < recordHeader {
			return all, end
		}
		p := buffer[:n]
		moved := int64(0)
		for moved+recordHeader <= int64(n) {
			q := p[moved:]
			if binary.LittleEndian.Uint32(q) != recordMagic {
				moved += 8
				continue
			}
			r, err := parseRecord(q, h.salt(number, uint32(at+moved)))
			if err != nil {
				if moved > 0 && len(q) < maxRecordHead {
					break // with more of it in the buffer
				}
				moved += 8
				continue
			}
			if at+moved+int64(r.length) > size || string(r.namespace) != name {
				moved += 8
				continue
			}
			all = append(all, d.foundIn(&r, uint32(at+moved)))
			moved += int64(r.length)
			end = at + moved
		}
		if moved == 0 {
			moved = 8
		}
		at += moved
		if len(buffer) < maxRecordHead {
			buffer = make([]byte, maxRecordHead+window)
		}
	}
	return all, end
}

// maxRecordHead bounds a record without its body.
const maxRecordHead = recordHeader + 3*256 + 2*MaxKey + MaxHead + MaxPath + MaxTags*(MaxTag+2)

// foundIn returns what the index would say of r.
func (d *disk) foundIn(r *record, offset uint32) found {
	h := &d.store.hash
	x := indexed{
		hash: h.sum(r.key), url: h.url(string(r.namespace), string(r.hostname), r.path), file: r.file, stored: r.stored, size: r.size,
		variant: h.variant(r.variant), offset: offset, length: uint32(r.length), stale: r.stale,
	}
	o := Object{blob: r.rest, tagsLen: uint16(len(r.tags)), keyLen: uint32(len(r.rest) - len(r.tags)), pathAt: 0}
	for tag := range o.Tags {
		x.tags = binary.LittleEndian.AppendUint64(x.tags, h.tag(string(r.namespace), tag))
	}
	return found{x, siteName{string(r.service), string(r.hostname)}}
}

// takeIn puts the records of a segment into the index.
func (d *disk) takeIn(g *segment, name string, all []found, left *remains) {
	s := d.store
	s.mu.Lock()
	g.namespace = s.namespace(name)
	g.namespace.segments = append(g.namespace.segments, g)
	d.used += g.bytes()
	g.namespace.disk.bytes += g.bytes()
	d.filesMu.Lock()
	d.files[g.number] = g
	d.filesMu.Unlock()
	for i := range all {
		s.breathe(i)
		x := &all[i]
		killed := left.dead.of(g.number, &x.indexed)
		x.stale = x.stale || killed == killStale
		if k := (kill{kind: killDead, segment: g.number, offset: x.offset}); killed != killDead && !d.takeOne(g, x, left) ||
			killed == killDead && left.dead.records[place{k.segment, k.offset}].kind != killDead {
			left.kills = append(left.kills, k)
		}
	}
	s.mu.Unlock()
}

// takeOne puts one record into the index; false: it may not be found again. mu is held.
func (d *disk) takeOne(g *segment, x *found, left *remains) bool {
	s := d.store
	if d.forsaken {
		d.left++
		return false
	}
	if s.labels.used+len(x.tags)/8 > s.labels.limit || d.objects >= d.limit {
		return false
	}
	var l *large
	if x.file != 0 {
		bytes, ok := left.bodies[x.file]
		if !ok || bytes != largeBytes(x.size) {
			return false
		}
		l = &large{disk: d, number: x.file, of: g.namespace, size: x.size, bytes: bytes, indexed: true, segment: g}
	}
	if d.superseded[identity{x.hash, x.variant}] || d.forgotten[x.hash] {
		return false
	}
	older, full := s.loadedRival(x)
	if full {
		return false
	}
	if older != 0 {
		s.remove(older, &left.kills)
	}
	id := s.table.take()
	if id == 0 {
		return false
	}
	e := s.table.entry(id)
	*e = entry{hash: x.hash, variant: x.variant, stale: x.stale}
	*s.table.loc(id) = loc{
		url: x.url, stored: x.stored, segment: g.number, offset: x.offset, size: x.length, large: l != nil,
	}
	t := s.hold(g.namespace.name, x.site.service, []byte(x.site.hostname))
	s.join(t, id)
	t.holders--
	s.addURL(id, x.url)
	for tags := x.tags; len(tags) >= 8; tags = tags[8:] {
		s.labels.add(e, id, binary.LittleEndian.Uint64(tags))
		g.namespace.labels++
	}
	h := s.shard(x.hash)
	h.mu.Lock()
	s.link(h, id, x.stored)
	h.mu.Unlock()
	g.records = append(g.records, placed{id, x.offset})
	g.objects++
	d.objects++
	g.namespace.disk.objects++
	s.last = max(s.last, x.stored)
	if l != nil {
		delete(left.bodies, x.file)
		l.entry = id
		d.larges[id] = l
		d.used += l.bytes
		g.attached += l.bytes
		g.namespace.disk.bytes += l.bytes
	}
	return true
}

// loadedRival returns the older record of the same key and variant, if x is to take its
// place; full: x is the older one, or one too many. mu is held.
func (s *Store) loadedRival(x *found) (older uint32, full bool) {
	h := s.shard(x.hash)
	if len(h.heads) == 0 {
		return 0, false
	}
	n := 0
	for id := *h.head(x.hash); id != 0; id = s.table.entry(id).next {
		e := s.table.entry(id)
		if e.hash != x.hash {
			continue
		}
		if e.variant == x.variant {
			if s.table.loc(id).segment == 0 || s.stored(id) >= x.stored { // nothing is written yet
				return 0, true
			}
			return id, false
		}
		n++
	}
	return 0, n >= maxVariants
}
