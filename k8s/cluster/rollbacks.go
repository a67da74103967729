package cluster

import (
	"maps"
	"slices"
	"sync"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// maxTold bounds the roll-backs that proxies say, and the entries that they tell.
const maxTold = 1000

// rollBacks are the filters that were rolled back: as ChainStatuses say, which outlive
// every process, and as proxies say, until it stands there.
type rollBacks struct {
	controller string
	now        func() time.Time

	mu sync.Mutex
	// recorded is by namespace/name of the ChainStatus, of those that say any.
	recorded map[string][]record
	told     map[string]*translate.RollBack // by Declaration
	over     map[string]string              // digest that was left, by Declaration: it has another one now
	entries  map[string]*api.Entry          // by their Declaration
}

// record is what a ChainStatus says of one filter.
type record struct {
	rollBack translate.RollBack
	owner    config.Object // who declares the filter
	part     string
}

func newRollBacks(controller string) *rollBacks {
	return &rollBacks{
		controller: controller, now: time.Now,
		recorded: map[string][]record{}, told: map[string]*translate.RollBack{}, over: map[string]string{}, entries: map[string]*api.Entry{},
	}
}

func (b *rollBacks) read(c *api.ChainStatus) (all []record) {
	list, owners, parts := translate.ReadRollBacks(c, b.controller)
	for i := range list {
		all = append(all, record{*list[i], owners[i], parts[i]})
	}
	return all
}

// look takes a ChainStatus over, nil: it is gone. It reports whether other filters are
// rolled back now.
func (b *rollBacks) look(name string, c *api.ChainStatus) bool {
	var now []record
	if c != nil {
		now = b.read(c)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(b.recorded[name], now) {
		return false
	}
	if b.recorded[name] = now; len(now) == 0 {
		delete(b.recorded, name)
	}
	return true
}

// lookAll takes all ChainStatuses over.
func (b *rollBacks) lookAll(list []*api.ChainStatus) bool {
	all := map[string][]record{}
	for _, c := range list {
		if now := b.read(c); len(now) > 0 {
			all[key(c)] = now
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	same := maps.EqualFunc(b.recorded, all, slices.Equal[[]record])
	b.recorded = all
	return !same
}

// all are the roll-backs, by Declaration. What stands in a ChainStatus comes first:
// there is one word for all, also of who led before.
func (b *rollBacks) all() map[string]*translate.RollBack {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.union()
}

// some reports whether anything is known that proxies may change.
func (b *rollBacks) some() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.recorded)+len(b.told)+len(b.over) > 0
}

// union is all; b.mu is held.
func (b *rollBacks) union() map[string]*translate.RollBack {
	all := map[string]*translate.RollBack{}
	for _, name := range slices.Sorted(maps.Keys(b.recorded)) {
		for _, r := range b.recorded[name] {
			one := r.rollBack
			if b.over[one.Declaration] == one.Left || all[one.Declaration] != nil {
				continue
			}
			one.Entry = b.entries[one.To]
			all[one.Declaration] = &one
		}
	}
	for name, t := range b.told {
		one := *t
		if r := all[name]; r == nil || r.Left != t.Left { // of a digest that came later
			all[name] = &one
		}
	}
	maps.DeleteFunc(b.entries, func(to string, _ *api.Entry) bool {
		for _, list := range b.recorded {
			if slices.ContainsFunc(list, func(r record) bool { return r.rollBack.To == to }) {
				return false
			}
		}
		return true
	})
	return all
}

// forget drops what proxies said: who leads next hears it from them, or reads it.
func (b *rollBacks) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.told)
	clear(b.over)
	clear(b.entries)
}

// tagLag is how long after a roll-back a proxy may not have followed the tag yet to the
// digest that is not to run.
const tagLag = 30 * time.Second

// learn takes over what proxies run. serving are the filters that say RolledBack in
// what is served now. It reports whether other filters are rolled back now, or more is
// known of them.
func (b *rollBacks) learn(proxies []Proxy, serving map[string]bool) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.union()
	said, before, other := map[string]bool{}, map[string]bool{}, map[string]bool{} // by what they have: what was left, what ran before, another digest
	for i := range proxies {
		for _, part := range proxies[i].Parts {
			for j := range part.Filters {
				f := &part.Filters[j]
				k := known[f.Declaration]
				switch {
				case f.State == "RolledBack" && f.Declaration != "":
					said[f.Declaration] = true
					changed = b.takeOver(f, part.Filters, k) || changed
				case k == nil || f.State != "Ready":
				case f.Digest == k.Digest:
					before[f.Declaration] = true
				case f.Digest != k.Left:
					other[f.Declaration] = true
				}
			}
		}
	}
	for name, k := range known {
		back := k.To == name && before[name] && b.now().Sub(time.Unix(k.Since, 0)) > tagLag
		if !said[name] && (other[name] || back) { // its tag points elsewhere now, for all of them
			changed = b.end(k)
		}
	}
	maps.DeleteFunc(b.told, func(name string, _ *translate.RollBack) bool { return !said[name] && !serving[name] })
	maps.DeleteFunc(b.over, func(name, _ string) bool { return !said[name] && !b.stands(name) })
	return changed
}

// end has a roll-back be over. b.mu is held.
func (b *rollBacks) end(k *translate.RollBack) bool {
	b.over[k.Declaration] = k.Left
	delete(b.told, k.Declaration)
	return true
}

// stands reports whether a ChainStatus says that a filter was rolled back. b.mu is held.
func (b *rollBacks) stands(declaration string) bool {
	for _, list := range b.recorded {
		if slices.ContainsFunc(list, func(r record) bool { return r.rollBack.Declaration == declaration }) {
			return true
		}
	}
	return false
}

// takeOver takes over that a proxy has rolled a filter back; known is what is known of
// it, nil: nothing. b.mu is held.
func (b *rollBacks) takeOver(f *Filter, all []Filter, known *translate.RollBack) bool {
	i := slices.IndexFunc(all, func(o Filter) bool { return o.Name == f.Name && o.State == "Ready" && o.Digest != f.Digest })
	if i < 0 {
		return false // nothing runs in its place
	}
	in := &all[i]
	if known != nil && known.Left == f.Digest {
		if known.Namespace == "" || known.Entry != nil || in.Declaration != known.To || in.Entry == nil || len(b.entries) >= maxTold {
			return false
		}
		for _, list := range b.recorded {
			for _, r := range list {
				if r.rollBack.Declaration != f.Declaration {
					continue
				}
				if e := translate.ReadEntry(in.Entry, r.owner, r.part, known.To); e != nil {
					b.entries[known.To] = e
					return true
				}
			}
		}
		return false
	}
	made := &translate.RollBack{Declaration: f.Declaration, Left: f.Digest, To: in.Declaration, Digest: in.Digest, Since: b.now().Unix()}
	if old := b.told[f.Declaration]; !made.Valid() || old != nil && old.Left == f.Digest || b.over[f.Declaration] == f.Digest || len(b.told) >= maxTold {
		return false
	}
	b.told[f.Declaration] = made
	delete(b.over, f.Declaration)
	return true
}

// rolledBack are the filters of a result that say so, by Declaration.
func rolledBack(r *translate.Result) map[string]bool {
	all := map[string]bool{}
	for _, s := range r.Status.All() {
		if c, ok := s.(*api.ChainStatus); ok {
			for _, f := range c.Status.Controllers[0].Filters {
				if f.RolledBack != nil {
					all[f.Hash] = true
				}
			}
		}
	}
	return all
}
