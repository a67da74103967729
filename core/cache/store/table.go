package store

import (
	"sync"
	"sync/atomic"
)

// An entry is what the store knows of one object, wherever its bytes are. Entries lie
// in pages that the garbage collector need not look into, and point at each other by
// number; 0 is none.
//
// hash, next and stale are written under Store.mu and the lock of the hash's shard,
// and read under either; so are the object and the loc of the same number. The rest
// is Store.mu's.
type entry struct {
	hash     uint64 // of the key
	next     uint32 // in the shard's chain; of free entries: the next free one
	variant  uint32 // hash of the variant
	prev     uint32 // in its list of the memory tier
	succ     uint32
	sitePrev uint32 // of the same site, newest first
	siteNext uint32
	site     uint32
	labels   uint32 // its first label (a tag)
	urlPrev  uint32 // in the chain of the URL's bucket
	urlNext  uint32
	cost     uint32 // in memory, in bytes, while it is in a list
	in       listKind
	stale    bool
	pending  bool // queued for the disk: the object stays though it is in no list
	bits     uint8
}

// Bits of an entry.
const (
	bitMarked  = 1 << iota // by a purge that is going on
	bitOwed                // pending, in no list: its cost counts to memoryTier.fixed
	bitCleared             // to be removed by the Clear that is going on
)

// loc says where on disk an object is. segment 0: nowhere.
type loc struct {
	url     uint64 // hash of the URL
	stored  int64  // stamp, as Object.Stored
	segment uint32
	offset  uint32 // of the record in the segment
	size    uint32 // of the record
	large   bool   // the body is a file of its own
	used    bool   // found since it was written
}

const (
	pageEntries = 1 << 12
	shardBits   = 6
	shardCount  = 1 << shardBits
)

// table holds entries by number. The directories never grow, so that a shard's lock
// is enough to read through them.
type table struct {
	entries []*[pageEntries]entry
	objects []*[pageEntries]*Object
	locs    []*[pageEntries]loc // empty without a disk tier
	made    uint32              // numbers handed out so far, with 0
	free    uint32
}

func newTable(objects int, disk bool) (t table) {
	pages := objects/pageEntries + 2
	t.entries = make([]*[pageEntries]entry, pages)
	t.objects = make([]*[pageEntries]*Object, pages)
	if disk {
		t.locs = make([]*[pageEntries]loc, pages)
	}
	t.made = 1
	t.entries[0], t.objects[0] = new([pageEntries]entry), new([pageEntries]*Object)
	if disk {
		t.locs[0] = new([pageEntries]loc)
	}
	return t
}

func (t *table) entry(id uint32) *entry    { return &t.entries[id/pageEntries][id%pageEntries] }
func (t *table) object(id uint32) **Object { return &t.objects[id/pageEntries][id%pageEntries] }

// loc returns nil without a disk tier.
func (t *table) loc(id uint32) *loc {
	if len(t.locs) == 0 {
		return nil
	}
	return &t.locs[id/pageEntries][id%pageEntries]
}

// onDisk reports whether a record of id was written, or is being written.
func (t *table) onDisk(id uint32) bool { return len(t.locs) > 0 && t.loc(id).segment != 0 }

// take returns the number of an entry without content, 0 if there is none left.
func (t *table) take() uint32 {
	if id := t.free; id != 0 {
		t.free = t.entry(id).next
		return id
	}
	id := t.made
	page := id / pageEntries
	if int(page) >= len(t.entries) {
		return 0
	}
	if t.entries[page] == nil {
		t.entries[page], t.objects[page] = new([pageEntries]entry), new([pageEntries]*Object)
		if len(t.locs) > 0 {
			t.locs[page] = new([pageEntries]loc)
		}
	}
	t.made++
	return id
}

// put takes a number back that nothing points at any more.
func (t *table) put(id uint32) {
	*t.entry(id) = entry{next: t.free}
	t.free = id
}

// shard is a part of the index from hash to entries.
type shard struct {
	mu    sync.Mutex
	heads []uint32 // a power of two of chains
	count int
	_     [64]byte // shards share no cache line
}

// recent is the numbers of entries that were found lately. They are noted without a
// lock; whoever takes the last place hands them on, and what comes before that has
// happened is lost. There are few and small ones, so that a small store, too, learns
// soon enough what is in use.
type recent struct {
	noted atomic.Uint32
	hits  [recentHits]atomic.Uint32
	_     [64]byte
}

const (
	recentBits = 3
	recentHits = 15
)

func (s *Store) shard(hash uint64) *shard { return &s.shards[hash>>(64-shardBits)] }

func (h *shard) head(hash uint64) *uint32 { return &h.heads[hash&uint64(len(h.heads)-1)] }

// link adds id to its chain: before the first entry of equal hash that is not newer
// (those of one key stand newest first). Both locks are held.
func (s *Store) link(h *shard, id uint32, stored int64) {
	if h.count >= len(h.heads) {
		s.widen(h)
	}
	e := s.table.entry(id)
	at := h.head(e.hash)
	for next := at; *next != 0; {
		other := s.table.entry(*next)
		if other.hash == e.hash {
			if s.stored(*next) <= stored {
				at = next
				break
			}
			at = &other.next
		}
		next = &other.next
	}
	e.next, *at = *at, id
	h.count++
}

// unlink takes id out of its chain. Both locks are held.
func (s *Store) unlink(h *shard, id uint32) {
	e := s.table.entry(id)
	at := h.head(e.hash)
	for *at != id {
		at = &s.table.entry(*at).next
	}
	*at, e.next = e.next, 0
	h.count--
}

// widen doubles the chains of a shard; the order within each hash stays.
func (s *Store) widen(h *shard) {
	old := h.heads
	h.heads = make([]uint32, max(16, 2*len(old)))
	tails := make([]*uint32, len(h.heads))
	for i := range tails {
		tails[i] = &h.heads[i]
	}
	for _, id := range old {
		for id != 0 {
			e := s.table.entry(id)
			i := e.hash & uint64(len(h.heads)-1)
			next := e.next
			*tails[i], e.next = id, 0
			tails[i], id = &e.next, next
		}
	}
}

// stored returns the stamp of id. mu or the shard's lock is held.
func (s *Store) stored(id uint32) int64 {
	if o := *s.table.object(id); o != nil {
		return o.stored
	}
	if l := s.table.loc(id); l != nil {
		return l.stored
	}
	return 0
}

// candidate is an entry under a key's hash, as it was when it was looked up.
type candidate struct {
	object *Object
	id     uint32
	stale  bool
	loc    loc
}

// candidates fills c with those of hash, newest first, and returns how many.
func (s *Store) candidates(hash uint64, c *[maxVariants + 1]candidate) (n int) {
	h := s.shard(hash)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.heads) == 0 {
		return 0
	}
	for id := *h.head(hash); id != 0 && n < len(c); {
		e := s.table.entry(id)
		if e.hash == hash {
			c[n] = candidate{object: *s.table.object(id), id: id, stale: e.stale}
			if l := s.table.loc(id); l != nil {
				c[n].loc = *l
			}
			n++
		}
		id = e.next
	}
	return n
}

// newest returns the newest object under hash if it is in memory, else nil; its key is
// for the caller to compare, after the lock. some is false if there is nothing at all.
func (s *Store) newest(hash uint64) (o *Object, some bool) {
	h := s.shard(hash)
	h.mu.Lock()
	if len(h.heads) > 0 {
		for id := *h.head(hash); id != 0; {
			e := s.table.entry(id)
			if e.hash == hash {
				o, some = *s.table.object(id), true
				break
			}
			id = e.next
		}
	}
	h.mu.Unlock()
	return o, some
}
