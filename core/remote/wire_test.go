package remote

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"penstock.dev/penstock/core/config"
)

// filler gives every field of a config a value of its own, so that one that is
// not sent is missed.
type filler struct{ n int }

func (f *filler) fill(v reflect.Value, depth int) {
	f.n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Unix(int64(f.n), 5).UTC()
		return
	case *netip.Addr:
		*x = netip.AddrFrom4([4]byte{10, 0, byte(f.n >> 8), byte(f.n)})
		return
	case *netip.AddrPort:
		*x = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(f.n >> 8), byte(f.n)}), uint16(f.n))
		return
	case *netip.Prefix:
		*x = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(f.n >> 8), byte(f.n)}), 32)
		return
	case **regexp.Regexp:
		*x = regexp.MustCompile(fmt.Sprintf("^a{%d}$", f.n%100))
		return
	}
	if withheld[v.Type()] {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if depth < 12 && (v.Type() != reflect.TypeFor[*config.Part]() || depth <= 8) {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		e := reflect.New(v.Type().Elem()).Elem()
		f.fill(e, depth+1)
		v.SetMapIndex(reflect.ValueOf(fmt.Sprint("key", f.n)).Convert(v.Type().Key()), e)
	case reflect.String:
		v.SetString(fmt.Sprint("text", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(uint64(f.n%250 + 1))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		v.SetUint(uint64(f.n%60000 + 1))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.n%100 + 1))
	case reflect.Float64:
		v.SetFloat(float64(f.n) + 0.5)
	default:
		panic(v.Type())
	}
}

func filled() *config.Config {
	f := filler{n: 10_000} // numbers of one length, for the order
	c := &config.Config{Upstreams: map[string]*config.Upstream{}, Totals: map[string]*config.Totals{}}
	c.Forbidden = &config.Forbidden{}
	f.fill(reflect.ValueOf(c.Forbidden).Elem(), 0)
	c.ConsumerGrants = &config.ConsumerGrants{}
	f.fill(reflect.ValueOf(c.ConsumerGrants).Elem(), 0)
	for range 2 {
		g := &config.Gateway{}
		f.fill(reflect.ValueOf(g).Elem(), 0)
		for i, l := range g.Listeners {
			l.Protocol = "HTTP"
			if i == 1 {
				l.Protocol = "TCP"
				r := &config.RawRoute{}
				f.fill(reflect.ValueOf(r).Elem(), 0)
				l.RawRoutes = &config.RawTable{Entries: []config.RawEntry{{Hostnames: []string{"a"}, Route: r}}}
				continue
			}
			l.Routes = &config.RouteTable{}
			for range 3 {
				r := &config.Route{}
				f.fill(reflect.ValueOf(r).Elem(), 0)
				l.Routes.Entries = append(l.Routes.Entries, &config.RouteEntry{Hostnames: []string{fmt.Sprint("h", f.n)}, Route: r})
			}
		}
		c.Gateways = append(c.Gateways, g)
		u, s, t := &config.Upstream{}, &config.EndpointSet{}, &config.Totals{}
		f.fill(reflect.ValueOf(u).Elem(), 0)
		f.fill(reflect.ValueOf(s).Elem(), 0)
		f.fill(reflect.ValueOf(t).Elem(), 0)
		p := &config.Purge{}
		f.fill(reflect.ValueOf(p).Elem(), 0)
		c.Purges = append(c.Purges, p)
		one := &config.Consumer{}
		f.fill(reflect.ValueOf(one).Elem(), 0)
		c.Consumers = c.Consumers.With(map[string]*config.Consumer{one.Object(): one})
		c.Upstreams[fmt.Sprint("ns/s:", f.n)], c.Totals[fmt.Sprint("ns", f.n)] = u, t
		c.Endpoints = c.Endpoints.With(map[string]*config.EndpointSet{fmt.Sprint("ns/s:", f.n): s})
	}
	return c
}

var same = cmp.Options{
	cmp.Comparer(func(a, b *regexp.Regexp) bool { return a == b || a != nil && b != nil && a.String() == b.String() }),
	cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}),
	cmp.Transformer("consumers", func(o config.Overlay[string, *config.Consumer]) map[string]*config.Consumer {
		return maps.Collect(o.All())
	}),
	cmp.Transformer("all", func(o config.Overlay[string, *config.EndpointSet]) map[string]*config.EndpointSet {
		return maps.Collect(o.All())
	}),
}

// over sends an update and returns the config that arrives.
func over(t testing.TB, e *Encoder, d *Decoder, c *config.Config) (*Update, *config.Config) {
	t.Helper()
	u, err := e.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Endpoints(&u.Endpoints); err != nil {
		t.Fatal(err)
	}
	got, err := d.Config(&u.Config)
	if err != nil {
		t.Fatal(err)
	}
	return u, got
}

// TestEveryFieldArrives: a field that config gets and the wire does not would be
// left out in silence.
func TestEveryFieldArrives(t *testing.T) {
	c := filled()
	if _, got := over(t, new(Encoder), NewDecoder(), c); !cmp.Equal(c, got, same) {
		t.Errorf("(-sent +arrived)\n%s", cmp.Diff(c, got, same))
	}
}

// TestAChangeSendsWhatItTouches: and what did not change stays the same value.
func TestAChangeSendsWhatItTouches(t *testing.T) {
	c := filled()
	e, d := new(Encoder), NewDecoder()
	_, before := over(t, e, d, c)
	changed := *c
	g := *c.Gateways[0]
	l := *g.Listeners[0]
	table := *l.Routes
	r := *table.Entries[0].Route
	r.Rules = append([]*config.Rule{{Name: "new"}}, r.Rules...)
	table.Entries = append([]*config.RouteEntry{{Hostnames: table.Entries[0].Hostnames, Route: &r}}, table.Entries[1:]...)
	l.Routes = &table
	g.Listeners = append([]*config.Listener{&l}, g.Listeners[1:]...)
	changed.Gateways = append([]*config.Gateway{&g}, c.Gateways[1:]...)
	u, after := over(t, e, d, &changed)
	if len(u.Config.Changed) != 1 || !strings.HasPrefix(u.Config.Changed[0].Name, "route/") || len(u.Config.Removed) > 0 || !u.Endpoints.Empty() {
		t.Errorf("sent %+v", u)
	}
	was, is := before.Gateways[0].Listeners[0].Routes.Entries, after.Gateways[0].Listeners[0].Routes.Entries
	if was[0].Route == is[0].Route || was[1].Route != is[1].Route || before.Gateways[1] != after.Gateways[1] {
		t.Error("the route that changed is the same, or another one is not")
	}
	for name, u := range after.Upstreams {
		if before.Upstreams[name] != u || before.Endpoints.Of(name) != after.Endpoints.Of(name) {
			t.Errorf("%s is another value", name)
		}
	}
	if !cmp.Equal(&changed, after, same) {
		t.Errorf("(-sent +arrived)\n%s", cmp.Diff(&changed, after, same))
	}
	if u, _ := over(t, e, d, &changed); !u.Config.Empty() || !u.Endpoints.Empty() {
		t.Errorf("nothing changed, and sent was %+v", u)
	}
	if u, got := over(t, e, d, &config.Config{}); len(got.Gateways)+len(got.Upstreams)+len(got.Totals)+len(d.set)+len(d.values) > 0 || len(e.shared)+len(e.named)+len(e.top) > 0 {
		t.Errorf("something is left when all is gone: %v; removed %d", got, len(u.Config.Removed))
	}
}

// TestForbiddenAddressesComeAlone: our own Pods come and go; what proxies serve stays the
// same values.
func TestForbiddenAddressesComeAlone(t *testing.T) {
	c := filled()
	e, d := new(Encoder), NewDecoder()
	_, before := over(t, e, d, c)
	for _, forbidden := range []*config.Forbidden{{Addresses: []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::1")}}, {}} {
		changed := *c
		changed.Forbidden = forbidden
		u, after := over(t, e, d, &changed)
		if len(u.Config.Changed) != 1 || u.Config.Changed[0].Name != "forbidden/addresses" || len(u.Config.Removed) > 0 || !u.Endpoints.Empty() {
			t.Errorf("sent %+v; want one resource", u)
		}
		if !cmp.Equal(after.Forbidden, forbidden, same, cmpopts.EquateEmpty()) {
			t.Errorf("got %v; want %v", after.Forbidden, forbidden)
		}
		for i, g := range after.Gateways {
			if g != before.Gateways[i] {
				t.Errorf("%s is another value", g.Object)
			}
		}
		if !config.SameMap(after.Upstreams, before.Upstreams) {
			t.Error("the upstreams are another map")
		}
		if u, _ := over(t, e, d, &changed); !u.Config.Empty() {
			t.Errorf("nothing changed, and sent was %+v", u)
		}
		before = after
	}
	changed := *c
	changed.Forbidden = nil
	if u, after := over(t, e, d, &changed); len(u.Config.Removed) != 1 || after.Forbidden != nil {
		t.Errorf("sent %+v, got %v; want it gone", u, after.Forbidden)
	}
}

// TestAConsumerComesAlone: and the others stay the same values.
func TestAConsumerComesAlone(t *testing.T) {
	c := filled()
	e, d := new(Encoder), NewDecoder()
	_, before := over(t, e, d, c)
	one := &config.Consumer{Namespace: "store", Name: "shop", Username: "shop", Groups: []string{"buyers"}, Credentials: []config.Credential{{Type: "key-auth", ID: config.CredentialID("key-auth", []byte("12345678"))}}}
	changed := *c
	changed.Consumers = c.Consumers.With(map[string]*config.Consumer{one.Object(): one})
	u, after := over(t, e, d, &changed)
	if len(u.Config.Changed) != 1 || u.Config.Changed[0].Name != "consumer/store/shop" || len(u.Config.Removed) > 0 || !u.Endpoints.Empty() {
		t.Errorf("sent %+v; want one resource", u)
	}
	if !cmp.Equal(after.Consumers.Of("store/shop"), one) || after.Consumers.Len() != 3 || !config.SameMap(after.Upstreams, before.Upstreams) {
		t.Errorf("got %v", after.Consumers)
	}
	for key, was := range before.Consumers.All() {
		if after.Consumers.Of(key) != was {
			t.Errorf("%s is another value", key)
		}
	}
	if u, after = over(t, e, d, c); len(u.Config.Removed) != 1 || len(u.Config.Changed) > 0 || after.Consumers.Of("store/shop") != nil {
		t.Errorf("sent %+v; want it gone", u)
	}
}

// TestManyChanges: after any row of changes there is what a fresh pair would have.
func TestManyChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	parameters := []*config.ProxyParameters{{Via: "a"}, {Via: "b"}, {Via: "a"}}
	parts := []*config.Part{{Hash: "1"}, {Hash: "2", Fallback: &config.Part{Hash: "3"}}, {Hash: "1"}}
	route := func() *config.Route {
		n := random.IntN(12)
		return &config.Route{
			Object: config.Object{Kind: "HTTPRoute", Namespace: "ns", Name: fmt.Sprint("r", n)}, Created: time.Unix(int64(n%3), 0).UTC(),
			Rules: []*config.Rule{{Name: fmt.Sprint(random.IntN(3)), Chain: &config.Chain{Parts: []*config.Part{parts[random.IntN(len(parts))]}}}},
		}
	}
	routes := map[string]*config.Route{}
	order := func(a, b *config.RouteEntry) int {
		return (&attachment{Route: a.Route}).about().compare((&attachment{Route: b.Route}).about())
	}
	e, d := new(Encoder), NewDecoder()
	for step := range 400 {
		for range random.IntN(4) {
			r := route()
			routes[r.Object.Name] = r
		}
		if random.IntN(3) == 0 {
			delete(routes, fmt.Sprint("r", random.IntN(12)))
		}
		c := &config.Config{Upstreams: map[string]*config.Upstream{}, Totals: map[string]*config.Totals{}}
		for g := range random.IntN(3) {
			one := &config.Gateway{Object: config.Object{Namespace: "ns", Name: fmt.Sprint("g", g)}, Parameters: parameters[random.IntN(len(parameters))]}
			for range 1 + random.IntN(2) {
				table := &config.RouteTable{}
				for _, r := range routes {
					if random.IntN(4) > 0 {
						table.Entries = append(table.Entries, &config.RouteEntry{Hostnames: []string{fmt.Sprint("h", random.IntN(2))}, Route: r})
					}
				}
				slices.SortFunc(table.Entries, order)
				raw := &config.RawTable{}
				for n := range random.IntN(3) { // the same route is another value at each listener
					raw.Entries = append(raw.Entries, config.RawEntry{Route: &config.RawRoute{Object: config.Object{Kind: "TCPRoute", Namespace: "ns", Name: fmt.Sprint("t", n)}, Name: fmt.Sprint(random.IntN(2))}})
				}
				one.Listeners = append(one.Listeners, &config.Listener{Name: "t", Protocol: "TCP", RawRoutes: raw})
				one.Listeners = append(one.Listeners, &config.Listener{Name: "l", Protocol: "HTTP", Routes: table})
			}
			c.Gateways = append(c.Gateways, one)
		}
		if n := random.IntN(4); n < 3 {
			c.Forbidden = &config.Forbidden{Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})}}
		}
		for p := range 4 {
			if random.IntN(2) == 0 {
				c.Purges = append(c.Purges, &config.Purge{ID: fmt.Sprint("ns/p/", p), Namespace: "ns", Soft: random.IntN(2) == 0})
			}
		}
		for n := range 4 {
			if one := (&config.Consumer{Namespace: "ns", Name: fmt.Sprint("c", n), Username: fmt.Sprint("u", random.IntN(2))}); random.IntN(2) == 0 {
				one.Credentials = []config.Credential{{Type: "key-auth", ID: config.CredentialID("key-auth", []byte{byte(random.IntN(2))})}}
				c.Consumers = c.Consumers.With(map[string]*config.Consumer{one.Object(): one})
			}
		}
		if n := random.IntN(3); n < 2 {
			c.ConsumerGrants = &config.ConsumerGrants{List: []config.ConsumerGrant{{FromKind: "Service", FromNamespace: fmt.Sprint("ns", n), Namespace: "ns"}}}
		}
		for u := range random.IntN(3) {
			name := fmt.Sprint("u", u)
			c.Upstreams[name] = &config.Upstream{Name: name, Parameters: parameters[random.IntN(len(parameters))]}
			c.Endpoints = c.Endpoints.With(map[string]*config.EndpointSet{name: &config.EndpointSet{Endpoints: []config.Endpoint{{Zone: fmt.Sprint(random.IntN(2))}}}})
		}
		_, got := over(t, e, d, c)
		if !cmp.Equal(c, got, same, cmpopts.EquateEmpty()) {
			t.Fatalf("step %d (-sent +arrived)\n%s", step, cmp.Diff(c, got, same, cmpopts.EquateEmpty()))
		}
		var fresh Encoder
		whole, err := fresh.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, r := range whole.Config.Changed {
			want[r.Name] = r.Version
		}
		have := map[string]string{}
		for name, r := range d.set {
			have[name] = r.Version
		}
		if !maps.Equal(want, have) {
			t.Fatalf("step %d: resources (-fresh +kept)\n%s", step, cmp.Diff(want, have))
		}
	}
}

// TestFaultsAreRefused: what does not fit is refused as a whole.
func TestFaultsAreRefused(t *testing.T) {
	text := func(x any) []byte { return must(encMode.Marshal(x)) }
	tests := map[string]struct {
		name  string
		bytes []byte
		want  string
	}{
		"no CBOR":            {"upstream/a", []byte{0xff}, "upstream/a"},
		"no map":             {"upstream/a", text("x"), "unexpected form"},
		"a field of later":   {"upstream/a", text(map[string]any{"Guard": true}), "older than control"},
		"a type":             {"upstream/a", text(map[string]any{"Name": 5}), "Name"},
		"a number too large": {"totals/a", text(map[string]any{"Filters": uint64(1 << 63)}), "Filters"},
		"another forbidden":  {"forbidden/a", text(map[string]any{}), "unexpected form"},
		"other grants":       {"consumergrants/a", text(map[string]any{}), "unexpected form"},
		"another consumer":   {"consumer/n/a", text(map[string]any{"Namespace": "n", "Name": "b"}), "unexpected form"},
		"a short digest":     {"consumer/n/a", text(map[string]any{"Namespace": "n", "Name": "a", "Credentials": []any{map[string]any{"ID": []byte{1}}}}), "ID"},
		"a list as a digest": {"consumer/n/a", text(map[string]any{"Namespace": "n", "Name": "a", "Credentials": []any{map[string]any{"ID": []any{1}}}}), "ID"},
		"no address":         {forbiddenName, text(map[string]any{"Addresses": []any{"10.0.0.0.1"}}), forbiddenName},
		"a missing value":    {"upstream/a", text(map[string]any{"Parameters": "parameters/abc"}), "missing"},
		"another's purge":    {"purge/n/p/u", text(map[string]any{"ID": "n/q/u"}), "unexpected form"},
		"a purge's list":     {"purge/n/p/u", text(map[string]any{"ID": "n/p/u", "Tags": "a"}), "purge/n/p/u"},
		"one of other kind":  {"upstream/a", text(map[string]any{"Parameters": "upstream/a"}), "unexpected form"},
		"itself":             {"part/a", text(map[string]any{"Fallback": "part/a"}), ""},
		"no gateway":         {"route/x/y r", text(map[string]any{"Gateway": "x/y", "Route": map[string]any{}}), "gateway x/y"},
		"two times a key":    {"totals/a", []byte{0xa2, 0x61, 'a', 1, 0x61, 'a', 1}, "totals/a"},
		"a tag":              {"totals/a", []byte{0xc1, 0}, "totals/a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := NewDecoder()
			_, err := d.Config(&Delta{Changed: []*Resource{{Name: tt.name, Version: "1", Bytes: tt.bytes}}})
			if tt.want == "" {
				return // nothing refers to it
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v; want %q", err, tt.want)
			}
			if len(d.set)+len(d.values) > 0 {
				t.Error("something of it is kept")
			}
		})
	}
	loop := map[string]*Resource{
		"part/a":      {Name: "part/a", Bytes: text(map[string]any{"Fallback": "part/b"})},
		"part/b":      {Name: "part/b", Bytes: text(map[string]any{"Fallback": "part/a"})},
		"gateway/n/g": {Name: "gateway/n/g", Bytes: text(map[string]any{"Object": map[string]any{"Namespace": "n", "Name": "g"}, "Listeners": []any{map[string]any{"Chain": map[string]any{"Parts": []any{"part/a"}}}}})},
	}
	if _, err := NewDecoder().Config(&Delta{Changed: slices.Collect(maps.Values(loop))}); err == nil {
		t.Error("parts that refer to each other are taken")
	}
}

// FuzzDecode: whatever arrives, there is a config or an error, and a config that
// came to be goes over the wire unchanged.
func FuzzDecode(f *testing.F) {
	var e Encoder
	u, err := e.Encode(filled())
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range u.Config.Changed {
		f.Add(r.Name, r.Bytes)
	}
	f.Fuzz(func(t *testing.T, name string, bytes []byte) {
		c, err := NewDecoder().Config(&Delta{Changed: []*Resource{{Name: name, Version: "1", Bytes: bytes}}})
		if err != nil {
			return
		}
		_, got := over(t, new(Encoder), NewDecoder(), c)
		if diff := cmp.Diff(c, got, same, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-first +second)\n%s", diff)
		}
	})
}

// TestAPurgeComesAlone: the others stay the same values, and so does what is served.
func TestAPurgeComesAlone(t *testing.T) {
	c := filled()
	e, d := new(Encoder), NewDecoder()
	_, before := over(t, e, d, c)
	changed := *c
	changed.Purges = append([]*config.Purge{{ID: "a/p/u", Namespace: "a", Tags: []string{"t"}, Created: time.Unix(5, 0).UTC()}}, c.Purges...)
	u, after := over(t, e, d, &changed)
	if len(u.Config.Changed) != 1 || u.Config.Changed[0].Name != "purge/a/p/u" || len(u.Config.Removed) > 0 || u.Config.Parts() {
		t.Errorf("sent %+v; want one resource", u)
	}
	if !cmp.Equal(&changed, after, same) || after.Purges[1] != before.Purges[0] || after.Gateways[0] != before.Gateways[0] || !config.SameMap(after.Upstreams, before.Upstreams) {
		t.Errorf("(-sent +arrived)\n%s", cmp.Diff(&changed, after, same))
	}
	if len(before.Purges) != len(c.Purges) {
		t.Error("the config of before is another one now")
	}
	if u, after := over(t, e, d, c); len(u.Config.Removed) != 1 || !cmp.Equal(c, after, same) || len(u.Config.Changed) > 0 {
		t.Errorf("sent %+v; want one that is gone", u)
	}
}
