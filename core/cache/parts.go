package cache

import (
	"io"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/exchange"
)

// Partial responses (RFC 9111, 3.3, 3.4). A range that begins far into what is not stored
// is asked of the origin as it is, and its 206 is stored in the place of the whole: it
// answers ranges within it. One from the first byte on, with a strong entity tag, is
// completed when the whole is wanted.

var (
	rangeField   = []byte("Range")
	ifRangeField = []byte("If-Range")
)

// within answers a range that lies in a stored part; s.head is of it. false: it does not.
func (s *stream) within(o *store.Object) bool {
	q := &s.x.Request
	if string(q.Method) != "GET" || s.reuse(o) == rfc9111.Revalidate {
		return false
	}
	l := s.begin(206)
	s.head.fieldsInto(&l.Header)
	have, size, ok := rfc9111.PartialRange(&l.Header)
	facts := s.head.facts
	facts.Status = 200
	if !ok || size < 0 || rfc9111.Conditional(q.Method, &q.Header, &l.Header, &facts, false) != 0 {
		return false
	}
	ranges, status := rfc9111.Range(&q.Header, &l.Header, size, &facts)
	if status != 206 || len(ranges.All()) != 1 {
		return false
	}
	want := ranges.All()[0]
	if want.First < have.First || want.Last > have.Last || !o.Read(&s.body, want.First-have.First, want.Len()) {
		return false
	}
	l.Content, l.Length = &s.body, want.Len()
	l.Header.Set(contentRange, rfc9111.AppendContentRange(s.x.Arena.Alloc(80)[:0], want, size))
	l.Header.Add(ageField, facts.AppendAge(s.x.Arena.Alloc(20)[:0], s.now))
	s.status.Hit, s.status.TTL, s.status.HasTTL = true, facts.TTL(s.now), true
	s.served("hit")
	s.say(&l.Header)
	return true
}

// complete has the flight ask for what a stored part lacks, if that can be put together
// with it.
func (f *flight) complete(part *store.Object) {
	var h head
	if !h.read(part.Head()) {
		return
	}
	var fields exchange.Header
	h.fieldsInto(&fields)
	have, whole, ok := rfc9111.PartialRange(&fields)
	if !ok || whole < 0 || have.First != 0 || have.Len() != part.Size() || !rfc9111.Combinable(&fields, &fields) {
		return // Combinable with itself: its entity tag is strong
	}
	f.part, f.have, f.all, f.partFields = part, have, whole, fields
	f.partTag = field(&fields, "etag")
}

// completes reports whether the response is the rest of the stored part, and holds on to
// the part's bytes.
func (f *flight) completes(p *exchange.Response) bool {
	rest, whole, ok := rfc9111.PartialRange(&p.Header)
	if p.Status != 206 || !ok || whole != f.all || rest.First != f.have.Last+1 || rest.Last != whole-1 ||
		p.ContentLength >= 0 && p.ContentLength != rest.Len() || !rfc9111.Combinable(&f.partFields, &p.Header) {
		return false
	}
	f.prefix = f.part.Reader(0, -1)
	return f.prefix != nil
}

// hasWhole reports whether the whole has been stored meanwhile: a part does not take its
// place.
func (f *flight) hasWhole() bool {
	var scratch []byte
	o := f.c.store.Get(f.key, func(variant []byte) (ok bool) {
		ok, scratch = chosen(variant, &f.work.asked, scratch)
		return ok
	})
	var h head
	return o != nil && h.read(o.Head()) && h.facts.Status != 206
}

// Bounds on what is kept of a response that was cut short.
const (
	leastPart = 64 << 10
	mostPart  = 32 << 20
)

// keepPart stores what came of a response that was cut short, if it can be completed.
func (f *flight) keepPart() {
	got := f.writer.Written()
	if f.facts.Status != 200 || got < leastPart || got >= f.size || got > mostPart || f.isVoid() {
		return
	}
	var h head
	var fields exchange.Header
	h.read(f.bytes)
	h.fieldsInto(&fields)
	if !rfc9111.Combinable(&fields, &fields) {
		return
	}
	r := f.writer.Reader()
	if r == nil {
		return
	}
	defer r.Close()
	fields.Add(contentRange, rfc9111.AppendContentRange(nil, rfc9111.ByteRange{First: 0, Last: got - 1}, f.size))
	facts := f.facts
	facts.Status = 206
	w := f.c.store.Create(f.key, f.variant, appendHead(nil, &facts, &fields), f.place, got)
	_, err := io.CopyN(w, r, got)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.void || f.c.purges.met(f.since, &f.place) {
		w.Abort(nil)
		return
	}
	_, _ = w.Commit() // what is not kept is fetched again
}
