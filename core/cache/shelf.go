package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/cache/store"
)

// What the objects of one shelf may take.
const (
	shelfBytes   = 16 << 20 // of values
	shelfObjects = 64 << 10
	// recount is how long after a count the next one may be due to evictions alone.
	recount = time.Second
	// fewShelves are never looked through for empty ones.
	fewShelves = 1024
	// maxEnded bounds the objects that one put removes because they have ended.
	maxEnded = 1024
)

// objects is what the cache keeps in mind of plugins' own objects.
type objects struct {
	store   *store.Store
	purging atomic.Int64  // under way
	purged  atomic.Uint64 // done

	mu      sync.RWMutex
	shelves map[owner]*shelf
	sweepAt int // so many shelves are looked through for empty ones
}

// owner is whose objects they are: filters of a namespace that share a state.
type owner struct{ namespace, id string }

// shelf counts the objects of one owner. The store evicts without telling: when there is
// no room, the shelf asks it what is still there. What an earlier process left on disk
// counts from its first use on.
type shelf struct {
	prefix [sha256.Size]byte // of namespace and id
	// puts is held during a whole put, with the store's part, so that the count is of
	// what is stored last. Reading does not take it.
	puts  sync.Mutex
	gone  bool        // out of use; guarded by puts
	ended []objectKey // counted no longer, and still to be removed; guarded by puts

	mu       sync.Mutex
	held     map[objectKey]held
	bytes    int64
	counted  time.Time // when the store was asked last
	purged   uint64    // objects.purged then
	earliest int64     // end of any, as held.expires; 0: none
}

// held is what is counted of an object.
type held struct {
	bytes   int64
	expires int64 // milliseconds since 1970
}

// shelf returns an owner's shelf.
func (o *objects) shelf(namespace, id string) *shelf {
	o.mu.RLock()
	s := o.shelves[owner{namespace, id}]
	full := len(o.shelves) >= max(o.sweepAt, fewShelves)
	o.mu.RUnlock()
	if s != nil {
		return s
	}
	if full {
		o.sweep()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if s = o.shelves[owner{namespace, id}]; s != nil {
		return s
	}
	text := binary.AppendUvarint(nil, uint64(len(namespace)))
	s = &shelf{prefix: sha256.Sum256(append(append(text, namespace...), id...)), held: map[objectKey]held{}}
	if o.shelves == nil {
		o.shelves = map[owner]*shelf{}
	}
	o.shelves[owner{namespace, id}] = s
	return s
}

// lock returns an owner's shelf with puts locked.
func (o *objects) lock(namespace, id string) *shelf {
	for {
		s := o.shelf(namespace, id)
		s.puts.Lock()
		if !s.gone {
			return s
		}
		s.puts.Unlock()
	}
}

// sweep takes shelves away that are empty: their filters may be gone for good.
func (o *objects) sweep() {
	o.mu.RLock()
	all := make(map[owner]*shelf, len(o.shelves))
	for name, s := range o.shelves {
		all[name] = s
	}
	o.mu.RUnlock()
	now := time.Now()
	for name, s := range all {
		if !s.puts.TryLock() { // in use
			continue
		}
		s.mu.Lock()
		s.count(o.store, now, o.purged.Load())
		empty := len(s.held) == 0
		s.mu.Unlock()
		s.clear(o.store, now)
		if empty && !s.gone {
			s.gone = true
			o.mu.Lock()
			delete(o.shelves, name)
			o.mu.Unlock()
		}
		s.puts.Unlock()
	}
	o.mu.Lock()
	o.sweepAt = 2 * len(o.shelves)
	o.mu.Unlock()
}

// key returns what an object is stored under.
func (s *shelf) key(key []byte) (at objectKey) {
	var text [sha256.Size + MaxObjectKey]byte
	n := copy(text[:], s.prefix[:])
	n += copy(text[n:], key)
	sum := sha256.Sum256(text[:n])
	at[0] = objectMark
	copy(at[1:], sum[:])
	return at
}

// reserve counts an object that is about to be stored, in the place of old, if there is
// room. puts is held.
func (s *shelf) reserve(at objectKey, h held, now time.Time, o *objects) (old held, had, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for round := range 2 {
		old, had = s.held[at]
		if s.bytes-old.bytes+h.bytes <= shelfBytes && (had || len(s.held) < shelfObjects) {
			break
		}
		purged := o.purged.Load()
		due := s.purged != purged || s.earliest != 0 && s.earliest <= now.UnixMilli() || now.Sub(s.counted) >= recount
		if round == 1 || !due {
			return held{}, false, false
		}
		s.count(o.store, now, purged)
	}
	s.set(at, h)
	return old, had, true
}

// count asks the store which objects are still there, and takes those that have ended
// off the shelf: clear is to follow. mu is held.
func (s *shelf) count(in *store.Store, now time.Time, purged uint64) {
	s.counted, s.purged, s.earliest = now, purged, 0
	for at, h := range s.held {
		switch {
		case in.Has(at[:]) == 0:
			s.drop(at)
		case h.expires <= now.UnixMilli() && len(s.ended) < maxEnded:
			s.drop(at)
			s.ended = append(s.ended, at)
		default:
			s.ends(h)
		}
	}
}

// clear removes what count found to have ended. puts is held, mu is not.
func (s *shelf) clear(in *store.Store, now time.Time) {
	for i := range s.ended {
		o := in.Get(s.ended[i][:], nil)
		if o == nil {
			continue
		}
		if expires, _ := expiryOf(o.Head()); expires <= now.UnixMilli() {
			in.Remove(o)
		}
	}
	s.ended = s.ended[:0]
}

// ends notes when an object ends. mu is held.
func (s *shelf) ends(h held) {
	if s.earliest == 0 || h.expires < s.earliest {
		s.earliest = h.expires
	}
}

// set counts an object in the place of what was under the key. mu is held.
func (s *shelf) set(at objectKey, h held) {
	s.drop(at)
	s.held[at] = h
	s.bytes += h.bytes
	s.ends(h)
}

// drop counts an object no longer. mu is held.
func (s *shelf) drop(at objectKey) {
	s.bytes -= s.held[at].bytes
	delete(s.held, at)
}

// restore counts what was under the key before; had false: nothing was. puts is held.
func (s *shelf) restore(at objectKey, old held, had bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(at)
	if had {
		s.set(at, old)
	}
}

// forget counts an object no longer that has ended.
func (s *shelf) forget(at objectKey, expires int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.held[at]; ok && h.expires == expires {
		s.drop(at)
	}
}

// adopt counts an object that was found and is not counted yet.
func (s *shelf) adopt(at objectKey, h held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.held[at]; !known {
		s.set(at, h)
	}
}
