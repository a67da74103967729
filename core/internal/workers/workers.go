// Package workers keeps goroutines for what is short and comes often, such as one
// exchange: growing a new goroutine's stack to what a TLS handshake, a chain and a codec
// need takes up to a quarter of the time of a response from the cache.
package workers

import (
	"sync"
	"time"
)

const (
	// mostResting is how many goroutines of a Pool rest at most. What comes beyond that
	// gets new ones.
	mostResting = 256
	// restTime is how long one rests at least before it ends, if it was not needed.
	restTime = 2 * time.Second
)

// Pool runs functions on goroutines that it uses again. The zero value is ready; it is
// for all goroutines, and not to be copied.
type Pool struct {
	mu      sync.Mutex
	resting []chan func() // the one that came last is taken first: its stack is warm
	unused  int           // so many have rested since sweep ran
	timer   *time.Timer   // runs sweep; nil: none rests
}

// Go runs f on a goroutine of its own and does not wait. A panic of f is one of that
// goroutine.
func (p *Pool) Go(f func()) {
	p.mu.Lock()
	last := len(p.resting) - 1
	if last < 0 {
		p.mu.Unlock()
		go p.work(f)
		return
	}
	next := p.resting[last]
	p.resting = p.resting[:last]
	p.unused = min(p.unused, last)
	p.mu.Unlock()
	next <- f
}

// work runs one function after another.
func (p *Pool) work(f func()) {
	next := make(chan func(), 1)
	for f != nil {
		f()
		if !p.rest(next) {
			return
		}
		f = <-next
	}
}

// rest says that a goroutine has nothing to do; false: there are enough of them.
func (p *Pool) rest(next chan func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.resting) == mostResting {
		return false
	}
	p.resting = append(p.resting, next)
	if p.timer == nil {
		p.unused = 0
		p.timer = time.AfterFunc(restTime, p.sweep)
	}
	return true
}

// sweep ends the goroutines that nobody has needed since it ran last.
func (p *Pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, next := range p.resting[:p.unused] {
		close(next)
	}
	left := copy(p.resting, p.resting[p.unused:])
	clear(p.resting[left:])
	p.resting = p.resting[:left]
	p.unused = left
	if left == 0 {
		p.timer = nil
		return
	}
	p.timer.Reset(restTime)
}
