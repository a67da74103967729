package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/internal/bufpool"
)

const (
	// queueObjects bounds how many objects wait to be written.
	queueObjects = 4096
	// batchBytes and batchObjects bound what is written at once.
	batchBytes   = 1 << 20
	batchObjects = 512
	// gather is how long the writing goroutine lets objects come together.
	gather = 2 * time.Millisecond
	// retryFirst and retryMost bound how long nothing is written after a fault.
	retryFirst = time.Second
	retryMost  = time.Minute
)

// disk is the disk tier: segments, written by one goroutine, and the files of large
// bodies.
type disk struct {
	store  *Store
	dir    string
	budget int64
	limit  int      // of objects
	lock   *os.File // nil while another process has it
	kills  killLog
	missed missedLog
	tell   teller

	wake  chan struct{} // there is something to do
	flush chan chan struct{}
	stop  chan struct{} // closed by close
	done  chan struct{} // closed when run has ended
	ready chan struct{} // closed when what was there is known

	// noting is held by who purges or removes something until that is noted, and whole
	// while the folder changes hands: so each is noted once, where it is looked for.
	noting sync.RWMutex
	// waiting: another process has the folder. shut: it may be another's again, or cannot
	// be used. Both are changed under noting and Store.mu; read under either, or by who
	// may be late.
	waiting, shut atomic.Bool
	closing       sync.Once

	// turn is held by who makes room, over its I/O: one at a time, so that room is
	// not counted twice.
	turn sync.Mutex

	// files finds segments for readers.
	filesMu sync.RWMutex
	files   map[uint32]*segment

	// The rest is Store.mu's.
	queue       []queued
	queueBytes  int64
	used        int64 // of the budget, by all files; reserved before it is written
	objects     int
	larges      map[uint32]*large // by entry
	dead        []*large          // to be unlinked
	nextSegment uint32            // numbers, of which none is given twice
	nextBody    uint64
	failing     time.Time // until then nothing is written
	retry       time.Duration
	ending      bool              // nothing is queued any more
	superseded  map[identity]bool // while loading: older records are not taken in; nil afterwards
	forgotten   map[uint64]bool   // while loading: no record of these keys' hashes is taken in; nil afterwards
	forsaken    bool              // while loading: no more records are taken in
	left        int               // records that were not, for that reason
}

// queued is an object that waits to be written, and what it counts to queueBytes.
type queued struct {
	object *Object
	bytes  int64
}

// records lends buffers to read and write records.
var records bufpool.Pool

// openDisk opens the disk tier of s, and starts reading what is there.
func (s *Store) openDisk() error {
	o := &s.options
	d := &disk{
		store: s, dir: o.Dir, budget: o.DiskBytes, limit: o.DiskObjects,
		wake: make(chan struct{}, 1), flush: make(chan chan struct{}), stop: make(chan struct{}), done: make(chan struct{}), ready: make(chan struct{}),
		files: map[uint32]*segment{}, larges: map[uint32]*large{}, nextSegment: 1, nextBody: 1, used: 64,
	}
	d.tell.to = o.Error
	d.missed.path, d.missed.most = filepath.Join(o.Dir, missedName), min(missedMost, d.margin())
	lock, h, fresh, err := openFolder(o.Dir)
	if errors.Is(err, ErrInUse) && o.Wait {
		return s.openLater(d)
	}
	if err != nil {
		return err
	}
	s.hash = h
	left, err := d.takeOver(lock, fresh)
	if err != nil {
		return err
	}
	s.disk = d
	go d.run(left)
	return nil
}

// run reads what an earlier process left, then writes what is queued until close. nil:
// another process has the folder still.
func (d *disk) run(left *remains) {
	defer close(d.done)
	began, late := time.Now(), left == nil
	if late {
		left = d.await()
	}
	complete := left != nil && d.load(left)
	close(d.ready)
	if !complete {
		return // what is queued cannot be written: nobody knows what room there is
	}
	if late {
		d.adopted(time.Since(began))
	}
	for {
		var flushed chan struct{}
		select {
		case flushed = <-d.flush:
		case <-d.wake:
			timer := time.NewTimer(gather)
			select {
			case <-timer.C:
			case <-d.stop:
			}
			timer.Stop()
		case <-d.stop:
		}
		for d.writeSome() {
		}
		d.tidy()
		if flushed != nil {
			close(flushed)
		}
		select {
		case <-d.stop:
			if !d.writeSome() {
				return
			}
		default:
		}
	}
}

// loaded waits until what was there is known.
func (d *disk) loaded() { <-d.ready }

// largest returns how large a body may be.
func (d *disk) largest() int64 { return min(d.budget/16, MaxLarge) }

// queueLimit returns how many bytes may wait to be written.
func (d *disk) queueLimit() int64 { return max(min(d.store.options.MemoryBytes/8, 64<<20), 64<<10) }

// enqueue takes o, which has an entry, to be written; false: it is not. mu is held.
func (d *disk) enqueue(o *Object) bool {
	e := d.store.table.entry(o.id)
	e.pending = false
	large := o.more != nil && (o.more.large != nil || o.more.size >= largeBody)
	n := int64(recordBytes(o, large))
	if n > d.budget/8 || o.Size() > d.largest() || d.store.closed || d.ending || d.waiting.Load() || !time.Now().After(d.failing) {
		return false
	}
	if large && o.more.large == nil {
		n += o.more.size
	}
	if len(d.queue) >= queueObjects || d.queueBytes+n > d.queueLimit() && d.queueBytes > 0 {
		return false
	}
	if large && o.more.large != nil && !d.adopt(o) {
		return false
	}
	d.queue = append(d.queue, queued{o, n})
	d.queueBytes += n
	e.pending = true
	d.poke()
	return true
}

// adopt makes the file of o's body its entry's.
func (d *disk) adopt(o *Object) bool {
	l := o.more.large
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return false
	}
	l.indexed, l.entry = true, o.id
	d.larges[o.id] = l
	return true
}

func (d *disk) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// leave takes the record of id out of the accounts, and adds it to kills; its large
// body stays. mu is held, and the shard's lock is not.
func (d *disk) leave(id uint32, kills *[]kill) {
	s := d.store
	e, l := s.table.entry(id), s.table.loc(id)
	if e.bits&bitOwed != 0 {
		s.memory.fixed -= int64(e.cost)
	}
	e.pending, e.bits = false, e.bits&^bitOwed
	if l.segment == 0 {
		return
	}
	if kills != nil {
		*kills = append(*kills, kill{kind: killDead, segment: l.segment, offset: l.offset})
	}
	d.filesMu.RLock()
	g := d.files[l.segment]
	d.filesMu.RUnlock()
	if g != nil {
		g.objects--
	}
	d.objects--
	s.siteByID[e.site].namespace.disk.objects--
	h := s.shard(e.hash)
	h.mu.Lock()
	l.segment, l.offset, l.size, l.used = 0, 0, 0, false
	h.mu.Unlock()
}

// forget takes all that id has on disk away. mu is held.
func (d *disk) forget(id uint32, kills *[]kill) {
	d.leave(id, kills)
	l := d.larges[id]
	if l == nil {
		return
	}
	delete(d.larges, id)
	if l.segment != nil {
		l.segment.attached -= l.bytes
		l.segment = nil
	}
	if l.condemn() {
		d.dead = append(d.dead, l)
	}
}

// supersede makes sure that no older record of an entry is taken in while records are
// still being read. mu is held.
func (s *Store) supersede(e *entry, stamp int64, kills *[]kill) {
	if s.disk == nil || s.disk.superseded == nil {
		return
	}
	s.disk.superseded[identity{e.hash, e.variant}] = true
	*kills = append(*kills, kill{kind: killOlder, offset: e.variant, hash: e.hash, stamp: stamp})
}

// setUsed notes that an object on disk was asked for. mu is held.
func (s *Store) setUsed(id uint32) {
	h := s.shard(s.table.entry(id).hash)
	h.mu.Lock()
	s.table.loc(id).used = true
	h.mu.Unlock()
}

// bury makes sure that kills are never found again, and unlinks bodies that nobody
// needs. sync: also not after the machine itself stops. If the log cannot take them,
// their segments go.
func (s *Store) bury(kills []kill, sync bool) error {
	d := s.disk
	if d == nil {
		return nil
	}
	d.sweep()
	if len(kills) == 0 || d.waiting.Load() {
		return nil
	}
	if d.shut.Load() {
		return s.over()
	}
	err := d.afford(int64(2 * killBytes * len(kills)))
	if err == nil {
		if err = d.kills.add(kills, sync); err == nil {
			return nil
		} else if err == ErrClosed {
			return s.over()
		}
		d.fail(err)
	}
	lost := map[uint32]bool{}
	for _, k := range kills {
		lost[k.segment] = true
	}
	var failed error
	for number := range lost {
		if err := d.discard(number); err != nil {
			failed = fmt.Errorf("forget what was removed: %w", err)
		}
	}
	return failed
}

// sweep unlinks the bodies that nobody needs any more.
func (d *disk) sweep() {
	d.store.mu.Lock()
	dead := d.dead
	d.dead = nil
	d.store.mu.Unlock()
	for _, l := range dead {
		d.unlink(l)
	}
}

// unlink removes the file of a body and gives its room back.
func (d *disk) unlink(l *large) {
	if !d.shut.Load() { // else who has the folder sees to it
		if err := os.Remove(l.path()); err != nil && !os.IsNotExist(err) {
			d.tell.tell(err)
		}
	}
	d.store.mu.Lock()
	d.used -= l.bytes
	l.of.disk.bytes -= l.bytes
	l.bytes = 0
	d.store.mu.Unlock()
}

// damaged takes the object whose body is l out of the store.
func (d *disk) damaged(l *large, err error) {
	d.tell.tell(err)
	s := d.store
	var kills []kill
	s.mu.Lock()
	if id := l.entry; id != 0 && d.larges[id] == l {
		s.count(id, CauseDamaged)
		s.remove(id, &kills)
	}
	s.mu.Unlock()
	_ = s.bury(kills, false) // it tells itself
}

// fail leaves the disk out for a while: nothing is written to it, what waits is in
// memory only.
func (d *disk) fail(err error) {
	d.tell.tell(fmt.Errorf("cache on disk left out for a while: %w", err))
	s := d.store
	s.mu.Lock()
	defer s.mu.Unlock()
	d.retry = min(max(2*d.retry, retryFirst), retryMost)
	d.failing = time.Now().Add(d.retry)
	d.giveUp()
}

// giveUp ends the waiting of all that is queued. mu is held.
func (d *disk) giveUp() {
	queue := d.queue
	d.queue, d.queueBytes = nil, 0
	for _, q := range queue {
		if d.store.has(q.object) && d.store.table.entry(q.object.id).pending {
			d.unqueue(q.object.id)
		}
	}
}

// unqueue ends the waiting of an object that was not written: it goes on in memory, if
// it is there. mu is held.
func (d *disk) unqueue(id uint32) {
	s := d.store
	e := s.table.entry(id)
	d.leave(id, nil)
	if e.in == inNone || d.larges[id] != nil {
		s.count(id, CauseQueue)
		s.remove(id, nil)
	}
}

// path returns the path of a file of the folder.
func (d *disk) path(number uint32, suffix string) string {
	return filepath.Join(d.dir, fileName(uint64(number), suffix))
}
