package proxywasm

import (
	"bytes"
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

	mu    sync.Mutex
	data  map[string]sharedValue
	bytes int
	cas   uint32
}

type sharedValue struct {
	value []byte
	cas   uint32
}

func (s *sharedStores) open(id string) *sharedStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	store := s.stores[id]
	if store == nil {
		store = &sharedStore{id: id, data: map[string]sharedValue{}}
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

// set stores a copy. cas 0 is unconditional, as is a key that is missing.
func (s *sharedStore) set(key, value []byte, cas uint32) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.data[string(key)]
	if found && cas != 0 && cas != old.cas {
		return statusCASMismatch
	}
	size := s.bytes - len(old.value) + len(value)
	if !found {
		size += len(key)
		if len(s.data) >= maxSharedKeys {
			return statusInternal
		}
	}
	if size > maxSharedBytes {
		return statusInternal
	}
	if s.cas++; s.cas == 0 {
		s.cas = 1
	}
	s.bytes = size
	s.data[string(key)] = sharedValue{bytes.Clone(value), s.cas}
	return statusOK
}

func (s *sharedStore) get(key []byte) (sharedValue, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.data[string(key)]
	return v, ok
}

func (f *Filter) getShared(v *vm, p []uint64) uint32 {
	key, ok := v.read(p[0], p[1])
	if !ok {
		return statusInvalidMemory
	}
	value, found := f.shared.get(key)
	if !found {
		return statusNotFound
	}
	if !v.writeU32(p[4], value.cas) {
		return statusInvalidMemory
	}
	return v.give(value.value, p[2], p[3])
}

func (f *Filter) setShared(v *vm, p []uint64) uint32 {
	key, ok := v.read(p[0], p[1])
	value, ok2 := v.read(p[2], p[3])
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	return f.shared.set(key, value, u(p[4]))
}
