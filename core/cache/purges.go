package cache

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"sync"

	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
)

// recentPurges is how many purges are remembered for responses that were asked for
// before and come after. A response that was under way through more is not stored.
const recentPurges = 128

// purges are those of late, and those that the config asks for.
type purges struct {
	mu     sync.Mutex
	count  uint64 // of all so far
	recent []*store.Purge

	wanted []*config.Purge
	done   map[string]Purged // by ID
	clears int               // under way: purges wait for them
	failed bool              // something of what was asked for might come back after a restart
	wake   chan struct{}     // capacity 1
	told   chan struct{}     // capacity 1
}

// Purged is what became of a purge of the config.
type Purged struct {
	ID      string // config.Purge.ID
	Removed int
	Err     error // nil: it was carried out
}

// note remembers a purge.
func (p *purges) note(q *store.Purge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	if len(p.recent) == recentPurges {
		p.recent = slices.Delete(p.recent, 0, 1)
	}
	p.recent = append(p.recent, q)
}

// noteAll remembers a purge of everything: what was asked for before is not stored.
func (p *purges) noteAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.recent = nil // a forgotten one is about any response
}

// now returns the number of purges so far.
func (p *purges) now() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// met reports whether a purge after the first since of them is about a response.
func (p *purges) met(since uint64, a *store.Attributes) bool {
	return p.between(since, math.MaxUint64, a)
}

// between is met for those that came before there were that many.
func (p *purges) between(since, until uint64, a *store.Attributes) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until = min(until, p.count)
	if until <= since {
		return false
	}
	forgotten := p.count - uint64(len(p.recent))
	if since < forgotten {
		return true
	}
	for _, q := range p.recent[since-forgotten : until-forgotten] {
		if concerns(q, a) {
			return true
		}
	}
	return false
}

func concerns(q *store.Purge, a *store.Attributes) bool {
	if q.Namespace != a.Namespace {
		return false
	}
	if slices.Contains(q.Hostnames, string(a.Hostname)) {
		return true
	}
	for _, u := range q.URLs {
		if u.Hostname == string(a.Hostname) && u.Path == string(a.Path) {
			return true
		}
	}
	for _, u := range q.Prefixes {
		if u.Hostname == string(a.Hostname) && bytes.HasPrefix(a.Path, []byte(u.Path)) {
			return true
		}
	}
	for _, tag := range a.Tags {
		if slices.Contains(q.Tags, string(tag)) {
			return true
		}
	}
	return false
}

// CarryOut makes these the purges that the config asks for: those that were not carried
// out yet are, in the background, each once as long as it is asked for.
func (k *Cache) CarryOut(list []*config.Purge) {
	p := &k.purges
	p.mu.Lock()
	p.wanted = list
	asked := map[string]bool{}
	for _, w := range list {
		asked[w.ID] = true
	}
	for id := range p.done {
		if !asked[id] {
			delete(p.done, id)
		}
	}
	p.mu.Unlock()
	p.poke()
}

// poke has RunPurges look.
func (p *purges) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Clear removes all that is stored, plugins' objects too, and has nothing stored of what is
// being fetched: in the background, and before any purge of the config that was not begun.
// Then done is called with how much was stored, and an error as store.Clear's; also if the
// cache is closed before it begins. Nobody is told of it (Tell).
func (k *Cache) Clear(done func(removed int, err error)) {
	p := &k.purges
	p.mu.Lock()
	p.clears++
	p.mu.Unlock()
	all := func() {
		p.noteAll()
		n, err := k.store.Clear()
		k.objects.purged.Add(1)
		p.cleared(err)
		done(n, err)
	}
	if !k.start(all) {
		p.cleared(store.ErrClosed)
		done(0, store.ErrClosed)
	}
}

// cleared ends a Clear.
func (p *purges) cleared(err error) {
	p.mu.Lock()
	p.clears--
	p.failed = p.failed || err != nil
	p.mu.Unlock()
	p.poke()
}

// CaughtUp reports whether all that CarryOut and Clear asked for was carried out, or failed.
// lasting: and none of what they have asked for since the start can come back with a later
// process.
func (k *Cache) CaughtUp() (done, lasting bool) {
	p := &k.purges
	p.mu.Lock()
	defer p.mu.Unlock()
	done = p.clears == 0 && p.open() == nil
	return done, done && !p.failed
}

// CarriedOut receives a value after purges of the config were carried out.
func (k *Cache) CarriedOut() <-chan struct{} { return k.purges.told }

// Purged lists what became of the config's purges, in no order; those that are still to
// be carried out are not in it.
func (k *Cache) Purged() []Purged {
	p := &k.purges
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Purged
	for _, done := range p.done {
		all = append(all, done)
	}
	return all
}

// RunPurges carries out the config's purges until ctx is done.
func (k *Cache) RunPurges(ctx context.Context) {
	p := &k.purges
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		for next := p.next(); next != nil && ctx.Err() == nil; next = p.next() {
			n, err := k.Purge(next)
			p.finish(Purged{next.ID, n, err})
		}
	}
}

// next returns a purge that is to be carried out now; nil: there is none.
func (p *purges) next() *config.Purge {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clears > 0 {
		return nil
	}
	return p.open()
}

// open returns a purge that was not carried out; nil: all were. mu is held.
func (p *purges) open() *config.Purge {
	for _, w := range p.wanted {
		if _, done := p.done[w.ID]; !done {
			return w
		}
	}
	return nil
}

func (p *purges) finish(done Purged) {
	p.mu.Lock()
	p.done[done.ID] = done
	p.failed = p.failed || done.Err != nil && !errors.Is(done.Err, ErrPurge)
	p.mu.Unlock()
	select {
	case p.told <- struct{}{}:
	default:
	}
}
