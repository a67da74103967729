package exchange

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// HTTP versions of a message.
const (
	HTTP10 = 10
	HTTP11 = 11
	HTTP2  = 20
	HTTP3  = 30
)

// Request is the request of an exchange. Byte slices borrow from the read
// buffer or the Arena and live until Done.
type Request struct {
	Method    []byte
	Scheme    []byte // "http" or "https"
	Authority []byte // Host or :authority, as sent, with its port if it has one; empty only for HTTP/1.0
	Path      []byte // origin-form with query, or "*" (OPTIONS); empty for CONNECT alone
	Version   uint8  // HTTP10, HTTP11, ...
	// Header is frozen at Send. Hop-by-hop fields (RFC 9110, 7.6.1), Host and
	// fields named by Connection are not in it; Content-Length may be, but the
	// framing follows Body and ContentLength alone.
	Header Header
	// Body is nil if the request has none.
	Body Body
	// ContentLength is the body's size in bytes; -1 if unknown.
	ContentLength int64
	// Trailer is complete once Body returned io.EOF.
	Trailer Header
	// TE says that the client accepts trailers (TE: trailers).
	TE bool
	// Upgrade is the protocol that the client would go on with, such as
	// "websocket" (RFC 9110, 7.8); nil: none. A request that has it has no body.
	Upgrade []byte
}

// Connect reports whether q asks for a tunnel to Authority, which is host and port
// (CONNECT, RFC 9110, 9.3.6). Such a request has neither Path nor Body, and Scheme is
// only how it came. What is a CONNECT stays one: filters cannot change that.
func (q *Request) Connect() bool { return string(q.Method) == "CONNECT" }

// Response is the response of an exchange.
type Response struct {
	Status  int
	Version uint8
	Header  Header // as Request.Header
	Body    Body   // nil: none
	// ContentLength as in Request. For a response to HEAD, and for 304, Body
	// is nil and ContentLength what the header field says, -1 if it says nothing.
	ContentLength int64
	Trailer       Header
	// Tunnel is what follows a 101, to Upgrade, or a 2xx to a CONNECT, where Upgrade
	// is nil; nil for every other response. The client's codec copies it both ways:
	// no filter sees it.
	Tunnel  Tunnel
	Upgrade []byte
}

// Consumer is who sent the request, as an authentication filter found out.
type Consumer struct {
	Name   string // empty: nobody
	Groups []string
	// Object is the Consumer object that it is, "namespace/name"; empty: a filter knows it
	// from elsewhere. Two of different namespaces may have one name.
	Object string
}

// ErrInvalidMessage means that a message was made, by a filter for instance, which the
// peer's version of HTTP cannot carry: a field or a status, of a request a method, path
// or authority, that would break the framing. Nothing of it is sent.
var ErrInvalidMessage = errors.New("message has a name or value that cannot be sent")

// Client is the client's side of an exchange, implemented by a codec and used
// by the exchange's own goroutine, unless a method says otherwise.
type Client interface {
	// Inform sends x's interim response (1xx, RFC 9110, 15.2) if the client's
	// version has them. After ErrInvalidMessage the final response may follow.
	Inform(x *Exchange, status int, h *Header) error
	// Send sends x.Response with its whole body. It reads the body to its
	// end, closes it, and flushes whenever the body would wait. After an error
	// the client's stream is reset or its connection closed by the codec:
	// a response that was cut short never looks whole. To be called once.
	Send(x *Exchange) error
	// Watch calls gone at most once, on another goroutine, if the client
	// disconnects before stop is called. After stop returned gone is not
	// running and will not run. A disconnect may be noticed late, by two seconds
	// if thousands are watched: meant for a silent upstream.
	Watch(gone func()) (stop func())
}

// Exchange is one request and its response. It belongs to its own goroutine;
// a codec makes one for each connection (HTTP/1.1) or stream and resets it.
type Exchange struct {
	ID       uint64 // unique in this process, never 0: tells log lines of one exchange apart
	Conn     *Conn
	Client   Client
	Request  Request
	Response Response
	Arena    Arena
	Phase    Phase
	Start    time.Time // first byte of the request

	// Original is what the client asked for, kept for routing, log and retry. Origin is
	// the field of that name, set if a CORS filter looked at it.
	Original struct{ Method, Authority, Path, Origin []byte }

	// ClientAddress is the last of X-Forwarded-For where a trusted proxy sent that, else the
	// connection's, of IPv4 wherever it can be; the zero Addr: what the proxy said is none.
	ClientAddress netip.Addr

	Consumer Consumer
	// Claims is what a token that was checked says of who sent the request, a JSON object;
	// nil: there is none. The bytes are never changed, only replaced.
	Claims []byte
	// Local is what a filter answers with; valid when it returned Respond.
	Local Local

	// Facts for log, metrics and properties; written by proxy and upstream.
	Gateway, Listener, Route, Service, Upstream string
	Endpoint                                    string // address of the endpoint that was tried last
	AnsweredBy                                  string // part/name of the filter that answered; empty: upstream or proxy
	Attempts                                    int
	Err                                         *Error // why the exchange failed, nil if it did not
	Details                                     string // why a filter answered, for the log
	// CacheScope names the Service's port for the response cache (config.Backend);
	// Cache says what that did: "hit", "stale", "revalidated", "miss", "bypass" ..., empty
	// without one.
	CacheScope, Cache string
	// Steer is what filters before the response cache say to it; nil: nothing. A value
	// is never changed, only replaced.
	Steer                         *CacheSteer
	UpstreamStart, UpstreamHeader time.Time
	RequestBytes, ResponseBytes   int64 // content bytes

	// State is what filters of one exchange tell each other
	// (proxy_set_property); nil until used. A value is never changed, only replaced.
	// StateMu guards it: a filter that is parked in one direction is reached by
	// goroutines of its own while others run in the other direction.
	StateMu sync.Mutex
	State   map[string][]byte
	// HeadersSent is set by Client.Send once the head of the final response may have left.
	HeadersSent bool

	bodyIdle atomic.Int64
}

// SetBodyIdle lets the bodies of both directions be silent for d, if that is longer
// than their codecs' idle timeout; reads that begin afterwards see it. Any goroutine
// may call it.
func (x *Exchange) SetBodyIdle(d time.Duration) { x.bodyIdle.Store(int64(d)) }

// BodyIdle returns how long a body may be silent where the codec's idle timeout is d.
// Any goroutine may call it.
func (x *Exchange) BodyIdle(d time.Duration) time.Duration {
	return max(d, time.Duration(x.bodyIdle.Load()))
}

// CacheSteer is what filters say to a response cache that comes after them.
type CacheSteer struct {
	// Bypass: the request is neither answered from what is stored, nor is what it brings
	// stored.
	Bypass bool
	// Key are parts that the key gets beside its own, in this order.
	Key [][]byte
	// TTL is how long the response is fresh in place of the entry's ttl; 0: that holds.
	// Force: also in place of what the response says itself.
	TTL   time.Duration
	Force bool
	// Tags are added to those that the response has.
	Tags [][]byte
}

// Local is a response made by a filter or by the proxy itself.
type Local struct {
	Status  int
	Details string // for the log, never for the client
	Header  Header
	Body    []byte
	// Content is sent in place of Body: Length bytes, or -1 if that is not known. Without
	// Content and Body a Length is that of the content that a HEAD asks about, or -1.
	Content Body
	Length  int64
	// GRPCStatus is -1 for none.
	GRPCStatus int32
}

// Reset readies x for the next exchange of its connection, keeping memory.
// Conn and Client stay.
func (x *Exchange) Reset() {
	q, p := x.Request.Header, x.Response.Header
	qt, pt, lh := x.Request.Trailer, x.Response.Trailer, x.Local.Header
	arena := x.Arena
	*x = Exchange{Conn: x.Conn, Client: x.Client}
	x.Request.Header, x.Response.Header = q, p
	x.Request.Trailer, x.Response.Trailer, x.Local.Header = qt, pt, lh
	x.Request.Header.Reset()
	x.Request.Trailer.Reset()
	x.Response.Header.Reset()
	x.Response.Trailer.Reset()
	x.Local.Header.Reset()
	x.Arena = arena
	x.Arena.Reset()
}

// Handler serves exchanges: it fills x.Response and calls x.Client.Send, or
// returns without, which closes the client's connection or resets its stream.
// It is called on the exchange's goroutine, and x is not used after it returned.
type Handler interface {
	Serve(x *Exchange)
}
