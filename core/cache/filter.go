package cache

import (
	"crypto/sha256"
	"fmt"
	"time"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// Fingerprint identifies the filters after a cache, with their versions and configs:
// what one list of them made of a response never serves for another.
type Fingerprint [16]byte

// Filter is the cache at one place of a chain. It keeps nothing of its own: equal
// filters share what is stored.
type Filter struct {
	cache       *Cache
	c           *config.Cache
	fingerprint Fingerprint
	options     rfc9111.Options
}

// Filter returns the cache as c has it, before filters with this fingerprint. c is kept.
func (k *Cache) Filter(c *config.Cache, after Fingerprint) *Filter {
	f := &Filter{cache: k, c: c, fingerprint: keyed(after, c)}
	f.options = rfc9111.Options{
		TTL: c.TTL, NegativeTTL: c.NegativeTTL,
		StaleWhileRevalidate: c.StaleWhileRevalidate, StaleIfError: c.StaleIfError,
		Statuses: c.Statuses, Ignore: rfc9111.Ignore(c.Ignore &^ config.IgnoreCookie), Consumer: c.Key.Consumer,
	}
	return f
}

// keyed is a fingerprint with what says how keys are made and what is stored: under
// another `key` or `ignore` nothing of before is found.
func keyed(after Fingerprint, c *config.Cache) Fingerprint {
	sum := sha256.Sum256(fmt.Appendf(after[:len(after):len(after)], "%#v %d", c.Key, c.Ignore))
	return Fingerprint(sum[:16])
}

// Fingerprint returns that of the filters after it.
func (f *Filter) Fingerprint() Fingerprint { return f.fingerprint }

// Callbacks implements filter.Filter.
func (f *Filter) Callbacks() filter.Callbacks {
	return filter.OnRequestHeaders | filter.OnResponseHeaders
}

// Begin implements filter.Filter.
func (f *Filter) Begin(x *exchange.Exchange, w *filter.Waker) (filter.Stream, error) {
	s := f.cache.streams.Get().(*stream)
	s.f, s.x, s.w = f, x, w
	return s, nil
}

// stream is the cache's part in one exchange.
type stream struct {
	f   *Filter
	x   *exchange.Exchange
	w   *filter.Waker
	now time.Time

	key, target []byte
	rd          rfc9111.RequestDirectives
	scratch     []byte
	body        store.Reader
	head        head
	status      rfc9111.Status
	// passes: the response on its way back is not of the cache's making, but gets the
	// field that says why.
	passes bool
	// unsafe: a response without an error makes what is stored for the target useless.
	unsafe bool
	match  func(variant []byte) bool
	// answeredBy is who answered in the origin's place; empty: it did itself.
	answeredBy string
	counts     *service // nil: not looked for yet
	asked      uint64   // purges before it waited for a flight
	failed     bool     // a flight that it waited for has
	// of is where an unsafe request was for, at the cache's place.
	of struct{ scheme, authority, path []byte }
}

// RequestHeaders implements filter.Stream.
func (s *stream) RequestHeaders(end bool) (filter.Verdict, error) {
	if why := s.outside(end); why != "" {
		if s.unsafe { // filters after the cache may change them
			q := &s.x.Request
			s.of.scheme, s.of.authority, s.of.path = q.Scheme, q.Authority, q.Path
			s.key, _, s.unsafe = s.f.keyOf(s.x)
		}
		return s.pass(why, "")
	}
	var ok bool
	if s.key, s.target, ok = s.f.keyOf(s.x); !ok {
		return s.pass("bypass", "key-too-long")
	}
	s.rd = rfc9111.Directives(&s.x.Request.Header, s.f.options.Ignore)
	for range maxRounds {
		s.now = time.Now() // it may have waited
		o := s.find()
		var part *store.Object
		if o != nil && s.head.facts.Status == 206 {
			if s.within(o) {
				return filter.Respond, nil
			}
			part, o = o, nil
		}
		if o != nil {
			switch s.reuse(o) {
			case rfc9111.Fresh:
				if !s.hit(o, "hit") {
					continue
				}
				s.early(o)
				return filter.Respond, nil
			case rfc9111.StaleWhileRevalidate:
				if !s.hit(o, "stale") {
					continue
				}
				s.refresh(o)
				return filter.Respond, nil
			}
			if s.f.cache.marks.has(s.hash(), markDown, s.now) && s.head.facts.OnError(s.rd, s.now) && s.hit(o, "stale") {
				return filter.Respond, nil
			}
		}
		if s.rd.OnlyIfCached {
			return s.unsatisfied()
		}
		if o == nil && (s.rd.NoStore || string(s.x.Request.Method) == "HEAD") {
			return s.pass(s.missed(), "")
		}
		if v, again, err := s.ask(o, part); !again {
			return v, err
		}
	}
	return s.pass(s.missed(), "collapse")
}

// maxRounds bounds how often a request looks again after a flight of others brought
// something that is not for it.
const maxRounds = 4

// find returns the stored response that the request chooses, with s.head of it; nil:
// there is none.
func (s *stream) find() *store.Object {
	o := s.f.cache.store.Get(s.key, s.match)
	if o == nil {
		return nil
	}
	if !s.head.read(o.Head()) { // of another version
		s.f.cache.store.Remove(o)
		return nil
	}
	return o
}

// reuse says what may be done with a stored response. One that was purged softly is
// stale, whatever it says itself.
func (s *stream) reuse(o *store.Object) rfc9111.Verdict {
	v := s.head.facts.Reuse(s.rd, s.now)
	if o.Stale() && v == rfc9111.Fresh {
		v = rfc9111.Revalidate
		if s.head.facts.StaleWhileRevalidate > 0 {
			v = rfc9111.StaleWhileRevalidate
		}
	}
	return v
}

// outside returns why the cache leaves a request alone, for the field; empty: it does
// not.
func (s *stream) outside(end bool) string {
	x := s.x
	q := &x.Request
	method := string(q.Method)
	if method != "GET" && method != "HEAD" {
		s.unsafe = method != "OPTIONS" && method != "TRACE" && method != "CONNECT"
		return "method"
	}
	switch {
	case !end || q.Upgrade != nil || x.CacheScope == "" || len(q.Path) == 0 || q.Path[0] != '/':
		return "request"
	case s.f.bypassed(x) || overridden(&q.Header) || x.Steer != nil && x.Steer.Bypass:
		return "bypass"
	}
	return ""
}

// pass lets the request go on without the cache.
func (s *stream) pass(fwd, detail string) (filter.Verdict, error) {
	s.passes = true
	s.status.Fwd, s.status.Detail = fwd, detail
	s.x.Cache = fwd
	s.count(fwd)
	return filter.Continue, nil
}

// missed says how a request missed.
func (s *stream) missed() string {
	if s.f.cache.store.Has(s.key) > 0 {
		return "vary-miss"
	}
	return "uri-miss"
}

// ResponseHeaders implements filter.Stream.
func (s *stream) ResponseHeaders(bool) (filter.Verdict, error) {
	if !s.passes {
		if !s.status.Hit { // the origin has answered, or a filter after the cache
			s.x.AnsweredBy = s.answeredBy
		}
		return filter.Continue, nil
	}
	p := &s.x.Response
	if s.unsafe {
		s.invalidate(p)
	}
	if s.x.Err == nil {
		s.status.FwdStatus = p.Status
	}
	s.say(&p.Header)
	return filter.Continue, nil
}

// RequestBody implements filter.Stream; it is never called, as those below.
func (s *stream) RequestBody(*filter.Buffer, bool) (filter.Verdict, error) {
	return filter.Continue, nil
}

// RequestTrailers implements filter.Stream.
func (s *stream) RequestTrailers() (filter.Verdict, error) { return filter.Continue, nil }

// ResponseBody implements filter.Stream.
func (s *stream) ResponseBody(*filter.Buffer, bool) (filter.Verdict, error) {
	return filter.Continue, nil
}

// ResponseTrailers implements filter.Stream.
func (s *stream) ResponseTrailers() (filter.Verdict, error) { return filter.Continue, nil }

// Done implements filter.Stream.
func (s *stream) Done() {
	k := s.f.cache
	if s.status.Hit {
		s.service().sent.Add(float64(s.x.ResponseBytes))
	}
	s.reset()
	k.streams.Put(s)
}

var (
	_ filter.Filter = (*Filter)(nil)
	_ filter.Stream = (*stream)(nil)
)
