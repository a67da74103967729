package consumer

import (
	"sync"
	"sync/atomic"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

// Index finds Consumers. The zero Index is ready, and has none.
type Index struct {
	mu sync.Mutex // one Apply at a time
	// Replaced by Apply; read by every lookup.
	current atomic.Pointer[table]
}

var _ capability.Consumers = (*Index)(nil)

// table is an immutable state of an Index.
type table struct {
	consumers   config.Overlay[string, *config.Consumer]
	credentials config.Overlay[place, *found]
	grants      *config.ConsumerGrants
	granted     map[config.ConsumerGrant]bool // the same
}

// place is where a credential is: digests are unique in a namespace.
type place struct {
	namespace string
	id        config.CredentialDigest
}

// found is a credential as it is found.
type found struct {
	name string // of its Consumer
	who  exchange.Consumer
	data []byte
}

// Apply makes these all Consumers there are, and these the grants that hold: for every
// lookup that begins after it returned, and in the instances that run. It costs what
// differs from the last time, if the consumers share the rest with those.
func (x *Index) Apply(consumers config.Overlay[string, *config.Consumer], grants *config.ConsumerGrants) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.current.Load()
	if old == nil {
		old = &table{}
	}
	var came []string
	changed := map[place]*found{}
	leave := func(key string) { // unless somebody else has it now
		one := old.consumers.Of(key)
		for i := range one.Credentials {
			at := place{one.Namespace, one.Credentials[i].ID}
			if f := old.credentials.Of(at); f != nil && f.name == one.Name {
				changed[at] = nil
			}
		}
	}
	consumers.Differ(old.consumers, func(key string, _ *config.Consumer) {
		if came = append(came, key); old.consumers.Of(key) != nil {
			leave(key)
		}
	}, leave)
	for _, key := range came { // after all that left: a credential may have moved
		one := consumers.Of(key)
		for i := range one.Credentials {
			changed[place{one.Namespace, one.Credentials[i].ID}] = &found{
				name: one.Name, data: one.Credentials[i].Data,
				who: exchange.Consumer{Name: one.Username, Groups: one.Groups, Object: key},
			}
		}
	}
	next := &table{consumers: consumers, grants: old.grants, granted: old.granted}
	if old.credentials.Len() == 0 {
		next.credentials = config.OverlayOf(changed)
	} else {
		next.credentials = old.credentials.With(changed)
	}
	if grants != old.grants {
		next.grants, next.granted = grants, map[config.ConsumerGrant]bool{}
		if grants != nil {
			for _, g := range grants.List {
				next.granted[g] = true
			}
		}
	}
	x.current.Store(next)
}

// FindConsumer implements capability.Consumers.
func (x *Index) FindConsumer(f *config.Filter, kind, lookup []byte, others [][]byte) (who exchange.Consumer, data []byte, ok bool) {
	t := x.current.Load()
	if t == nil {
		return exchange.Consumer{}, nil, false
	}
	id := config.CredentialID(kind, lookup)
	if one := t.credentials.Of(place{f.Namespace, id}); one != nil {
		return one.who, one.data, true
	}
	for _, namespace := range others {
		one := t.credentials.Of(place{string(namespace), id})
		if one != nil && t.permits(f, string(namespace), one.name) {
			return one.who, one.data, true
		}
	}
	return exchange.Consumer{}, nil, false
}

// permits reports whether a ReferenceGrant lets the filter use a Consumer of another
// namespace.
func (t *table) permits(f *config.Filter, namespace, name string) bool {
	g := config.ConsumerGrant{FromKind: f.Owner.Kind, FromNamespace: f.Namespace, Namespace: namespace}
	if t.granted[g] {
		return true
	}
	g.Name = name
	return t.granted[g]
}
