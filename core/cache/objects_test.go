package cache

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/telemetry"
)

// objectCache opens a cache without a disk that holds far more than one quota.
func objectCache(t *testing.T, o store.Options) *Cache {
	t.Helper()
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 128 << 20
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	k := New(s, 1<<20, telemetry.New())
	t.Cleanup(func() {
		k.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// value returns what is stored, "" and false for nothing.
func value(k *Cache, namespace, id, key string) (string, bool) {
	v, _, _, ok := k.Object(nil, namespace, id, []byte(key))
	return string(v), ok
}

func put(t *testing.T, k *Cache, namespace, id, key, value string, ttl time.Duration, tags ...string) {
	t.Helper()
	var list [][]byte
	for _, tag := range tags {
		list = append(list, []byte(tag))
	}
	if err := k.PutObject(namespace, id, []byte(key), []byte(value), ttl, list); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func TestObjectsAreTheirOwnersAlone(t *testing.T) {
	k := objectCache(t, store.Options{})
	put(t, k, "ns", "vm a", "key", "mine", time.Minute)
	put(t, k, "ns", "vm b", "key", "theirs", time.Minute)
	tests := map[string]struct{ namespace, id, key, want string }{
		"whoever put it":                          {"ns", "vm a", "key", "mine"},
		"another state of the namespace":          {"ns", "vm b", "key", "theirs"},
		"another namespace":                       {"ns2", "vm a", "key", ""},
		"a namespace that is written further":     {"nsv", "m a", "key", ""},
		"a key that begins so":                    {"ns", "vm a", "ke", ""},
		"a key that goes on":                      {"ns", "vm a", "key\x00", ""},
		"an id that ends in what the key is":      {"ns", "vm ak", "ey", ""},
		"no key":                                  {"ns", "vm a", "", ""},
		"a key beyond the bounds":                 {"ns", "vm a", strings.Repeat("k", MaxObjectKey+1), ""},
		"a key that is what it is stored under":   {"ns", "vm a", string(rawKey(k, "ns", "vm a", "key")), ""},
		"a key that begins with the owner's part": {"ns", "", "vm akey", ""},
	}
	for name, test := range tests {
		if got, ok := value(k, test.namespace, test.id, test.key); got != test.want || ok != (test.want != "") {
			t.Errorf("%s: got %q, %v; want %q", name, got, ok, test.want)
		}
	}
	k.DeleteObject("ns", "vm a", []byte("key"))
	k.DeleteObject("ns", "vm a", []byte("never there"))
	if _, ok := value(k, "ns", "vm a", "key"); ok {
		t.Error("it is there after its removal")
	}
	if got, _ := value(k, "ns", "vm b", "key"); got != "theirs" {
		t.Errorf("the other one's: got %q", got)
	}
}

func rawKey(k *Cache, namespace, id, key string) []byte {
	at := k.objects.shelf(namespace, id).key([]byte(key))
	return at[:]
}

// TestObjectsAreNoResponses: no key of a response can be an object's, a head of an
// object is none of a response, and lists of responses leave objects out.
func TestObjectsAreNoResponses(t *testing.T) {
	k := objectCache(t, store.Options{})
	put(t, k, "ns", "vm a", "key", strings.Repeat("v", 4096), time.Minute, "tag")
	at := rawKey(k, "ns", "vm a", "key")
	o := k.store.Get(at, nil)
	if o == nil {
		t.Fatal("it is not stored")
	}
	var h head
	if h.read(o.Head()) {
		t.Error("its head reads as a response's")
	}
	if list, more := k.Stored("ns", "", "", 10); len(list) != 0 || more {
		t.Errorf("listed as responses: %v", list)
	}
	if at[0] != 0 {
		t.Errorf("the key begins with %d; want the length of an empty scope", at[0])
	}
	f := k.Filter(&config.Cache{}, Fingerprint{})
	x := &exchange.Exchange{CacheScope: "s", Service: "ns/shop"}
	x.Request.Method, x.Request.Scheme, x.Request.Authority, x.Request.Path = []byte("GET"), []byte("http"), []byte("a.example"), []byte("/")
	if key, _, ok := f.keyOf(x); !ok || key[0] == at[0] {
		t.Errorf("a response's key begins as an object's: %q", key)
	}
}

func TestObjectsAreRefused(t *testing.T) {
	k := objectCache(t, store.Options{})
	put(t, k, "ns", "vm", "key", "old", time.Minute)
	long := func(n int) string { return strings.Repeat("x", n) }
	tests := map[string]struct {
		key, value string
		ttl        time.Duration
		ok         bool
	}{
		"no key":                 {"", "v", time.Minute, false},
		"the longest key":        {long(MaxObjectKey), "v", time.Minute, true},
		"a longer key":           {long(MaxObjectKey + 1), "v", time.Minute, false},
		"the largest value":      {"large", long(MaxObjectBytes), time.Minute, true},
		"a larger value":         {"key", long(MaxObjectBytes + 1), time.Minute, false},
		"an empty value":         {"empty", "", time.Minute, true},
		"no time":                {"key", "new", 0, false},
		"less than a second":     {"key", "new", time.Second - 1, false},
		"the longest time":       {"long", "new", MaxObjectTTL, true},
		"more than the longest":  {"key", "new", MaxObjectTTL + 1, false},
		"a time before this one": {"key", "new", -time.Hour, false},
	}
	for name, test := range tests {
		err := k.PutObject("ns", "vm", []byte(test.key), []byte(test.value), test.ttl, nil)
		if test.ok != (err == nil) || !test.ok && !errors.Is(err, ErrObject) {
			t.Errorf("%s: got %v", name, err)
		}
		if got, ok := value(k, "ns", "vm", test.key); test.ok && (got != test.value || !ok) {
			t.Errorf("%s: stored %d bytes, %v; want %d", name, len(got), ok, len(test.value))
		}
	}
	if got, _ := value(k, "ns", "vm", "key"); got != "old" {
		t.Errorf("what was there: got %q; want it untouched", got)
	}
}

func TestObjectsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := objectCache(t, store.Options{})
		put(t, k, "ns", "vm", "short", "1", time.Second)
		put(t, k, "ns", "vm", "long", "2", time.Hour)
		time.Sleep(999 * time.Millisecond)
		if _, left, _, ok := k.Object(nil, "ns", "vm", []byte("short")); !ok || left != time.Millisecond {
			t.Errorf("before its end: %v, %v", left, ok)
		}
		time.Sleep(time.Millisecond)
		if _, ok := value(k, "ns", "vm", "short"); ok {
			t.Error("it is there after its end")
		}
		if n := k.store.Stats().Objects; n != 1 {
			t.Errorf("%d objects stored; want what has ended removed", n)
		}
		if _, left, _, ok := k.Object(nil, "ns", "vm", []byte("long")); !ok || left != time.Hour-time.Second {
			t.Errorf("the other one: %v, %v", left, ok)
		}
	})
}

func TestPurgesOfPluginsStayInTheirNamespace(t *testing.T) {
	k := objectCache(t, store.Options{})
	put(t, k, "ns", "vm", "a", "1", time.Minute, "shared", "own")
	put(t, k, "ns", "other", "b", "2", time.Minute, "shared")
	put(t, k, "ns", "vm", "c", "3", time.Minute)
	put(t, k, "ns2", "vm", "a", "4", time.Minute, "shared")
	w := k.store.Create([]byte("a response"), nil, nil, store.Attributes{Namespace: "ns", Service: "ns/shop", Hostname: []byte("a.example"), Path: []byte("/"), Tags: [][]byte{[]byte("shared")}}, 0)
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	shared := [][]byte{[]byte("shared"), []byte("nobody has it")}
	if n, err := k.PurgeTags("ns", shared, true); n != 3 || err != nil {
		t.Fatalf("softly: %d, %v; want two objects and a response", n, err)
	}
	if v, _, stale, ok := k.Object(nil, "ns", "vm", []byte("a")); string(v) != "1" || !stale || !ok {
		t.Errorf("after a soft purge: %q, stale %v, %v", v, stale, ok)
	}
	if _, _, stale, ok := k.Object(nil, "ns2", "vm", []byte("a")); stale || !ok {
		t.Errorf("the other namespace's: stale %v, %v", stale, ok)
	}
	put(t, k, "ns", "vm", "a", "new", time.Minute, "own")
	if _, _, stale, _ := k.Object(nil, "ns", "vm", []byte("a")); stale {
		t.Error("what was put after a soft purge is stale")
	}
	if n, err := k.PurgeTags("ns", shared, false); n != 2 || err != nil {
		t.Fatalf("hard: %d, %v", n, err)
	}
	for key, want := range map[string]bool{"ns vm a": true, "ns other b": false, "ns vm c": true, "ns2 vm a": true} {
		at := strings.Fields(key)
		if _, ok := value(k, at[0], at[1], at[2]); ok != want {
			t.Errorf("%s: there %v; want %v", key, ok, want)
		}
	}
	if k.store.Has([]byte("a response")) != 0 {
		t.Error("the response is there")
	}
	if _, err := k.PurgeTags("ns", nil, false); err == nil {
		t.Error("a purge of nothing passes")
	}
}

func TestPurgesOfPluginsAreBounded(t *testing.T) {
	k := objectCache(t, store.Options{})
	k.objects.purging.Store(maxPurges)
	if _, err := k.PurgeTags("ns", [][]byte{[]byte("a")}, false); !errors.Is(err, ErrPurging) {
		t.Errorf("got %v; want ErrPurging", err)
	}
	k.objects.purging.Store(0)
	if _, err := k.PurgeTags("ns", [][]byte{[]byte("a")}, false); err != nil || k.objects.purging.Load() != 0 {
		t.Errorf("got %v, %d under way", err, k.objects.purging.Load())
	}
	k.Close()
	if _, err := k.PurgeTags("ns", [][]byte{[]byte("a")}, false); !errors.Is(err, store.ErrClosed) || k.objects.purging.Load() != 0 {
		t.Errorf("closed: got %v, %d under way", err, k.objects.purging.Load())
	}
}

func TestAnObjectCostsNoAllocation(t *testing.T) {
	k := objectCache(t, store.Options{})
	put(t, k, "ns", "vm", "key", "value", time.Minute)
	buffer, key := make([]byte, 0, 64), []byte("key")
	if n := testing.AllocsPerRun(100, func() {
		if _, _, _, ok := k.Object(buffer, "ns", "vm", key); !ok {
			t.Fatal("it is not there")
		}
	}); n != 0 {
		t.Errorf("%v allocations for an object; want 0", n)
	}
}
