package filter

import (
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// turn is work at a place between two chains on the way back.
type turn struct {
	at   int // the number of slots before it
	do   func(*exchange.Exchange, *config.Step)
	step *config.Step
}

// Turn has do called once with step on the response's way back, when it passes this
// place: after the filters of the chains that are still to come, before those
// that already ran. do is shared by exchanges and keeps nothing.
func (r *Run) Turn(do func(*exchange.Exchange, *config.Step), step *config.Step) {
	r.mu.Lock()
	r.turns = append(r.turns, turn{at: len(r.slots), do: do, step: step})
	r.mu.Unlock()
}

// passTurns calls what lies at or above the place at, last first.
func (r *Run) passTurns(at int) {
	for n := len(r.turns); n > 0 && r.turns[n-1].at >= at; n-- {
		t := r.turns[n-1]
		r.turns = r.turns[:n-1]
		if t.at <= r.reached {
			t.do(r.x, t.step)
		}
	}
}
