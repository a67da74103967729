package h2

import (
	"time"

	"penstock.dev/penstock/core/exchange"
)

// SetOwner sets who is told; nil, as at first: nobody.
func (s *UpstreamStream) SetOwner(o exchange.Owner) { s.owner = o }

// waits reports whether a read would wait with nobody who looks for the client's
// end. A client stream that is tied to s needs no more, nor does one that is
// watched since all of the request was sent. The connection's mutex is held.
func (b *responseBody) waits() bool {
	s := b.s
	return s.owner != nil && b.client == nil && (b.unwatch == nil || b.early) && s.in.empty()
}

// empty reports whether a read would wait. c.mu is held.
func (b *content) empty() bool { return b.size == 0 && b.err == nil && !b.closed }

// await waits for content, until that is left to the read: from there on the
// client's end resets the stream.
func (b *responseBody) await() {
	s := b.s
	by := time.Now().Add(b.x.BodyIdle(s.c.p.IdleTimeout))
	for {
		if b.unwatch == nil {
			s.owner.Wait() // the sweeper keeps the time
			empty, _ := s.sleep(time.Time{})
			silent := s.owner.Proceed()
			if !empty {
				return
			}
			if !silent {
				continue
			}
			b.early, _ = s.owner.Upload()
			b.unwatch = s.owner.Watch(b.x, func() { s.cancel(errClientGone) })
		}
		if !b.early {
			return
		}
		if empty, inTime := s.sleep(by); !empty || !inTime {
			return
		}
		if running, _ := s.owner.Upload(); !running { // what read the request's body may have hidden the client's end
			b.stopWatch()
		}
	}
}

// sleep waits for content, an interruption, or by, unless that is zero.
func (s *UpstreamStream) sleep(by time.Time) (empty, inTime bool) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	inTime = true
	for s.in.empty() && !s.interrupted && inTime {
		if by.IsZero() {
			s.in.wait.cond.Wait()
		} else {
			inTime = s.in.wait.wait(by)
		}
	}
	s.interrupted = false
	return s.in.empty(), inTime
}

func (b *responseBody) stopWatch() {
	if b.unwatch != nil {
		b.unwatch()
		b.unwatch, b.early = nil, false
	}
}
