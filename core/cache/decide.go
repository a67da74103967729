package cache

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"time"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/exchange"
)

// decide says what becomes of the response.
func (f *flight) decide(x *exchange.Exchange, answered bool, requested, received time.Time) {
	p := &x.Response
	if x.Consumer.Name != f.consumer || x.Consumer.Name == "" && x.Claims != nil { // a filter behind the cache has found one out
		f.auth, f.known = true, false
	}
	f.err, f.told = x.Err, told{x.AnsweredBy, x.Endpoint, x.Attempts, x.UpstreamStart, x.UpstreamHeader}
	if answered && x.Err == nil {
		f.status = p.Status
	}
	switch {
	case !answered:
		f.out = vanished
	case f.old != nil && failing(x) && f.oldHead.facts.OnError(f.rd, received):
		f.out = spared
		f.serveOld()
		if f.askedBytes <= largeFields { // else these may be to blame
			f.c.marks.set(f.hash, markDown, received)
		}
	case x.Err != nil:
		f.out = failed
		f.share(p)
	case p.Status == 304 && f.old != nil:
		f.validated(p, requested, received)
	case f.part != nil && p.Status != 200 && !f.completes(p):
		f.out = mistaken
		f.c.store.Remove(f.part)
	default:
		f.store(x, requested, received)
	}
}

// failing reports whether the origin is in one of the states that RFC 5861, 4, means.
func failing(x *exchange.Exchange) bool {
	return x.Err != nil || rfc9111.ErrorStatus(x.Response.Status)
}

// serveOld makes the stored response what the flight's clients get.
func (f *flight) serveOld() {
	f.serves, f.bytes, f.facts, f.variant = f.old, f.old.Head(), f.oldHead.facts, f.old.Variant()
}

// share keeps the proxy's own answer, which is short.
func (f *flight) share(p *exchange.Response) {
	f.local.status = p.Status
	for _, field := range p.Header.Fields() {
		f.local.fields = append(f.local.fields, exchange.Field{Name: slices.Clone(field.Name), Value: slices.Clone(field.Value)})
	}
	if p.Body == nil {
		return
	}
	b := make([]byte, maxShort)
	n := 0
	for n < len(b) {
		more, err := p.Body.Read(b[n:])
		n += more
		if err != nil {
			break
		}
	}
	f.local.body = b[:n:n]
}

// validated takes up a 304 (RFC 9111, 4.3.4).
func (f *flight) validated(p *exchange.Response, requested, received time.Time) {
	var fields exchange.Header
	f.oldHead.fieldsInto(&fields)
	if !rfc9111.Selects(&fields, &p.Header, true) {
		f.out = mistaken
		f.c.store.Remove(f.old)
		return
	}
	o, rd := f.options(), f.rd
	rd.NoStore = false // it is not about what is stored already (RFC 9111, 5.2.1.5)
	rfc9111.Merge(&fields, &p.Header, o)
	facts, ok, why := rfc9111.Refresh(f.auth, rd, f.oldHead.facts.Status, &fields, &p.Header, requested, received, o)
	f.out, f.variant, f.serves = updated, f.old.Variant(), f.old
	switch {
	case ok && setsCookie(&p.Header, o): // which Merge left out
		ok, why = false, rfc9111.ReasonSetCookie
	case ok && f.altered(&fields):
		ok, why = false, "altered"
	}
	if !ok { // it serves this once, and the leader alone
		for _, field := range p.Header.Fields() {
			if exchange.EqualFold(field.Name, "set-cookie") {
				fields.Add(field.Name, field.Value)
			}
		}
		f.why, facts = why, f.oldHead.facts
		facts.Received = received.UnixMilli()
		f.c.store.Remove(f.old)
	}
	f.dated(&fields, facts.Date)
	f.facts = facts
	f.bytes = appendHead(nil, &facts, &fields)
	if ok && f.rd.NoStore { // but of the answer nothing is stored
		f.why = rfc9111.ReasonRequestNoStore
	}
	if f.why != "" || f.voided() {
		return
	}
	if o := f.c.store.Update(f.old, f.bytes); o != nil {
		f.serves = o
	}
}

// setsCookie reports whether a 304 sets a cookie, so that it is for one client, as far as
// anybody has said.
func setsCookie(h *exchange.Header, o *rfc9111.Options) bool {
	if o.Ignore&rfc9111.IgnoreSetCookie != 0 || h.Count("set-cookie") == 0 {
		return false
	}
	_, ok, why := rfc9111.Store(get, false, rfc9111.RequestDirectives{}, 200, h, time.Time{}, time.Time{}, o)
	return !ok && why == rfc9111.ReasonSetCookie
}

// altered reports whether a 304 said that the response varies by something else, or has
// other tags, than what it was stored with.
func (f *flight) altered(merged *exchange.Header) bool {
	var before exchange.Header
	f.oldHead.fieldsInto(&before)
	have, _ := tagsOf(&before)
	want, ok := tagsOf(merged)
	return !ok || !slices.EqualFunc(have, want, bytes.Equal) || !bytes.Equal(variantOf(variesBy(merged), &f.work.asked), f.variant)
}

// options are the filter's, as far as the request permits.
func (f *flight) options() *rfc9111.Options {
	o := f.f.options
	o.ExplicitOnly = f.cookie
	o.Consumer = o.Consumer && f.known // requests of nobody share a key
	if s := f.steer; s != nil && s.TTL > 0 {
		o.TTL, o.NegativeTTL = s.TTL, s.TTL
		if s.Force {
			o.Ignore |= rfc9111.IgnoreMaxAge
		}
	}
	return &o
}

// store begins to store the response, if it may be.
func (f *flight) store(x *exchange.Exchange, requested, received time.Time) {
	p := &x.Response
	if why := f.begin(p, requested, received); why != "" {
		f.out, f.why = kept, why
		if f.prefix != nil { // it is the rest of something, which nobody asked for
			f.prefix.Close()
			f.out = mistaken
			f.c.store.Remove(f.part)
			return
		}
		if f.lane == "" && why != rfc9111.ReasonRequestNoStore { // a range or a no-store of one says nothing of the whole for all
			f.c.marks.set(f.mark, markPass, received)
		}
		return
	}
	f.out = stored
}

// largeFields is from how many bytes on the fields of a request may be more than an origin
// takes, whose refusal is not for others.
const largeFields = 4 << 10

// begin makes the writer, unless the response may not be stored; why says so then.
func (f *flight) begin(p *exchange.Response, requested, received time.Time) (why string) {
	if p.Tunnel != nil {
		return "tunnel"
	}
	o, most := f.options(), f.c.maxObject(f.f.c)
	status, size := p.Status, p.ContentLength
	if p.Body == nil {
		size = 0
	}
	if status == 206 {
		r, _, ok := rfc9111.PartialRange(&p.Header)
		switch {
		case f.part != nil: // completes has looked at it
			p.Header.Del("content-range")
			status, size = 200, f.all
		case !ok || f.lane == "" || size >= 0 && size != r.Len():
			return rfc9111.ReasonPartial
		default:
			size = r.Len()
		}
	} else if f.lane != "" && status != 200 { // it may be about the range
		return rfc9111.ReasonStatus
	}
	if status >= 400 && f.askedBytes > largeFields { // it may be about these
		return "large-request"
	}
	facts, ok, why := rfc9111.Store(get, f.auth, f.rd, status, &p.Header, requested, received, o)
	if !ok {
		return why
	}
	if size > most {
		return "too-large"
	}
	names := variesBy(&p.Header)
	if slices.ContainsFunc(names, writtenLater) {
		return rfc9111.ReasonVary
	}
	tags, ok := tagsOf(&p.Header)
	if f.steer != nil {
		tags = append(tags, f.steer.Tags...)
		ok = ok && len(tags) <= maxTags
	}
	if !ok {
		return "tags"
	}
	f.variant = variantOf(names, &f.work.asked)
	fields := &f.work.fields
	keeper := rfc9111.NewKeeper(&p.Header, o)
	for _, field := range p.Header.Fields() {
		if keeper.Keep(field.Name) && !exchange.EqualFold(field.Name, "content-length") {
			fields.Add(field.Name, field.Value)
		}
	}
	f.dated(fields, facts.Date)
	f.facts = facts
	f.work.head = appendHead(f.work.head[:0], &facts, fields)
	f.place.Tags = nil
	for _, tag := range tags { // they outlive the exchange
		f.place.Tags = append(f.place.Tags, bytes.Clone(tag))
	}
	f.size = size
	f.writer = f.c.store.Create(f.key, f.variant, f.work.head, f.place, size)
	f.writer.Limit = most
	if f.bytes = f.writer.Head(); f.bytes == nil { // it cannot be stored
		f.bytes = bytes.Clone(f.work.head)
	}
	if f.c.purges.met(f.since, &f.place) { // the origin may have answered before
		f.mu.Lock()
		f.void = true
		f.mu.Unlock()
	}
	if facts.Has(rfc9111.NoCache) || !facts.Fresh(received) { // it answers nobody else
		f.c.marks.set(f.mark, markPass, received)
	} else {
		f.c.marks.clear(f.mark, markPass)
		f.c.marks.clear(f.hash, markDown)
	}
	return ""
}

// dated gives a stored response a Date if it came without one (RFC 9110, 6.6.1).
func (f *flight) dated(h *exchange.Header, date int64) {
	if h.Count("date") == 0 {
		h.Add(dateField, rfc9111.AppendDate(f.work.date[:0], time.UnixMilli(date)))
	}
}

var dateField = []byte("Date")

// errUnwanted ends a fetch that nobody reads and whose rest is long.
var errUnwanted = errors.New("nobody reads the response any more")

// maxRest is how much of a body is still fetched for nobody; of one of unknown length,
// how much of it all.
const maxRest = 1 << 20

// copy stores the body.
func (f *flight) copy(body exchange.Body, length int64) error {
	buf := f.c.buffers.Get(maxShort)
	defer f.c.buffers.Put(buf)
	if f.prefix != nil {
		defer f.prefix.Close()
		if _, err := io.CopyBuffer(f.writer, f.prefix, buf.Bytes); err != nil {
			return err
		}
	}
	var total int64
	for {
		n, err := f.take(body, buf.Bytes)
		if err == nil && n == 0 {
			continue
		}
		total += int64(n)
		switch {
		case err == io.EOF && length >= 0 && total != length:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case !f.wanted() && (length < 0 && total > maxRest || length-total > maxRest):
			return errUnwanted
		}
	}
}

// take stores the next bytes of the body. buf is for those that cannot be read to where
// they are stored.
func (f *flight) take(body exchange.Body, buf []byte) (n int, err error) {
	if space := f.writer.Space(); len(space) > 0 {
		if n, err = body.Read(space); n > 0 {
			if e := f.writer.Advance(n); e != nil {
				return n, e
			}
		}
		return n, err
	}
	if n, err = body.Read(buf); n > 0 {
		if _, e := f.writer.Write(buf[:n]); e != nil {
			return n, e
		}
	}
	return n, err
}

// outdated reports whether the flight, whose head is known, was void or purged before a
// request came, at which there had been that many purges. Nobody joins it any more.
func (f *flight) outdated(at uint64) bool {
	purged := f.c.purges.between(f.since, at, &f.place)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.void = f.void || purged
	return f.void
}

// isVoid reports whether nothing of the flight is to be stored.
func (f *flight) isVoid() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.void
}

// voided is isVoid for a flight that validates a stored response.
func (f *flight) voided() bool {
	return f.isVoid() || f.c.purges.met(f.since, &f.place)
}

// commit makes the object whole and, unless its key was invalidated meanwhile, found.
func (f *flight) commit() {
	whole := f.facts.Status == 206 && f.hasWhole()
	f.mu.Lock() // who makes it void removes what is stored by then
	defer f.mu.Unlock()
	if f.void || whole {
		f.writer.Discard()
		return
	}
	f.object, _ = f.writer.Commit() // what is not kept was sent all the same
}
