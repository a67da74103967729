package filter

import (
	"errors"
	"slices"

	"penstock.dev/penstock/core/exchange"
)

// Follower finds the filters that run once the consumer of an exchange is known.
type Follower interface {
	// Follow returns those of a Consumer object, "namespace/name"; nil: it has none. After
	// an error the exchange ends with it. It is called on the exchange's goroutine and may
	// wait.
	Follow(object string) (*Chain, *exchange.Error)
}

// maxFollows bounds how often the consumer of an exchange becomes another one.
const maxFollows = 2

var (
	errFollows = errors.New("the consumer became another one too often")
	errLate    = errors.New("the consumer became known after the request's headers had gone on, too late for its plugins")
)

// Follower sets who knows the consumers' filters; without one they have none. To be called
// after Start.
func (r *Run) Follower(f Follower) { r.follower = f }

// Behind says that the filters of this Consumer object have run: a detached exchange comes
// after them. To be called after Start.
func (r *Run) Behind(object string) { r.followed = object }

// follow puts the filters of the exchange's consumer behind the slot i, if it became known
// there: those after it, which the request has not come to, decide by what they leave.
// path is normalised. The run's lock is held.
func (r *Run) follow(i int, path []byte) Outcome {
	object := r.x.Consumer.Object
	if object == r.followed || r.follower == nil {
		return Passed
	}
	r.followed = object
	if object == "" { // somebody whom a filter knows from elsewhere
		return Passed
	}
	if r.follows++; r.follows > maxFollows {
		return r.unfollowed(errFollows)
	}
	r.mu.Unlock() // which nobody holds while it waits
	c, err := r.follower.Follow(object)
	r.mu.Lock()
	if err != nil {
		r.err = err
		return Failed
	}
	if c == nil {
		return Passed
	}
	n := len(c.entries)
	r.slots = slices.Grow(r.slots, n)[:len(r.slots)+n]
	copy(r.slots[i+1+n:], r.slots[i+1:])
	for k := range c.entries {
		s := r.slot(&c.entries[k], path)
		s.followed = true
		r.slots[i+1+k] = s
	}
	return Passed
}

// unfollowed ends an exchange whose consumer's filters cannot run.
func (r *Run) unfollowed(err error) Outcome {
	r.err = &exchange.Error{Phase: r.x.Phase, Side: exchange.SidePlugin, Status: 500, Reason: "consumer-plugins", Err: err}
	return Failed
}

// chained returns how many of the first n slots are of chains, and of no consumer.
func (r *Run) chained(n int) int {
	own := 0
	for _, s := range r.slots[:n] {
		if !s.followed {
			own++
		}
	}
	return own
}
