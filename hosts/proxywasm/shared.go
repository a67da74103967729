package proxywasm

import (
	"bytes"
	"container/list"
	"sync"
)

// Bounds on one store of shared data.
const (
	maxSharedBytes = 16 << 20
	maxSharedKeys  = 64 << 10
)

// sharedStores holds the shared data of all filters, by namespace and VM id. A
// store lives as long as a filter has it open.
type sharedStores struct {
	mu     sync.Mutex
	stores map[string]*sharedStore
}

// sharedStore is the data that the instances of a filter share.
type sharedStore struct {
	id   string
	refs int // guarded by sharedStores.mu

	queues queues

	mu    sync.Mutex
	data  map[string]*list.Element // of *sharedValue
	used  list.List                // the one that was used last is first
	bytes int
	cas   uint32
}

type sharedValue struct {
	key   string
	value []byte
	cas   uint32
}

func (s *sharedStores) open(id string) *sharedStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	store := s.stores[id]
	if store == nil {
		store = &sharedStore{id: id, data: map[string]*list.Element{}}
		s.stores[id] = store
	}
	store.refs++
	return store
}

func (s *sharedStores) close(store *sharedStore) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if store.refs--; store.refs == 0 {
		delete(s.stores, store.id)
	}
}

// set stores a copy. cas 0 is unconditional, as is a key that is missing. What
// was not used for the longest time makes room.
func (s *sharedStore) set(key, value []byte, cas uint32) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(key)+len(value) > maxSharedBytes/4 {
		return statusInternal
	}
	old, found := s.data[string(key)]
	if found && cas != 0 && cas != old.Value.(*sharedValue).cas {
		return statusCASMismatch
	}
	if found {
		s.remove(old)
	}
	for s.bytes+len(key)+len(value) > maxSharedBytes || len(s.data) >= maxSharedKeys {
		s.remove(s.used.Back())
	}
	if s.cas++; s.cas == 0 {
		s.cas = 1
	}
	v := &sharedValue{string(key), bytes.Clone(value), s.cas}
	s.data[v.key] = s.used.PushFront(v)
	s.bytes += len(v.key) + len(v.value)
	return statusOK
}

func (s *sharedStore) remove(e *list.Element) {
	v := s.used.Remove(e).(*sharedValue)
	delete(s.data, v.key)
	s.bytes -= len(v.key) + len(v.value)
}

// get returns a value, which is not changed any more.
func (s *sharedStore) get(key []byte) (*sharedValue, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.data[string(key)]
	if !ok {
		return nil, false
	}
	s.used.MoveToFront(e)
	return e.Value.(*sharedValue), true
}

func getShared(v *vm, p []uint64) uint32 {
	key, ok := v.read(p[0], p[1])
	if !ok {
		return statusInvalidMemory
	}
	value, found := v.r.f.shared.get(key)
	if !found {
		return statusNotFound
	}
	if !v.writeU32(p[4], value.cas) {
		return statusInvalidMemory
	}
	return v.give(value.value, p[2], p[3])
}

func setShared(v *vm, p []uint64) uint32 {
	key, ok := v.read(p[0], p[1])
	value, ok2 := v.read(p[2], p[3])
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	return v.r.f.shared.set(key, value, u(p[4]))
}
