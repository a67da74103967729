package store

import (
	"fmt"
	"sync"
	"time"
)

// boundError is an ErrBounds that says which.
type boundError struct {
	name      string
	got, most int
}

func (e *boundError) Error() string {
	return fmt.Sprintf("%s of %d: 1 to %d are stored", e.name, e.got, e.most)
}

func (e *boundError) Unwrap() error { return ErrBounds }

// teller tells of faults, at most one each second; what was kept back is counted.
type teller struct {
	mu   sync.Mutex
	to   func(error)
	at   time.Time
	kept int
}

func (t *teller) tell(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.at) < time.Second {
		t.kept++
		return
	} else {
		t.at = now
	}
	if t.kept > 0 {
		err = fmt.Errorf("%w (and %d more)", err, t.kept)
		t.kept = 0
	}
	if t.to != nil {
		t.to(err)
	}
}
