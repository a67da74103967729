package remote

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
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

// Set is a whole config as resources, by name. It is not changed once made.
type Set struct {
	Config    map[string]*Resource
	Endpoints map[string]*Resource
	Images    map[string]*Resource // of a state on disk: by filter hash
}

// Kinds of resources that are named by what they are of.
const (
	kindGateway  = "gateway"
	kindRoute    = "route"
	kindRaw      = "rawroute"
	kindUpstream = "upstream"
	kindTotals   = "totals"
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

// Encoder makes resources of configs. It remembers the last one's, so that what
// did not change costs little. One goroutine at a time uses it.
type Encoder struct {
	old, now map[any]*Resource // by pointer
	set      *Set
	err      error
}

// Encode returns a config as resources.
func (e *Encoder) Encode(c *config.Config) (*Set, error) {
	e.old, e.now, e.err = e.now, map[any]*Resource{}, nil
	e.set = &Set{Config: make(map[string]*Resource, len(e.old)), Endpoints: make(map[string]*Resource, len(c.Endpoints))}
	for _, g := range c.Gateways {
		e.gateway(g)
	}
	for name, u := range c.Upstreams {
		e.put(e.set.Config, u, kindUpstream+"/"+name, u)
	}
	for namespace, t := range c.Totals {
		e.put(e.set.Config, t, kindTotals+"/"+namespace, t)
	}
	for name, s := range c.Endpoints {
		e.put(e.set.Endpoints, s, name, s)
	}
	if e.err != nil {
		return nil, e.err
	}
	return e.set, nil
}

func (e *Encoder) gateway(g *config.Gateway) {
	name := g.Object.Namespace + "/" + g.Object.Name
	e.put(e.set.Config, g, kindGateway+"/"+name, g)
	routes, raw := map[*config.Route]*attachment{}, map[*config.RawRoute]*attachment{}
	for i, l := range g.Listeners {
		if l.Routes != nil {
			for _, r := range l.Routes.Entries {
				a := routes[r.Route]
				if a == nil {
					a = &attachment{Gateway: name, Route: r.Route}
					routes[r.Route] = a
				}
				a.Listeners = append(a.Listeners, attachedTo{i, r.Hostnames})
			}
		}
		if l.RawRoutes != nil {
			for _, r := range l.RawRoutes.Entries {
				a := raw[r.Route]
				if a == nil {
					a = &attachment{Gateway: name, Raw: r.Route}
					raw[r.Route] = a
				}
				a.Listeners = append(a.Listeners, attachedTo{i, r.Hostnames})
			}
		}
	}
	for r, a := range routes {
		e.put(e.set.Config, attached{r, place(a)}, kindRoute+"/"+name+" "+r.Object.String(), a)
	}
	for r, a := range raw {
		e.put(e.set.Config, attached{r, place(a)}, kindRaw+"/"+name+" "+r.Object.String()+place(a), a)
	}
}

// attached is what an attachment is remembered by.
type attached struct {
	route any
	place string
}

func place(a *attachment) string { return fmt.Sprintf("%v", a.Listeners) }

// put makes the resource of a value, or takes that of the same pointer over.
func (e *Encoder) put(into map[string]*Resource, id any, name string, v any) *Resource {
	r := e.now[id]
	if r == nil {
		r = e.old[id]
		if r == nil {
			r = &Resource{Name: name}
			r.Bytes = e.encode(reflect.ValueOf(v).Elem())
			r.Version = hash(r.Bytes)
		} else if e.refer(reflect.ValueOf(v).Elem()); r.Name != name {
			r = &Resource{Name: name, Version: r.Version, Bytes: r.Bytes}
		}
		e.now[id] = r
	}
	into[r.Name] = r
	return r
}

// ref makes the resource of a shared value and returns its name.
func (e *Encoder) ref(v reflect.Value) string {
	id := v.Interface()
	r := e.now[id]
	if r == nil {
		if r = e.old[id]; r == nil {
			bytes := e.encode(v.Elem())
			version := hash(bytes)
			r = &Resource{Name: shared[v.Type()] + "/" + version, Version: version, Bytes: bytes}
		} else {
			e.refer(v.Elem())
		}
		e.now[id] = r
	}
	e.set.Config[r.Name] = r
	return r.Name
}

func (e *Encoder) encode(v reflect.Value) []byte {
	x, err := tree(v, e.ref)
	var bytes []byte
	if err == nil {
		bytes, err = encMode.Marshal(x)
	}
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("encode %s: %w", v.Type(), err)
	}
	return bytes
}

// refer keeps what a value that did not change refers to.
func (e *Encoder) refer(v reflect.Value) {
	switch t := v.Type(); {
	case withheld[t] || !refers(t):
	case shared[t] != "":
		if !v.IsNil() {
			e.ref(v)
		}
	case t.Kind() == reflect.Pointer:
		if !v.IsNil() {
			e.refer(v.Elem())
		}
	case t.Kind() == reflect.Struct:
		for i := range v.NumField() {
			e.refer(v.Field(i))
		}
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		for i := range v.Len() {
			e.refer(v.Index(i))
		}
	}
}

// referring says of each type whether it can hold a shared value.
var referring = map[reflect.Type]bool{}

func init() {
	for _, t := range []reflect.Type{reflect.TypeFor[config.Config](), reflect.TypeFor[attachment]()} {
		explore(t)
	}
}

// refers reports whether values of a type can hold a shared one.
func refers(t reflect.Type) bool { return referring[t] }

func explore(t reflect.Type) bool {
	if known, ok := referring[t]; ok {
		return known
	}
	referring[t] = shared[t] != "" // as long as it is explored
	found := referring[t]
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		found = explore(t.Elem()) || found
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				found = explore(t.Field(i).Type) || found
			}
		}
	}
	referring[t] = found
	return found
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
