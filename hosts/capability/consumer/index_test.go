package consumer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"penstock.dev/penstock/core/config"
)

func one(namespace, name string, keys ...string) *config.Consumer {
	c := &config.Consumer{Namespace: namespace, Name: name, Username: "user-" + name, Groups: []string{"g"}}
	for _, k := range keys {
		c.Credentials = append(c.Credentials, config.Credential{Type: "key-auth", ID: config.CredentialID("key-auth", []byte(k)), Data: []byte(k + "'s data")})
	}
	return c
}

func all(list ...*config.Consumer) config.Overlay[string, *config.Consumer] {
	m := map[string]*config.Consumer{}
	for _, c := range list {
		m[c.Object()] = c
	}
	return config.OverlayOf(m)
}

func filter(kind, namespace string) *config.Filter {
	return &config.Filter{Owner: config.Object{Kind: kind, Namespace: namespace, Name: "s"}, Namespace: namespace}
}

// find returns "namespace/name username data" of who has a key; empty: nobody.
func find(x *Index, f *config.Filter, kind, key string, others ...string) string {
	var list [][]byte
	for _, o := range others {
		list = append(list, []byte(o))
	}
	who, data, ok := x.FindConsumer(f, []byte(kind), []byte(key), list)
	if !ok {
		return ""
	}
	return who.Object + " " + who.Name + " " + string(data)
}

func TestFind(t *testing.T) {
	x := new(Index)
	here := filter("Service", "store")
	if got := find(x, here, "key-auth", "k"); got != "" {
		t.Errorf("got %q of an empty index", got)
	}
	x.Apply(all(one("store", "a", "k", "l"), one("partners", "b", "k", "m"), one("partners", "c", "n")), &config.ConsumerGrants{List: []config.ConsumerGrant{
		{FromKind: "Service", FromNamespace: "store", Namespace: "partners", Name: "b"}, {FromKind: "Gateway", FromNamespace: "store", Namespace: "partners"},
	}})
	tests := map[string]struct {
		f         *config.Filter
		kind, key string
		others    []string
		want      string
	}{
		"the own one":                          {here, "key-auth", "k", nil, "store/a user-a k's data"},
		"its other key":                        {here, "key-auth", "l", nil, "store/a user-a l's data"},
		"the own one goes first":               {here, "key-auth", "k", []string{"partners"}, "store/a user-a k's data"},
		"another type":                         {here, "basic-auth", "k", nil, ""},
		"a key that goes on":                   {here, "key-auth", "k ", nil, ""},
		"another namespace's":                  {here, "key-auth", "m", []string{"partners"}, "partners/b user-b m's data"},
		"another namespace's, not asked for":   {here, "key-auth", "m", nil, ""},
		"another namespace's, not permitted":   {here, "key-auth", "n", []string{"partners"}, ""},
		"another kind, to all":                 {filter("Gateway", "store"), "key-auth", "n", []string{"partners"}, "partners/c user-c n's data"},
		"the second of two":                    {here, "key-auth", "m", []string{"nowhere", "partners"}, "partners/b user-b m's data"},
		"another namespace's filter":           {filter("Service", "other"), "key-auth", "m", []string{"partners"}, ""},
		"another namespace's filter, its own":  {filter("Service", "partners"), "key-auth", "k", nil, "partners/b user-b k's data"},
		"a namespace with the type's boundary": {here, "key-aut", "h\x00k", nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := find(x, tt.f, tt.kind, tt.key, tt.others...); got != tt.want {
				t.Errorf("got %q; want %q", got, tt.want)
			}
		})
	}
	x.Apply(all(one("store", "a", "k")), nil)
	if got := find(x, here, "key-auth", "m", "partners"); got != "" {
		t.Errorf("got %q, which is gone", got)
	}
}

// TestChanges: after any row of changes each key is found with who has it now, and one
// that nobody has with nobody.
func TestChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	x, consumers := new(Index), config.Overlay[string, *config.Consumer]{}
	owners := map[string]string{} // by key: each has one, if any
	for step := range 3000 {
		changed := map[string]*config.Consumer{}
		for range 1 + random.IntN(4) {
			key, name := fmt.Sprint("k", random.IntN(8)), fmt.Sprint("c", random.IntN(6))
			for _, c := range []string{owners[key], name} {
				changed["n/"+c] = nil
			}
			if owners[key] = name; random.IntN(3) == 0 {
				delete(owners, key)
			}
		}
		delete(changed, "n/")
		for object := range changed {
			var keys []string
			for key, name := range owners {
				if "n/"+name == object {
					keys = append(keys, key)
				}
			}
			if len(keys) > 0 {
				changed[object] = one("n", object[2:], keys...)
			}
		}
		consumers = consumers.With(changed)
		if random.IntN(20) == 0 { // as after a whole translation
			consumers = config.OverlayOf(maps.Collect(consumers.All()))
		}
		x.Apply(consumers, nil)
		for i := range 8 {
			key := fmt.Sprint("k", i)
			want := ""
			if name := owners[key]; name != "" {
				want = fmt.Sprintf("n/%s user-%s %s's data", name, name, key)
			}
			if got := find(x, filter("Service", "n"), "key-auth", key); got != want {
				t.Fatalf("step %d, %s: got %q; want %q", step, key, got, want)
			}
		}
	}
}

// TestLookupsWhileItChanges is for the race detector.
func TestLookupsWhileItChanges(t *testing.T) {
	x, f := new(Index), filter("Service", "n")
	consumers := all(one("n", "stays", "key-that-stays"))
	x.Apply(consumers, nil)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 2000 {
				if find(x, f, "key-auth", "key-that-stays") == "" {
					t.Error("who stays is not found")
					return
				}
			}
		})
	}
	for i := range 500 {
		x.Apply(consumers.With(map[string]*config.Consumer{"n/c": one("n", "c", fmt.Sprint("key-", i))}), nil)
	}
	group.Wait()
}

// TestFindAllocatesNothing: in the filter's own namespace.
func TestFindAllocatesNothing(t *testing.T) {
	x, f := new(Index), filter("Service", "n")
	x.Apply(all(one("n", "a", "0123456789abcdef")), nil)
	kind, key := []byte("key-auth"), []byte("0123456789abcdef")
	if n := testing.AllocsPerRun(100, func() { x.FindConsumer(f, kind, key, nil) }); n != 0 {
		t.Errorf("%v allocations per lookup; want 0", n)
	}
}

func many(n int) config.Overlay[string, *config.Consumer] {
	m := make(map[string]*config.Consumer, n)
	for i := range n {
		c := one("n", fmt.Sprint("consumer-", i), fmt.Sprint("the-key-of-", i))
		m[c.Object()] = c
	}
	return config.OverlayOf(m)
}

func BenchmarkFind(b *testing.B) {
	x, f := new(Index), filter("Service", "n")
	x.Apply(many(10_000), nil)
	kind, key := []byte("key-auth"), []byte("the-key-of-7777")
	b.ReportAllocs()
	for b.Loop() {
		x.FindConsumer(f, kind, key, nil)
	}
}

// BenchmarkOneChange is one Consumer of 10,000 that gets another key.
func BenchmarkOneChange(b *testing.B) {
	x, consumers := new(Index), many(10_000)
	x.Apply(consumers, nil)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		consumers = consumers.With(map[string]*config.Consumer{"n/consumer-7777": one("n", "consumer-7777", fmt.Sprint("key-", i))})
		x.Apply(consumers, nil)
	}
}
