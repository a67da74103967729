package cache

import (
	"time"

	"penstock.dev/penstock/core/cache/rfc9111"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

var (
	ageField     = []byte("Age")
	statusField  = []byte("Cache-Status")
	contentRange = []byte("Content-Range")
	contentType  = []byte("Content-Type")
)

// cacheName is what the cache calls itself in Cache-Status.
const cacheName = "Penstock"

// say adds the field that tells what the cache did (RFC 9211).
func (s *stream) say(h *exchange.Header) {
	var scratch [128]byte
	h.Add(statusField, s.x.Arena.Copy(s.status.AppendTo(scratch[:0], cacheName)))
}

// begin readies the exchange's local response.
func (s *stream) begin(status int) *exchange.Local {
	l := &s.x.Local
	l.Header.Reset()
	l.Status, l.Details, l.GRPCStatus, l.Body, l.Content, l.Length = status, "", -1, nil, nil, 0
	return l
}

// hit answers with a stored response; s.head is of it. false: its body is gone.
func (s *stream) hit(o *store.Object, what string) bool {
	s.status.Hit = true
	if !s.serve(source{object: o}, false) {
		s.status.Hit = false
		s.f.cache.store.Remove(o)
		return false
	}
	s.served(what)
	if tier := o.Tier(); tier == store.Disk || s.now.Nanosecond()&0x7000 == 0 { // one in eight of memory's
		s.f.cache.metrics.lookups[tier].Observe(time.Since(s.now).Seconds())
	}
	s.counts.age.Observe(s.head.facts.Age(s.now).Seconds())
	return true
}

// served notes for log and metrics what the cache did.
func (s *stream) served(what string) {
	s.x.Cache = what
	s.count(what)
}

// land answers with what a flight brought, as of s.now; c is what it has stored, or is
// storing.
func (s *stream) land(f *flight, c source) (filter.Verdict, error) {
	s.status.FwdStatus = f.status
	s.status.Fwd = "uri-miss"
	if f.old != nil {
		s.status.Fwd = "stale"
	} else if len(f.expected) > 0 {
		s.status.Fwd = "vary-miss"
	}
	s.answeredBy = f.told.by
	switch f.out {
	case failed:
		return s.fail(f)
	case kept:
		return s.keep(f)
	case vanished:
		return filter.Reset, nil
	case stored:
		if c.object == nil && c.reader == nil {
			return s.pass(s.missed(), "evicted")
		}
		s.status.Stored = true
		s.served("miss")
	case spared:
		c.object = f.serves
		s.status.Detail = "origin-failed"
		s.served("stale")
	case updated:
		c.object = f.serves
		s.status.Stored, s.status.Detail = f.why == "", f.why
		s.served("revalidated")
	}
	s.head.read(f.bytes)
	if !s.serve(c, f.out != spared) {
		return s.pass(s.missed(), "evicted")
	}
	return filter.Respond, nil
}

// source is where a body comes from: a stored object, or the reader of one that is
// being stored, at its start.
type source struct {
	object *store.Object
	reader *store.Reader
	size   int64 // of what reader reads; -1: not known yet
}

func (c *source) length() int64 {
	if c.object != nil {
		return c.object.Size()
	}
	return c.size
}

// open makes l's content n bytes of the body from offset on, n -1: all that follow.
// false: the body is gone.
func (s *stream) open(l *exchange.Local, c *source, offset, n int64) bool {
	switch {
	case c.object != nil:
		if !c.object.Read(&s.body, offset, n) {
			return false
		}
		l.Content = &s.body
	case offset == 0 && n < 0:
		l.Content = c.reader
	default:
		l.Content = &section{inner: c.reader, skip: offset, left: n}
	}
	return true
}

// drop is for a body that nobody reads.
func (c *source) drop() {
	if c.reader != nil {
		c.reader.Close()
	}
}

// serve answers with s.head and the body; false: that is gone. current: the origin has just
// said that this is what there is.
func (s *stream) serve(c source, current bool) bool {
	q, facts := &s.x.Request, &s.head.facts
	l := s.begin(facts.Status)
	s.head.fieldsInto(&l.Header)
	age := facts.Age(s.now)
	if s.status.Hit || s.status.Collapsed {
		s.status.TTL, s.status.HasTTL = facts.Lifetime-age, true
	}
	status := rfc9111.Conditional(q.Method, &q.Header, &l.Header, facts, current)
	if s.status.Hit || age >= time.Second { // what has just come is as old as it says
		l.Header.Add(ageField, facts.AppendAge(s.x.Arena.Alloc(20)[:0], s.now))
	}
	switch status {
	case 304:
		l.Status = 304
		l.Header.DeleteFunc(func(f exchange.Field) bool { return !rfc9111.InNotModified(f.Name) })
		c.drop()
	case 412:
		l.Status = 412
		l.Header.Reset()
		c.drop()
	default:
		if !s.content(l, &c) {
			return false
		}
	}
	s.say(&l.Header)
	return true
}

// content answers with the body, or what a range asks for of it.
func (s *stream) content(l *exchange.Local, c *source) bool {
	q, size := &s.x.Request, c.length()
	if string(q.Method) == "HEAD" {
		l.Length = size
		c.drop()
		return true
	}
	ranges, status := rfc9111.Range(&q.Header, &l.Header, size, &s.head.facts)
	switch {
	case status == 416:
		c.drop()
		l.Status = 416
		l.Header.Reset()
		l.Header.Add(contentRange, rfc9111.AppendUnsatisfied(s.x.Arena.Alloc(32)[:0], size))
	case status == 206 && (len(ranges.All()) == 1 || c.object != nil):
		return s.partial(l, c, size, ranges.All())
	case size == 0:
		c.drop()
	default:
		l.Length = size
		return s.open(l, c, 0, -1)
	}
	return true
}

// fail answers as the proxy did in the origin's place.
func (s *stream) fail(f *flight) (filter.Verdict, error) {
	l := s.begin(f.local.status)
	for _, field := range f.local.fields {
		l.Header.Add(field.Name, field.Value)
	}
	l.Body = f.local.body
	s.x.Err = f.err
	s.served("error")
	s.say(&l.Header)
	return filter.Respond, nil
}

// keep answers with a response that is not stored, as it comes.
func (s *stream) keep(f *flight) (filter.Verdict, error) {
	y := f.d.Exchange()
	p := &y.Response
	f.d.Keep()
	l := s.begin(p.Status)
	if now := f.kept(s, p); now != 0 { // the origin was not told the client's conditions
		p.Abandon()
		p.Body, p.ContentLength = nil, -1
		l.Status = now
	}
	for _, field := range p.Header.Fields() {
		l.Header.Add(s.x.Arena.Copy(field.Name), s.x.Arena.Copy(field.Value))
	}
	if l.Status == 304 {
		l.Header.DeleteFunc(func(f exchange.Field) bool { return !rfc9111.InNotModified(f.Name) })
	}
	s.status.Detail = f.why
	s.served("pass")
	s.say(&l.Header)
	if p.Body == nil || string(s.x.Request.Method) == "HEAD" {
		if l.Length = p.ContentLength; p.Body == nil {
			l.Length = max(l.Length, 0)
		}
		p.Abandon()
		f.d.Finish()
		return filter.Respond, nil
	}
	l.Content, l.Length = &keptBody{Body: p.Body, d: f.d, from: y, to: s.x}, p.ContentLength
	return filter.Respond, nil
}

// kept evaluates the client's conditions for a response that is not stored: 304, 412, or
// 0 if it is to be sent.
func (f *flight) kept(s *stream, p *exchange.Response) int {
	if p.Status != 200 || f.err != nil {
		return 0
	}
	now := s.now.UnixMilli()
	facts := rfc9111.Facts{Status: 200, Date: now, Received: now}
	return rfc9111.Conditional(s.x.Request.Method, &s.x.Request.Header, &p.Header, &facts, true)
}
