package plugin

import (
	"context"
	"sync"
)

// shares hands out a number of places, no more than a few to one tenant.
type shares struct {
	total, each int

	mu    sync.Mutex
	taken int
	by    map[string]int
	freed chan struct{} // closed when a place becomes free
}

func newShares(total, each int) *shares {
	return &shares{total: total, each: each, by: map[string]int{}, freed: make(chan struct{})}
}

// take waits for a place.
func (s *shares) take(ctx context.Context, tenant string) error {
	for {
		s.mu.Lock()
		if s.taken < s.total && s.by[tenant] < s.each {
			s.taken++
			s.by[tenant]++
			s.mu.Unlock()
			return nil
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *shares) give(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.by[tenant]--; s.by[tenant] == 0 {
		delete(s.by, tenant)
	}
	close(s.freed)
	s.freed = make(chan struct{})
}
