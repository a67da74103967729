package config

import "time"

// Step is one filter of a rule, or of one of its backends, at its place. Exactly one
// of its fields is set.
type Step struct {
	// Request and Response modify headers: on the way in when the request comes to
	// this place, on the way out when the response does.
	Request, Response *HeaderModifier
	Rewrite           *Rewrite
	CORS              *CORS
	Mirror            *Mirror
	// Plugins: the next of the chain's parts that stand among these filters: PartRule
	// in a rule's steps, PartBackend in a backend's.
	Plugins bool
}

// Names of the parts that stand among a rule's or a backend's filters, one part for
// each Step that has Plugins.
const (
	PartRule    = "rule"
	PartBackend = "backend"
)

// CORS is a CORS filter (Gateway API, HTTPCORSFilter).
type CORS struct {
	Origins []Origin
	// AnyOrigin: all are allowed, AnyMethod and AnyHeader likewise.
	AnyOrigin, AnyMethod, AnyHeader, AnyExposed bool
	// Methods, Headers and Exposed as the response's fields have them, separated by
	// a comma; empty: the field is left out.
	Methods, Headers, Exposed string
	Credentials               bool
	MaxAge                    time.Duration // in whole seconds, 1 s at least
}

// Origin is a pattern of origins.
type Origin struct {
	Scheme string // "http" or "https"
	// Hostname in lower case: a name, "*.name" for any number of labels before it, or
	// "*" for all.
	Hostname string
	Port     uint16 // never 0: an origin without one has its scheme's
}

// Mirror is a RequestMirror filter: a share of the requests is copied to one endpoint
// of an upstream, and what that answers is dropped.
type Mirror struct {
	Upstream string // Upstream.Name
	Service  string // "namespace/name", for metrics
	// Numerator of Denominator requests are copied.
	Numerator, Denominator uint32
}

// Retry says when a request is sent again (Gateway API, HTTPRouteRetry): after an
// error of the connection, and after an answer with one of Codes.
type Retry struct {
	Attempts int           // how often beside the first, 1 at least
	Codes    []int         // 400..599, in order
	Backoff  time.Duration // least time before the first of them; each further one waits longer
}

// DefaultRetry is what a retry that says neither attempts nor backoff does.
func DefaultRetry() Retry { return Retry{Attempts: 2, Backoff: 25 * time.Millisecond} }

// Session keeps the exchanges of one client at one endpoint (Gateway API,
// SessionPersistence).
type Session struct {
	Name      string // of the cookie, or of the header field
	Header    bool   // the token is a header field, not a cookie
	Path      string // of the cookie; "/" for all
	Permanent bool   // the cookie outlives the browser's session, until Lifetime is over
	// Lifetime is how long a session lasts from its first answer on; 0: for ever.
	Lifetime time.Duration
}

// NoTimeout stands for a timeout that a route disables.
const NoTimeout = 365 * 24 * time.Hour
