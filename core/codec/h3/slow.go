package h3

import (
	"errors"
	"time"

	"penstock.dev/penstock/core/internal/pace"
)

const (
	reasonSlowRequest  = "request-body-slow"
	reasonSlowResponse = "response-slow"
)

// slowGrace is how long a client is waited for before its rate counts.
var slowGrace = pace.Grace

// errSlow means that the client sends or takes too little.
var errSlow = errors.New("client is too slow")

// measured reads content, and fails for a client that is too slow. b.mu is held.
func (b *requestBody) measured(p []byte) (int, error) {
	began := time.Now()
	n, err := b.read(p)
	s := b.s
	if b.meter.Add(int64(n), time.Since(began), s.c.p.MinBytesPerSecond, slowGrace) || err != nil || s.x.BodyIdle(0) > 0 || s.answered() {
		return n, err
	}
	s.c.count(reasonSlowRequest)
	return 0, errSlow
}

// answered reports whether the response has begun. Any goroutine may call it.
func (s *stream) answered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}
