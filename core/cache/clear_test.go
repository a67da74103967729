package cache_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
)

// cleared is what a Clear says.
type cleared struct {
	n   int
	err error
}

// clear clears, and returns where it says so.
func (b *bed) clear() <-chan cleared {
	told := make(chan cleared, 1)
	b.cache.Clear(func(n int, err error) { told <- cleared{n, err} })
	return told
}

// TestClear: neither what is stored nor what is being fetched is served to who comes later.
func TestClear(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{}, 0)
		c := b.get(chain, "/stored")
		b.next(t).reply <- says("max-age=60", "old")
		c.wants(t, 200, "old", "fwd=uri-miss")
		if err := b.cache.PutObject("ns", "", []byte("key"), []byte("value"), time.Hour, nil); err != nil {
			t.Fatal(err)
		}
		asked := b.get(chain, "/asked") // the origin has not answered
		at := b.next(t)
		coming := b.get(chain, "/coming") // its body has not come whole
		r := says("max-age=60", "")
		r.length, r.body = -1, newBody([]byte("ol"), nil)
		b.next(t).reply <- r
		synctest.Wait()

		told := b.clear()
		synctest.Wait()
		if got := <-told; got.n != 2 || got.err != nil {
			t.Errorf("cleared %d, %v; want the response and the object", got.n, got.err)
		}
		joins := b.get(chain, "/coming")
		at.reply <- says("max-age=60", "old")
		r.body.pour([]byte("d"), nil)
		synctest.Wait()
		r.body.pour(nil, io.EOF)
		asked.wants(t, 200, "old", "fwd=uri-miss")
		coming.wants(t, 200, "old", "fwd=uri-miss")
		b.next(t).reply <- says("max-age=60", "new")
		joins.wants(t, 200, "new", "fwd=uri-miss")
		for _, path := range []string{"/stored", "/asked"} {
			c := b.get(chain, path)
			b.next(t).reply <- says("max-age=60", "new")
			c.wants(t, 200, "new", "fwd=uri-miss")
			b.get(chain, path).wants(t, 200, "new", "hit")
		}
		if _, _, _, ok := b.cache.Object(nil, "ns", "", []byte("key")); ok {
			t.Error("the object is there")
		}
	})
}

// TestPurgesWaitForAClear: what the config asks for at the same time comes after it, and it
// is told when all is done.
func TestPurgesWaitForAClear(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		chain := b.chain(&config.Cache{}, 0)
		c := b.get(chain, "/a")
		b.next(t).reply <- says("max-age=60", "old")
		c.wants(t, 200, "old", "fwd=uri-miss")
		is := func(when string, done, lasting bool) {
			t.Helper()
			if d, l := b.cache.CaughtUp(); d != done || l != lasting {
				t.Errorf("%s: done %v, lasting %v; want %v, %v", when, d, l, done, lasting)
			}
		}
		is("nothing is asked for", true, true)
		told := b.clear()
		b.cache.CarryOut([]*config.Purge{{ID: "ns/p/1", Namespace: "ns", URLs: []string{"http://shop.example/a"}}, {ID: "ns/p/2", Namespace: "ns"}})
		is("nobody carries purges out", false, false)
		go b.cache.RunPurges(ctx)
		synctest.Wait()
		if got := <-told; got.n != 1 || got.err != nil {
			t.Errorf("cleared %d, %v; want 1: it comes before the purge", got.n, got.err)
		}
		removed := map[string]int{}
		for _, p := range b.cache.Purged() {
			removed[p.ID] = p.Removed
		}
		if n, did := removed["ns/p/1"]; n != 0 || !did || len(removed) != 2 {
			t.Errorf("purged %v", removed)
		}
		is("a purge that names nothing has failed, others not", true, true)
	})
}

// TestAClearThatFails: it may come back with a later process, for good.
func TestAClearThatFails(t *testing.T) {
	b := newBed(t, store.Options{MemoryBytes: 16 << 20, Dir: t.TempDir(), DiskBytes: 64 << 20})
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-b.clear(); !errors.Is(got.err, store.ErrClosed) {
		t.Errorf("got %v; want that the store is closed", got.err)
	}
	b.cache.CarryOut(nil)
	if done, lasting := b.cache.CaughtUp(); !done || lasting {
		t.Errorf("done %v, lasting %v", done, lasting)
	}
	b.cache.Close()
	if got := <-b.clear(); !errors.Is(got.err, store.ErrClosed) {
		t.Errorf("with a closed cache: %v", got.err)
	}
}
