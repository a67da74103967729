package snapshot

import (
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/plugin"
)

// formGrace is how long what runs in the place of a filter that was rolled back goes
// on without control's word that it may: a control that has just begun to lead does
// not know it yet. What policy forbids ends within 30 seconds (annotations.md,
// section 5).
const formGrace = 25 * time.Second

// outcome is what becomes of a filter that fails.
type outcome uint8

const (
	stays    outcome = iota // it runs
	warms                   // it runs until its form before is ready
	goesBack                // its form before runs
	holds                   // nothing runs until its form before is ready
	broken                  // its form before cannot run
)

// before is the form before a filter, and what becomes of the two.
type before struct {
	outcome outcome
	filter  *config.Filter
	runtime *plugin.Runtime // nil: there is none yet
	warming *plugin.Runtime // of another form, that is to take its place
	fault   *config.Fault   // why it is broken
}

// rollBack says what runs in the place of a filter that fails: its previous form,
// once that is ready: what its tag pointed to before, else the filter of the text
// before. A guard never goes back.
func (k *linker) rollBack(part *config.Part, f, tagged *config.Filter, r *plugin.Runtime) before {
	s := r.State()
	if s.Guard || f.Guard || s.Phase != plugin.RolledBack && s.Phase != plugin.Quarantined {
		return before{}
	}
	old := tagged
	if old == nil && (s.Phase == plugin.RolledBack || s.Since.Before(part.PreviousUntil)) {
		old = previousOf(part, f)
	}
	if old == nil {
		return before{}
	}
	back := k.plugins.Acquire(old)
	switch b := back.State(); {
	case b.Phase == plugin.Ready && !b.Guard:
		r.RollBack(old.Image + " " + b.Digest)
		return before{outcome: goesBack, filter: old, runtime: back}
	case loads(b):
		return before{outcome: warms, warming: back} // the next link finds it ready
	}
	back.Release()
	return before{}
}

// previousOf returns a filter's form in the part that ran before; nil: it has none.
func previousOf(part *config.Part, f *config.Filter) *config.Filter {
	if part.Previous == nil {
		return nil
	}
	i := slices.IndexFunc(part.Previous.Filters, func(p *config.Filter) bool { return p.Name == f.Name && p.Hash != f.Hash })
	if i < 0 {
		return nil
	}
	return part.Previous.Filters[i]
}

func loads(s *plugin.State) bool { return s.Phase == plugin.Pulling || s.Phase == plugin.Compiling }

// told reports whether a filter was rolled back by the word of who leads. That it is
// no guard is only known once its image is.
func told(f *config.Filter, s *plugin.State) bool {
	return f.RolledBack != "" && f.RolledBack == s.Digest && !f.Guard && !s.Guard && (s.Phase == plugin.Compiling || s.Runnable())
}

// obey says what runs in the place of a filter that is told not to: what the part says
// ran before. Until that is ready, or known, what runs now goes on. now is what runs;
// nil: nothing yet.
func (k *linker) obey(c *choice, f *config.Filter, r *plugin.Runtime, now *choice) before {
	old := previousOf(c.part, f)
	if old == nil && c.part.PreviousFault != nil {
		r.Retire("nothing")
		return before{outcome: broken, fault: c.part.PreviousFault}
	}
	if old == nil {
		c.missing = k.now()
		if now != nil && !now.missing.IsZero() {
			c.missing = now.missing
		}
		end := c.missing.Add(formGrace)
		if !k.now().Before(end) {
			r.Retire("nothing")
			return before{outcome: broken, fault: &config.Fault{Reason: "RolledBack", Message: fmt.Sprintf("%s: %s was rolled back, and what ran before it is not known any more: change its entry", c.part.Object, f.ID())}}
		}
		if k.due.IsZero() || end.Before(k.due) {
			k.due = end
		}
		return k.keep(f, r, now, nil)
	}
	back := k.plugins.Acquire(old)
	switch b := back.State(); {
	case b.Phase == plugin.Ready && !b.Guard:
		r.Retire(old.Image + " " + b.Digest)
		return before{outcome: goesBack, filter: old, runtime: back}
	case loads(b):
		return k.keep(f, r, now, back)
	default:
		back.Release()
		r.Retire("nothing")
		reason, message := b.Reason, b.Message
		if b.Guard {
			reason, message = "RolledBack", "it is a guard now"
		}
		return before{outcome: broken, fault: &config.Fault{Reason: reason, Message: fmt.Sprintf("%s: %s was rolled back, and what ran before cannot run: %s", c.part.Object, f.ID(), message)}}
	}
}

// keep has what runs in a filter's place go on until the right form is there.
func (k *linker) keep(f *config.Filter, r *plugin.Runtime, now *choice, warming *plugin.Runtime) before {
	if now != nil {
		for i, old := range now.filters {
			s := now.runtimes[i].State()
			if old.Name != f.Name || old.Hash == f.Hash || s.Phase != plugin.Ready || s.Guard || s.Digest == f.RolledBack {
				continue
			}
			r.Retire(old.Image + " " + s.Digest)
			return before{outcome: goesBack, filter: old, runtime: k.plugins.Acquire(old), warming: warming}
		}
	}
	return before{outcome: holds, warming: warming}
}

// now returns what a chain runs in a part's place; nil: nothing yet.
func (l *Link) now(part *config.Part) *choice {
	if l == nil {
		return nil
	}
	for i := range l.parts {
		if p := l.parts[i].part; p.Name == part.Name && p.Object == part.Object && p.Scope == part.Scope {
			return &l.parts[i]
		}
	}
	return nil
}
