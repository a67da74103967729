package cache_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
)

// TestModel: clients, an origin that answers as it likes, the clock, purges, changes,
// other filters behind the cache, restarts and crashes come in any order; each answer is judged by
// what is known of all that happened (oracle_test.go). 20,000 steps, a million with
// PENSTOCK_LONG=1; PENSTOCK_SEED repeats a run, as far as goroutines let it.
func TestModel(t *testing.T) {
	steps, seed := 20_000, uint64(time.Now().UnixNano())
	if os.Getenv("PENSTOCK_LONG") != "" {
		steps = 1_000_000
	}
	if text := os.Getenv("PENSTOCK_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PENSTOCK_SEED=%d", seed)
	dir := t.TempDir()
	const lap = 10_000 // steps of one clock
	for n := 0; n < steps && !t.Failed(); n += lap {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, dir, rand.New(rand.NewPCG(seed, uint64(n))))
			for range min(lap, steps-n) {
				if w.turn(); t.Failed() {
					break
				}
			}
			w.end()
			t.Logf("after %d steps: %v", n+min(lap, steps-n), w.seen)
		})
	}
}

// world is all that happens.
type world struct {
	*bed
	t       testing.TB
	r       *rand.Rand
	now     int // number of the turn
	after   byte
	ids     int
	clients []*client // under way
	streams []*flow
	history history
	seen    map[string]int // what was judged, for whoever wants to know
}

// configs are what Services in the model have.
func configs() []*config.Cache {
	return []*config.Cache{
		{},
		{TTL: 5 * time.Second, StaleWhileRevalidate: 3 * time.Second, StaleIfError: 20 * time.Second},
		{Key: config.CacheKey{Consumer: true}},
		{Key: config.CacheKey{Headers: []string{"x-lang"}}, StaleIfError: 10 * time.Second},
	}
}

func newWorld(t testing.TB, dir string, r *rand.Rand) *world {
	o := store.Options{MemoryBytes: 1 << 20, Error: func(err error) { t.Errorf("disk: %v", err) }}
	if r.IntN(2) == 0 {
		o.Dir, o.DiskBytes = dir, 32<<20
	}
	w := &world{bed: newBed(t, o), t: t, r: r, seen: map[string]int{}}
	// What an earlier world left on disk is nothing to this one.
	w.history.places = map[*client]place{}
	if _, err := w.cache.Purge(&config.Purge{Namespace: "ns", Hostnames: []string{"shop.example"}}); err != nil {
		t.Error(err)
	}
	return w
}

func (w *world) chance(percent int) bool { return w.r.IntN(100) < percent }

func (w *world) one(list ...string) string { return list[w.r.IntN(len(list))] }

// turn does one thing, and lets all that follows from it happen.
func (w *world) turn() {
	w.now++
	switch n := w.r.IntN(1000); {
	case n < 440:
		w.begin()
	case n < 780:
		w.answer()
	case n < 900:
		w.pour()
	case n < 925:
		w.leave()
	case n < 965:
		time.Sleep(time.Duration(w.r.IntN(2000)) * time.Millisecond)
	case n < 970:
		time.Sleep(time.Duration(w.r.IntN(60)) * time.Second)
	case n < 990:
		w.purgeSome()
	case n < 998:
		w.after = byte(w.r.IntN(2))
	default:
		switch {
		case w.chance(25):
			w.restart()
		case w.chance(33):
			w.crash()
		}
	}
	w.settle()
}

// settle waits until nothing moves, and judges the answers that have come.
func (w *world) settle() {
	synctest.Wait()
	kept := w.clients[:0]
	for _, c := range w.clients {
		if !c.finished() {
			kept = append(kept, c)
			continue
		}
		w.judge(c)
	}
	clear(w.clients[len(kept):])
	w.clients = kept
}

// begin has a client ask.
func (w *world) begin() {
	if len(w.clients) > 40 {
		return
	}
	w.ids++
	which := w.r.IntN(len(configs()))
	c := &client{
		b: w.bed, id: w.ids, method: "GET", path: fmt.Sprintf("/%d", min(w.r.IntN(4), w.r.IntN(4))), scope: fmt.Sprintf("ns/s%d:80", which),
		chain: w.chain(configs()[which], w.after), step: w.step,
	}
	w.history.places[c] = place{which, w.after}
	field := func(name, value string) { c.fields = append(c.fields, [2]string{name, value}) }
	if w.chance(50) {
		field("X-Lang", w.one("a", "b"))
	}
	if w.chance(15) {
		c.who = w.one("one", "two")
	}
	switch w.r.IntN(40) {
	case 0:
		c.method = "HEAD"
	case 1:
		c.method = "PUT"
	case 2:
		field("Cache-Control", "no-cache")
	case 3:
		field("Cache-Control", w.one("max-age=0", "max-age=2"))
	case 4:
		field("Cache-Control", "only-if-cached")
	case 5:
		field("Cache-Control", w.one("max-stale=4", "min-fresh=2"))
	case 6:
		field("Cache-Control", "no-store")
	case 7:
		field("Authorization", "x")
	case 8, 9:
		field("Range", w.one("bytes=8-15", "bytes=-8", "bytes=16-", "bytes=0-7,16-23", "bytes=1048577-"))
	}
	w.clients = append(w.clients, c.run())
}

func (w *world) step() int { return w.now }

// leave ends a client's connection, which may come while its answer does.
func (w *world) leave() {
	if len(w.clients) > 0 {
		w.clients[w.r.IntN(len(w.clients))].leave()
	}
}

// restart closes the cache when all is quiet, and opens it again.
func (w *world) restart() {
	w.quiet()
	w.close()
	if w.chance(50) { // and all memory is gone
		time.Sleep(time.Duration(w.r.IntN(4)) * time.Second)
	}
	w.open()
	w.seen["restarts"]++
}

// crash ends everything at once, and goes on with the folder as it was: what a process
// that is killed leaves. Who was under way gets nothing, and what the cache that was does
// afterwards is lost.
func (w *world) crash() {
	if w.o.Dir != "" {
		left := w.t.TempDir()
		if err := os.CopyFS(left, os.DirFS(w.o.Dir)); err != nil {
			w.t.Fatal(err)
		}
		w.o.Dir = left
	}
	for _, c := range w.clients {
		c.leave()
	}
	w.clients = nil
	w.settle() // before anything is answered
	w.quiet()
	w.close()
	w.open()
	w.seen["crashes"]++
}

// quiet answers all that waits, until nothing is under way.
func (w *world) quiet() {
	for range 1000 {
		for w.answer() {
			w.settle()
			w.now++ // what is asked for next comes after it
		}
		for len(w.streams) > 0 {
			w.pour()
			w.settle()
		}
		if w.settle(); len(w.clients) == 0 && len(w.waiting) == 0 && w.store.Stats().Writing == 0 {
			break
		}
	}
	for _, c := range w.clients {
		w.t.Errorf("%s %s %v, begun in turn %d of %d, never ends", c.method, c.path, c.fields, c.started, w.now)
	}
	if n, m := w.cache.Waiting(), w.store.Stats().Writing; n != 0 || m != 0 {
		w.t.Errorf("%d clients wait and %d responses are written, and nothing is under way", n, m)
	}
}

func (w *world) end() {
	w.quiet()
	w.close()
}

// flow is a body that the origin still sends.
type flow struct {
	to   *body
	rest []byte
	end  error
}

// pour has the origin send more of a body.
func (w *world) pour() {
	if len(w.streams) == 0 {
		return
	}
	i := w.r.IntN(len(w.streams))
	f := w.streams[i]
	n := len(f.rest)
	if n > 1 && w.chance(50) {
		n = 1 + w.r.IntN(n)
	}
	var end error
	if n == len(f.rest) {
		end = f.end
	}
	f.to.pour(f.rest[:n], end)
	if f.rest = f.rest[n:]; end != nil || f.to.closed() {
		w.streams = append(w.streams[:i], w.streams[i+1:]...)
	}
}

// content is the body of an answer: its number, again and again.
func content(id, tokens int) []byte { return []byte(strings.Repeat(fmt.Sprintf("%07d;", id), tokens)) }
