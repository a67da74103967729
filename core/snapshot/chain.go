package snapshot

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
)

// Bounds on exchanges that wait for their first chain (annotations.md, section 5).
const (
	maxWaiting = 1000
	maxWait    = 10 * time.Second
	// drainTimeout is how long exchanges may keep a replaced chain.
	drainTimeout = 5 * time.Minute
)

// ErrBusy is returned by Chain.Acquire when too many exchanges wait for the
// chain, or for too long: 503 with Retry-After.
var ErrBusy = errors.New("the chain is not ready yet")

// Chain is a joined chain of a config. Which filters it runs changes as they
// become ready: its link is replaced.
type Chain struct {
	// config is replaced by Store.Apply only; the key of a chain names its objects,
	// so it changes when their content does.
	config  atomic.Pointer[config.Chain]
	current atomic.Pointer[Link]
	waiting atomic.Int32
}

// Link is a chain linked to running filters. It lives until it was replaced
// and every exchange that pinned it released it.
type Link struct {
	// Fault says why the chain cannot run; nil for one that can.
	Fault *config.Fault
	// Outer runs before the rule's own filters, Inner after.
	Outer, Inner *filter.Chain
	// Rule and Backend run at their places among the filters of the rule and of the
	// backendRef, one for each config.Step with Plugins.
	Rule, Backend []*filter.Chain

	refs     atomic.Int64
	dropped  atomic.Bool
	timer    *time.Timer // closes the link when it drains too long
	pending  bool
	replaced chan struct{}
	parts    []choice // what it runs, one for each part of the chain

	// gone ends when the runtimes are given back; of a link that was set.
	gone context.Context
	end  context.CancelFunc
}

// Acquire pins what the chain runs now; Release it once. It waits while the
// chain has never been ready. A link with a Fault need not be released, but may.
func (c *Chain) Acquire() (*Link, error) {
	for {
		l := c.current.Load()
		if l.pending {
			if err := c.wait(l); err != nil {
				return nil, err
			}
			continue
		}
		if l.acquire() {
			return l, nil
		}
	}
}

func (c *Chain) wait(l *Link) error {
	if c.waiting.Add(1) > maxWaiting {
		c.waiting.Add(-1)
		return ErrBusy
	}
	defer c.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	for {
		select {
		case <-l.replaced:
			if l = c.current.Load(); !l.pending {
				return nil
			}
		case <-ctx.Done():
			return ErrBusy
		}
	}
}

// Again pins a link that is pinned already once more.
func (l *Link) Again() { l.refs.Add(1) }

// acquire adds a pin unless the link is already closed.
func (l *Link) acquire() bool {
	for {
		n := l.refs.Load()
		if n == 0 {
			return false
		}
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release drops a pin; the last one releases the runtimes.
func (l *Link) Release() {
	if l.refs.Add(-1) == 0 {
		l.drop()
	}
}

// drop gives the runtimes back, once.
func (l *Link) drop() {
	if l.dropped.Swap(true) {
		return
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.end != nil {
		l.end()
	}
	for i := range l.parts {
		l.parts[i].release()
	}
}

// Gone is done when the link is closed: its runtimes end, whoever has pinned it.
func (l *Link) Gone() context.Context { return l.gone }

// Settled reports whether the chain was ready or failed once.
func (c *Chain) Settled() bool { return !c.current.Load().pending }

// set replaces the link. The old one is closed when its last exchange is done,
// after drainTimeout all the same. l may be nil: the chain is gone.
func (c *Chain) set(l *Link) {
	if l == nil {
		l = &Link{Fault: &config.Fault{Reason: "Gone", Message: "the chain is no longer part of the configuration"}}
	}
	l.refs.Store(1)
	l.replaced = make(chan struct{})
	l.gone, l.end = context.WithCancel(context.Background())
	old := c.current.Swap(l)
	if old == nil {
		return
	}
	old.timer = time.AfterFunc(drainTimeout, old.drop)
	close(old.replaced)
	old.Release()
}
