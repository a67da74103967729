package cache

import (
	"bytes"
	"container/list"
	"sync"
	"time"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// outcome is what a flight found once the response's head was there.
type outcome uint8

const (
	_ outcome = iota // not known yet
	// stored: the response is being stored, and can be read while it comes.
	stored
	// updated: the stored response was validated, or another one of it is.
	updated
	// spared: the origin failed, and the stored response serves all the same.
	spared
	// kept: it may not be stored; the client that began the flight has it.
	kept
	// failed: the proxy answered in the origin's place.
	failed
	// mistaken: the origin says that something else than what is stored is current.
	mistaken
	// vanished: there is no response.
	vanished
)

// flight is one question to the origin. It is the client of the detached exchange that
// asks it.
type flight struct {
	c          *Cache
	f          *Filter
	key        []byte
	hash       uint64
	mark       uint64        // markOf
	expected   []byte        // the variant that it is about, as far as is known
	old        *store.Object // that is validated; nil: none
	oldHead    head          // of old
	rd         rfc9111.RequestDirectives
	auth       bool // the request counts as carrying Authorization
	cookie     bool // it has cookies, and the key has not
	steer      *exchange.CacheSteer
	known      bool   // it is a consumer's
	consumer   string // who, at the cache's place
	work       *work
	askedBytes int // of work.asked
	place      store.Attributes
	since      uint64 // purges before the origin was asked
	lane       string // the Range that the origin is asked for, a line end, If-Range; empty: for the whole

	// part is a stored part, from the first byte on, that the flight completes; nil:
	// none. Its range, of so many bytes in all, its fields and its strong entity tag.
	part       *store.Object
	have       rfc9111.ByteRange
	all        int64
	partFields exchange.Header
	partTag    []byte
	prefix     *store.Reader // what it has, while the whole is stored
	alone      bool          // nobody joins it

	// leader is the exchange that waits on the goroutine that flies; nil: none does.
	leader     *exchange.Exchange
	background bool

	// Written before it is settled.
	out      outcome
	d        filter.Detached
	received time.Time // the head
	why      string    // not stored
	writer   *store.Writer
	first    *store.Reader // the leader's of a body that is not short
	serves   *store.Object // updated, spared
	bytes    []byte        // the head of what is served
	facts    rfc9111.Facts
	variant  []byte
	local    shared // failed
	err      *exchange.Error
	status   int   // of the origin; 0: none came
	size     int64 // of what is being stored; -1: not known
	told     told

	// Of the goroutine that flies: the body was short, and is there; object is it, if it
	// is stored.
	whole  bool
	object *store.Object

	next   *flight // guarded by flights.mu, as listed
	listed bool

	mu      sync.Mutex
	shared  bool // others have joined it
	settled bool
	waiting list.List // of chan bool, each of who waits until it is settled
	clients int       // that wait for its head, or are about to read
	left    bool      // the leader's client has gone
	gone    func()    // ends the wait for the upstream; nil: there is none
	over    bool      // it was ended
	void    bool      // the key was invalidated: nothing of it is to be stored
}

// work is what a flight needs while it stores. It serves another one after that.
type work struct {
	asked  exchange.Header // the request's fields at the cache's place
	fields exchange.Header // that are stored
	key    []byte
	head   []byte
	date   [32]byte // the value of Date, if the origin gave none
}

// done gives the work back.
func (f *flight) done() {
	w := f.work
	f.work = nil
	w.asked.Reset()
	w.fields.Reset()
	f.c.works.Put(w)
}

// shared is an answer of the proxy's own that several clients get.
type shared struct {
	status int
	fields []exchange.Field
	body   []byte
}

// told is what the log says of an exchange with the origin.
type told struct {
	by, endpoint string
	attempts     int
	start, head  time.Time
}

// flights are the flights under way, by the hash of their key.
type flights struct {
	mu     sync.Mutex
	byHash map[uint64]*flight // the first of a list
}

// join returns the flight for this key and variant, and whether the caller is to fly
// it: there was none.
func (l *flights) join(f *flight) (found *flight, leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := l.byHash[f.hash]; other != nil; other = other.next {
		// One whose variant is not known may turn out to be about anything.
		if bytes.Equal(other.key, f.key) && other.joinable() && other.lane == f.lane && (other.expected == nil || bytes.Equal(other.expected, f.expected)) {
			other.enter()
			return other, false
		}
	}
	l.add(f)
	return f, true
}

// list takes in a flight that nobody joins.
func (l *flights) list(f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(f)
}

// add takes a flight in. mu is held.
func (l *flights) add(f *flight) {
	f.listed, f.next = true, l.byHash[f.hash]
	l.byHash[f.hash] = f
}

// end takes a flight out: who comes now does not wait for it.
func (l *flights) end(f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !f.listed {
		return
	}
	f.listed = false
	first := l.byHash[f.hash]
	if first != f {
		for first.next != f {
			first = first.next
		}
		first.next = f.next
	} else if f.next != nil {
		l.byHash[f.hash] = f.next
	} else {
		delete(l.byHash, f.hash)
	}
	f.next = nil
}

// each calls do with every flight.
func (l *flights) each(do func(*flight)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.byHash {
		for ; f != nil; f = f.next {
			f.mu.Lock()
			do(f)
			f.mu.Unlock()
		}
	}
}

// endAll ends what flights wait for.
func (l *flights) endAll() {
	l.each((*flight).giveUp)
}

// spoil keeps what flights for the key bring from being stored.
func (l *flights) spoil(key []byte, hash uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := l.byHash[hash]; f != nil; f = f.next {
		if bytes.Equal(f.key, key) {
			f.mu.Lock()
			f.void = true
			f.mu.Unlock()
		}
	}
}

// joinable reports whether who comes now may get what the flight brings.
func (f *flight) joinable() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.alone && !f.void && !f.over
}

// enter counts a client.
func (f *flight) enter() {
	f.mu.Lock()
	f.clients++
	f.shared = true
	f.mu.Unlock()
}

// free gives back a flight that its leader alone has known, once all is told of it.
func (f *flight) free() {
	f.mu.Lock()
	keep := f.shared || !f.whole || f.background
	f.mu.Unlock()
	if keep {
		return
	}
	k := f.c
	*f = flight{place: store.Attributes{Hostname: f.place.Hostname, Path: f.place.Path}}
	k.spare.Put(f)
}

// leave counts a client less. The last one ends the wait for a head.
func (f *flight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clients--; f.clients == 0 && !f.settled {
		f.giveUp()
	}
}

// giveUp ends the wait for the upstream, once. f.mu is held.
func (f *flight) giveUp() {
	if f.gone != nil {
		f.gone()
		f.gone, f.over = nil, true
	}
}

// abandoned says that the client of the leader has gone. Its goroutine flies on as long
// as others wait.
func (f *flight) abandoned() {
	f.mu.Lock()
	first := !f.left
	f.left = true
	f.mu.Unlock()
	if first {
		f.leave()
	}
}

// wanted reports whether somebody waits for the response or reads it.
func (f *flight) wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clients > 0 || f.background || f.writer.Readers() > 0
}

// settle says that the head is known, and what came of it.
func (f *flight) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = true
	// Who came first goes first; closing one channel would wake them the other way round.
	for e := f.waiting.Front(); e != nil; e = e.Next() {
		e.Value.(chan bool) <- true
	}
	f.waiting.Init()
}

// await waits until the head is known; false: the client has gone.
func (f *flight) await(c exchange.Client) bool {
	f.mu.Lock()
	if f.settled {
		f.mu.Unlock()
		return true
	}
	known := make(chan bool, 2) // both may happen
	e := f.waiting.PushBack(known)
	f.mu.Unlock()
	stop := c.Watch(func() { known <- false })
	defer stop()
	if <-known {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.settled {
		f.waiting.Remove(e)
	}
	return false
}

// Inform implements exchange.Client: interim responses go to the client that waits on
// this goroutine.
func (f *flight) Inform(_ *exchange.Exchange, status int, h *exchange.Header) error {
	if f.leader == nil || status == 100 {
		return nil
	}
	return f.leader.Client.Inform(f.leader, status, h)
}

// Watch implements exchange.Client: until the head is known the upstream's silence lasts
// no longer than somebody waits for its end, and never longer than the cache is open.
func (f *flight) Watch(gone func()) (stop func()) {
	f.mu.Lock()
	over := f.c.over.Load() // else endAll comes later, and finds it
	if !over {
		f.gone = gone
	}
	f.mu.Unlock()
	if over {
		var running sync.WaitGroup
		running.Go(gone)
		return running.Wait
	}
	unwatch := func() {}
	if f.leader != nil {
		unwatch = f.leader.Client.Watch(f.abandoned)
	}
	return func() {
		unwatch()
		f.mu.Lock()
		f.gone = nil
		f.mu.Unlock()
	}
}

// fly asks the origin, as of requested, and says what it answered. On return the head is
// known; what is short is stored whole.
func (f *flight) fly(d filter.Detached, requested time.Time) {
	f.d = d
	answered := d.Head()
	f.received = time.Now()
	f.decide(d.Exchange(), answered, requested, f.received)
	f.leader = nil // what follows may outlast it
	short := f.out == stored && f.short(d.Exchange())
	switch {
	case f.out != stored:
		f.c.flights.end(f)
	case !short && !f.background:
		f.first = f.writer.Reader() // before what it reads may be gone
	}
	f.settle()
	switch {
	case f.out == kept:
		f.done()
	case f.out == stored && !short:
		f.c.group.Go(func() {
			d.Finish()
			f.done()
		})
	default:
		d.Finish()
		f.done()
		f.whole = true
	}
}

// maxShort is how long a body may be that is stored before its client gets a byte.
const maxShort = 64 << 10

// short reports whether the body is there, or will be at once.
func (f *flight) short(x *exchange.Exchange) bool {
	p := &x.Response
	return p.Body == nil || p.ContentLength >= 0 && p.ContentLength <= maxShort && int64(p.Body.Buffered()) >= p.ContentLength
}

// Send implements exchange.Client: it stores the response's body.
func (f *flight) Send(x *exchange.Exchange) error {
	body := x.Response.Body
	if body != nil {
		defer body.Close()
	}
	if f.out != stored {
		return nil
	}
	defer f.c.flights.end(f)
	if body != nil {
		if err := f.copy(body, x.Response.ContentLength); err != nil {
			f.keepPart()
			f.writer.Abort(err)
			return err
		}
	}
	f.commit()
	return nil
}

var _ exchange.Client = (*flight)(nil)
