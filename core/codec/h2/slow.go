package h2

import (
	"errors"
	"time"

	"penstock.dev/penstock/core/internal/pace"
)

// slowGrace is how long a client is waited for before its rate counts.
var slowGrace = pace.Grace

// errSlow means that the client sends or takes too little.
var errSlow = errors.New("client is too slow")

// measured reads, and fails for a client that is too slow. c.mu is held.
func (b *requestBody) measured(p []byte) (int, error) {
	if !b.empty() {
		n, err := b.read(p)
		b.meter.Add(int64(n), 0, 0, 0)
		return n, err
	}
	began := time.Now()
	n, err := b.read(p)
	if err != nil || b.closed {
		return n, err
	}
	s, c := b.stream, b.stream.c
	if !b.meter.Add(int64(n), time.Since(began), c.p.MinBytesPerSecond, slowGrace) && !s.started && s.x.BodyIdle(0) == 0 {
		c.count(reasonSlowRequest)
		b.fail(errSlow)
		c.flushLater()
		return 0, errSlow
	}
	return n, nil
}

// took says that the client has taken n bytes, for which it was waited for since
// began.
func (s *stream) took(n int, began time.Time) error {
	if s.x.BodyIdle(0) > 0 || s.meter.Add(int64(n), time.Since(began), s.c.p.MinBytesPerSecond, slowGrace) {
		return nil
	}
	return errSlow
}
