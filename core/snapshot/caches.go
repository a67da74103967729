package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/plugin"
)

// member is a filter at its place in a chain that is being joined.
type member struct {
	entry  filter.Entry
	config *config.Filter
	state  *plugin.State
	canary canary
}

// stage is when a part's filters run: what the Route and those before it declare, the
// rule's own, the rest, the backendRef's.
func stage(p *config.Part) int {
	switch {
	case p.Name == "route" || p.Scope == config.ScopeBefore:
		return 0
	case p.Name == config.PartRule:
		return 1
	case p.Name == config.PartBackend:
		return 3
	}
	return 2
}

// guardCache makes the part with the response cache invalid if a guard stands behind
// it, which a stored response would get around.
func (l *Link) guardCache() {
	const stages = 4
	at := -1 // the part of the last cache
	for s := range stages {
		for n := range l.parts {
			c := &l.parts[n]
			if stage(c.part) != s {
				continue
			}
			for i, f := range c.filters {
				switch {
				case f.Cache != nil:
					at = n
				case at >= 0 && (f.Guard || c.runtimes[i].State().Guard):
					l.parts[at].fault = &config.Fault{Reason: "InvalidConfig", Message: fmt.Sprintf("%s: %s of %s is a guard and runs after the response cache, whose answers would get around it: declare it before", l.parts[at].part.Object, f.ID(), c.part.Object)}
					l.Fault = l.parts[at].fault
					return
				}
			}
		}
	}
}

// place puts the response cache, if the filters in their order have one, in front of
// those after it: the last one, which is nearest the Service; the others are left out.
func (k *linker) place(order []*[]member) {
	found := false
	after := sha256.New()
	for n := len(order) - 1; n >= 0; n-- {
		list := *order[n]
		for i := len(list) - 1; i >= 0; i-- {
			switch m := &list[i]; {
			case m.config.Cache == nil && !found:
				m.fingerprint(func(part []byte) {
					_, _ = after.Write(binary.AppendUvarint(nil, uint64(len(part)))) // hashes do not fail
					_, _ = after.Write(part)
				})
			case m.config.Cache == nil:
			case !found:
				found = true
				m.entry.Filter = k.cache.Filter(m.config.Cache, cache.Fingerprint(after.Sum(nil)[:16]))
			default:
				list = append(list[:i], list[i+1:]...)
			}
		}
		*order[n] = list
	}
}

// fingerprint writes what tells the filter's work from that of another version or
// config.
func (m *member) fingerprint(write func([]byte)) {
	write([]byte(m.config.ID()))
	write([]byte(m.config.Hash))
	write([]byte(m.state.Digest))
	for _, e := range m.config.Except {
		write(fmt.Appendf(nil, "%d %s %v %v", e.PathType, e.Path, e.Regex, e.Methods))
	}
	if m.canary.runs && !m.canary.config.Shadow {
		write([]byte(m.canary.form.Hash))
		write([]byte(m.canary.runtime.State().Digest))
	}
}

// cacheScope is what keys of the response cache begin with behind one rule and backend:
// the rule's own filters decide with it what a request fetches.
func cacheScope(r *config.Rule, b *config.Backend) string {
	if b.CacheScope == "" {
		return ""
	}
	if len(r.Steps) == 0 && len(b.Steps) == 0 && r.Redirect == nil && b.Redirect == nil {
		return b.CacheScope
	}
	own, err := json.Marshal([]any{r.Name, r.Steps, b.Steps, r.Redirect, b.Redirect})
	if err != nil { // they are plain data
		panic("BUG: " + err.Error())
	}
	sum := sha256.Sum256(own)
	return b.CacheScope + " " + string(sum[:16])
}
