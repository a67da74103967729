package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ErrBusy means that no instance became free in time.
var ErrBusy = errors.New("every instance serves another exchange")

// maxWaiting bounds the exchanges that wait for an instance of one pool.
const maxWaiting = 1024

// exclusive is what a pool keeps for instances that serve one exchange at a
// time. Such an instance has one hold while it is taken, none while it is free.
type exclusive struct {
	mu      sync.Mutex
	waiting []chan offer // first come, first served
	making  bool         // a goroutine makes instances
}

// offer is what somebody who waits gets: an instance that is held for it, or
// why there is none.
type offer struct {
	i   *Instance
	err error
}

// Take returns a live instance that nobody else is given until Give: a free
// one, else one that becomes free, or is made, within wait. The pool has
// PoolOptions.Most instances at most. It is not locked: lock it for each call.
// The error is a *Failure: ErrBusy, in back-off, or closed.
func (p *Pool) Take(wait time.Duration) (*Instance, error) {
	for {
		i, err := p.take(wait)
		if err != nil {
			return nil, err
		}
		if i.Lock() == nil { // else it was closed for being idle, or died
			i.used.Store(nowSeconds())
			i.Unlock()
			return i, nil
		}
		p.Give(i)
	}
}

func (p *Pool) take(wait time.Duration) (*Instance, error) {
	if i := p.vacant(); i != nil {
		return i, nil
	}
	x := &p.exclusive
	x.mu.Lock()
	if i := p.vacant(); i != nil { // given back meanwhile
		x.mu.Unlock()
		return i, nil
	}
	if len(x.waiting) >= maxWaiting {
		x.mu.Unlock()
		return nil, &Failure{CauseUnavailable, ErrBusy}
	}
	turn := make(chan offer, 1)
	x.waiting = append(x.waiting, turn)
	p.supply()
	x.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case o := <-turn:
		return o.i, o.err
	case <-timer.C:
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := slices.Index(x.waiting, turn); n >= 0 {
		x.waiting = slices.Delete(x.waiting, n, n+1)
		return nil, &Failure{CauseUnavailable, ErrBusy}
	}
	o := <-turn // it came in this moment
	return o.i, o.err
}

// vacant holds a free instance; nil: there is none. The first of the list are
// preferred, so that the others become idle.
func (p *Pool) vacant() *Instance {
	for _, i := range *p.list.Load() {
		if i.holds.CompareAndSwap(0, 1) {
			return i
		}
	}
	return nil
}

// Give gives back what Take returned, dead or alive; it is not locked.
func (p *Pool) Give(i *Instance) {
	x := &p.exclusive
	x.mu.Lock()
	defer x.mu.Unlock()
	if i.Alive() && len(x.waiting) > 0 {
		x.offer(offer{i: i}) // it stays held
		return
	}
	i.holds.Store(0)
	p.supply()
}

// offer answers who has waited longest; mu is held.
func (x *exclusive) offer(o offer) {
	x.waiting[0] <- o
	x.waiting = slices.Delete(x.waiting, 0, 1)
}

// supply starts the goroutine that makes instances, if somebody waits and
// there may be one more; the exclusive's lock is held.
func (p *Pool) supply() {
	x := &p.exclusive
	live := len(*p.list.Load())
	if x.making || len(x.waiting) == 0 || live >= p.o.Most {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		x.fail(ErrClosed)
	case !time.Now().Before(p.retryAt):
		x.making = true
		p.group.Go(p.makeForTakers)
	case live == 0:
		x.fail(ErrBackOff)
	}
}

// fail tells everybody who waits; mu is held.
func (x *exclusive) fail(err error) {
	for len(x.waiting) > 0 {
		x.offer(offer{err: &Failure{CauseUnavailable, err}})
	}
}

// makeForTakers makes instances while somebody waits for one.
func (p *Pool) makeForTakers() {
	x := &p.exclusive
	for {
		p.create.Lock()
		i, err := p.make()
		p.create.Unlock()
		x.mu.Lock()
		if err != nil {
			p.mu.Lock()
			p.died()
			if wait := time.Now().Add(firstBackOff); p.retryAt.Before(wait) { // do not try for each exchange
				p.retryAt = wait
			}
			p.mu.Unlock()
			if len(*p.list.Load()) == 0 {
				x.fail(fmt.Errorf("start a new instance: %w", err))
			}
		} else if len(x.waiting) > 0 && i.holds.CompareAndSwap(0, 1) {
			x.offer(offer{i: i})
		}
		if err != nil || len(x.waiting) == 0 || len(*p.list.Load()) >= p.o.Most {
			x.making = false
			x.mu.Unlock()
			return
		}
		x.mu.Unlock()
	}
}

// Waiting runs f, which waits for something that is not the guest, from within
// a host function: the time does not count as the guest's, and others may use
// its place among the slow guests.
func (i *Instance) Waiting(f func()) {
	if i.token {
		i.token = false
		<-i.pool.engine.slow
	}
	before := time.Now()
	f()
	took := time.Since(before)
	i.idle += took
	if !i.started.IsZero() {
		i.waited += took
	}
}
