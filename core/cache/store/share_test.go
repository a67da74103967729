package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

// keep fills a namespace with n objects of 1,000 bytes.
func keep(t *testing.T, s *Store, namespace string, n int) {
	t.Helper()
	for i := range n {
		put(t, s, fmt.Sprint(namespace, i), "", pattern(i, 1000), attributes(namespace, "h", fmt.Sprint("/", i)))
		if s.disk != nil && i%30 == 29 {
			s.Flush()
		}
	}
	s.Flush()
}

func left(s *Store, namespace string, n int) (found int) {
	for i := range n {
		if s.Get(fmt.Append(nil, namespace, i), nil) != nil {
			found++
		}
	}
	return found
}

// TestOneNamespaceCannotEvictTheRest: what is below its share stays, however much
// another one stores; what is above it gives way.
func TestOneNamespaceCannotEvictTheRest(t *testing.T) {
	tests := map[string]Options{
		"bytes in memory":   {MemoryBytes: 4 << 20},
		"objects in memory": {MemoryBytes: 64 << 20, MemoryObjects: 1000},
		"bytes on disk":     {MemoryBytes: 64 << 10, DiskBytes: 4 << 20},
		"objects on disk":   {MemoryBytes: 64 << 10, MemoryObjects: 8, DiskBytes: 64 << 20, DiskObjects: 2000},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			if o.DiskBytes > 0 {
				o.Dir = t.TempDir()
			}
			s := open(t, o)
			keep(t, s, "small", 200)
			keep(t, s, "greedy", 8000)
			if n := left(s, "small", 200); n != 200 {
				t.Errorf("%d of 200 objects of a namespace below its share are left", n)
			}
			before := s.Stats()
			keep(t, s, "second", 8000)
			after := s.Stats()
			tier := func(n NamespaceStats) TierStats {
				if s.disk != nil {
					return n.Disk
				}
				return n.Memory
			}
			if was, is := tier(before.Namespaces["greedy"]), tier(after.Namespaces["greedy"]); is.Objects >= was.Objects || is.Objects < was.Objects/4 {
				t.Errorf("the first greedy one held %d objects, and holds %d beside a second", was.Objects, is.Objects)
			}
			if n := tier(after.Namespaces["second"]); n.Objects < tier(before.Namespaces["greedy"]).Objects/4 {
				t.Errorf("the second greedy one holds %d objects", n.Objects)
			}
			if n := left(s, "small", 200); n != 200 {
				t.Errorf("%d of 200 objects are left beside two greedy ones", n)
			}
			if after.Evicted[CauseQuota] == 0 {
				t.Errorf("evicted: %v", after.Evicted)
			}
			checkAccounts(t, s)
		})
	}
}

// TestWhatIsUsedOutlivesItsSegment: eviction from disk is by segment, and keeps what was
// asked for, up to a quarter: 15 objects of the 65 at least that a segment here has.
func TestWhatIsUsedOutlivesItsSegment(t *testing.T) {
	const asked = 15
	o := Options{MemoryBytes: 64 << 10, MemoryObjects: 4, Dir: t.TempDir(), DiskBytes: 4 << 20}
	s := open(t, o)
	keep(t, s, "a", 100)
	for i := range 8000 {
		put(t, s, fmt.Sprint("other", i), "", pattern(i, 1000), attributes("a", "h", "/"))
		if i%25 == 0 { // the queue has room for 60: what it cannot take is lost
			s.Flush()
			for i := range asked {
				s.Get(fmt.Append(nil, "a", i), nil)
			}
		}
	}
	s.Flush()
	if n := left(s, "a", asked); n != asked {
		t.Errorf("%d of %d objects that are always asked for are left; evicted: %v", n, asked, s.Stats().Evicted)
	}
	if s.Stats().Evicted[CauseDisk] == 0 {
		t.Error("nothing was evicted")
	}
}

func TestTagsAreBounded(t *testing.T) {
	s := open(t, Options{MemoryBytes: 8 << 20, TagEntries: 100})
	tags := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint("t", i))
		}
		return all
	}
	store := func(namespace string, i, n int) error {
		w := s.Create(fmt.Append(nil, namespace, i), nil, nil, attributes(namespace, "h", "/", tags(n)...), 0)
		_, err := w.Commit()
		return err
	}
	for i := range 10 {
		if err := store("a", i, 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := store("a", 10, 1); !errors.Is(err, ErrTags) {
		t.Errorf("one tag too many: %v", err)
	}
	if err := store("a", 10, 0); err != nil {
		t.Errorf("without tags: %v", err)
	}
	if err := store("a", 3, 10); err != nil {
		t.Errorf("in the place of one with as many: %v", err)
	}
	if err := store("b", 0, 30); err != nil {
		t.Errorf("another namespace, within its share: %v", err)
	}
	if n := s.Stats().TagEntries; n > 100 {
		t.Errorf("%d entries; bound 100", n)
	}
	if err := store("b", 1, 30); !errors.Is(err, ErrTags) {
		t.Errorf("another namespace, above its share: %v", err)
	}
	n, err := s.Purge(&Purge{Namespace: "b", Tags: []string{"t29"}})
	if n != 1 || err != nil {
		t.Errorf("purged %d, %v; want 1", n, err)
	}
	w := s.Create([]byte("k"), nil, nil, attributes("c", "h", "/", "x", "y", "x"), 0)
	if _, err := w.Commit(); err != nil {
		t.Error(err)
	}
	if n, _ := s.Purge(&Purge{Namespace: "c", Tags: []string{"x", "y"}}); n != 1 {
		t.Errorf("purged %d by three tags of which two are equal; want 1", n)
	}
	checkAccounts(t, s)
}

func TestPurgeStaysInItsNamespace(t *testing.T) {
	s := open(t, Options{})
	for _, n := range []string{"a", "b"} {
		put(t, s, n, "", nil, attributes(n, "h.example", "/path?q=1", "tag"))
	}
	tests := map[string]Purge{
		"tag":      {Tags: []string{"tag"}},
		"hostname": {Hostnames: []string{"h.example"}},
		"URL":      {URLs: []URL{{"h.example", "/path?q=1"}}},
		"prefix":   {Prefixes: []URL{{"h.example", "/pa"}}},
		"all":      {Tags: []string{"tag"}, Hostnames: []string{"h.example"}, URLs: []URL{{"h.example", "/path?q=1"}}, Prefixes: []URL{{"h.example", ""}}},
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			put(t, s, "a", "", nil, attributes("a", "h.example", "/path?q=1", "tag"))
			for _, other := range []string{"", "c", "A"} {
				p.Namespace = other
				if n, err := s.Purge(&p); n != 0 || err != nil {
					t.Errorf("namespace %q: purged %d, %v", other, n, err)
				}
			}
			p.Namespace = "a"
			if n, err := s.Purge(&p); n != 1 || err != nil || s.Get([]byte("a"), nil) != nil || s.Get([]byte("b"), nil) == nil {
				t.Errorf("purged %d, %v; want 1 of a, none of b", n, err)
			}
		})
	}
	nothing := map[string]Purge{
		"another tag":      {Tags: []string{"ta", "tagx", ""}},
		"another hostname": {Hostnames: []string{"h.exampl", "h.example.com", ""}},
		"another URL":      {URLs: []URL{{"h.example", "/path"}, {"h.exampl", "e/path?q=1"}, {"", "h.example/path?q=1"}}},
		"another prefix":   {Prefixes: []URL{{"h.example", "/path?q=12"}, {"h.exampl", "/"}}},
	}
	for name, p := range nothing {
		t.Run(name, func(t *testing.T) {
			p.Namespace = "b"
			if n, err := s.Purge(&p); n != 0 || err != nil {
				t.Errorf("purged %d, %v", n, err)
			}
		})
	}
	if _, err := s.Purge(&Purge{Namespace: "b"}); err != ErrNothingNamed {
		t.Errorf("a purge of nothing: %v", err)
	}
}

// TestPurgeOfOneTagOfMany counts what a purge looks at.
func TestPurgeOfOneTagOfMany(t *testing.T) {
	s := open(t, Options{MemoryBytes: 512 << 20})
	const n = 100_000
	for i := range n {
		put(t, s, fmt.Sprint("k", i), "", nil, attributes("a", "h", fmt.Sprint("/", i), fmt.Sprint("tag", i), fmt.Sprint("group", i%1000), "all"))
	}
	looked := 0
	s.labels.each(s.hash.tag("a", []byte("tag77")), func(uint32) { looked++ })
	if looked != 1 {
		t.Errorf("one of %d tags leads to %d entries; want 1", n, looked)
	}
	for tag, want := range map[string]int{"tag77": 1, "group5": 100, "none": 0} {
		start := time.Now()
		if got, err := s.Purge(&Purge{Namespace: "a", Tags: []string{tag}}); got != want || err != nil {
			t.Errorf("%s: purged %d, %v; want %d", tag, got, err, want)
		}
		t.Logf("%s: %d in %v", tag, want, time.Since(start))
	}
	start := time.Now()
	if got, err := s.Purge(&Purge{Namespace: "a", Tags: []string{"all"}}); got != n-101 || err != nil {
		t.Errorf("purged %d, %v; want %d", got, err, n-101)
	}
	t.Logf("the rest in %v", time.Since(start))
	if st := s.Stats(); st.Objects != 0 || st.Tags != 0 || st.TagEntries != 0 {
		t.Errorf("left: %d objects, %d tags, %d entries", st.Objects, st.Tags, st.TagEntries)
	}
}

// TestStartWithManyObjects also holds what one on disk takes of memory.
func TestStartWithManyObjects(t *testing.T) {
	if raceEnabled {
		t.Skip("nothing here runs at once")
	}
	n := 65_000
	if long {
		n = 1_000_000
	}
	o := Options{MemoryBytes: 1 << 20, Dir: t.TempDir(), DiskBytes: 4 << 30, DiskObjects: n + 10}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		put(t, s, fmt.Sprint("key", i), "", pattern(i%1000, 100), attributes("a", fmt.Sprint("host", i%10), fmt.Sprint("/path/", i)))
		if s.Stats().QueuedBytes > 50_000 {
			s.Flush()
		}
	}
	s.Flush()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	start := time.Now()
	s = open(t, o)
	for s.Get(fmt.Append(nil, "key", n-1), nil) == nil {
		runtime.Gosched()
	}
	t.Logf("%d objects: first hit after %v", n, time.Since(start))
	s.disk.loaded()
	t.Logf("all known after %v", time.Since(start))
	if got := s.Stats().Disk.Objects; got != n {
		t.Errorf("%d objects; want %d", got, n)
	}
	each := float64(heap()-before) / float64(n)
	t.Logf("%.0f bytes of memory each", each)
	if each > 150 {
		t.Errorf("%.0f bytes of memory for an object on disk; want at most 150", each)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		i := r.IntN(n)
		if s.Get(fmt.Append(nil, "key", i), nil) == nil {
			t.Fatalf("key%d is gone", i)
		}
	}
	want := 0
	for i := range n {
		if i%10 == 1 && strings.HasPrefix(fmt.Sprint(i), "4") {
			want++
		}
	}
	start = time.Now()
	if got, err := s.Purge(&Purge{Namespace: "a", Prefixes: []URL{{"host1", "/path/4"}}}); got != want || err != nil {
		t.Errorf("purged %d by prefix, %v; want %d", got, err, want)
	}
	t.Logf("purge of %d of %d on disk by prefix: %v", want, n/10, time.Since(start))
}

func BenchmarkGetDisk(b *testing.B) {
	s := open(b, Options{MemoryBytes: 64 << 10, MemoryObjects: 1, Dir: b.TempDir(), DiskBytes: 1 << 30})
	const n = 10_000
	var keys [][]byte
	for i := range n {
		keys = append(keys, fmt.Append(nil, "key", i))
		put(b, s, string(keys[i]), "", traceBody, attributes("a", "h", "/"))
		if i%20 == 0 {
			s.Flush()
		}
	}
	s.Flush()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if s.Get(keys[i%n], nil) == nil {
			b.Fatal("gone")
		}
	}
}
