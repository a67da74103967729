package rfc9111

import (
	"slices"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// Why Store refuses a response. They stand in Cache-Status and in metrics.
const (
	ReasonMethod         = "method"           // only what answers a GET is stored
	ReasonStatus         = "status"           // not final, or about this one request alone
	ReasonPartial        = "partial"          // a 206 that does not say which one range it is
	ReasonRequestNoStore = "request-no-store" // the request says no-store
	ReasonNoStore        = "no-store"
	ReasonMustUnderstand = "must-understand" // and the status is none that we know (5.2.2.3)
	ReasonPrivate        = "private"
	ReasonAuthorization  = "authorization" // RFC 9111, 3.5
	ReasonSetCookie      = "set-cookie"
	ReasonVaryStar       = "vary-star"
	ReasonVary           = "vary"         // malformed, or names too many fields
	ReasonNoFreshness    = "no-freshness" // neither the response nor the operator says for how long
	ReasonNoCache        = "no-cache"     // and it has no validator to ask with
	ReasonStale          = "stale"        // it came stale, and has no validator to ask with
)

const maxHeuristic = 24 * time.Hour

// Store decides whether a response may be stored, and how long it is fresh (RFC 9111, 3,
// 4.2). method and rd are the request's; authorized: it carried Authorization or counts
// as doing so, so that only public, must-revalidate or s-maxage permit storing (3.5).
// requested is when the request was sent, received when the response's head had come. ok
// is false if it may not be stored; reason is then one of the constants above, else
// empty.
//
// Beyond RFC 9111 it refuses: what answers a method other than GET; statuses that say
// something of the one request, not of the resource (408, 412, 416, 429 and the like);
// responses that set a cookie, unless Options.Ignore or a no-cache="Set-Cookie" says
// otherwise; what could only ever be served after asking, if it has no validator or says
// nothing of caching.
//
// Only fields that Keeper keeps may be stored. A response with Facts.Lifetime 0 or
// NoCache answers nobody but the one whose request fetched it.
func Store(method []byte, authorized bool, rd RequestDirectives, status int, h *exchange.Header, requested, received time.Time, o *Options) (f Facts, ok bool, reason string) {
	if string(method) != "GET" {
		return f, false, ReasonMethod
	}
	return store(authorized, rd, status, h, h, requested, received, o)
}

// Refresh is Store for a stored response that a 304 has validated, or a HEAD (RFC 9111,
// 4.3.4, 4.3.5): status is the stored one, merged the stored header after Merge, update
// the header that came. The stored response is to be dropped if ok is false.
func Refresh(authorized bool, rd RequestDirectives, status int, merged, update *exchange.Header, requested, received time.Time, o *Options) (f Facts, ok bool, reason string) {
	return store(authorized, rd, status, merged, update, requested, received, o)
}

// store takes Age from aged, which is h but after a 304.
func store(authorized bool, rd RequestDirectives, status int, h, aged *exchange.Header, requested, received time.Time, o *Options) (Facts, bool, string) {
	if reason := refusedStatus(status, h); reason != "" {
		return Facts{}, false, reason
	}
	if rd.NoStore {
		return Facts{}, false, ReasonRequestNoStore
	}
	var d response
	d.read(h)
	if reason := d.refuses(authorized, status, o); reason != "" {
		return Facts{}, false, reason
	}
	var s seen
	s.look(h)
	if cookie := []byte("set-cookie"); s.setCookie && o.Ignore&IgnoreSetCookie == 0 && !d.noCacheFields.has(cookie) && !d.privateFields.has(cookie) {
		return Facts{}, false, ReasonSetCookie
	}
	switch star, good := varyFields(h, nil); {
	case star:
		return Facts{}, false, ReasonVaryStar
	case !good:
		return Facts{}, false, ReasonVary
	}
	f := Facts{Status: status, Received: received.UnixMilli()}
	f.Flags = d.flags(o)
	date, ok := ParseDate(s.date, received)
	if !ok {
		date = received
	}
	f.Date = date.UnixMilli()
	modified, ok := ParseDate(s.lastModified, received)
	if ok || etagOf(h) != nil {
		f.Flags |= Validator
	}
	eligible := !o.ExplicitOnly && o.eligible(status, d.public)
	explicit := d.maxAge != 0 || d.sMaxAge != 0 || s.expires && !d.targeted
	if storable := explicit || eligible || d.public || d.private && o.Consumer; !storable { // section 3
		return Facts{}, false, ReasonNoFreshness
	}
	var flag Flags
	f.Lifetime, flag = d.lifetime(h, date, received, o)
	if flag == 0 && eligible {
		if ttl := o.ttl(status); ttl > 0 {
			f.Lifetime = min(ttl, maxSeconds*time.Second)
		} else if ok && (d.said || !pragmaNoCache(h)) {
			f.Lifetime, flag = heuristic(date, modified), Heuristic
		}
	}
	f.Flags |= flag
	age, valid := ageField(aged)
	if !valid {
		f.Lifetime = 0
	}
	f.InitialAge = initialAge(age, date, requested, received)
	d.stale(&f, o)
	return f.worthwhile(explicit || d.public || d.private || d.noCache || d.mustRevalidate)
}

// seen is the fields that Store looks at, found in one pass.
type seen struct {
	date, lastModified []byte
	expires, setCookie bool
}

func (s *seen) look(h *exchange.Header) {
	for i := range h.Len() {
		f := h.At(i)
		switch len(f.Name) {
		case 4:
			if s.date == nil && exchange.EqualFold(f.Name, "date") {
				s.date = f.Value
			}
		case 7:
			s.expires = s.expires || exchange.EqualFold(f.Name, "expires")
		case 10:
			s.setCookie = s.setCookie || exchange.EqualFold(f.Name, "set-cookie")
		case 13:
			if s.lastModified == nil && exchange.EqualFold(f.Name, "last-modified") {
				s.lastModified = f.Value
			}
		}
	}
}

// refuses returns why the directives forbid to store the response; empty: they do not.
func (d *response) refuses(authorized bool, status int, o *Options) string {
	switch {
	case d.mustUnderstand && !understood(status):
		return ReasonMustUnderstand
	case d.noStore && !d.mustUnderstandAllows && o.Ignore&IgnoreNoStore == 0: // 5.2.2.3
		return ReasonNoStore
	case d.private && !o.Consumer && o.Ignore&IgnorePrivate == 0:
		return ReasonPrivate
	case authorized && !o.Consumer && !d.allowsAuthorized(o):
		return ReasonAuthorization
	}
	return ""
}

// allowsAuthorized reports whether an answer to a request with Authorization may be
// stored (RFC 9111, 3.5).
func (d *response) allowsAuthorized(o *Options) bool {
	return d.public || d.mustRevalidateAllows || d.sMaxAgeAllows && o.Ignore&IgnoreMaxAge == 0
}

func (d *response) flags(o *Options) Flags {
	var f Flags
	if d.mustRevalidate {
		f |= MustRevalidate
	}
	if d.noCache && o.Ignore&IgnoreNoCache == 0 {
		f |= NoCache
	}
	if d.immutable {
		f |= Immutable
	}
	return f
}

// lifetime returns the lifetime that the response gives itself (RFC 9111, 4.2.1), and
// Explicit, or 0 if it gives none that counts. Of several Expires the earliest counts;
// one that is no date has passed (5.3).
func (d *response) lifetime(h *exchange.Header, date, received time.Time, o *Options) (time.Duration, Flags) {
	if o.Ignore&IgnoreMaxAge != 0 {
		return 0, 0
	}
	if life, ok := d.sMaxAge.Get(); ok {
		return life, Explicit
	}
	if life, ok := d.maxAge.Get(); ok {
		return life, Explicit
	}
	if d.targeted {
		return 0, 0
	}
	life, flag := maxSeconds*time.Second, Flags(0)
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "expires") {
			continue
		}
		flag = Explicit
		until, ok := ParseDate(f.Value, received)
		if !ok {
			return 0, Explicit
		}
		life = min(life, max(until.Sub(date), 0))
	}
	if flag == 0 {
		return 0, 0
	}
	return life, Explicit
}

// stale sets how long the response may serve stale.
func (d *response) stale(f *Facts, o *Options) {
	if f.Has(MustRevalidate | NoCache) {
		return
	}
	f.StaleWhileRevalidate, f.StaleIfError = o.StaleWhileRevalidate, o.StaleIfError
	if t, ok := d.staleWhile.Get(); ok {
		f.StaleWhileRevalidate = t
	}
	if t, ok := d.staleError.Get(); ok {
		f.StaleIfError = t
	}
}

// worthwhile refuses what could never be served. said: the response itself says
// something of caching, without which one that is not fresh is nobody's but its
// client's.
func (f *Facts) worthwhile(said bool) (Facts, bool, string) {
	usable := f.InitialAge < f.Lifetime+max(f.StaleWhileRevalidate, f.StaleIfError)
	switch validator := f.Has(Validator) && said; {
	case f.Has(NoCache):
		if !validator {
			return Facts{}, false, ReasonNoCache
		}
	case validator, usable && (said || f.Lifetime > 0):
	case f.Has(Explicit | Heuristic):
		return Facts{}, false, ReasonStale
	default:
		return Facts{}, false, ReasonNoFreshness
	}
	return *f, true, ""
}

// heuristic returns a tenth of the time since the last change (RFC 9111, 4.2.2), a day
// at most.
func heuristic(date, modified time.Time) time.Duration {
	return min(max(date.Sub(modified)/10, 0), maxHeuristic)
}

// initialAge returns corrected_initial_age (RFC 9111, 4.2.3). Date is cut to seconds, and
// so is received where the two are compared: what lives a second keeps all of it.
func initialAge(age time.Duration, date, requested, received time.Time) time.Duration {
	apparent := max(received.Truncate(time.Second).Sub(date), 0)
	delay := max(received.Sub(requested), 0)
	return min(max(apparent, age+min(delay, maxSeconds*time.Second)), 2*maxSeconds*time.Second)
}

// ageField returns the field Age (RFC 9111, 5.1), 0 without one. valid is false for one
// that is no number, and for several, of which none can be trusted; ", " in one is how
// intermediaries join several (RFC 9110, 5.3). Of another list the first member counts.
func ageField(h *exchange.Header) (age time.Duration, valid bool) {
	found := false
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "age") {
			continue
		}
		v := f.Value
		for j, c := range v {
			if c == ',' {
				if j+1 < len(v) && space(v[j+1]) {
					return 0, false
				}
				v = trim(v[:j])
				break
			}
		}
		n, ok := directive{arg: v}.seconds()
		if found || !ok {
			return 0, false
		}
		found = true
		age, _ = n.Get()
	}
	return age, true
}

// eligible reports whether TTL and the heuristic are for this status.
func (o *Options) eligible(status int, public bool) bool {
	if status == 206 {
		return false
	}
	if len(o.Statuses) > 0 {
		return slices.Contains(o.Statuses, status)
	}
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501: // RFC 9110, 15.1
		return true
	}
	return public
}

// refusedStatus returns why a response with this status is never stored.
func refusedStatus(status int, h *exchange.Header) string {
	switch status {
	case 206:
		if _, _, ok := PartialRange(h); !ok {
			return ReasonPartial
		}
	case 304, // no response of its own
		407, 408, 412, 413, 415, 416, 417, 421, 422, 425, 426, // about the request, not the resource
		428, 429, 431, 511: // RFC 6585, 3 to 6
		return ReasonStatus
	}
	if status < 200 || status > 599 {
		return ReasonStatus
	}
	return ""
}

// understood reports whether this cache knows what a status asks of caches (RFC 9111,
// 5.2.2.3): the final ones of RFC 9110, 15, that refusedStatus lets pass, and 451.
func understood(status int) bool {
	switch {
	case status >= 200 && status <= 206, status >= 300 && status <= 303, status == 305,
		status == 307, status == 308, status >= 400 && status <= 406, status >= 409 && status <= 411,
		status == 414, status == 451, status >= 500 && status <= 505:
		return true
	}
	return false
}
