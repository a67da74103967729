package translate

import (
	"iter"
	"maps"

	"penstock.dev/penstock/core/config"
)

// maxNewer is how many objects Statuses keep beside most of them, so that a change
// copies so many at most and not ten thousand.
const maxNewer = 512

// Statuses are what is said of each object. The zero value says nothing. They are not
// changed once they are made: any goroutine may read them.
type Statuses struct {
	most  map[config.Object]any
	newer map[config.Object]any // goes before most; nil: nothing is said any more
	count int
}

// StatusesOf returns Statuses that hold all; the map is theirs then.
func StatusesOf(all map[config.Object]any) Statuses { return Statuses{most: all, count: len(all)} }

// Of returns what is said of an object, nil if that is nothing.
func (s Statuses) Of(o config.Object) any {
	if v, ok := s.newer[o]; ok {
		return v
	}
	return s.most[o]
}

// Len returns of how many objects something is said.
func (s Statuses) Len() int { return s.count }

// All returns the objects of which something is said, and what, in no order.
func (s Statuses) All() iter.Seq2[config.Object, any] {
	return func(yield func(config.Object, any) bool) {
		for o, v := range s.newer {
			if v != nil && !yield(o, v) {
				return
			}
		}
		for o, v := range s.most {
			if _, ok := s.newer[o]; !ok && !yield(o, v) {
				return
			}
		}
	}
}

// with returns Statuses that say this of these objects; nil: nothing any more.
func (s Statuses) with(changed map[config.Object]any) Statuses {
	if len(changed) == 0 {
		return s
	}
	next := Statuses{most: s.most, newer: maps.Clone(s.newer), count: s.count}
	if next.newer == nil {
		next.newer = make(map[config.Object]any, len(changed))
	}
	for o, v := range changed {
		switch was := s.Of(o); {
		case was == nil && v != nil:
			next.count++
		case was != nil && v == nil:
			next.count--
		}
		next.newer[o] = v
	}
	if len(next.newer) > maxNewer {
		return StatusesOf(maps.Collect(next.All()))
	}
	return next
}
