package config

import (
	"encoding/json"
	"iter"
	"maps"
)

// maxNewer is how many entries an Overlay keeps beside most of them.
const maxNewer = 512

// Overlay is an immutable map in which a value that is zero is none. One with a few
// changes shares the rest with the one before, so that a change among ten thousand
// entries copies some hundred at most. The zero Overlay is empty. Any number of
// goroutines may read it.
type Overlay[K, V comparable] struct {
	most  map[K]V
	newer map[K]V // goes before most
	count int
}

// OverlayOf returns an Overlay of all entries of a map, which is its own then.
func OverlayOf[K, V comparable](all map[K]V) Overlay[K, V] {
	return Overlay[K, V]{most: all, count: len(all)}
}

// Of returns the value of a key, zero if there is none.
func (o Overlay[K, V]) Of(key K) V {
	if v, ok := o.newer[key]; ok {
		return v
	}
	return o.most[key]
}

// Len returns how many entries there are.
func (o Overlay[K, V]) Len() int { return o.count }

// All returns the entries in no order.
func (o Overlay[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		var none V
		for key, v := range o.newer {
			if v != none && !yield(key, v) {
				return
			}
		}
		for key, v := range o.most {
			if _, ok := o.newer[key]; !ok && !yield(key, v) {
				return
			}
		}
	}
}

// With returns the Overlay with other values for some keys; zero: none any more.
func (o Overlay[K, V]) With(changed map[K]V) Overlay[K, V] {
	if len(changed) == 0 {
		return o
	}
	var none V
	next := Overlay[K, V]{most: o.most, newer: maps.Clone(o.newer), count: o.count}
	if next.newer == nil {
		next.newer = make(map[K]V, len(changed))
	}
	for key, v := range changed {
		switch was := o.Of(key); {
		case was == none && v != none:
			next.count++
		case was != none && v == none:
			next.count--
		}
		next.newer[key] = v
	}
	if len(next.newer) > maxNewer {
		return OverlayOf(maps.Collect(next.All()))
	}
	return next
}

// Differ calls put for each entry that is new or has another value than before, and
// drop for each key that has none any more. It looks at little where o was made from
// before.
func (o Overlay[K, V]) Differ(before Overlay[K, V], put func(K, V), drop func(K)) {
	var none V
	one := func(key K) {
		switch was, is := before.Of(key), o.Of(key); {
		case was == is:
		case is == none:
			drop(key)
		default:
			put(key, is)
		}
	}
	if SameMap(o.most, before.most) {
		if SameMap(o.newer, before.newer) {
			return
		}
		for key := range before.newer {
			if _, ok := o.newer[key]; !ok {
				one(key)
			}
		}
		for key := range o.newer {
			one(key)
		}
		return
	}
	for key := range before.All() {
		if o.Of(key) == none {
			drop(key)
		}
	}
	for key := range o.All() {
		one(key)
	}
}

// Equal reports whether two hold the same.
func (o Overlay[K, V]) Equal(other Overlay[K, V]) bool {
	equal := o.count == other.count
	if equal {
		o.Differ(other, func(K, V) { equal = false }, func(K) { equal = false })
	}
	return equal
}

// MarshalJSON writes it as a map.
func (o Overlay[K, V]) MarshalJSON() ([]byte, error) { return json.Marshal(maps.Collect(o.All())) }
