package cache

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"time"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

func (s *stream) hash() uint64 { return maphash.Bytes(s.f.cache.seed, s.key) }

// authorized says whether a filter has found out who sent the request, other than by a
// name that the key has (annotations.md, section 7.6).
func authorized(x *exchange.Exchange, keyed bool) bool {
	if x.Consumer.Name != "" {
		return !keyed
	}
	return x.Claims != nil
}

// flight readies a flight for the request. old is what it validates; nil: nothing.
func (s *stream) flight(old *store.Object) *flight {
	x, k := s.x, s.f.cache
	w := k.works.Get().(*work)
	w.key = append(w.key[:0], s.key...)
	f := k.spare.Get().(*flight)
	*f = flight{
		place: store.Attributes{Hostname: f.place.Hostname, Path: f.place.Path}, // their room is used again
		c:     k, f: s.f, work: w, key: w.key, hash: s.hash(), rd: s.rd, old: old,
		auth:   authorized(x, s.f.c.Key.Consumer) || x.Request.Header.Count("Authorization") > 0,
		cookie: s.f.cookied(&x.Request.Header), known: x.Consumer.Name != "", consumer: x.Consumer.Name,
		steer: x.Steer,
	}
	f.mark = markOf(f.hash, f.auth, f.cookie)
	if old != nil {
		f.oldHead = s.head
		f.expected = old.Variant()
		if f.expected == nil {
			f.expected = noVariant
		}
	} else if names := s.varyNames(); names != nil {
		f.expected = variantOf(names, &x.Request.Header)
	}
	return f
}

var (
	get = []byte("GET")
	// noVariant is expected of a key whose responses have no Vary.
	noVariant = []byte{}
)

// cookied reports whether a request has cookies, which may have made the answer personal.
func (f *Filter) cookied(h *exchange.Header) bool {
	return f.c.Ignore&config.IgnoreCookie == 0 && h.Count("Cookie") > 0
}

// varyNames returns the names that the key's newest response varies by; nil: there is
// none.
func (s *stream) varyNames() []string {
	o := s.f.cache.store.Get(s.key, anyVariant)
	if o == nil {
		return nil
	}
	return namesOf(o.Variant())
}

// detach begins the detached exchange of a flight. What the flight keeps of the
// request is copied: it may outlive the exchange.
func (s *stream) detach(f *flight) filter.Detached {
	d := s.w.Detach()
	y := d.Exchange()
	y.Client = f
	y.Cache = "fetch"
	q := &y.Request
	for _, field := range q.Header.Fields() {
		f.work.asked.Add(field.Name, field.Value)
		f.askedBytes += len(field.Name) + len(field.Value)
	}
	q.Header.Del("max-forwards") // it means nothing here, and one answer is for many
	q.Method = get               // also for a HEAD, whose answer has no body to store
	q.Path = y.Arena.Copy(s.target)
	f.place = store.Attributes{ // it outlives the exchange
		Namespace: namespaceOf(s.x.Service), Service: s.x.Service,
		Hostname: append(f.place.Hostname[:0], bytes.Trim(exchange.Hostname(&y.Arena, q.Authority), "[]")...),
		Path:     append(f.place.Path[:0], s.target...),
	}
	if f.old != nil {
		f.old.Tags(func(tag []byte) bool {
			f.place.Tags = append(f.place.Tags, tag)
			return true
		})
	}
	f.since = s.f.cache.purges.now()
	ranged, ifRange := field(&q.Header, "range"), field(&q.Header, "if-range")
	rfc9111.Unconditional(&q.Header)
	switch {
	case f.lane != "":
		q.Header.Add(rangeField, ranged)
		if ifRange != nil {
			q.Header.Add(ifRangeField, ifRange)
		}
	case f.part != nil:
		q.Header.Add(rangeField, y.Arena.Copy(fmt.Appendf(nil, "bytes=%d-", f.have.Last+1)))
		q.Header.Add(ifRangeField, f.partTag)
	}
	if f.old != nil {
		var fields exchange.Header
		f.oldHead.fieldsInto(&fields)
		rfc9111.Validators(&q.Header, &fields)
	}
	return d
}

// field returns the value of the first field called name; nil: there is none.
func field(h *exchange.Header, name string) []byte {
	v, _ := h.Get(name)
	return v
}

// namespaceOf returns the namespace of "namespace/name".
func namespaceOf(service string) string {
	namespace, _, _ := strings.Cut(service, "/")
	return namespace
}

// ask has the origin asked, or waits for a flight that asks it already. again: what it
// brought is not for this request, which is to look once more. part is a stored part of
// the response, nil: there is none.
func (s *stream) ask(old, part *store.Object) (v filter.Verdict, again bool, err error) {
	k := s.f.cache
	f := s.flight(old)
	f.clients, f.leader = 1, s.x // before others see it
	passes := k.marks.has(f.mark, markPass, s.now)
	if old == nil && (passes || s.distant()) {
		if v, ok := s.x.Request.Header.Get("range"); ok {
			f.lane = string(v) + "\n" + string(field(&s.x.Request.Header, "if-range"))
		}
	}
	if part != nil && f.lane == "" {
		f.complete(part)
	}
	if passes || s.rd.NoStore { // nobody waits for it: it brings nothing for others
		f.alone = true
		k.flights.list(f)
		return s.lead(f)
	}
	s.asked = k.purges.now()
	found, leads := k.flights.join(f)
	if !leads {
		f.done()
		return s.follow(found)
	}
	if old == nil {
		if o := s.find(); o != nil && s.head.facts.Status != 206 { // stored since it was looked for
			k.flights.end(f)
			f.out = vanished
			f.settle()
			f.done()
			return filter.Continue, true, nil
		}
	}
	return s.lead(f)
}

// lead flies on the exchange's goroutine; again as ask.
func (s *stream) lead(f *flight) (v filter.Verdict, again bool, err error) {
	d := s.detach(f)
	c := source{size: -1}
	s.w.Unlocked(func() {
		f.fly(d, s.now)
		switch {
		case f.out != stored:
		case f.whole && f.object != nil:
			c.object = f.object
		case f.first != nil:
			c.reader, c.size = f.first, f.size
		default:
			c.reader, c.size = f.writer.Reader(), f.size
		}
	})
	f.abandoned()
	if f.out == mistaken {
		return filter.Continue, true, nil
	}
	t := &f.told
	s.x.Endpoint, s.x.Attempts, s.x.UpstreamStart, s.x.UpstreamHeader = t.endpoint, t.attempts, t.start, t.head
	s.now = f.received
	v, err = s.land(f, c)
	f.free()
	return v, false, err
}

// refresh has a stale response validated behind the client's back.
func (s *stream) refresh(o *store.Object) {
	k := s.f.cache
	if k.marks.has(s.hash(), markDown, s.now) || k.background.Load() >= maxBackground {
		return
	}
	f := s.flight(o)
	f.background = true
	if other, leads := k.flights.join(f); !leads {
		f.done()
		other.leave()
		return
	}
	k.background.Add(1)
	s.service().refreshed.Inc()
	d := s.detach(f)
	if !k.start(func() {
		defer k.background.Add(-1)
		f.fly(d, time.Now())
		if f.out == kept {
			d.Finish()
		}
	}) {
		k.background.Add(-1)
		k.flights.end(f)
		f.out = vanished
		f.settle()
		d.Finish()
		f.done()
	}
}

// maxBackground bounds the refreshes under way; more are left to later requests.
const maxBackground = 256

// follow waits for the head of a flight of others.
func (s *stream) follow(f *flight) (v filter.Verdict, again bool, err error) {
	var gone bool
	var r *store.Reader
	s.w.Unlocked(func() {
		if gone = !f.await(s.x.Client); !gone && f.out == stored && f.writer.Read(&s.body) {
			r = &s.body
		}
	})
	f.leave()
	if gone {
		return filter.Reset, false, nil
	}
	if f.outdated(s.asked) { // purged or invalidated before this request came
		if r != nil {
			r.Close()
		}
		return filter.Continue, true, nil
	}
	s.status.Collapsed = true
	switch f.out {
	case kept: // it was for one client
		v, err = s.pass(s.missed(), "")
		return v, false, err
	case vanished, mistaken: // its client went away, or it asked in vain
		return filter.Continue, true, nil
	case failed:
		if !s.failed { // maybe because of what the other request had in it
			s.failed = true
			return filter.Continue, true, nil
		}
	case stored, updated, spared:
		same := false
		same, s.scratch = chosen(f.variant, &s.x.Request.Header, s.scratch)
		if same && f.why == "" && (f.out != stored || r != nil) && s.permits(f) {
			break
		}
		if r != nil {
			r.Close()
		}
		if !same {
			return filter.Continue, true, nil
		}
		v, err = s.pass(s.missed(), "") // and no more waiting in a row
		return v, false, err
	}
	s.now = time.Now()
	v, err = s.land(f, source{reader: r, size: f.size})
	return v, false, err
}

// permits reports whether this request may get what a flight of others brought.
func (s *stream) permits(f *flight) bool {
	if f.out == spared {
		return f.facts.OnError(s.rd, time.Now())
	}
	return f.facts.Reuse(s.rd, time.Now()) != rfc9111.Revalidate
}

// Early refresh: within the last part of a response's freshness, a tenth of it or half
// a minute, the later the likelier, one request has it fetched anew, so that hot ones
// never run out for all clients at once.
const (
	earlyLeast = 10 * time.Second // freshness below which there is none
	earlyMost  = 30 * time.Second
)

// early begins a refresh of a fresh response, by chance.
func (s *stream) early(o *store.Object) {
	life := s.head.facts.Lifetime
	if life < earlyLeast {
		return
	}
	window := min(life/10, earlyMost)
	if left := s.head.facts.TTL(s.now); left < window && rand.ExpFloat64()*float64(window)/10 > float64(left) {
		s.refresh(o)
	}
}

// unsatisfied answers a request that wants nothing but what is stored (RFC 9111,
// 5.2.1.7).
func (s *stream) unsatisfied() (filter.Verdict, error) {
	l := s.begin(504)
	s.status.Detail = "only-if-cached"
	s.served("miss")
	s.say(&l.Header)
	return filter.Respond, nil
}
