package store

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// lockLook is how often a process that waits for its folder looks whether it may have it.
const lockLook = 200 * time.Millisecond

// openLater makes d a disk tier whose folder another process has. The hashes are those
// of the folder from the beginning, so that what was stored meanwhile can be compared
// with what is there.
func (s *Store) openLater(d *disk) error {
	h, there, err := lookFormat(d.dir)
	if err != nil {
		return err
	}
	if there { // else the other one is about to make it, and it will be made anew
		s.hash = h
	}
	d.waiting.Store(true)
	s.disk = d
	go d.run(nil)
	return nil
}

// await waits until the folder is let go of, and takes it over; nil: close came before,
// or it cannot be used.
func (d *disk) await() *remains {
	t := time.NewTicker(lockLook)
	defer t.Stop()
	for {
		select {
		case <-d.stop:
			return nil
		case flushed := <-d.flush:
			close(flushed) // nothing is queued
			continue
		case <-t.C:
		}
		lock, h, fresh, err := openFolder(d.dir)
		if errors.Is(err, ErrInUse) {
			continue
		}
		var left *remains
		if err == nil && h != d.store.hash { // what is there cannot be found
			fresh = true
			if err = clearFolder(d.dir); err == nil {
				err = writeFormat(d.dir, d.store.hash)
			}
			if err != nil {
				lock.Close()
			}
		}
		if err == nil {
			left, err = d.takeOver(lock, fresh)
		}
		if err != nil {
			d.tell.tell(fmt.Errorf("not used until the next start: %w", err))
			d.give()
			return nil
		}
		return left
	}
}

// takeOver sees what is in the folder, whose lock is d's from now on; after an error it
// is nobody's. What is purged and removed from now on is noted in the folder.
func (d *disk) takeOver(lock *os.File, fresh bool) (left *remains, err error) {
	defer func() {
		if err != nil {
			lock.Close()
			d.lock = nil
		}
	}()
	d.lock = lock
	if left, err = d.survey(fresh); err != nil {
		return nil, err
	}
	d.noting.Lock()
	left.missed = d.missed.read(&d.store.hash)
	d.store.mu.Lock()
	d.superseded, d.forgotten = map[identity]bool{}, map[uint64]bool{}
	d.waiting.Store(false)
	d.store.mu.Unlock()
	d.noting.Unlock()
	if m := &left.missed; m.all {
		d.tell.tell(fmt.Errorf("%s: too much was removed by a process that waited for it: all of it is dropped", d.dir))
		end := m.end
		if left, err = d.survey(true); err == nil {
			left.missed.end = end
		}
	}
	return left, err
}

// heed kills what was purged or removed by a process that did not have the folder.
func (d *disk) heed(g *segment, name string, all []found, left *remains) {
	if !left.missed.any() {
		return
	}
	for i := range all {
		x := &all[i]
		kind := left.missed.of(x, name, func() (string, bool) { return d.pathAt(g, x) })
		if k := (kill{kind: kind, segment: g.number, offset: x.offset}); kind != 0 && left.dead.records[place{k.segment, k.offset}].kind != killDead {
			left.dead.add(k)
			left.kills = append(left.kills, k)
		}
	}
}

// pathAt reads the path of a record.
func (d *disk) pathAt(g *segment, x *found) (path string, ok bool) {
	buffer := records.Get(int(x.length))
	defer records.Put(buffer)
	p := buffer.Bytes[:x.length]
	if _, err := g.file.ReadAt(p, int64(x.offset)); err != nil {
		return "", false
	}
	r, err := parseRecord(p, d.store.hash.salt(g.number, x.offset))
	return string(r.path), err == nil
}

// adopted tells that the folder is in use after that time.
func (d *disk) adopted(waited time.Duration) {
	d.store.mu.Lock()
	n := d.objects
	d.store.mu.Unlock()
	if d.store.options.Adopted != nil {
		d.store.options.Adopted(n, waited)
	}
	d.offer()
}

// offer queues what came to memory while the folder was another process', as fast as it
// is written.
func (d *disk) offer() {
	s := d.store
	for id := uint32(1); ; {
		s.mu.Lock()
		for to := min(id+pageEntries, s.table.made); id < to; id++ {
			o := *s.table.object(id)
			if o == nil || s.table.onDisk(id) || s.table.entry(id).pending || d.enqueue(o) {
				continue
			}
			if len(d.queue) > 0 {
				break // it is full
			}
		}
		all := id >= s.table.made || d.ending
		s.mu.Unlock()
		if all {
			return
		}
		for d.writeSome() {
		}
	}
}

// enter waits until what is on disk is known, or is another process', which it returns.
// noting is held for reading then.
func (d *disk) enter() (waiting bool) {
	for {
		d.noting.RLock()
		if d.waiting.Load() {
			return true
		}
		select {
		case <-d.ready:
			return false
		default:
		}
		d.noting.RUnlock()
		d.loaded()
	}
}

// Release writes what is queued for the disk, lets go of the folder, so that another
// process may have it, and goes on without a disk tier: what is there alone is not found
// any more, and nothing is written or noted there. Bodies in files that somebody reads
// are read to their end.
func (s *Store) Release() (err error) {
	d := s.disk
	if d == nil {
		return nil
	}
	d.closing.Do(func() {
		s.mu.Lock()
		d.ending = true
		s.mu.Unlock()
		close(d.stop)
		<-d.done
		d.give()
		d.filesMu.Lock()
		for _, g := range d.files {
			g.file.Close()
			if g.index != nil {
				g.index.Close()
			}
		}
		d.files = map[uint32]*segment{}
		d.filesMu.Unlock()
		if err = d.kills.close(); d.lock != nil {
			err = errors.Join(err, d.lock.Close())
		}
	})
	return err
}

// give makes sure that nothing is written into the folder any more.
func (d *disk) give() {
	d.noting.Lock()
	defer d.noting.Unlock()
	d.turn.Lock() // who writes there ends that before
	defer d.turn.Unlock()
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	d.shut.Store(true)
	d.waiting.Store(false)
	d.giveUp()
}
