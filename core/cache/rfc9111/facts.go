package rfc9111

import (
	"strconv"
	"time"
)

// Facts is what decides how a stored response may be used; computed once, when it is
// stored or freshened. It is plain data without pointers, and comparable.
type Facts struct {
	// Date is the field Date, or Received without a valid one; Received is when the
	// response came. Unix milliseconds.
	Date, Received int64
	// InitialAge is how old it was at Received (corrected_initial_age, RFC 9111,
	// 4.2.3); 0..2^31 s and the time that the origin took.
	InitialAge time.Duration
	// Lifetime is how long it is fresh (4.2.1), counted in age; 0: never. At most 2^31 s.
	Lifetime time.Duration
	// StaleWhileRevalidate and StaleIfError are for how long after that it may serve
	// while it is validated, and when that fails (RFC 5861); 0: not at all, which is so
	// with MustRevalidate and NoCache.
	StaleWhileRevalidate, StaleIfError time.Duration
	Status                             int
	Flags                              Flags
}

// Flags is a set of what else is known of a stored response.
type Flags uint8

// The flags.
const (
	// MustRevalidate: it never serves stale: must-revalidate, proxy-revalidate or
	// s-maxage (RFC 9111, 4.2.4).
	MustRevalidate Flags = 1 << iota
	// NoCache: it never serves unless the origin has just said that it may (5.2.2.4).
	NoCache
	// Immutable: while it is fresh a reload does not ask the origin (RFC 8246).
	Immutable
	// Explicit: the response gave its Lifetime; Heuristic: it is a guess (4.2.2).
	// Neither: it is configured, or 0.
	Explicit
	Heuristic
	// Validator: it has an ETag, or a Last-Modified that is a date, so that a 304 can
	// say that it is current.
	Validator
)

// Has reports whether one of the flags is set.
func (f *Facts) Has(flag Flags) bool { return f.Flags&flag != 0 }

// clockSlack is how far now may lie before Received, in milliseconds, without the clock
// having been set back by more than a little: who waits for the origin asks with the time
// at which it began to.
const clockSlack = 10 * 60 * 1000

// Age returns the response's age at now, never negative (current_age, RFC 9111, 4.2.3).
// A clock that was set back by a little counts as standing still. One that was set back
// by more may have been wrong for long: as much as is known of that counts as age, so
// that nothing is fresh until the wrong time comes again.
func (f *Facts) Age(now time.Time) time.Duration {
	resident := now.UnixMilli() - f.Received
	if resident < -clockSlack {
		resident = -resident
	}
	resident = min(max(resident, 0), maxSeconds*1000)
	return f.InitialAge + time.Duration(resident)*time.Millisecond
}

// TTL returns how much longer the response is fresh; negative: for how long it has been
// stale.
func (f *Facts) TTL(now time.Time) time.Duration { return f.Lifetime - f.Age(now) }

// Fresh reports whether the response is fresh (RFC 9111, 4.2). That does not make it
// reusable: see Reuse.
func (f *Facts) Fresh(now time.Time) bool { return f.TTL(now) > 0 }

// AppendAge appends the value of the field Age for a response that serves at now (RFC
// 9111, 5.1).
func (f *Facts) AppendAge(dst []byte, now time.Time) []byte {
	return strconv.AppendInt(dst, min(int64(f.Age(now)/time.Second), maxSeconds), 10)
}

// Verdict is what may be done with a stored response.
type Verdict uint8

// The verdicts.
const (
	// Revalidate: the origin is asked first. If that fails, see OnError.
	Revalidate Verdict = iota
	// StaleWhileRevalidate: it serves though it is stale, and the origin is asked in
	// the background.
	StaleWhileRevalidate
	// Fresh: it serves.
	Fresh
)

// Reuse says what may be done at now with a stored response that was selected for a
// request with these directives (RFC 9111, 4.2, 5.2.1; RFC 5861, 3).
func (f *Facts) Reuse(rd RequestDirectives, now time.Time) Verdict {
	if rd.NoCache || f.Has(NoCache) {
		return Revalidate
	}
	age := f.Age(now)
	ttl := f.Lifetime - age
	if least, ok := rd.MinFresh.Get(); ok && ttl < least {
		return Revalidate
	}
	if most, ok := rd.MaxAge.Get(); ok && age > most && (ttl <= 0 || !f.Has(Immutable)) {
		return Revalidate
	}
	if ttl > 0 {
		return Fresh
	}
	if f.Has(MustRevalidate) || rd.MaxAge != 0 && rd.MaxStale == 0 { // 5.2.1.1
		return Revalidate
	}
	if -ttl < f.StaleWhileRevalidate {
		return StaleWhileRevalidate
	}
	if most, ok := rd.MaxStale.Get(); ok && -ttl <= most {
		return StaleWhileRevalidate
	}
	return Revalidate
}

// OnError reports whether the response may serve at now although the origin was to be
// asked first and could not be reached, or answered with an ErrorStatus (RFC 5861, 4;
// RFC 9111, 4.2.4). A request's max-age and min-fresh do not stand against it, its
// no-cache does.
func (f *Facts) OnError(rd RequestDirectives, now time.Time) bool {
	if rd.NoCache || f.Has(NoCache) {
		return false
	}
	ttl := f.TTL(now)
	if ttl > 0 {
		return true
	}
	if f.Has(MustRevalidate) {
		return false
	}
	if f.StaleIfError > 0 && -ttl <= f.StaleIfError {
		return true
	}
	if most, ok := rd.StaleIfError.Get(); ok && -ttl <= most {
		return true
	}
	most, ok := rd.MaxStale.Get()
	return ok && -ttl <= most
}

// ErrorStatus reports whether a status is an error that stale-if-error speaks of (RFC
// 5861, 4).
func ErrorStatus(status int) bool {
	return status == 500 || status == 502 || status == 503 || status == 504
}
