package cluster

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"penstock.dev/penstock/core/config"
)

// store keeps the objects of one kind as the API server last told them. It is
// what a reflector writes (cache.ReflectorStore).
type store[T object] struct {
	trim    func(T) // drops what nobody reads
	changed func()
	// told is called for a change of status alone; nil: nobody asks.
	told func(T)
	// altered is called for an object that came, changed or went, in place of
	// changed; nil: changed is.
	altered func(T)
	synced  chan struct{} // closed once the first list is there
	once    sync.Once

	// of groups the objects; nil: they are not. Set before the store is used.
	of func(T) string

	mu     sync.RWMutex
	items  map[string]T            // by namespace/name
	groups map[string]map[string]T // the same, by what of returns first
}

func newStore[T object](trim func(T), changed func()) *store[T] {
	return &store[T]{trim: trim, changed: changed, synced: make(chan struct{}), items: map[string]T{}}
}

func key(o object) string { return o.GetNamespace() + "/" + o.GetName() }

// Add puts an object in.
func (s *store[T]) Add(o any) error { return s.put(o) }

// Update replaces an object.
func (s *store[T]) Update(o any) error { return s.put(o) }

func (s *store[T]) put(o any) error {
	item, ok := o.(T)
	if !ok {
		return fmt.Errorf("BUG: %T", o)
	}
	if s.trim != nil {
		s.trim(item)
	}
	s.mu.Lock()
	old, known := s.items[key(item)]
	if known {
		s.group(old, false)
	}
	s.items[key(item)] = item
	s.group(item, true)
	s.mu.Unlock()
	switch {
	case known && old.GetResourceVersion() == item.GetResourceVersion():
	case known && sameContent(old, item):
		if s.told != nil {
			s.told(item)
		}
	case s.altered != nil:
		if known && !maps.Equal(old.GetLabels(), item.GetLabels()) {
			s.altered(old)
		}
		s.altered(item)
	default:
		s.changed()
	}
	return nil
}

// sameContent reports whether two versions of an object differ in their status
// alone, as those that have a generation can.
func sameContent(a, b object) bool {
	return a.GetGeneration() > 0 && a.GetUID() == b.GetUID() && a.GetGeneration() == b.GetGeneration() &&
		maps.Equal(a.GetAnnotations(), b.GetAnnotations()) && maps.Equal(a.GetLabels(), b.GetLabels()) &&
		(a.GetDeletionTimestamp() == nil) == (b.GetDeletionTimestamp() == nil)
}

// Delete takes an object out.
func (s *store[T]) Delete(o any) error {
	item, ok := o.(T)
	if !ok {
		return fmt.Errorf("BUG: %T", o)
	}
	s.mu.Lock()
	if old, known := s.items[key(item)]; known {
		s.group(old, false)
	}
	delete(s.items, key(item))
	s.mu.Unlock()
	if s.altered != nil {
		s.altered(item)
	} else {
		s.changed()
	}
	return nil
}

// Replace makes the list all that there is.
func (s *store[T]) Replace(list []any, _ string) error {
	items := make(map[string]T, len(list))
	for _, o := range list {
		item, ok := o.(T)
		if !ok {
			return fmt.Errorf("BUG: %T", o)
		}
		if s.trim != nil {
			s.trim(item)
		}
		items[key(item)] = item
	}
	s.mu.Lock()
	s.items, s.groups = items, nil
	for _, item := range items {
		s.group(item, true)
	}
	s.mu.Unlock()
	s.once.Do(func() { close(s.synced) })
	s.changed()
	return nil
}

// Resync has nothing to do.
func (s *store[T]) Resync() error { return nil }

// group puts an object into its group, or takes it out. s.mu is held.
func (s *store[T]) group(o T, in bool) {
	if s.of == nil {
		return
	}
	name := s.of(o)
	switch g := s.groups[name]; {
	case !in:
		if delete(g, key(o)); len(g) == 0 {
			delete(s.groups, name)
		}
	case g != nil:
		g[key(o)] = o
	default:
		if s.groups == nil {
			s.groups = map[string]map[string]T{}
		}
		s.groups[name] = map[string]T{key(o): o}
	}
}

// grouped returns the objects of a group, in no order.
func (s *store[T]) grouped(name string) []T {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.groups[name]))
}

// list returns all objects, in no order.
func (s *store[T]) list() []T {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]T, 0, len(s.items))
	for _, o := range s.items {
		all = append(all, o)
	}
	return all
}

// get returns an object, nil if there is none.
func (s *store[T]) get(namespace, name string) (T, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.items[namespace+"/"+name]
	return o, ok
}

// finder reads any kind's store.
type finder interface {
	find(o config.Object) (object, bool)
}

func (s *store[T]) find(o config.Object) (object, bool) {
	item, ok := s.get(o.Namespace, o.Name)
	return item, ok
}
