package translate

import (
	"slices"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// rollBackFor is how long after a change a failing filter goes back to what it
// was (annotations.md, section 5).
const rollBackFor = 10 * time.Minute

// lastGoodFor is how long a last good chain may serve (annotations.md, section 5).
const lastGoodFor = time.Hour

// history is what the translator remembers of one part.
type history struct {
	current  declared // what it was at the last translation
	ran      declared // the newest one that ran
	brokenBy string   // hash of what ran stands in for
	since    time.Time
	previous declared  // what ran before current
	seen     string    // hash at the last translation, also of what cannot run
	changed  time.Time // when it became that
}

// declared is entries and the hash that they resolved to.
type declared struct {
	entries []api.Entry
	hash    string
}

// previous returns what the part was before its last change, judged again.
func (r *run) previous(at *place, hash string, fault *config.Fault) (*config.Part, time.Time) {
	h := r.t.history[at.id()]
	if fault != nil || h.previous.hash == "" || h.previous.hash == hash {
		return nil, time.Time{}
	}
	filters, oldFault := r.again(at, h.previous.entries)
	if oldFault != nil {
		return nil, time.Time{}
	}
	return r.intern(at, partHash(at, filters, nil), &config.Part{Filters: filters}), h.changed.Add(rollBackFor)
}

// lastGood returns the part's last good form, judged again, if it may serve.
func (r *run) lastGood(at *place, entries []api.Entry, hash string, fault *config.Fault) (*config.Part, time.Time) {
	h := r.t.history[at.id()]
	if h == nil {
		h = &history{}
		r.t.history[at.id()] = h
	}
	r.parts[at.id()] = true
	if h.ran.hash != "" && h.ran.hash == h.current.hash && !r.t.o.Ran(h.ran.hash) {
		h.ran = h.previous // it ran, and was rolled back
	}
	if h.seen != hash {
		if h.current.hash != "" && r.t.o.Ran(h.current.hash) {
			h.ran, h.previous = h.current, h.current
		}
		h.seen, h.changed = hash, r.t.o.Now()
	}
	if fault == nil && r.t.o.Ran(hash) {
		h.ran = declared{entries, hash}
	}
	h.current = declared{entries, hash}
	if fault != nil {
		h.current.hash = ""
	}
	if h.ran.hash == "" || h.ran.hash == hash || !at.keep || fault != nil && final(fault.Reason) {
		h.brokenBy = ""
		return nil, time.Time{}
	}
	if h.brokenBy != hash {
		h.brokenBy, h.since = hash, r.t.o.Now()
	}
	old, oldFault := r.again(at, h.ran.entries)
	if oldFault != nil || r.lacksGuard(at, entries, old) {
		return nil, time.Time{}
	}
	return r.intern(at, partHash(at, old, nil), &config.Part{Filters: old}), h.since.Add(lastGoodFor)
}

// again resolves what ran before: whoever runs it can tell its entries.
func (r *run) again(at *place, entries []api.Entry) ([]*config.Filter, *config.Fault) {
	r.telling = true
	defer func() { r.telling = false }()
	return r.resolve(at, entries)
}

// final are the faults for which last good may not serve.
func final(reason string) bool {
	switch reason {
	case "RefusedByPolicy", "SignatureInvalid", "SecretMissing", "GuardMissing":
		return true
	}
	return false
}

// forget drops what no object has any more.
func (t *Translator) forget(r *run) {
	for id := range t.history {
		if !r.parts[id] {
			delete(t.history, id)
		}
	}
	for id := range t.kept {
		if !r.parts[id] {
			delete(t.kept, id)
		}
	}
	for id := range t.parameters {
		if !slices.ContainsFunc(r.o.Gateways, func(g *gatewayv1.Gateway) bool { return object("Gateway", g).String() == id }) {
			delete(t.parameters, id)
		}
	}
	for name := range t.restored {
		if r.config.Upstreams[name] == nil {
			t.unremember(name)
		}
	}
	for key, p := range t.texts {
		if !p.used {
			delete(t.texts, key)
			continue
		}
		p.used = false
		t.texts[key] = p
	}
}
