package main

import (
	"slices"
	"time"
)

// waiting are streams by when they are due. C tells one from another.
type waiting[C comparable] struct {
	list []waiter[C]
}

type waiter[C comparable] struct {
	stream C
	due    time.Time
	rule   *rule
}

// maxWaiting bounds the streams that wait in one instance.
const maxWaiting = 4096

// add reports whether there was room.
func (w *waiting[C]) add(stream C, due time.Time, r *rule) bool {
	if len(w.list) == maxWaiting {
		return false
	}
	w.list = append(w.list, waiter[C]{stream, due, r})
	return true
}

// drop forgets a stream that has ended.
func (w *waiting[C]) drop(stream C) {
	w.list = slices.DeleteFunc(w.list, func(one waiter[C]) bool { return one.stream == stream })
}

// take returns those that are due, the earliest first.
func (w *waiting[C]) take(now time.Time) (due []waiter[C]) {
	rest := w.list[:0]
	for _, one := range w.list {
		if one.due.After(now) {
			rest = append(rest, one)
		} else {
			due = append(due, one)
		}
	}
	w.list = rest
	slices.SortStableFunc(due, func(a, b waiter[C]) int { return a.due.Compare(b.due) })
	return due
}
