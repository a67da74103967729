package filter

import (
	"slices"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/router"
	"penstock.dev/penstock/core/telemetry"
)

// Entry is a filter at its place in a chain.
type Entry struct {
	Filter    Filter
	ID        string // "part/name", for log and exchange.AnsweredBy
	OnError   config.OnError
	BodyBytes int64          // what it may hold back of one body
	Except    []config.Match // path and method; requests that skip it
	// Tenant is the namespace that declares it; empty for a cluster-scoped object.
	Tenant string
	// Bodies is what all filters may hold back together; nil: no bound.
	Bodies *Budget
	// Skipped and Rejected count exchanges in which the filter failed.
	Failures telemetry.Counter
	// Failed is told each failure, for a log line with back-off; may be nil.
	Failed func(*Error)
	// Canary is another version of the filter; nil: none.
	Canary *Canary
}

// Chain is an ordered list of filters; immutable, shared by every exchange that pins it.
type Chain struct {
	entries   []Entry
	callbacks Callbacks // of all entries
}

// New returns a chain that runs entries from the first to the last on the
// request. entries is kept.
func New(entries []Entry) *Chain {
	c := &Chain{entries: entries}
	for _, e := range entries {
		c.callbacks |= e.Filter.Callbacks()
		if e.Canary != nil {
			e.Canary.chain = &Chain{entries: []Entry{e.Canary.Entry}}
		}
	}
	return c
}

// Len returns the number of filters.
func (c *Chain) Len() int { return len(c.entries) }

// Entries returns the filters in their order. The list is not to be changed.
func (c *Chain) Entries() []Entry { return c.entries }

// excepted reports whether the exchange skips the entry.
func (e *Entry) excepted(x *exchange.Exchange, path []byte) bool {
	return slices.ContainsFunc(e.Except, func(m config.Match) bool {
		return (m.Method == "" || m.Method == string(x.Request.Method)) && router.PathHolds(&m, path)
	})
}
