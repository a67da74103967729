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

// Decoder makes configs of resources. It remembers what it made, so that equal
// resources stay the same value. One goroutine at a time uses it.
type Decoder struct {
	made map[string]made          // by kind/name
	sets map[string]endpointsMade // by upstream

	set   map[string]*Resource
	next  map[string]made
	depth int
}

// made is a value with the version of the resource that it is of, and what that
// one refers to.
type made struct {
	version string
	value   reflect.Value
	refs    []string
}

// endpointsMade is an endpoint set with the version of its resource.
type endpointsMade struct {
	version string
	value   *config.EndpointSet
}

// Decode returns the config that resources hold. The error names the resource
// that is wrong; nothing is remembered of a set that has one.
func (d *Decoder) Decode(set *Set) (*config.Config, error) {
	d.set, d.next, d.depth = set.Config, make(map[string]made, len(set.Config)), 0
	c := &config.Config{
		Upstreams: map[string]*config.Upstream{}, Endpoints: make(map[string]*config.EndpointSet, len(set.Endpoints)), Totals: map[string]*config.Totals{},
	}
	gateways := map[string]*config.Gateway{}
	var attachments []*attachment
	for name, r := range set.Config {
		kind, rest, _ := strings.Cut(name, "/")
		var err error
		switch kind {
		case kindGateway:
			var g config.Gateway
			err = d.fresh(r, &g)
			gateways[rest] = &g
		case kindUpstream:
			c.Upstreams[rest], err = get[config.Upstream](d, r)
		case kindTotals:
			c.Totals[rest], err = get[config.Totals](d, r)
		case kindRoute, kindRaw:
			var a *attachment
			if a, err = get[attachment](d, r); err == nil {
				attachments = append(attachments, a)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, r := range set.Endpoints {
		s, err := d.endpoints(r)
		if err != nil {
			return nil, fmt.Errorf("endpoints of %s: %w", name, err)
		}
		c.Endpoints[name] = s
	}
	if err := assemble(gateways, attachments); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(gateways)) {
		c.Gateways = append(c.Gateways, gateways[name])
	}
	d.made = d.next
	for name := range d.sets {
		if set.Endpoints[name] == nil {
			delete(d.sets, name)
		}
	}
	return c, nil
}

// endpoints reads one endpoint set, of the config or beside it.
func (d *Decoder) endpoints(r *Resource) (*config.EndpointSet, error) {
	if m, ok := d.sets[r.Name]; ok && m.version == r.Version {
		return m.value, nil
	}
	set := new(config.EndpointSet)
	if _, err := d.plant(r, reflect.ValueOf(set).Elem()); err != nil {
		return nil, err
	}
	if d.sets == nil {
		d.sets = map[string]endpointsMade{}
	}
	d.sets[r.Name] = endpointsMade{r.Version, set}
	return set, nil
}

// get returns the value of a resource, the one made before if it is the same.
func get[T any](d *Decoder, r *Resource) (*T, error) {
	v, err := d.value(r, reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	return v.Interface().(*T), nil
}

func (d *Decoder) value(r *Resource, t reflect.Type) (reflect.Value, error) {
	if m, ok := d.next[r.Name]; ok {
		return m.value, nil
	}
	if m, ok := d.made[r.Name]; ok && m.version == r.Version && m.value.Type().Elem() == t && d.keep(r.Name) {
		return m.value, nil
	}
	v := reflect.New(t)
	refs, err := d.plant(r, v.Elem())
	if err != nil {
		return v, err
	}
	d.next[r.Name] = made{r.Version, v, refs}
	return v, nil
}

// keep carries a value and what it refers to over, if all is still there.
func (d *Decoder) keep(name string) bool {
	if _, ok := d.next[name]; ok {
		return true
	}
	m, ok := d.made[name]
	if !ok {
		return false
	}
	for _, ref := range m.refs {
		if d.set[ref] == nil || !d.keep(ref) {
			return false
		}
	}
	d.next[name] = m
	return true
}

// fresh reads a value that is made anew each time.
func (d *Decoder) fresh(r *Resource, into any) error {
	_, err := d.plant(r, reflect.ValueOf(into).Elem())
	return err
}

// plant reads a resource, and returns the names that it refers to.
func (d *Decoder) plant(r *Resource, into reflect.Value) (refs []string, err error) {
	if d.depth++; d.depth > maxParts {
		return nil, errForm
	}
	defer func() { d.depth-- }()
	var x any
	if err := decMode.Unmarshal(r.Bytes, &x); err != nil {
		return nil, err
	}
	err = plant(into, x, func(t reflect.Type, name string) (reflect.Value, error) {
		if kind, _, _ := strings.Cut(name, "/"); kind != shared[t] {
			return reflect.Value{}, errForm
		}
		one := d.set[name]
		if one == nil {
			return reflect.Value{}, fmt.Errorf("%s is missing", name)
		}
		refs = append(refs, name)
		return d.value(one, t.Elem())
	})
	return refs, err
}

// assemble puts routes into the tables of the listeners that serve them, oldest
// first, then by namespace and name.
func assemble(gateways map[string]*config.Gateway, attachments []*attachment) error {
	for name, g := range gateways {
		for i, l := range g.Listeners {
			switch {
			case l == nil:
				return fmt.Errorf("gateway/%s: listener %d: %w", name, i, errForm)
			case l.Raw():
				l.RawRoutes = &config.RawTable{}
			default:
				l.Routes = &config.RouteTable{}
			}
		}
	}
	slices.SortFunc(attachments, func(a, b *attachment) int {
		x, y := a.about(), b.about()
		return cmp.Or(x.created.Compare(y.created), cmp.Compare(x.namespace, y.namespace), cmp.Compare(x.name, y.name), cmp.Compare(x.kind, y.kind), cmp.Compare(place(a), place(b)))
	})
	for _, a := range attachments {
		g := gateways[a.Gateway]
		if g == nil || (a.Route == nil) == (a.Raw == nil) {
			return fmt.Errorf("a route of gateway %s: %w", a.Gateway, errForm)
		}
		for _, at := range a.Listeners {
			if at.Listener < 0 || at.Listener >= len(g.Listeners) || g.Listeners[at.Listener].Raw() != (a.Raw != nil) {
				return fmt.Errorf("a route of gateway %s: listener %d: %w", a.Gateway, at.Listener, errForm)
			}
			if l := g.Listeners[at.Listener]; a.Raw != nil {
				l.RawRoutes.Entries = append(l.RawRoutes.Entries, config.RawEntry{Hostnames: at.Hostnames, Route: a.Raw})
			} else {
				l.Routes.Entries = append(l.Routes.Entries, config.RouteEntry{Hostnames: at.Hostnames, Route: a.Route})
			}
		}
	}
	return nil
}
