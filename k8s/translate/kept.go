package translate

import (
	"slices"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// madePart is a part and the parameters of the Gateway for which it was made first.
type madePart struct {
	part    *config.Part
	current *config.ProxyParameters
}

// keptPart is a part that depends on nothing but its text, what inputs compares, and
// whether it has run.
type keptPart struct {
	part       *config.Part
	key        string // in memos.parts
	entries    *api.Entry
	n          int
	epoch      uint64
	parameters *config.ProxyParameters
	keep, ran  bool
	noCache    string
	redis      bool // it would use a Redis, and there is none
}

// kept returns what a part was made of last, nil if it may be another one now.
func (r *run) kept(at *place, entries []api.Entry, fault *config.Fault) *config.Part {
	k := r.t.kept[at.id()]
	if k == nil || fault != nil || len(entries) != k.n || &entries[0] != k.entries || k.epoch != r.t.inputs.epoch ||
		k.parameters != r.current || k.keep != at.keep || k.noCache != at.noCache || k.ran != r.t.o.Ran(k.part.Hash) {
		return nil
	}
	object := at.object.String()
	if _, known := r.redis[object]; k.redis && !known {
		r.redis[object] = nil
	}
	if r.crowded(at, k.part.Filters) != nil {
		return nil
	}
	r.parts[at.id()] = true
	r.t.memo.parts.keep(k.key)
	return k.part
}

// keep makes a part, and keeps it if it may be taken as it is the next time.
func (r *run) keep(at *place, entries []api.Entry, fault *config.Fault) *config.Part {
	problems, lookups := len(r.problems), r.lookups
	p := r.makePart(at, entries, fault)
	h := r.t.history[at.id()]
	same := func(hash string) bool { return hash == "" || hash == p.Hash }
	delete(r.t.kept, at.id())
	if len(entries) == 0 || rolledBack(p) || p.Fault != nil || p.Fallback != nil || p.Previous != nil || len(r.problems) > problems || r.lookups > lookups ||
		h == nil || !same(h.ran.hash) || !same(h.previous.hash) ||
		slices.ContainsFunc(p.Filters, func(f *config.Filter) bool { return f.Canary != nil || f.Redis != nil }) {
		return p
	}
	_, redis := r.redis[at.object.String()]
	r.t.kept[at.id()] = &keptPart{
		part: p, key: partKey(at, p.Hash, p), entries: &entries[0], n: len(entries), epoch: r.t.inputs.epoch, parameters: r.current,
		keep: at.keep, noCache: at.noCache, ran: r.t.o.Ran(p.Hash), redis: redis,
	}
	return p
}
