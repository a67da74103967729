package cache

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/telemetry"
)

// TestObjectsHaveAQuota: to the byte, for each owner; what is replaced, removed, purged
// or has ended gives its room back, what is refused changes nothing.
func TestObjectsHaveAQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := objectCache(t, store.Options{})
		mebi := strings.Repeat("m", 1<<20)
		fill := func(n int) (refused error) {
			for i := range n {
				ttl := time.Hour
				if i == 0 {
					ttl = time.Minute
				}
				if err := k.PutObject("ns", "vm", fmt.Append(nil, i), []byte(mebi), ttl, [][]byte{fmt.Appendf(nil, "tag-%d", i)}); err != nil {
					return err
				}
			}
			return nil
		}
		more := func(key, value string) error {
			return k.PutObject("ns", "vm", []byte(key), []byte(value), time.Hour, nil)
		}
		if err := fill(16); err != nil {
			t.Fatalf("up to the quota: %v", err)
		}
		if err := more("one", "1"); !errors.Is(err, ErrQuota) {
			t.Errorf("a byte more: got %v", err)
		}
		if err := more("none", ""); err != nil {
			t.Errorf("nothing more: %v", err)
		}
		if err := k.PutObject("ns", "other", []byte("one"), []byte(mebi), time.Hour, nil); err != nil {
			t.Errorf("another state's: %v", err)
		}
		if err := k.PutObject("ns2", "vm", []byte("one"), []byte(mebi), time.Hour, nil); err != nil {
			t.Errorf("another namespace's: %v", err)
		}
		if err := fill(16); err != nil { // each in the place of itself
			t.Errorf("all of them again: %v", err)
		}
		if err := more("3", mebi[:1<<19]); err != nil {
			t.Errorf("a smaller one in its place: %v", err)
		}
		if err := more("half", mebi[:1<<19]); err != nil {
			t.Errorf("what that leaves: %v", err)
		}
		if err := more("3", mebi); !errors.Is(err, ErrQuota) {
			t.Errorf("a larger one in its place: got %v", err)
		}
		if got, _ := value(k, "ns", "vm", "3"); len(got) != 1<<19 {
			t.Errorf("what was refused: %d bytes stored; want the old ones", len(got))
		}
		k.DeleteObject("ns", "vm", []byte("half"))
		if err := more("after a removal", mebi[:1<<19]); err != nil {
			t.Error(err)
		}
		if n, err := k.PurgeTags("ns", [][]byte{[]byte("tag-5"), []byte("tag-6")}, false); n != 2 || err != nil {
			t.Errorf("a purge: %d, %v", n, err)
		}
		if err := errors.Join(more("after a purge", mebi), more("and another", mebi)); err != nil {
			t.Error(err)
		}
		if err := more("one too many", mebi); !errors.Is(err, ErrQuota) {
			t.Errorf("after a purge of two: got %v", err)
		}
		time.Sleep(time.Minute) // the first one ends
		if err := more("after an end", mebi); err != nil {
			t.Error(err)
		}
		if err := more("one too many", "x"); !errors.Is(err, ErrQuota) {
			t.Errorf("after an end: got %v", err)
		}
		var held int64
		for o := range every(k, "ns") {
			held += o.Size()
		}
		if want := int64(17 << 20); held != want {
			t.Errorf("%d bytes stored for two states; want %d", held, want)
		}
	})
}

func every(k *Cache, namespace string) func(func(*store.Object) bool) {
	return func(yield func(*store.Object) bool) { k.store.Objects(namespace, yield) }
}

// TestEvictedObjectsGiveTheirRoomBack, a second after the last count.
func TestEvictedObjectsGiveTheirRoomBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := objectCache(t, store.Options{MemoryBytes: 8 << 20})
		v := bytes.Repeat([]byte("m"), 256<<10)
		refused := 0
		for i := range 400 { // 100 MiB through a quota of 16 and a memory of 8
			if err := k.PutObject("ns", "vm", fmt.Append(nil, i), v, time.Hour, nil); errors.Is(err, ErrQuota) {
				refused++
				time.Sleep(recount)
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if s := k.objects.shelf("ns", "vm"); s.bytes > shelfBytes || s.bytes != int64(len(s.held))*int64(len(v)) {
			t.Errorf("%d bytes counted for %d objects", s.bytes, len(s.held))
		}
		if refused > 20 {
			t.Errorf("%d puts were refused though the store had let go of much", refused)
		}
	})
}

func TestObjectsAreCounted(t *testing.T) {
	k := objectCache(t, store.Options{})
	s := k.objects.shelf("ns", "vm")
	for i := range shelfObjects - 1 {
		at := s.key(fmt.Append(nil, i))
		s.held[at] = held{0, time.Now().Add(time.Hour).UnixMilli()}
	}
	s.counted = time.Now().Add(time.Hour) // the store does not know them
	s.earliest = time.Now().Add(time.Hour).UnixMilli()
	put(t, k, "ns", "vm", "last", "", time.Minute)
	if err := k.PutObject("ns", "vm", []byte("one more"), nil, time.Minute, nil); !errors.Is(err, ErrQuota) {
		t.Errorf("got %v; want ErrQuota", err)
	}
	put(t, k, "ns", "vm", "last", "again", time.Minute)
}

// TestObjectsOutliveTheProcess on disk, and count from their first use on.
func TestObjectsOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	open := func() (*Cache, *store.Store) {
		s, err := store.Open(store.Options{MemoryBytes: 8 << 20, Dir: dir, DiskBytes: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); s.Stats().Loading; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the store does not finish loading")
			}
		}
		return New(s, 1<<20, telemetry.New()), s
	}
	k, s := open()
	put(t, k, "ns", "vm", "small", "1", time.Hour, "tag")
	put(t, k, "ns", "vm", "large", strings.Repeat("l", 1<<20), time.Hour)
	k.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	k, s = open()
	defer s.Close()
	defer k.Close()
	if got, ok := value(k, "ns", "vm", "large"); len(got) != 1<<20 || !ok {
		t.Errorf("%d bytes, %v", len(got), ok)
	}
	if got := k.objects.shelf("ns", "vm").bytes; got != 1<<20 {
		t.Errorf("%d bytes counted; want those of what was used", got)
	}
	if n, err := k.PurgeTags("ns", [][]byte{[]byte("tag")}, false); n != 1 || err != nil {
		t.Errorf("a purge of what an earlier process left: %d, %v", n, err)
	}
}

// TestEmptyShelvesGo, but not those in use.
func TestEmptyShelvesGo(t *testing.T) {
	k := objectCache(t, store.Options{})
	put(t, k, "ns", "used", "a", "1", time.Minute)
	for i := range fewShelves + 10 {
		value(k, "ns", fmt.Sprint(i), "a")
	}
	if n := len(k.objects.shelves); n > 20 {
		t.Errorf("%d shelves after a sweep", n)
	}
	if got := k.objects.shelf("ns", "used").bytes; got != 1 {
		t.Errorf("the one in use counts %d bytes; want 1", got)
	}
}

// TestObjectsAtOnce: counts agree with what is stored whatever comes together; the race
// detector looks on.
func TestObjectsAtOnce(t *testing.T) {
	k := objectCache(t, store.Options{})
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 300 {
				key := fmt.Append(nil, i%7)
				switch (i + n) % 5 {
				case 0:
					k.DeleteObject("ns", "vm", key)
				case 1:
					k.Object(nil, "ns", "vm", key)
				case 2:
					if _, err := k.PurgeTags("ns", [][]byte{key}, false); err != nil && !errors.Is(err, ErrPurging) {
						t.Error(err)
					}
				default:
					if err := k.PutObject("ns", "vm", key, bytes.Repeat([]byte("x"), i), time.Minute, [][]byte{key}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	s := k.objects.shelf("ns", "vm")
	s.count(k.store, time.Now(), 0)
	var stored int64
	for o := range every(k, "ns") {
		stored += o.Size()
	}
	if s.bytes != stored {
		t.Errorf("%d bytes counted, %d stored", s.bytes, stored)
	}
}

// TestAnEndGivesRoomAtOnce, however short ago the objects were counted.
func TestAnEndGivesRoomAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := objectCache(t, store.Options{})
		mebi := strings.Repeat("m", 1<<20)
		put(t, k, "ns", "vm", "short", mebi, 2*time.Second)
		for i := range 15 {
			put(t, k, "ns", "vm", fmt.Sprint(i), mebi, time.Hour)
		}
		more := func() error { return k.PutObject("ns", "vm", []byte("more"), []byte(mebi), time.Hour, nil) }
		time.Sleep(1900 * time.Millisecond)
		if err := more(); !errors.Is(err, ErrQuota) {
			t.Errorf("before the end: got %v", err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := more(); err != nil {
			t.Errorf("at the end: %v", err)
		}
		if n := k.store.Stats().Objects; n != 16 {
			t.Errorf("%d objects stored; want 16: what has ended is removed", n)
		}
	})
}

// TestWhatTheStoreRefuses leaves what was there, and the count.
func TestWhatTheStoreRefuses(t *testing.T) {
	k := objectCache(t, store.Options{MemoryBytes: 4 << 20})
	put(t, k, "ns", "vm", "key", "old", time.Minute)
	for _, key := range []string{"key", "new"} {
		if err := k.PutObject("ns", "vm", []byte(key), make([]byte, 1<<20), time.Minute, nil); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: got %v; want ErrTooLarge", key, err)
		}
	}
	if got, _ := value(k, "ns", "vm", "key"); got != "old" {
		t.Errorf("got %q; want what was there", got)
	}
	if s := k.objects.shelf("ns", "vm"); s.bytes != 3 || len(s.held) != 1 {
		t.Errorf("%d bytes of %d objects counted; want 3 of 1", s.bytes, len(s.held))
	}
	if err := k.PutObject("", "vm", []byte("key"), nil, time.Minute, nil); !errors.Is(err, store.ErrBounds) {
		t.Errorf("without a namespace: got %v", err)
	}
}
