package cache

import (
	"sync"
	"time"
)

// mark is what is remembered of a key without an object.
type mark uint8

const (
	// markPass: its responses are not stored (hit-for-miss).
	markPass mark = iota
	// markDown: its origin has failed, and what is stored serves.
	markDown
)

// How long a mark holds, and how many there are. Beyond that all are forgotten: a mark
// only spares waiting.
const (
	passTime = 10 * time.Second
	downTime = time.Second
	maxMarks = 64 << 10
)

// marks are the marks of keys, by their hash: a collision costs a wait or spares one.
type marks struct {
	mu    sync.Mutex
	until map[markKey]time.Time
}

type markKey struct {
	hash uint64
	mark mark
}

// markOf is what a key is marked by for requests that count as carrying credentials, or
// have cookies: what is not stored for these says nothing of the others.
func markOf(hash uint64, auth, cookie bool) uint64 {
	if auth {
		hash ^= 0x9e3779b97f4a7c15
	}
	if cookie {
		hash ^= 0xc2b2ae3d27d4eb4f
	}
	return hash
}

// set marks a key from now on.
func (m *marks) set(hash uint64, kind mark, now time.Time) {
	d := passTime
	if kind == markDown {
		d = downTime
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil || len(m.until) >= maxMarks {
		m.until = map[markKey]time.Time{}
	}
	m.until[markKey{hash, kind}] = now.Add(d)
}

// has reports whether a key is marked.
func (m *marks) has(hash uint64, kind mark, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.until) == 0 {
		return false
	}
	t, ok := m.until[markKey{hash, kind}]
	if ok && !now.Before(t) {
		delete(m.until, markKey{hash, kind})
		return false
	}
	return ok
}

// clear takes a mark away.
func (m *marks) clear(hash uint64, kind mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.until) > 0 {
		delete(m.until, markKey{hash, kind})
	}
}
