package remote

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
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
		if depth < 12 && !(v.Type() == reflect.TypeFor[*config.Part]() && depth > 8) {
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
	c := &config.Config{Upstreams: map[string]*config.Upstream{}, Endpoints: map[string]*config.EndpointSet{}, Totals: map[string]*config.Totals{}}
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
				l.Routes.Entries = append(l.Routes.Entries, config.RouteEntry{Hostnames: []string{fmt.Sprint("h", f.n)}, Route: r})
			}
		}
		c.Gateways = append(c.Gateways, g)
		u, s, t := &config.Upstream{}, &config.EndpointSet{}, &config.Totals{}
		f.fill(reflect.ValueOf(u).Elem(), 0)
		f.fill(reflect.ValueOf(s).Elem(), 0)
		f.fill(reflect.ValueOf(t).Elem(), 0)
		c.Upstreams[fmt.Sprint("ns/s:", f.n)], c.Endpoints[fmt.Sprint("ns/s:", f.n)], c.Totals[fmt.Sprint("ns", f.n)] = u, s, t
	}
	return c
}

var same = cmp.Options{
	cmp.Comparer(func(a, b *regexp.Regexp) bool { return a == b || a != nil && b != nil && a.String() == b.String() }),
	cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}),
}

// TestEveryFieldArrives: a field that config gets and the wire does not would be
// left out in silence.
func TestEveryFieldArrives(t *testing.T) {
	c := filled()
	var e Encoder
	set, err := e.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	var d Decoder
	got, err := d.Decode(set)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got, same); diff != "" {
		t.Errorf("(-sent +arrived)\n%s", diff)
	}
}

// TestWhatDidNotChangeStays: the same value again is the same pointer, and a
// change sends what it touches.
func TestWhatDidNotChangeStays(t *testing.T) {
	c := filled()
	var e Encoder
	first, err := e.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	var d Decoder
	before, err := d.Decode(first)
	if err != nil {
		t.Fatal(err)
	}
	changed := *c
	g := *c.Gateways[0]
	l := *g.Listeners[0]
	table := *l.Routes
	r := *table.Entries[0].Route
	r.Rules = append([]*config.Rule{{Name: "new"}}, r.Rules...)
	table.Entries = append([]config.RouteEntry{{Hostnames: table.Entries[0].Hostnames, Route: &r}}, table.Entries[1:]...)
	l.Routes = &table
	g.Listeners = append([]*config.Listener{&l}, g.Listeners[1:]...)
	changed.Gateways = append([]*config.Gateway{&g}, c.Gateways[1:]...)
	second, err := e.Encode(&changed)
	if err != nil {
		t.Fatal(err)
	}
	var differ []string
	for name, r := range second.Config {
		if old := first.Config[name]; old == nil || old.Version != r.Version {
			differ = append(differ, name)
		}
	}
	if len(differ) != 1 || !strings.HasPrefix(differ[0], "route/") || len(first.Config) != len(second.Config) {
		t.Errorf("sent %q; %d resources, then %d", differ, len(first.Config), len(second.Config))
	}
	after, err := d.Decode(second)
	if err != nil {
		t.Fatal(err)
	}
	was, is := before.Gateways[0].Listeners[0].Routes.Entries, after.Gateways[0].Listeners[0].Routes.Entries
	if was[0].Route == is[0].Route || was[1].Route != is[1].Route {
		t.Error("the route that changed is the same, or another one is not")
	}
	for name, u := range after.Upstreams {
		if before.Upstreams[name] != u || before.Endpoints[name] != after.Endpoints[name] {
			t.Errorf("%s is another value", name)
		}
	}
	if diff := cmp.Diff(&changed, after, same, cmpopts.SortSlices(func(a, b config.RouteEntry) bool { return a.Route.Object.Name < b.Route.Object.Name })); diff != "" {
		t.Errorf("(-sent +arrived)\n%s", diff)
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
		"a missing value":    {"upstream/a", text(map[string]any{"Parameters": "parameters/abc"}), "missing"},
		"one of other kind":  {"upstream/a", text(map[string]any{"Parameters": "upstream/a"}), "unexpected form"},
		"itself":             {"part/a", text(map[string]any{"Fallback": "part/a"}), ""},
		"no gateway":         {"route/a", text(map[string]any{"Gateway": "x/y", "Route": map[string]any{}}), "gateway x/y"},
		"two times a key":    {"totals/a", []byte{0xa2, 0x61, 'a', 1, 0x61, 'a', 1}, "totals/a"},
		"a tag":              {"totals/a", []byte{0xc1, 0}, "totals/a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			_, err := d.Decode(&Set{Config: map[string]*Resource{tt.name: {Name: tt.name, Version: "1", Bytes: tt.bytes}}})
			if tt.want == "" {
				return // nothing refers to it
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v; want %q", err, tt.want)
			}
		})
	}
	loop := map[string]*Resource{
		"part/a":    {Name: "part/a", Bytes: text(map[string]any{"Fallback": "part/b"})},
		"part/b":    {Name: "part/b", Bytes: text(map[string]any{"Fallback": "part/a"})},
		"gateway/g": {Name: "gateway/g", Bytes: text(map[string]any{"Listeners": []any{map[string]any{"Chain": map[string]any{"Parts": []any{"part/a"}}}}})},
	}
	var d Decoder
	if _, err := d.Decode(&Set{Config: loop}); err == nil {
		t.Error("parts that refer to each other are taken")
	}
}

// FuzzDecode: whatever arrives, there is a config or an error, and a config that
// came to be goes over the wire unchanged.
func FuzzDecode(f *testing.F) {
	var e Encoder
	set, err := e.Encode(filled())
	if err != nil {
		f.Fatal(err)
	}
	for name, r := range set.Config {
		f.Add(name, r.Bytes)
	}
	f.Fuzz(func(t *testing.T, name string, bytes []byte) {
		var d Decoder
		c, err := d.Decode(&Set{Config: map[string]*Resource{name: {Name: name, Version: "1", Bytes: bytes}}})
		if err != nil {
			return
		}
		var e Encoder
		again, err := e.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := new(Decoder).Decode(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got, same, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-first +second)\n%s", diff)
		}
	})
}
