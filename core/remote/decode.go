package remote

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"penstock.dev/penstock/core/config"
)

// maxParts bounds how deep shared values refer to each other.
const maxParts = 16

// Decoder makes configs of resources. It holds those of the last one, so that a
// change costs what it touches, and what did not change stays the same value.
// One goroutine at a time uses it.
type Decoder struct {
	set       map[string]*Resource // of the config
	values    map[string]made
	gateways  map[string]*served // by namespace/name
	endpoints map[string]*Resource
	config    *config.Config

	// Of the update at hand.
	changed map[string]*Resource
	removed map[string]bool
	next    map[string]made
	depth   int
	// consumers are those that came, changed or went: nil.
	consumers map[string]*config.Consumer
}

// made is a value with the version of the resource that it is of.
type made struct {
	version string
	value   reflect.Value
}

// served is a Gateway with its routes.
type served struct {
	gateway *config.Gateway
	routes  map[string]*attachment // by resource
}

// NewDecoder returns a Decoder that holds nothing.
func NewDecoder() *Decoder {
	return &Decoder{
		set: map[string]*Resource{}, values: map[string]made{}, gateways: map[string]*served{}, endpoints: map[string]*Resource{},
		config: &config.Config{Upstreams: map[string]*config.Upstream{}, Totals: map[string]*config.Totals{}},
	}
}

// Set returns what the Decoder holds. It must not be changed, and holds until the
// next update.
func (d *Decoder) Set() (cfg, endpoints map[string]*Resource) { return d.set, d.endpoints }

// Endpoints takes an update of endpoints over, and returns the endpoint sets that
// changed; nil: the upstream has none any more. The error names what cannot be
// read; it is left out.
func (d *Decoder) Endpoints(u *Delta) (map[string]*config.EndpointSet, error) {
	changed := map[string]*config.EndpointSet{}
	var fault error
	if len(u.Removed)+len(u.Changed) == 0 {
		return changed, nil
	}
	for _, name := range u.Removed {
		delete(d.endpoints, name)
		changed[name] = nil
	}
	for _, r := range u.Changed {
		set := new(config.EndpointSet)
		if err := d.plant(r, reflect.ValueOf(set).Elem()); err != nil {
			fault = fmt.Errorf("endpoints of %s: %w", r.Name, err)
			continue // the others are no worse for it
		}
		d.endpoints[r.Name], changed[r.Name] = r, set
	}
	c := *d.config
	c.Endpoints = c.Endpoints.With(changed)
	d.config = &c
	return changed, fault
}

// Config takes an update of the config over, and returns the whole. After an error,
// which names the resource that is wrong, the Decoder holds what it did before.
func (d *Decoder) Config(u *Delta) (*config.Config, error) {
	d.changed, d.removed, d.next, d.depth = make(map[string]*Resource, len(u.Changed)), map[string]bool{}, map[string]made{}, 0
	for _, name := range u.Removed {
		d.removed[name] = true
	}
	for _, r := range u.Changed {
		d.changed[r.Name] = r
		delete(d.removed, r.Name)
	}
	c := *d.config
	if d.concerns(kindUpstream) { // else it is the same map, which says so
		c.Upstreams = maps.Clone(c.Upstreams)
	}
	c.Totals = maps.Clone(c.Totals)
	if d.concerns(kindPurge) {
		c.Purges = slices.Clone(c.Purges)
	}
	d.consumers = map[string]*config.Consumer{}
	touched := map[string]*touch{}
	for name := range d.removed {
		d.remove(&c, name, touched)
	}
	for name, r := range d.changed {
		if err := d.change(&c, name, r, touched); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, t := range touched { // nothing is taken over before all is right
		if err := t.assemble(name, d.gateways[name]); err != nil {
			return nil, err
		}
	}
	c.Consumers = c.Consumers.With(d.consumers)
	for name, t := range touched {
		t.commit(name, d.gateways)
	}
	c.Gateways = nil
	for _, name := range slices.Sorted(maps.Keys(d.gateways)) {
		c.Gateways = append(c.Gateways, d.gateways[name].gateway)
	}
	maps.Copy(d.set, d.changed)
	maps.Copy(d.values, d.next)
	for name := range d.removed {
		delete(d.set, name)
		delete(d.values, name)
	}
	d.config = &c
	return &c, nil
}

// concerns reports whether the update has anything of a kind.
func (d *Decoder) concerns(kind string) bool {
	for name := range d.changed {
		if strings.HasPrefix(name, kind+"/") {
			return true
		}
	}
	for name := range d.removed {
		if strings.HasPrefix(name, kind+"/") {
			return true
		}
	}
	return false
}

// touch is what an update changes of a Gateway.
type touch struct {
	gateway *config.Gateway // nil: as before
	gone    bool
	routes  map[string]*attachment // by resource; nil: it is gone
	made    *config.Gateway        // with its routes; nil: there is none
}

func at(touched map[string]*touch, gateway string) *touch {
	t := touched[gateway]
	if t == nil {
		t = &touch{routes: map[string]*attachment{}}
		touched[gateway] = t
	}
	return t
}

func (d *Decoder) remove(c *config.Config, name string, touched map[string]*touch) {
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case kindGateway:
		at(touched, rest).gone = true
	case kindUpstream:
		delete(c.Upstreams, rest)
	case kindTotals:
		delete(c.Totals, rest)
	case kindForbidden:
		c.Forbidden = nil
	case kindGrants:
		c.ConsumerGrants = nil
	case kindConsumer:
		d.consumers[rest] = nil
	case kindPurge:
		if i, ok := purgeAt(c.Purges, rest); ok {
			c.Purges = slices.Delete(c.Purges, i, i+1)
		}
	case kindRoute, kindRaw:
		gateway, _, _ := strings.Cut(rest, " ")
		at(touched, gateway).routes[name] = nil
	}
}

func (d *Decoder) change(c *config.Config, name string, r *Resource, touched map[string]*touch) (err error) {
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case kindGateway:
		g := new(config.Gateway)
		if err := d.plant(r, reflect.ValueOf(g).Elem()); err != nil {
			return err
		}
		if g.Object.Namespace+"/"+g.Object.Name != rest {
			return errForm
		}
		t := at(touched, rest)
		t.gateway, t.gone = g, false
	case kindUpstream:
		c.Upstreams[rest], err = get[config.Upstream](d, r)
	case kindTotals:
		c.Totals[rest], err = get[config.Totals](d, r)
	case kindForbidden:
		if name != forbiddenName {
			return errForm
		}
		c.Forbidden, err = get[config.Forbidden](d, r)
	case kindGrants:
		if name != grantsName {
			return errForm
		}
		c.ConsumerGrants, err = get[config.ConsumerGrants](d, r)
	case kindConsumer:
		one, err := get[config.Consumer](d, r)
		if err != nil || one.Object() != rest {
			return cmp.Or(err, errForm)
		}
		d.consumers[rest] = one
	case kindPurge:
		p, err := get[config.Purge](d, r)
		if err != nil || p.ID != rest {
			return cmp.Or(err, errForm)
		}
		i, ok := purgeAt(c.Purges, rest)
		if ok {
			c.Purges[i] = p
		} else {
			c.Purges = slices.Insert(c.Purges, i, p)
		}
	case kindRoute, kindRaw:
		var a *attachment
		if a, err = get[attachment](d, r); err != nil {
			return err
		}
		if gateway, _, _ := strings.Cut(rest, " "); gateway != a.Gateway || (kind == kindRaw) != (a.Raw != nil) || (a.Route == nil) == (a.Raw == nil) {
			return errForm
		}
		at(touched, a.Gateway).routes[name] = a
	}
	return err
}

// purgeAt returns the place of a purge, and whether it is there.
func purgeAt(list []*config.Purge, id string) (int, bool) {
	return slices.BinarySearchFunc(list, id, func(p *config.Purge, id string) int { return cmp.Compare(p.ID, id) })
}

// get returns the value of a resource of the update.
func get[T any](d *Decoder, r *Resource) (*T, error) {
	v, err := d.value(r, reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	return v.Interface().(*T), nil
}

// value returns the value of a resource, the one made before if it is the same.
func (d *Decoder) value(r *Resource, t reflect.Type) (reflect.Value, error) {
	for _, from := range []map[string]made{d.next, d.values} {
		if m, ok := from[r.Name]; ok && m.version == r.Version && m.value.Type().Elem() == t {
			return m.value, nil
		}
	}
	v := reflect.New(t)
	if err := d.plant(r, v.Elem()); err != nil {
		return v, err
	}
	d.next[r.Name] = made{r.Version, v}
	return v, nil
}

// plant reads a resource.
func (d *Decoder) plant(r *Resource, into reflect.Value) error {
	if d.depth++; d.depth > maxParts {
		return errForm
	}
	defer func() { d.depth-- }()
	var x any
	if err := decMode.Unmarshal(r.Bytes, &x); err != nil {
		return err
	}
	return plant(into, x, func(t reflect.Type, name string) (reflect.Value, error) {
		if kind, _, _ := strings.Cut(name, "/"); kind != shared[t] {
			return reflect.Value{}, errForm
		}
		one := d.changed[name]
		if one == nil && !d.removed[name] {
			one = d.set[name]
		}
		if one == nil {
			return reflect.Value{}, fmt.Errorf("%s is missing", name)
		}
		return d.value(one, t.Elem())
	})
}

// assemble makes the Gateway with the routes that it has now.
func (t *touch) assemble(name string, old *served) error {
	if old == nil {
		old = &served{}
	}
	g := t.gateway
	if g == nil {
		g = old.gateway
	}
	if t.gone || g == nil {
		if t.left(old.routes) > 0 {
			return fmt.Errorf("routes of gateway %s: %w", name, errForm)
		}
		return nil
	}
	copied := *g
	copied.Listeners = slices.Clone(g.Listeners)
	t.made = &copied
	if t.gateway == nil {
		return patch(t.made, t.routes, old.routes)
	}
	all := maps.Clone(old.routes)
	if all == nil {
		all = map[string]*attachment{}
	}
	t.take(all)
	return fill(t.made, all)
}

// left returns how many routes there are after the change.
func (t *touch) left(old map[string]*attachment) int {
	n := len(old)
	for resource, a := range t.routes {
		switch was := old[resource]; {
		case was == nil && a != nil:
			n++
		case was != nil && a == nil:
			n--
		}
	}
	return n
}

// take changes routes as the update does.
func (t *touch) take(routes map[string]*attachment) {
	for resource, a := range t.routes {
		if a == nil {
			delete(routes, resource)
		} else {
			routes[resource] = a
		}
	}
}

// commit takes over what assemble made.
func (t *touch) commit(name string, all map[string]*served) {
	if t.made == nil {
		delete(all, name)
		return
	}
	s := all[name]
	if s == nil {
		s = &served{routes: map[string]*attachment{}}
		all[name] = s
	}
	s.gateway = t.made
	t.take(s.routes)
}

// fill puts all routes into the tables of the listeners that serve them.
func fill(g *config.Gateway, routes map[string]*attachment) error {
	for i, l := range g.Listeners {
		if l == nil {
			return fmt.Errorf("gateway %s: listener %d: %w", g.Object, i, errForm)
		}
		copied := *l
		copied.Routes, copied.RawRoutes = nil, nil
		if l.Raw() {
			copied.RawRoutes = &config.RawTable{}
		} else {
			copied.Routes = &config.RouteTable{}
		}
		g.Listeners[i] = &copied
	}
	all := slices.SortedFunc(maps.Values(routes), func(a, b *attachment) int { return a.about().compare(b.about()) })
	for _, a := range all {
		if err := a.fits(g); err != nil {
			return err
		}
		for _, to := range a.Listeners {
			if l := g.Listeners[to.Listener]; a.Raw != nil {
				l.RawRoutes.Entries = append(l.RawRoutes.Entries, config.RawEntry{Hostnames: to.Hostnames, Route: a.Raw})
			} else {
				l.Routes.Entries = append(l.Routes.Entries, &config.RouteEntry{Hostnames: to.Hostnames, Route: a.Route})
			}
		}
	}
	return nil
}

// fits reports whether the listeners that a route names take it.
func (a *attachment) fits(g *config.Gateway) error {
	for _, to := range a.Listeners {
		if to.Listener < 0 || to.Listener >= len(g.Listeners) || g.Listeners[to.Listener].Raw() != (a.Raw != nil) {
			return fmt.Errorf("a route of gateway %s: listener %d: %w", a.Gateway, to.Listener, errForm)
		}
	}
	return nil
}

// patch changes single routes of tables that are otherwise as before.
func patch(g *config.Gateway, changed, old map[string]*attachment) error {
	listeners := map[int][]attachedRoute{}
	note := func(a *attachment, gone bool) {
		for _, to := range a.Listeners {
			listeners[to.Listener] = append(listeners[to.Listener], attachedRoute{a, a.about(), to.Hostnames, gone})
		}
	}
	for resource := range changed { // before what comes, also once they are in order
		if was := old[resource]; was != nil {
			note(was, true)
		}
	}
	for _, a := range changed {
		if a == nil {
			continue
		}
		if err := a.fits(g); err != nil {
			return err
		}
		note(a, false)
	}
	for i, list := range listeners {
		slices.SortStableFunc(list, func(a, b attachedRoute) int { return a.place.compare(b.place) })
		l := *g.Listeners[i]
		if l.Raw() {
			l.RawRoutes = &config.RawTable{Entries: merge(l.RawRoutes.Entries, list,
				func(e config.RawEntry) *attachment { return &attachment{Raw: e.Route} },
				func(a attachedRoute) config.RawEntry { return config.RawEntry{Hostnames: a.hostnames, Route: a.Raw} })}
		} else {
			l.Routes = &config.RouteTable{Entries: merge(l.Routes.Entries, list,
				func(e *config.RouteEntry) *attachment { return &attachment{Route: e.Route} },
				func(a attachedRoute) *config.RouteEntry {
					return &config.RouteEntry{Hostnames: a.hostnames, Route: a.Route}
				})}
		}
		g.Listeners[i] = &l
	}
	return nil
}

// attachedRoute is a route at one listener, that comes to it or goes.
type attachedRoute struct {
	*attachment
	place     about
	hostnames []string
	gone      bool
}

func (a *attachment) route() any {
	if a.Raw != nil {
		return a.Raw
	}
	return a.Route
}

// merge returns a table after changes; both are in order, and what goes comes before
// what takes its place.
func merge[E any](table []E, changes []attachedRoute, of func(E) *attachment, made func(attachedRoute) E) []E {
	out := make([]E, 0, len(table)+len(changes))
	for _, c := range changes {
		n, _ := slices.BinarySearchFunc(table, c.place, func(e E, place about) int { return of(e).about().compare(place) })
		out, table = append(out, table[:n]...), table[n:]
		if !c.gone {
			out = append(out, made(c))
			continue
		}
		for len(table) > 0 && of(table[0]).about().compare(c.place) == 0 {
			if of(table[0]).route() != c.route() {
				out = append(out, table[0])
			}
			table = table[1:]
		}
	}
	return append(out, table...)
}
