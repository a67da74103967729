package cache_test

import (
	"io"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/telemetry"
)

// bed is a cache before an origin that answers when the test says so.
type bed struct {
	t     testing.TB
	o     store.Options
	store *store.Store
	cache *cache.Cache

	mu      sync.Mutex
	waiting []*ask // in the order in which they came
	asked   int
}

func newBed(t testing.TB, o store.Options) *bed {
	b := &bed{t: t, o: o}
	b.open()
	return b
}

func (b *bed) open() {
	b.t.Helper()
	s, err := store.Open(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.store, b.cache = s, cache.New(s, 1<<20, telemetry.New())
}

func (b *bed) close() {
	b.t.Helper()
	b.cache.Close()
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
}

// chain is a chain with the cache alone.
func (b *bed) chain(c *config.Cache, after byte) *filter.Chain {
	return filter.New([]filter.Entry{{Filter: b.cache.Filter(c, cache.Fingerprint{after}), ID: "service/cache"}})
}

// ask is a request that has come to the origin.
type ask struct {
	by       *client // whose request it was, or is a copy of
	direct   bool    // it is the client's own
	header   exchange.Header
	method   string
	path     string
	at       time.Time
	step     int
	reply    chan *reply // capacity 1
	vanished bool        // nobody waits for the answer any more
}

// reply is what the origin says; nil: nothing at all.
type reply struct {
	status int
	header [][2]string
	body   *body // nil: none
	length int64 // -1: not known
	err    *exchange.Error
}

// field returns the first field called name.
func (a *ask) field(name string) string {
	v, _ := a.header.Get(name)
	return string(v)
}

// put asks the origin and waits for its answer, or until watch says that the client has
// gone.
func (b *bed) put(a *ask, x *exchange.Exchange, watch exchange.Client) *reply {
	for _, f := range x.Request.Header.Fields() {
		a.header.Add([]byte(string(f.Name)), []byte(string(f.Value)))
	}
	a.method, a.path, a.at, a.reply = string(x.Request.Method), string(x.Request.Path), time.Now(), make(chan *reply, 1)
	a.step = a.by.step()
	b.mu.Lock()
	b.waiting = append(b.waiting, a)
	b.asked++
	b.mu.Unlock()
	gone := make(chan struct{})
	stop := watch.Watch(func() { close(gone) })
	defer stop()
	select {
	case r := <-a.reply:
		return r
	case <-gone:
		b.mu.Lock()
		a.vanished = true
		b.mu.Unlock()
		return nil
	}
}

// take takes the next request out, the one that pick says of so many; nil: there is none.
func (b *bed) take(pick func(n int) int) *ask {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.waiting[:0]
	for _, a := range b.waiting {
		if !a.vanished {
			kept = append(kept, a)
		}
	}
	b.waiting = kept
	if len(kept) == 0 {
		return nil
	}
	i := pick(len(kept))
	a := kept[i]
	b.waiting = append(kept[:i], kept[i+1:]...)
	return a
}

// count returns how often the origin was asked.
func (b *bed) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked
}

// fill makes x's response what r says; false: there is none.
func (r *reply) fill(x *exchange.Exchange) bool {
	if r == nil {
		return false
	}
	p := &x.Response
	p.Status, p.Version, p.ContentLength, p.Body = r.status, exchange.HTTP11, r.length, nil
	for _, f := range r.header {
		p.Header.Add(x.Arena.CopyString(f[0]), x.Arena.CopyString(f[1]))
	}
	if r.body != nil {
		p.Body = r.body
	}
	x.Err = r.err
	return true
}

// body is what the origin sends, as the test hands it out.
type body struct {
	mu   sync.Mutex
	wake *sync.Cond
	rest []byte // not read yet
	end  error  // nil: more is to come
	shut bool
}

func newBody(now []byte, end error) *body {
	b := &body{rest: now, end: end}
	b.wake = sync.NewCond(&b.mu)
	return b
}

// pour hands out more; with an end, io.EOF for the good one, it is the last.
func (b *body) pour(more []byte, end error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest, b.end = append(b.rest, more...), end
	b.wake.Broadcast()
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.rest) == 0 && b.end == nil && !b.shut {
		b.wake.Wait()
	}
	if b.shut {
		return 0, io.ErrClosedPipe
	}
	if len(b.rest) == 0 {
		return 0, b.end
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *body) Buffered() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.rest)
}

func (b *body) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = true
	b.wake.Broadcast()
}

// closed reports whether nobody wants more of it.
func (b *body) closed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shut
}

// Detach implements filter.Detacher.
func (c *client) Detach(n int) filter.Detached {
	d := &detached{b: c.b, by: c}
	d.run.Start(&d.x)
	d.run.Detacher(c)
	d.run.Skip(n)
	from, x := &c.x, &d.x
	q, p := &from.Request, &x.Request
	x.ID, x.Start, x.CacheScope, x.Service, x.Consumer, x.Claims, x.Steer = from.ID, time.Now(), from.CacheScope, from.Service, from.Consumer, from.Claims, from.Steer
	p.Method, p.Scheme, p.Authority, p.Path = d.copy(q.Method), d.copy(q.Scheme), d.copy(q.Authority), d.copy(q.Path)
	for _, f := range q.Header.Fields() {
		p.Header.Add(d.copy(f.Name), d.copy(f.Value))
	}
	return d
}

// detached is an exchange behind the cache.
type detached struct {
	b        *bed
	by       *client
	x        exchange.Exchange
	run      filter.Run
	answered bool
	kept     bool
	own      [][]byte // bytes that live until it is finished
}

// copy returns bytes that live until the exchange is finished.
func (d *detached) copy(b []byte) []byte {
	b = d.x.Arena.Copy(b)
	d.own = append(d.own, b)
	return b
}

func (d *detached) Exchange() *exchange.Exchange { return &d.x }

func (d *detached) Head() bool {
	if d.run.Request(d.by.chain, d.x.Request.Path) != filter.Passed {
		return false
	}
	d.answered = d.b.put(&ask{by: d.by}, &d.x, d.x.Client).fill(&d.x) && d.run.Response() == filter.Passed
	return d.answered
}

func (d *detached) Keep() { d.kept = true }

func (d *detached) Finish() {
	if d.answered && !d.kept {
		_ = d.x.Client.Send(&d.x)
	}
	if d.x.Response.Body != nil {
		d.x.Response.Body.Close()
	}
	d.run.Done()
	for _, b := range d.own { // who still has it sees that
		for i := range b {
			b[i] = '~'
		}
	}
	d.x.Reset()
}

var (
	_ exchange.Client = (*client)(nil)
	_ filter.Detacher = (*client)(nil)
	_ filter.Detached = (*detached)(nil)
	_ exchange.Body   = (*body)(nil)
)
