package filter

import "penstock.dev/penstock/core/exchange"

// Detacher makes exchanges that go on behind a filter; the proxy has one for each
// exchange.
type Detacher interface {
	// Detach returns an exchange of its own with a copy of the request as it is now,
	// which the first n filters of its chains, and those of its consumer, are not
	// to see again. It is called on the exchange's
	// goroutine, within a header callback.
	Detach(n int) Detached
}

// Detached is an exchange that a filter began: it passes the filters after that one
// and the upstream, with contexts, deadlines and pins of its own, and may outlive the
// exchange that it was copied from. One goroutine at a time drives it: Head, then
// Finish, each once; or Finish alone, to give it up.
type Detached interface {
	// Exchange returns it. Until Head its request may be changed; its Client, to be
	// set by then, is who it is for: it is watched while an upstream is silent, and
	// sent the response.
	Exchange() *exchange.Exchange
	// Head has it answered, up to the response's head and the response filters. The
	// response is then in Exchange, that of an error too (Exchange.Err). false: there is
	// none, since the client was gone or a filter ended the exchange.
	Head() bool
	// Keep says that the response, as it is after Head, goes to the exchange that it was
	// copied from, with the session and the error that it has. The caller sends its body,
	// and then calls Finish. On the other exchange's goroutine.
	Keep()
	// Finish has its Client send the response, ends the exchange and frees it.
	Finish()
}

// Detacher sets who makes detached exchanges for filters. To be called after Start.
func (r *Run) Detacher(d Detacher) { r.detacher = d }

// Len returns how many filters of its chains the exchange has come to; those that it skips,
// and those of its consumer, are not among them.
func (r *Run) Len() int { return r.chained(len(r.slots)) }

// Skip leaves out the first n filters of the chains that are still to come: a
// detached exchange is behind them. To be called after Start.
func (r *Run) Skip(n int) { r.skip = n }

// Skipping reports whether the next filter, and so what lies before it, is left out.
func (r *Run) Skipping() bool { return r.skip > 0 }

// Detach begins a detached exchange behind the filter. To be called within its header
// callbacks.
func (w *Waker) Detach() Detached {
	return w.run.detacher.Detach(w.run.chained(w.run.index(w.slot) + 1))
}

// Unlocked calls f, which may wait for the network, within a header callback: other
// goroutines of the exchange can go on meanwhile. f does not touch the exchange but
// for what the filter itself put into it.
func (w *Waker) Unlocked(f func()) {
	w.run.mu.Unlock()
	defer w.run.mu.Lock()
	f()
}
