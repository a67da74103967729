package cache_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
)

// alone runs a test on a clock of its own, with a cache of 16 MiB of memory.
func alone(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, store.Options{MemoryBytes: 16 << 20})
		defer b.close()
		f(t, b)
	})
}

// get begins a GET.
func (b *bed) get(chain *filter.Chain, path string, fields ...string) *client {
	return b.start("GET", chain, path, fields...)
}

func (b *bed) start(method string, chain *filter.Chain, path string, fields ...string) *client {
	c := &client{b: b, id: 1, method: method, path: path, scope: "ns/shop:80", chain: chain, step: func() int { return 0 }}
	for i := 0; i < len(fields); i += 2 {
		c.fields = append(c.fields, [2]string{fields[i], fields[i+1]})
	}
	c.run()
	synctest.Wait()
	return c
}

// next takes the request that has waited longest at the origin.
func (b *bed) next(t *testing.T) *ask {
	t.Helper()
	synctest.Wait()
	a := b.take(func(int) int { return 0 })
	if a == nil {
		t.Fatal("the origin was not asked")
	}
	return a
}

// says answers with this Cache-Control and body.
func says(control, text string, more ...string) *reply {
	r := &reply{status: 200, header: [][2]string{{"Cache-Control", control}}, length: int64(len(text)), body: newBody([]byte(text), io.EOF)}
	for i := 0; i < len(more); i += 2 {
		r.header = append(r.header, [2]string{more[i], more[i+1]})
	}
	return r
}

// wants checks what a client got.
func (c *client) wants(t *testing.T, status int, text, did string) {
	t.Helper()
	synctest.Wait()
	if !c.finished() || c.status != status || string(c.body) != text || !c.whole || !strings.HasPrefix(c.header["Cache-Status"], "Penstock; "+did) {
		t.Errorf("%s %s: done %v, %d %.40q of %d bytes, whole %v, %q; want %d %.40q %q", c.method, c.path, c.finished(), c.status, c.body, len(c.body), c.whole, c.header["Cache-Status"], status, text, did)
	}
}

func TestLeaderLeaves(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{}, 0)
		leader := b.get(chain, "/a")
		a := b.next(t)
		others := []*client{b.get(chain, "/a"), b.get(chain, "/a")}
		leader.leave()
		synctest.Wait()
		if a.vanished {
			t.Fatal("the fetch ended, though others wait")
		}
		others[0].leave()
		synctest.Wait()
		a.reply <- says("max-age=60", "body")
		others[1].wants(t, 200, "body", "fwd=uri-miss; fwd-status=200; ttl=60; stored; collapsed")
		b.get(chain, "/a").wants(t, 200, "body", "hit")
		if n := b.count(); n != 1 {
			t.Errorf("the origin was asked %d times", n)
		}
	})
}

func TestLeaderLeavesAlone(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{}, 0)
		leader := b.get(chain, "/a")
		a := b.next(t)
		other := b.get(chain, "/a")
		other.leave()
		leader.leave()
		synctest.Wait()
		if !a.vanished || !leader.finished() || !other.finished() {
			t.Errorf("the fetch goes on for nobody: %v %v %v", a.vanished, leader.finished(), other.finished())
		}
		late := b.get(chain, "/a") // it does not wait for what has ended
		b.next(t).reply <- says("max-age=60", "body")
		late.wants(t, 200, "body", "fwd=uri-miss")
		if n := b.cache.Waiting(); n != 0 {
			t.Errorf("%d clients wait", n)
		}
	})
}

// TestNobodyReads: a long body is not fetched for nobody, the short rest of one is.
func TestNobodyReads(t *testing.T) {
	for name, test := range map[string]struct {
		length int64
		before int // bytes that came while somebody read
		goes   bool
	}{
		"a long rest": {3 << 20, 100 << 10, false}, "a short rest": {200 << 10, 100 << 10, true},
		"a rest of unknown length": {-1, 100 << 10, true}, "one of a long body": {-1, 2 << 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T, b *bed) {
				chain := b.chain(&config.Cache{MaxObjectBytes: 8 << 20}, 0)
				c := b.get(chain, "/a")
				body := newBody([]byte(strings.Repeat("x", test.before)), nil)
				b.next(t).reply <- &reply{status: 200, header: [][2]string{{"Cache-Control", "max-age=60"}}, length: test.length, body: body}
				synctest.Wait()
				c.leave()
				body.pour([]byte(strings.Repeat("x", 50<<10)), nil) // it sees that nobody reads
				synctest.Wait()
				body.pour([]byte(strings.Repeat("x", 10<<10)), nil)
				synctest.Wait()
				if body.closed() == test.goes {
					t.Errorf("the fetch was given up: %v; want %v", body.closed(), !test.goes)
				}
				if test.goes {
					body.pour([]byte(strings.Repeat("x", 40<<10)), io.EOF)
					synctest.Wait()
					b.get(chain, "/a").wants(t, 200, strings.Repeat("x", 200<<10), "hit")
				}
			})
		})
	}
}

// TestCloseWithFlights: Close ends refreshes and bodies that are under way, and none
// begins afterwards.
func TestCloseWithFlights(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{StaleWhileRevalidate: time.Hour}, 0)
		c := b.get(chain, "/a")
		b.next(t).reply <- says("max-age=0", "body")
		c.wants(t, 200, "body", "fwd=uri-miss")
		b.get(chain, "/a").wants(t, 200, "body", "hit")
		a := b.next(t) // the refresh
		b.cache.Close()
		synctest.Wait()
		if !a.vanished {
			t.Error("the refresh still waits for the origin")
		}
		b.get(chain, "/a").wants(t, 200, "body", "hit")
		if n := b.count(); n != 2 {
			t.Errorf("the origin was asked %d times: a refresh began after Close", n)
		}
	})
}

// TestBackgroundBound: no more than 256 refreshes are under way.
func TestBackgroundBound(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		const most, all = 256, 300
		chain := b.chain(&config.Cache{StaleWhileRevalidate: time.Hour}, 0)
		path := func(i int) string { return fmt.Sprintf("/%d", i) }
		for i := range all {
			c := b.get(chain, path(i))
			b.next(t).reply <- says("max-age=0", "old")
			c.wants(t, 200, "old", "fwd=uri-miss")
		}
		for round := range 2 { // the second time they are under way already
			for i := range all {
				b.get(chain, path(i)).wants(t, 200, "old", "hit")
			}
			if n := b.count() - all; n != most {
				t.Fatalf("round %d: %d refreshes; want %d", round, n, most)
			}
		}
		for range most {
			b.next(t).reply <- says("max-age=60", "new")
		}
		synctest.Wait()
		fresh := 0
		for i := range all {
			c := b.get(chain, path(i))
			if synctest.Wait(); string(c.body) == "new" {
				fresh++
			}
		}
		for range all - most { // those that found no room before
			b.next(t).reply <- says("max-age=60", "new")
		}
		if fresh != most {
			t.Errorf("%d are fresh; want %d", fresh, most)
		}
	})
}

// TestHitForMiss: who asks for what is not stored does not wait for others, until it is
// stored again; requests with credentials change nothing for the others.
func TestHitForMiss(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{}, 0)
		c := b.get(chain, "/a")
		b.next(t).reply <- says("no-store", "1")
		c.wants(t, 200, "1", "fwd=uri-miss; fwd-status=200; detail=no-store")
		two := []*client{b.get(chain, "/a"), b.get(chain, "/a")}
		if n := b.count(); n != 3 {
			t.Fatalf("the origin was asked %d times; want each time", n)
		}
		b.next(t).reply <- says("max-age=60", "2") // now it may be stored
		b.next(t).reply <- says("max-age=60", "3")
		two[0].wants(t, 200, "2", "fwd=uri-miss; fwd-status=200; stored")
		two[1].wants(t, 200, "3", "fwd=uri-miss; fwd-status=200; stored")
		b.get(chain, "/a").wants(t, 200, "3", "hit")

		c = b.get(chain, "/b", "Authorization", "x")
		b.next(t).reply <- says("max-age=60", "mine")
		c.wants(t, 200, "mine", "fwd=uri-miss; fwd-status=200; detail=authorization")
		before := b.count()
		two = []*client{b.get(chain, "/b"), b.get(chain, "/b")}
		if n := b.count() - before; n != 1 {
			t.Fatalf("the origin was asked %d times; want once for both", n)
		}
		b.next(t).reply <- says("max-age=60", "all")
		two[0].wants(t, 200, "all", "fwd=uri-miss")
		two[1].wants(t, 200, "all", "fwd=uri-miss")

		c = b.get(chain, "/c")
		b.next(t).reply <- says("private", "1")
		c.wants(t, 200, "1", "fwd=uri-miss")
		time.Sleep(11 * time.Second) // it is forgotten
		two = []*client{b.get(chain, "/c"), b.get(chain, "/c")}
		if n := b.count(); n != 7 {
			t.Errorf("the origin was asked %d times; want once more", n)
		}
		b.next(t).reply <- says("max-age=60", "2")
		two[1].wants(t, 200, "2", "fwd=uri-miss")
	})
}

// TestDownMark: an origin that has failed is left alone for a second, and no longer than
// what is stored may serve.
func TestDownMark(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{StaleIfError: 10 * time.Second}, 0)
		down := func() *reply { return &reply{status: 503, length: 4, body: newBody([]byte("down"), io.EOF)} }
		c := b.get(chain, "/a")
		b.next(t).reply <- says("max-age=1", "good")
		c.wants(t, 200, "good", "fwd=uri-miss")
		time.Sleep(2 * time.Second)
		c = b.get(chain, "/a")
		b.next(t).reply <- down()
		c.wants(t, 200, "good", "fwd=stale; fwd-status=503; detail=origin-failed")
		for range 5 {
			b.get(chain, "/a").wants(t, 200, "good", "hit")
		}
		if n := b.count(); n != 2 {
			t.Errorf("the origin was asked %d times while it is down", n)
		}
		time.Sleep(2 * time.Second)
		c = b.get(chain, "/a")
		b.next(t).reply <- says("max-age=1", "back")
		c.wants(t, 200, "back", "fwd=stale; fwd-status=200; stored")
		time.Sleep(12 * time.Second)
		c = b.get(chain, "/a")
		b.next(t).reply <- down()
		c.wants(t, 503, "down", "fwd=stale; fwd-status=503")
		c = b.get(chain, "/a", "Cache-Control", "no-cache")
		b.next(t).reply <- down()
		c.wants(t, 503, "down", "fwd=")
	})
}

// TestPurgedBeforeItCame: who comes after a purge, or a change, does not wait for what
// was asked for before.
func TestPurgedBeforeItCame(t *testing.T) {
	for name, end := range map[string]func(b *bed, chain *filter.Chain){
		"a purge by URL": func(b *bed, _ *filter.Chain) {
			_, _ = b.cache.Purge(&config.Purge{Namespace: "ns", URLs: []string{"http://shop.example/a"}})
		},
		"a purge by a tag": func(b *bed, _ *filter.Chain) {
			_, _ = b.cache.Purge(&config.Purge{Namespace: "ns", Tags: []string{"t"}})
		},
		"more purges than are remembered": func(b *bed, _ *filter.Chain) {
			for i := range 200 {
				_, _ = b.cache.Purge(&config.Purge{Namespace: "other", Tags: []string{fmt.Sprint(i)}})
			}
		},
		"a change": func(b *bed, chain *filter.Chain) {
			b.start("DELETE", chain, "/a")
			b.take(func(n int) int { return n - 1 }).reply <- &reply{status: 204}
			synctest.Wait()
		},
	} {
		for _, coming := range []bool{false, true} { // the body, while it is ended
			t.Run(fmt.Sprintf("%s, body coming: %v", name, coming), func(t *testing.T) {
				alone(t, func(t *testing.T, b *bed) {
					chain := b.chain(&config.Cache{}, 0)
					before := b.get(chain, "/a")
					old := newBody([]byte("ol"), nil)
					r := &reply{status: 200, header: [][2]string{{"Cache-Control", "max-age=60"}, {"Surrogate-Key", "t"}}, length: 3, body: old}
					if coming {
						b.next(t).reply <- r
						synctest.Wait()
						end(b, chain)
					} else {
						end(b, chain)
					}
					after := b.get(chain, "/a")
					if !coming {
						b.next(t).reply <- r
					}
					synctest.Wait()
					b.next(t).reply <- says("max-age=60", "new", "Surrogate-Key", "t")
					after.wants(t, 200, "new", "fwd=uri-miss; fwd-status=200")
					old.pour([]byte("d"), io.EOF)
					before.wants(t, 200, "old", "fwd=uri-miss")
					b.get(chain, "/a").wants(t, 200, "new", "hit")
				})
			})
		}
	}
}

// TestFailuresAreNotShared: who waits for a fetch that fails has another one made, once
// for all of them.
func TestFailuresAreNotShared(t *testing.T) {
	alone(t, func(t *testing.T, b *bed) {
		chain := b.chain(&config.Cache{}, 0)
		fail := func() *reply {
			return &reply{status: 502, length: 3, body: newBody([]byte("bad"), io.EOF), err: errRefused}
		}
		first := b.get(chain, "/a")
		var others []*client
		for range 20 {
			others = append(others, b.get(chain, "/a"))
		}
		b.next(t).reply <- fail()
		first.wants(t, 502, "bad", "fwd=")
		synctest.Wait()
		if n := b.count(); n != 2 {
			t.Fatalf("the origin was asked %d times; want a second time, once", n)
		}
		b.next(t).reply <- fail()
		for _, c := range others {
			c.wants(t, 502, "bad", "fwd=")
		}
		if n := b.count(); n != 2 {
			t.Errorf("the origin was asked %d times", n)
		}
	})
}
