package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// Bounds of one object. What passes them is not stored: ErrBounds.
const (
	MaxKey      = 64 << 10 // also of a variant
	MaxHead     = 1 << 20
	MaxPath     = 1<<16 - 1
	MaxName     = 253 // of hostname, namespace and Service
	MaxTags     = 128
	MaxTag      = 256
	MaxLarge    = 16 << 30 // of a body on disk
	maxMemory   = 32 << 20 // of a body in memory
	maxVariants = 32
)

// What a caller may branch on.
var (
	// ErrTooLarge: the body passed the Writer's or the store's limit; it was not stored.
	ErrTooLarge = errors.New("body is too large to be stored")
	// ErrBounds: key, variant, head or attributes pass their bounds.
	ErrBounds = errors.New("object passes the bounds of the store")
	// ErrSize: the body is not of the size that was announced.
	ErrSize = errors.New("body is not of the announced size")
	// ErrPurged: a purge that matches came after Create.
	ErrPurged = errors.New("purged while it was written")
	// ErrTags: the tag index has no room for the object.
	ErrTags = errors.New("tag index is full")
	// ErrFull: no tier has room for the object.
	ErrFull = errors.New("store is full")
	// ErrInUse: another process has the folder.
	ErrInUse = errors.New("in use by another process")
	// ErrClosed: the store or the writer is closed.
	ErrClosed = errors.New("closed")
)

// Options says how much a Store may take. Zero budgets of objects and tags follow
// from those of bytes.
type Options struct {
	// MemoryBytes is the budget of the memory tier: objects with all that they cost,
	// rounded up to what the allocator takes, and bodies being written. At least
	// 64 KiB. MemoryObjects: 0 means one for each 512 bytes, at least 1024.
	MemoryBytes   int64
	MemoryObjects int
	// Dir is the folder of the disk tier, made if missing, of one process at a time.
	// Empty: no disk tier. DiskBytes is what all files in it may take, at least 1 MiB.
	// DiskObjects: 0 means one for each 4 KiB, at least 1024; each takes about 120 bytes
	// of memory beside MemoryBytes.
	Dir         string
	DiskBytes   int64
	DiskObjects int
	// Wait says what is done if another process has the folder: false, Open returns
	// ErrInUse; true, the store begins without a disk tier, and adopts the folder when it
	// is let go of. Adopted is told once that this has happened: how many objects are on
	// disk then, and for how long there was no disk tier. nil: nobody is.
	Wait    bool
	Adopted func(objects int, waited time.Duration)
	// TagEntries is how many tags all objects together may have; 0: eight for each
	// object, at least 65,536.
	TagEntries int
	// Error is told of faults of the disk, by one goroutine at a time, which must not
	// be held up; nil: nobody is.
	Error func(error)
}

// Store keeps objects under keys. All its methods are for all goroutines.
type Store struct {
	options Options
	hash    hasher
	shards  [shardCount]shard
	recent  [1 << recentBits]recent
	disk    *disk // nil: no disk tier

	// mu guards all that follows, and the entries as told there. It is not held over
	// I/O. A shard's lock may be taken while it is held, never the other way round.
	mu         sync.Mutex
	table      table
	namespaces map[string]*namespace
	sites      map[siteKey]*site
	siteByID   []*site
	freeSites  []uint32
	labels     labels
	urls       urls
	memory     memoryTier
	left       map[serviceKey]*[causes]int64
	last       int64 // stamp given last
	closed     bool
}

// Open returns a store. With a folder it reads what an earlier one left there, in the
// background: Get finds what has been read so far. An error says which option is wrong,
// or what of the folder and how to put it right.
func Open(o Options) (*Store, error) {
	if o.MemoryBytes < 64<<10 {
		return nil, fmt.Errorf("store: MemoryBytes is %d: at least 65536 are needed", o.MemoryBytes)
	}
	if o.MemoryObjects < 0 || o.DiskObjects < 0 || o.TagEntries < 0 {
		return nil, errors.New("store: MemoryObjects, DiskObjects and TagEntries are not below 0")
	}
	if o.Dir != "" && o.DiskBytes < 1<<20 {
		return nil, fmt.Errorf("store: DiskBytes is %d: at least 1048576 are needed", o.DiskBytes)
	}
	if o.MemoryObjects == 0 {
		o.MemoryObjects = int(max(1024, min(o.MemoryBytes/512, 1<<28)))
	}
	if o.Dir == "" {
		o.DiskBytes, o.DiskObjects = 0, 0
	} else if o.DiskObjects == 0 {
		o.DiskObjects = int(max(1024, min(o.DiskBytes/4096, 1<<29)))
	}
	objects := o.MemoryObjects + o.DiskObjects
	if objects > 1<<30 {
		return nil, fmt.Errorf("store: %d objects: at most %d", objects, 1<<30)
	}
	if o.TagEntries == 0 {
		o.TagEntries = max(8*objects, 1<<16)
	}
	s := &Store{
		options:    o,
		hash:       newHasher(),
		namespaces: map[string]*namespace{},
		sites:      map[siteKey]*site{},
		siteByID:   []*site{nil},
		left:       map[serviceKey]*[causes]int64{},
		labels:     labels{first: map[uint64]uint32{}, limit: min(o.TagEntries, math.MaxUint32-1)},
		memory:     memoryTier{budget: o.MemoryBytes, limit: o.MemoryObjects},
	}
	s.memory.sketch.grow(1)
	s.table = newTable(objects+queueObjects+1, o.Dir != "")
	if o.Dir == "" {
		return s, nil
	}
	if err := s.openDisk(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return s, nil
}

// Close writes what is queued for the disk and lets go of the folder. Nothing is stored
// afterwards, and nothing found that is on disk only; readers finish.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	return s.Release()
}

// over returns ErrClosed after Close, nil if there is no folder any more for another cause.
func (s *Store) over() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}

// Folder returns the folder in which is noted what is removed, also for one that another
// process has still; empty: there is none, or it was let go of.
func (s *Store) Folder() string {
	if s.disk == nil || s.disk.shut.Load() {
		return ""
	}
	return s.options.Dir
}

// Flush waits until everything that is queued for the disk by now was written, or
// could not be.
func (s *Store) Flush() {
	if s.disk == nil {
		return
	}
	flushed := make(chan struct{})
	select {
	case s.disk.flush <- flushed:
		<-flushed
	case <-s.disk.done:
	}
}

// stamp returns the time, later than every stamp before. mu is held.
func (s *Store) stamp() int64 {
	s.last = max(s.last+1, time.Now().UnixNano())
	return s.last
}

// Get returns the newest object under key for whose variant match says yes, nil if
// there is none, and counts a use of it. A nil match takes any. match must not call the
// store. What comes from memory costs no allocation. What comes from disk is read and
// checked before it is returned, but for a large body, which is when it is read.
func (s *Store) Get(key []byte, match func(variant []byte) bool) *Object {
	hash := s.hash.sum(key)
	o, some := s.newest(hash)
	if !some {
		return nil
	}
	if o == nil || !bytes.Equal(o.Key(), key) || match != nil && !match(o.Variant()) {
		return s.search(hash, key, match)
	}
	s.use(hash, o)
	return o
}

// use notes that o was found.
func (s *Store) use(hash uint64, o *Object) {
	o.hits.Add(1)
	r := &s.recent[hash>>(64-recentBits)]
	if i := r.noted.Add(1); i <= recentHits {
		r.hits[i-1].Store(o.id)
		if i == recentHits {
			s.drain(r)
		}
	}
}

// search looks at all objects under the hash, in both tiers.
func (s *Store) search(hash uint64, key []byte, match func(variant []byte) bool) *Object {
	var all [maxVariants + 1]candidate
	for i := range s.candidates(hash, &all) {
		c := &all[i]
		o := c.object
		if o == nil {
			if o = s.fetch(c, key); o == nil {
				continue
			}
		} else if string(o.Key()) != string(key) {
			continue
		}
		if match != nil && !match(o.Variant()) {
			continue
		}
		if c.object == nil {
			o = s.promote(c, o)
		}
		s.use(hash, o)
		return o
	}
	return nil
}

// Has returns how many variants are stored under key. One whose hash meets that of
// another key counts if it is on disk only.
func (s *Store) Has(key []byte) (variants int) {
	var all [maxVariants + 1]candidate
	for i := range s.candidates(s.hash.sum(key), &all) {
		if o := all[i].object; o == nil || string(o.Key()) == string(key) {
			variants++
		}
	}
	return variants
}
