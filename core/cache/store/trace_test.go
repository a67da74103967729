package store

import (
	lists "container/list"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sort"
	"sync/atomic"
	"testing"
)

// policy is a simulation that counts objects of equal size: get reports a hit, and
// takes the key in after a miss.
type policy interface{ get(key int) bool }

type simLRU struct {
	size int
	l    *lists.List
	at   map[int]*lists.Element
}

func newLRU(n int) *simLRU { return &simLRU{n, lists.New(), map[int]*lists.Element{}} }

func (p *simLRU) get(k int) bool {
	if e := p.at[k]; e != nil {
		p.l.MoveToFront(e)
		return true
	}
	p.add(k)
	return false
}

func (p *simLRU) add(k int) (evicted int, ok bool) {
	p.at[k] = p.l.PushFront(k)
	if p.l.Len() > p.size {
		return p.drop(p.l.Back()), true
	}
	return 0, false
}

func (p *simLRU) drop(e *lists.Element) int {
	k := p.l.Remove(e).(int)
	delete(p.at, k)
	return k
}

func (p *simLRU) has(k int) bool { return p.at[k] != nil }

func (p *simLRU) remove(k int) {
	if e := p.at[k]; e != nil {
		p.drop(e)
	}
}

// sim2Q is the full form: a queue of what came in, a queue of names that left it, and
// an LRU of what was asked for again.
type sim2Q struct{ in, out, main *simLRU }

func new2Q(n int) *sim2Q { return &sim2Q{newLRU(n / 4), newLRU(n / 2), newLRU(n - n/4)} }

func (p *sim2Q) get(k int) bool {
	switch {
	case p.main.has(k):
		return p.main.get(k)
	case p.in.has(k):
		return true
	case p.out.has(k):
		p.out.remove(k)
		p.main.add(k)
	default:
		if old, ok := p.in.add(k); ok {
			p.out.add(old)
		}
	}
	return false
}

type simARC struct {
	n, p           int
	t1, t2, b1, b2 *simLRU
}

func newARC(n int) *simARC {
	return &simARC{n, 0, newLRU(2 * n), newLRU(2 * n), newLRU(2 * n), newLRU(2 * n)}
}

func (p *simARC) replace(inB2 bool) {
	if n := p.t1.l.Len(); n > 0 && (n > p.p || inB2 && n == p.p) {
		p.b1.add(p.t1.drop(p.t1.l.Back()))
		return
	}
	p.b2.add(p.t2.drop(p.t2.l.Back()))
}

func (p *simARC) get(k int) bool {
	switch b1, b2 := p.b1.l.Len(), p.b2.l.Len(); {
	case p.t1.has(k):
		p.t1.remove(k)
		p.t2.add(k)
		return true
	case p.t2.has(k):
		return p.t2.get(k)
	case p.b1.has(k):
		p.p = min(p.n, p.p+max(1, b2/b1))
		p.replace(false)
		p.b1.remove(k)
		p.t2.add(k)
	case p.b2.has(k):
		p.p = max(0, p.p-max(1, b1/b2))
		p.replace(true)
		p.b2.remove(k)
		p.t2.add(k)
	default:
		t1, t2 := p.t1.l.Len(), p.t2.l.Len()
		if t1+b1 == p.n {
			if t1 < p.n {
				p.b1.drop(p.b1.l.Back())
				p.replace(false)
			} else {
				p.t1.drop(p.t1.l.Back())
			}
		} else if t1+t2+b1+b2 >= p.n {
			if t1+t2+b1+b2 >= 2*p.n {
				p.b2.drop(p.b2.l.Back())
			}
			p.replace(false)
		}
		p.t1.add(k)
	}
	return false
}

// simTinyLFU is W-TinyLFU with exact counts: window 1 %, main a segmented LRU.
type simTinyLFU struct {
	window, probation, protected *simLRU
	counts                       map[int]int
	n, additions                 int
}

func newTinyLFU(n int) *simTinyLFU {
	w := max(1, n/100)
	return &simTinyLFU{newLRU(w), newLRU(n), newLRU((n - w) * 4 / 5), map[int]int{}, n - w, 0}
}

func (p *simTinyLFU) get(k int) bool {
	p.counts[k] = min(15, p.counts[k]+1)
	if p.additions++; p.additions >= 10*p.n {
		for k, n := range p.counts {
			if p.counts[k] = n / 2; n < 2 {
				delete(p.counts, k)
			}
		}
		p.additions /= 2
	}
	switch {
	case p.window.has(k):
		return p.window.get(k)
	case p.protected.has(k):
		return p.protected.get(k)
	case p.probation.has(k):
		p.probation.remove(k)
		if old, ok := p.protected.add(k); ok {
			p.probation.add(old)
		}
		return true
	}
	candidate, ok := p.window.add(k)
	if !ok {
		return false
	}
	if p.probation.l.Len()+p.protected.l.Len() < p.n {
		p.probation.add(candidate)
		return false
	}
	if victim := p.probation.l.Back(); victim != nil && p.counts[candidate] > p.counts[victim.Value.(int)] {
		p.probation.drop(victim)
		p.probation.add(candidate)
	}
	return false
}

// traceBody is what an object of a trace holds: 1 KiB with what lies around it.
var traceBody = make([]byte, 900)

// traced is the store as a policy.
type traced struct {
	s   *Store
	key []byte
}

func (p *traced) get(k int) bool {
	p.key = binary.BigEndian.AppendUint64(p.key[:0], uint64(k))
	if p.s.Get(p.key, nil) != nil {
		return true
	}
	w := p.s.Create(p.key, nil, nil, Attributes{Namespace: "a", Hostname: []byte("h"), Path: p.key}, int64(len(traceBody)))
	_, _ = w.Write(traceBody)
	_, _ = w.Commit()
	return false
}

// zipf returns requests for n objects whose frequencies fall as 1/rank.
func zipf(r *rand.Rand, n int) func() int {
	sums := make([]float64, n)
	total := 0.0
	for i := range sums {
		total += 1 / float64(i+1)
		sums[i] = total
	}
	return func() int { return sort.SearchFloat64s(sums, r.Float64()*total) }
}

// costOf returns what the store counts for an object of a trace.
func costOf(t testing.TB) int64 {
	s := open(t, Options{})
	(&traced{s: s}).get(1)
	(&traced{s: s}).get(2)
	one := s.Stats().Namespaces["a"].Memory
	return one.Bytes / int64(one.Objects)
}

func TestHitRatio(t *testing.T) {
	objects := 40_000
	switch {
	case raceEnabled:
		t.Skip("nothing here runs at once")
	case long:
		objects = 1_000_000
	}
	newRand := func() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
	tests := map[string]struct {
		next  func() int
		least float64 // of the best
	}{
		"Zipf 1.0": {zipf(newRand(), objects), 0.97},
		// A quarter of the requests walk through objects that nobody asks for again.
		"Zipf 1.0 and a scan": {func() func() int {
			r, scanned := newRand(), 0
			z := zipf(r, objects)
			return func() int {
				if r.IntN(4) == 0 {
					scanned++
					return objects + scanned
				}
				return z()
			}
		}(), 0.97},
		// What is popular changes all the time.
		"Zipf 1.0 that moves": {func() func() int {
			z := zipf(newRand(), objects)
			n := 0
			return func() int { n++; return z() + n/50 }
		}(), 0.85},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := objects / 20
			s := open(t, Options{MemoryBytes: int64(n)*costOf(t) + 4096, MemoryObjects: 2 * n})
			names := []string{"the store", "LRU", "2Q", "ARC", "W-TinyLFU"}
			policies := []policy{&traced{s: s}, newLRU(n), new2Q(n), newARC(n), newTinyLFU(n)}
			hits := make([]int, len(policies))
			counted := 0
			for i := range 20 * objects {
				k := test.next()
				warm := i > 5*objects
				if warm {
					counted++
				}
				for j, p := range policies {
					if p.get(k) && warm {
						hits[j]++
					}
				}
			}
			best := 0.0
			for j := range policies {
				ratio := float64(hits[j]) / float64(counted)
				t.Logf("%-10s %.4f", names[j], ratio)
				best = max(best, ratio)
			}
			if got := float64(hits[0]) / float64(counted); got < test.least*best || math.IsNaN(got) {
				t.Errorf("hit ratio %.4f; want at least %.2f of %.4f", got, test.least, best)
			}
		})
	}
}

// overhead returns what n objects take of the heap beyond their bytes, each, and what
// the store thinks that they take.
func overhead(t *testing.T, n int) (beyond, counted float64) {
	r := rand.New(rand.NewPCG(3, 3))
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := open(t, Options{MemoryBytes: 8 << 30})
	bytes := 0
	head, content := make([]byte, 400), make([]byte, 1024)
	for i := range n {
		path := fmt.Sprintf("/products/%d/detail?lang=en", i)
		key := "shop\x00web\x00https\x00shop.example.com" + path
		h := head[:100+r.IntN(300)]
		w := s.Create([]byte(key), nil, h, Attributes{Namespace: "shop", Service: "web", Hostname: []byte("shop.example.com"), Path: []byte(path)}, int64(len(content)))
		w.Write(content)
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		bytes += len(key) + len(h) + len(content)
	}
	after := heap()
	st := s.Stats()
	if st.Memory.Objects != n {
		t.Fatalf("%d objects; want %d", st.Memory.Objects, n)
	}
	runtime.KeepAlive(s)
	return float64(int64(after)-int64(before)-int64(bytes)) / float64(n), float64(st.Memory.Bytes-int64(bytes)) / float64(n)
}

func TestMemoryBeyondWhatIsStored(t *testing.T) {
	if raceEnabled {
		t.Skip("the heap is another one")
	}
	n := 130_000 // just after tables have doubled, which is the worst
	if long {
		n = 1_100_000
	}
	beyond, counted := overhead(t, n)
	t.Logf("%.0f bytes each beyond those stored; %.0f counted", beyond, counted)
	if beyond >= 250 {
		t.Errorf("%.0f bytes each beyond key, head and body; want less than 250", beyond)
	}
	if counted < beyond*0.9 || counted > beyond*1.15 {
		t.Errorf("the store counts %.0f bytes each; the heap grew by %.0f", counted, beyond)
	}
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1 << 12, 1 << 18} {
		b.Run(fmt.Sprint(n, " objects"), func(b *testing.B) {
			s := open(b, Options{MemoryBytes: 1 << 30})
			var keys [][]byte
			for i := range n {
				keys = append(keys, fmt.Appendf(nil, "shop\x00web\x00https\x00shop.example.com/products/%d/detail?lang=en", i))
				put(b, s, string(keys[i]), "", traceBody, attributes("shop", "shop.example.com", "/"))
			}
			z := zipf(rand.New(rand.NewPCG(1, 1)), n)
			order := make([][]byte, 1<<16)
			for i := range order {
				order[i] = keys[z()]
			}
			match := func([]byte) bool { return true }
			var starts atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := starts.Add(7919); pb.Next(); i++ {
					if s.Get(order[i&(1<<16-1)], match) == nil {
						b.Fail()
					}
				}
			})
		})
	}
}

func BenchmarkCommit(b *testing.B) {
	for name, dir := range map[string]string{"memory": "", "disk": b.TempDir()} {
		b.Run(name, func(b *testing.B) {
			s := open(b, Options{MemoryBytes: 64 << 20, Dir: dir, DiskBytes: 1 << 30})
			b.ReportAllocs()
			var key []byte
			for i := 0; b.Loop(); i++ {
				key = fmt.Appendf(key[:0], "shop.example.com/products/%d", i)
				w := s.Create(key, nil, []byte("head"), attributes("shop", "shop.example.com", "/", "tag"), int64(len(traceBody)))
				w.Write(traceBody)
				if _, err := w.Commit(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
