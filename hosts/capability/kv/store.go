// Package kv is the key-value store of plugins: values that live for a time, on one
// proxy. What is in it stays until its time is over, so that what does not fit is
// refused.
package kv

import (
	"container/heap"
	"encoding/binary"
	"sync"
	"time"

	"penstock.dev/penstock/hosts/capability"
)

// Bounds on what is kept, in bytes; each value counts overhead more than its key and
// itself.
const (
	maxBytes    = 64 << 20  // of one namespace
	maxAllBytes = 256 << 20 // of all
	overhead    = 200
)

// Options of a Store.
type Options struct {
	// Now is the time; nil: the machine's.
	Now func() time.Time
	// Bytes and AllBytes bound what one namespace's and all values take; 0: 64 and 256 MiB.
	Bytes, AllBytes int64
}

// Store is the key-value store. Any goroutine may call it.
type Store struct {
	o Options

	mu     sync.Mutex
	values map[id]*value
	ends   ends
	bytes  map[string]int64 // by namespace
	all    int64
}

// id names a value.
type id struct{ namespace, state, key string }

type value struct {
	id   id
	data []byte
	end  time.Time
	at   int // in ends
}

func (v *value) cost() int64 {
	return int64(len(v.id.key)+len(v.data)) + overhead
}

// New returns an empty Store.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Bytes == 0 {
		o.Bytes = maxBytes
	}
	if o.AllBytes == 0 {
		o.AllBytes = maxAllBytes
	}
	return &Store{o: o, values: map[id]*value{}, bytes: map[string]int64{}}
}

// find returns a value that has not ended. mu is held.
func (s *Store) find(namespace, state string, key []byte) (*value, time.Time) {
	now := s.o.Now()
	for len(s.ends) > 0 && !s.ends[0].end.After(now) {
		s.remove(s.ends[0])
	}
	return s.values[id{namespace, state, string(key)}], now
}

// Value implements capability.KVStore.
func (s *Store) Value(dst []byte, namespace, state string, key []byte) (data []byte, left time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, now := s.find(namespace, state, key)
	if v == nil {
		return dst, 0, false
	}
	return append(dst, v.data...), v.end.Sub(now), true
}

// Put implements capability.KVStore.
func (s *Store) Put(namespace, state string, key, data []byte, ttl time.Duration, absent bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, now := s.find(namespace, state, key)
	if v != nil && absent {
		return capability.ErrKVExists
	}
	return s.put(v, id{namespace, state, string(key)}, data, now.Add(ttl))
}

// Delete implements capability.KVStore.
func (s *Store) Delete(namespace, state string, key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, _ := s.find(namespace, state, key); v != nil {
		s.remove(v)
	}
}

// Add implements capability.KVStore.
func (s *Store) Add(namespace, state string, key []byte, delta int64, ttl time.Duration) (sum int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, now := s.find(namespace, state, key)
	if v == nil {
		return delta, s.put(nil, id{namespace, state, string(key)}, binary.LittleEndian.AppendUint64(nil, uint64(delta)), now.Add(ttl))
	}
	if len(v.data) != 8 {
		return 0, capability.ErrKVNumber
	}
	was := int64(binary.LittleEndian.Uint64(v.data))
	if sum = was + delta; (sum > was) != (delta > 0) && delta != 0 {
		return 0, capability.ErrKVNumber
	}
	binary.LittleEndian.PutUint64(v.data, uint64(sum))
	return sum, nil
}

// put stores data in the place of v, which is nil if there is none. mu is held.
func (s *Store) put(v *value, name id, data []byte, end time.Time) error {
	next := &value{id: name, data: append([]byte(nil), data...), end: end}
	more := next.cost()
	if v != nil {
		more -= v.cost()
	}
	if more > 0 && (s.bytes[name.namespace]+more > s.o.Bytes || s.all+more > s.o.AllBytes) {
		return capability.ErrKVFull
	}
	if v != nil {
		s.remove(v)
	}
	s.values[name] = next
	heap.Push(&s.ends, next)
	s.bytes[name.namespace] += next.cost()
	s.all += next.cost()
	return nil
}

func (s *Store) remove(v *value) {
	delete(s.values, v.id)
	heap.Remove(&s.ends, v.at)
	s.all -= v.cost()
	if s.bytes[v.id.namespace] -= v.cost(); s.bytes[v.id.namespace] == 0 {
		delete(s.bytes, v.id.namespace)
	}
}

// ends is a heap of values, the one that ends first on top.
type ends []*value

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].end.Before(e[j].end) }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i]; e[i].at, e[j].at = i, j }

// Push implements heap.Interface.
func (e *ends) Push(x any) {
	v := x.(*value)
	v.at = len(*e)
	*e = append(*e, v)
}

// Pop implements heap.Interface.
func (e *ends) Pop() any {
	last := len(*e) - 1
	v := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return v
}

var _ capability.KVStore = (*Store)(nil)
