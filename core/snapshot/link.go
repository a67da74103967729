package snapshot

import (
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/plugin"
)

// linker makes links.
type linker struct {
	plugins *plugin.Manager
	cache   *cache.Cache
	now     func() time.Time
	due     time.Time // when to link again all the same; zero: never
}

// canary is another version beside a filter; the zero value is none.
type canary struct {
	config  *config.Canary
	runtime *plugin.Runtime // nil: config.Fault
	form    *config.Filter  // what runtime runs
	runs    bool            // exchanges may be chosen for it
	unsafe  bool            // it does not run because it is no guard
}

// choice is what runs in the place of one part of a chain.
type choice struct {
	part     *config.Part      // the part itself, or its last good form
	filters  []*config.Filter  // part's, or the previous form of one that was rolled back
	runtimes []*plugin.Runtime // one for each of filters
	warming  []*plugin.Runtime // of the part itself while its last good form runs
	retired  []*plugin.Runtime // of filters that were rolled back
	canaries []canary          // one for each of filters
	fault    *config.Fault
	pending  bool
	missing  time.Time // since when a form before is not known; zero: all are
}

func (c *choice) equal(o *choice) bool {
	return c.part == o.part && c.pending == o.pending && slices.Equal(c.runtimes, o.runtimes) && slices.Equal(c.warming, o.warming) && slices.Equal(c.retired, o.retired) && slices.EqualFunc(c.canaries, o.canaries, canary.equal) &&
		(c.fault == o.fault || c.fault != nil && o.fault != nil && *c.fault == *o.fault)
}

func (o canary) equal(p canary) bool {
	return o.config == p.config && o.runtime == p.runtime && o.runs == p.runs && o.unsafe == p.unsafe
}

func (c *choice) release() {
	for _, o := range c.canaries {
		if o.runtime != nil {
			o.runtime.Release()
		}
	}
	for _, r := range c.runtimes {
		r.Release()
	}
	for _, r := range c.warming {
		r.Release()
	}
	for _, r := range c.retired {
		r.Release()
	}
}

// link looks at what the chain's filters are now. It returns nil if that is
// what runs already.
func (k *linker) link(c *Chain) *Link {
	l, old := &Link{}, c.current.Load()
	for _, part := range c.config.Load().Parts {
		choice := k.choose(part, old.now(part))
		if l.Fault == nil {
			l.Fault = choice.fault
		}
		l.pending = l.pending || choice.pending
		l.parts = append(l.parts, choice)
	}
	l.pending = l.pending && l.Fault == nil
	if l.Fault == nil && !l.pending {
		l.guardCache()
	}
	if old != nil && slices.EqualFunc(old.parts, l.parts, func(a, b choice) bool { return a.equal(&b) }) {
		for i := range l.parts {
			old.parts[i].missing = l.parts[i].missing // which nobody else looks at
		}
		l.drop()
		return nil
	}
	if l.Fault == nil && !l.pending {
		k.join(l)
	}
	return l
}

// join makes the filter chains: what the Route and those before it declare, what
// stands among the rule's own filters, what stands among the backendRef's, and the
// rest, which runs between these two.
func (k *linker) join(l *Link) {
	var outer, inner []member
	var rule, backend []*[]member
	for _, c := range l.parts {
		var own []member
		for n, f := range c.filters {
			m := member{entry: c.runtimes[n].Entry(f), config: f, state: c.runtimes[n].State(), canary: c.canaries[n]}
			if o := c.canaries[n]; o.runs {
				m.entry.Canary = o.runtime.Canary(o.config, o.form)
			}
			own = append(own, m)
		}
		switch stage(c.part) {
		case 0:
			outer = append(outer, own...)
		case 1:
			rule = append(rule, &own)
		case 2:
			inner = append(inner, own...)
		default:
			backend = append(backend, &own)
		}
	}
	order := append(append(append([]*[]member{&outer}, rule...), &inner), backend...)
	k.place(order)
	l.Outer, l.Inner = chainOf(outer), chainOf(inner)
	for _, list := range rule {
		l.Rule = append(l.Rule, chainOf(*list))
	}
	for _, list := range backend {
		l.Backend = append(l.Backend, chainOf(*list))
	}
}

func chainOf(list []member) *filter.Chain {
	var entries []filter.Entry
	for _, m := range list {
		entries = append(entries, m.entry)
	}
	return filter.New(entries)
}

// Raw returns the filters for a raw connection, outermost first. notRaw is the
// first one that raw connections cannot pass; empty: there is none. Only for a link
// without a Fault.
func (l *Link) Raw() (chains [2]*filter.Chain, notRaw string) {
	if notRaw = l.Outer.NotRaw(); notRaw == "" {
		notRaw = l.Inner.NotRaw()
	}
	return [2]*filter.Chain{l.Outer, l.Inner}, notRaw
}

// choose returns what runs in part's place: the part when all its filters are
// ready, else its last good form if it has one that may serve. now is what runs
// there; nil: nothing yet.
func (k *linker) choose(part *config.Part, now *choice) choice {
	c := choice{part: part, fault: part.Fault}
	if part.Fault == nil {
		c = k.acquire(part, now)
		if c.fault == nil && !c.pending {
			return c
		}
	}
	if part.Fallback == nil || !k.now().Before(part.FallbackUntil) || !mayFallBack(&c) {
		return c
	}
	old := k.acquire(part.Fallback, nil)
	if old.fault != nil || old.pending || !old.guardsAs(&c) {
		old.release()
		return c
	}
	old.warming = append(append(c.runtimes, c.warming...), c.retired...)
	for _, o := range c.canaries {
		if o.runtime != nil {
			old.warming = append(old.warming, o.runtime)
		}
	}
	return old
}

// mayFallBack says whether last good may stand in for c: not for a part that
// policy refuses.
func mayFallBack(c *choice) bool {
	if c.fault != nil {
		switch c.fault.Reason {
		case "RefusedByPolicy", "SignatureInvalid", "PullForbidden", "SecretMissing", "GuardMissing":
			return false
		}
	}
	return true
}

// guardsAs reports whether last good has a guard in the place of each that c has: a
// filter of its name may be none.
func (c *choice) guardsAs(other *choice) bool {
	for i, r := range other.runtimes {
		if !r.State().Guard {
			continue
		}
		name, found := other.filters[i].Name, false
		for j, own := range c.runtimes {
			found = found || c.filters[j].Name == name && own.State().Guard
		}
		if !found {
			return false
		}
	}
	return true
}

// acquire pins the runtimes of a part's filters; the fault is that of the
// first that failed.
func (k *linker) acquire(part *config.Part, now *choice) choice {
	c := choice{part: part, fault: part.Fault}
	for _, f := range part.Filters {
		f, tagged := k.plugins.Form(f)
		r := k.plugins.Acquire(f)
		other := k.canary(f.Canary, r)
		var b before
		if told(f, r.State()) {
			b = k.obey(&c, f, r, now)
		} else {
			b = k.rollBack(part, f, tagged, r)
		}
		if b.warming != nil {
			c.warming = append(c.warming, b.warming)
		}
		switch b.outcome {
		case goesBack:
			c.retired = append(c.retired, r)
			f, r = b.filter, b.runtime
		case holds:
			c.pending = true
		case broken:
			if c.fault == nil {
				c.fault = b.fault
			}
		}
		c.filters, c.runtimes, c.canaries = append(c.filters, f), append(c.runtimes, r), append(c.canaries, other)
		switch s := r.State(); {
		case s.Phase == plugin.Failed:
			if c.fault == nil {
				c.fault = &config.Fault{Reason: s.Reason, Message: fmt.Sprintf("%s: %s: %s", part.Object, f.ID(), s.Message)}
			}
		case !s.Runnable():
			c.pending = true
		}
	}
	c.pending = c.pending && c.fault == nil
	return c
}

// canary pins another version of the filter that r runs. It has no part in
// whether the chain runs. In a guard's place only a guard may run.
func (k *linker) canary(c *config.Canary, r *plugin.Runtime) canary {
	if c == nil || c.Filter == nil {
		return canary{config: c}
	}
	o := canary{config: c}
	o.form, _ = k.plugins.Form(c.Filter)
	o.runtime = k.plugins.Acquire(o.form)
	s := o.runtime.State()
	o.unsafe = !c.Shadow && s.Phase == plugin.Ready && r.State().Guard && !s.Guard
	o.runs = s.Phase == plugin.Ready && !o.unsafe && c.WeightPercent > 0
	return o
}
