package remote

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock/core/config"
)

// Resource is one piece of a config on the wire. Equal versions of one name have
// equal bytes.
type Resource struct {
	Name    string // "kind/name"
	Version string // of its content
	Bytes   []byte // CBOR
}

// Delta is how a set of resources differs from the one before.
type Delta struct {
	Changed []*Resource
	Removed []string // names
}

// Empty reports whether nothing differs.
func (d *Delta) Empty() bool { return len(d.Changed) == 0 && len(d.Removed) == 0 }

// Parts reports whether parts of chains are among what differs: else filters are
// what they were.
func (d *Delta) Parts() bool {
	isPart := func(name string) bool { return strings.HasPrefix(name, "part/") }
	return slices.ContainsFunc(d.Changed, func(r *Resource) bool { return isPart(r.Name) }) || slices.ContainsFunc(d.Removed, isPart)
}

// Update is a config as it differs from the one before.
type Update struct {
	Config    Delta
	Endpoints Delta // by upstream
}

// Kinds of resources that are named by what they are of.
const (
	kindGateway  = "gateway"
	kindRoute    = "route"
	kindRaw      = "rawroute"
	kindUpstream = "upstream"
	kindTotals   = "totals"
	kindPurge    = "purge"
	kindConsumer = "consumer"
	// There is one of each of these kinds.
	kindForbidden = "forbidden"
	forbiddenName = kindForbidden + "/addresses"
	kindGrants    = "consumergrants"
	grantsName    = kindGrants + "/all"
)

// attachment is a route as one Gateway serves it, and where.
type attachment struct {
	Gateway   string // namespace/name
	Listeners []attachedTo
	Route     *config.Route
	Raw       *config.RawRoute
}

// attachedTo is a listener that serves a route.
type attachedTo struct {
	Listener  int // place in its Gateway
	Hostnames []string
}

// Encoder makes resources of configs. It remembers the last one's, so that a
// change costs what it touches. One goroutine at a time uses it.
type Encoder struct {
	last      *config.Config
	top       map[string]*piece // resources that are named by what they are of
	shared    map[any]*piece    // by pointer
	named     map[string]*piece // the same, by name
	gateways  map[string]*attachments
	endpoints map[string]*Resource

	update *Update
	puts   map[string]bool   // resources that this update has put
	fresh  map[string]*piece // shared ones that this update has made
	freed  []*piece          // that it has let go of
	refs   []*piece          // that the value at hand refers to
	err    error
}

// piece is a resource with what it refers to.
type piece struct {
	resource *Resource
	pointer  any      // of a shared one
	refs     []*piece // shared ones
	users    int      // of a shared one: references to it
}

// attachments are the routes of one Gateway.
type attachments struct {
	listeners []*config.Listener
	routes    map[any]*attachment // by *config.Route or rawAt
	dirty     map[any]bool
}

// Encode returns how a config differs from the one before, as resources. After an
// error the next one differs from nothing.
func (e *Encoder) Encode(c *config.Config) (*Update, error) {
	if e.top == nil {
		*e = Encoder{
			last: &config.Config{}, top: map[string]*piece{}, shared: map[any]*piece{}, named: map[string]*piece{},
			gateways: map[string]*attachments{}, endpoints: map[string]*Resource{},
		}
	}
	e.update, e.puts, e.fresh, e.freed, e.err = &Update{}, map[string]bool{}, map[string]*piece{}, nil, nil
	e.allGateways(c)
	differ(e.last.Upstreams, c.Upstreams, func(name string, u *config.Upstream) { e.put(kindUpstream+"/"+name, u) }, func(name string) { e.drop(kindUpstream + "/" + name) })
	differ(e.last.Totals, c.Totals, func(name string, t *config.Totals) { e.put(kindTotals+"/"+name, t) }, func(name string) { e.drop(kindTotals + "/" + name) })
	if !slices.Equal(e.last.Purges, c.Purges) {
		differ(purgesByID(e.last.Purges), purgesByID(c.Purges), func(id string, p *config.Purge) { e.put(kindPurge+"/"+id, p) }, func(id string) { e.drop(kindPurge + "/" + id) })
	}
	c.Consumers.Differ(e.last.Consumers, func(name string, one *config.Consumer) { e.put(kindConsumer+"/"+name, one) }, func(name string) { e.drop(kindConsumer + "/" + name) })
	only(e, forbiddenName, e.last.Forbidden, c.Forbidden)
	only(e, grantsName, e.last.ConsumerGrants, c.ConsumerGrants)
	c.Endpoints.Differ(e.last.Endpoints, e.putEndpoints, func(name string) {
		delete(e.endpoints, name)
		e.update.Endpoints.Removed = append(e.update.Endpoints.Removed, name)
	})
	e.sweep()
	if e.err != nil {
		err := e.err
		*e = Encoder{}
		return nil, err
	}
	e.last = c
	return e.update, nil
}

// only puts or drops what there is one of.
func only[T any](e *Encoder, name string, old, now *T) {
	switch {
	case old == now:
	case now == nil:
		e.drop(name)
	default:
		e.put(name, now)
	}
}

// differ calls put for what is new or another value, and drop for what is gone.
func differ[T any](old, now map[string]*T, put func(string, *T), drop func(string)) {
	if config.SameMap(old, now) {
		return
	}
	for name, v := range now {
		if old[name] != v {
			put(name, v)
		}
	}
	if len(old) == 0 {
		return
	}
	for name := range old {
		if now[name] == nil {
			drop(name)
		}
	}
}

func purgesByID(list []*config.Purge) map[string]*config.Purge {
	all := make(map[string]*config.Purge, len(list))
	for _, p := range list {
		all[p.ID] = p
	}
	return all
}

func (e *Encoder) allGateways(c *config.Config) {
	present := map[string]bool{}
	for _, g := range c.Gateways {
		name := g.Object.Namespace + "/" + g.Object.Name
		present[name] = true
		if !slices.Contains(e.last.Gateways, g) {
			e.gateway(name, g)
		}
	}
	for name, a := range e.gateways {
		if !present[name] {
			e.drop(kindGateway + "/" + name)
			for r := range a.routes {
				e.drop(routeName(name, r))
			}
			delete(e.gateways, name)
		}
	}
}

func (e *Encoder) gateway(name string, g *config.Gateway) {
	e.put(kindGateway+"/"+name, g)
	old := e.gateways[name]
	if old == nil {
		old = &attachments{routes: map[any]*attachment{}}
		e.gateways[name] = old
	}
	old.dirty = map[any]bool{}
	for i := range max(len(old.listeners), len(g.Listeners)) {
		var was, is *config.Listener
		if i < len(old.listeners) {
			was = old.listeners[i]
		}
		if i < len(g.Listeners) {
			is = g.Listeners[i]
		}
		old.change(i, name, was, is)
	}
	old.listeners = g.Listeners
	var gone []string
	for r := range old.dirty {
		a := old.routes[r]
		if len(a.Listeners) == 0 {
			delete(old.routes, r)
			gone = append(gone, routeName(name, r))
		}
	}
	for r := range old.dirty {
		if a := old.routes[r]; a != nil {
			slices.SortFunc(a.Listeners, func(a, b attachedTo) int { return cmp.Compare(a.Listener, b.Listener) })
			e.put(routeName(name, r), a)
		}
	}
	for _, n := range gone { // unless another value of the same route took its place
		if !e.puts[n] {
			e.drop(n)
		}
	}
}

// rawAt is a raw route at one listener: each listener has a value of its own.
type rawAt struct {
	route    *config.RawRoute
	listener int
}

func routeName(gateway string, route any) string {
	if r, ok := route.(rawAt); ok {
		return fmt.Sprintf("%s/%s %s %d", kindRaw, gateway, r.route.Object, r.listener)
	}
	return kindRoute + "/" + gateway + " " + route.(*config.Route).Object.String()
}

// entry is a route at a listener.
type entry struct {
	route     any
	hostnames []string
}

func (x entry) equal(y entry) bool {
	return x.route == y.route && slices.Equal(x.hostnames, y.hostnames)
}

// entries returns the routes of a listener, but for some at the beginning and the end.
func entries(listener int, l *config.Listener, first, last int) (all []entry) {
	switch {
	case l == nil:
	case l.Routes != nil:
		for _, e := range l.Routes.Entries[first : len(l.Routes.Entries)-last] {
			all = append(all, entry{e.Route, e.Hostnames})
		}
	case l.RawRoutes != nil:
		for _, e := range l.RawRoutes.Entries {
			all = append(all, entry{rawAt{e.Route, listener}, e.Hostnames})
		}
	}
	return all
}

// change takes over what differs between a listener's entries.
func (a *attachments) change(listener int, gateway string, was, is *config.Listener) {
	first, last := 0, 0 // most changes leave the others at their places
	if was != nil && is != nil && was.Routes != nil && is.Routes != nil {
		first, last = was.Routes.Common(is.Routes)
	}
	gone, added := map[any]entry{}, entries(listener, is, first, last)
	for _, x := range entries(listener, was, first, last) {
		gone[x.route] = x
	}
	added = slices.DeleteFunc(added, func(y entry) bool { // what has only moved
		x, moved := gone[y.route]
		moved = moved && x.equal(y)
		if moved {
			delete(gone, y.route)
		}
		return moved
	})
	for _, x := range gone {
		if at := a.routes[x.route]; at != nil {
			at.Listeners = slices.DeleteFunc(slices.Clone(at.Listeners), func(t attachedTo) bool { return t.Listener == listener })
			a.dirty[x.route] = true
		}
	}
	for _, y := range added {
		at := a.routes[y.route]
		if at == nil {
			at = &attachment{Gateway: gateway}
			at.Route, _ = y.route.(*config.Route)
			if raw, ok := y.route.(rawAt); ok {
				at.Raw = raw.route
			}
			a.routes[y.route] = at
		}
		at.Listeners = append(slices.Clone(at.Listeners), attachedTo{listener, y.hostnames})
		a.dirty[y.route] = true
	}
}

// put makes the resource of a value.
func (e *Encoder) put(name string, v any) {
	if e.puts[name] && e.err == nil {
		e.err = fmt.Errorf("BUG: two values are called %s", name)
	}
	e.puts[name] = true
	p := &piece{}
	p.resource, p.refs = e.encode(name, reflect.ValueOf(v).Elem())
	old := e.top[name]
	if old != nil {
		e.freed = append(e.freed, old.refs...)
	}
	e.top[name] = p
	if old == nil || old.resource.Version != p.resource.Version {
		e.update.Config.Changed = append(e.update.Config.Changed, p.resource)
	}
}

func (e *Encoder) drop(name string) {
	if old := e.top[name]; old != nil {
		e.freed = append(e.freed, old.refs...)
		delete(e.top, name)
		e.update.Config.Removed = append(e.update.Config.Removed, name)
	}
}

func (e *Encoder) putEndpoints(name string, s *config.EndpointSet) {
	r, _ := e.encode(name, reflect.ValueOf(s).Elem())
	if old := e.endpoints[name]; old == nil || old.Version != r.Version {
		e.update.Endpoints.Changed = append(e.update.Endpoints.Changed, r)
	}
	e.endpoints[name] = r
}

// encode returns a value as a resource, and counts what it refers to. The name of
// a shared one is made of its content: it gives the kind alone.
func (e *Encoder) encode(name string, v reflect.Value) (*Resource, []*piece) {
	outer := e.refs
	e.refs = nil
	x, err := tree(v, e.ref)
	var bytes []byte
	if err == nil {
		bytes, err = encMode.Marshal(x)
	}
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("encode %s: %w", v.Type(), err)
	}
	refs := e.refs
	e.refs = outer
	return &Resource{Name: name, Version: hash(bytes), Bytes: bytes}, refs
}

// ref makes the resource of a shared value and returns its name.
func (e *Encoder) ref(v reflect.Value) string {
	p := e.shared[v.Interface()]
	if p == nil {
		p = &piece{pointer: v.Interface()}
		p.resource, p.refs = e.encode("", v.Elem())
		p.resource.Name = shared[v.Type()] + "/" + p.resource.Version
		if same := e.named[p.resource.Name]; same != nil { // of another pointer
			e.freed = append(e.freed, p.refs...)
			p = same
		} else {
			e.shared[p.pointer], e.named[p.resource.Name], e.fresh[p.resource.Name] = p, p, p
		}
	}
	p.users++
	e.refs = append(e.refs, p)
	return p.resource.Name
}

// sweep forgets the shared resources that nobody refers to any more.
func (e *Encoder) sweep() {
	for i := 0; i < len(e.freed); i++ {
		p := e.freed[i]
		if p.users--; p.users > 0 {
			continue
		}
		delete(e.shared, p.pointer)
		delete(e.named, p.resource.Name)
		e.freed = append(e.freed, p.refs...)
		if e.fresh[p.resource.Name] != nil {
			delete(e.fresh, p.resource.Name)
		} else {
			e.update.Config.Removed = append(e.update.Config.Removed, p.resource.Name)
		}
	}
	for _, p := range e.fresh {
		e.update.Config.Changed = append(e.update.Config.Changed, p.resource)
	}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// about is what routes are ordered by.
type about struct {
	created               time.Time
	namespace, name, kind string
}

func (a *attachment) about() about {
	if a.Raw != nil {
		return about{a.Raw.Created, a.Raw.Object.Namespace, a.Raw.Object.Name, a.Raw.Object.Kind}
	}
	if a.Route != nil {
		return about{a.Route.Created, a.Route.Object.Namespace, a.Route.Object.Name, a.Route.Object.Kind}
	}
	return about{}
}

// compare orders routes: the oldest first, then by namespace and name.
func (a about) compare(b about) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind))
}
