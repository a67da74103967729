package capability

import (
	"errors"
	"net/netip"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
)

// Why a call out is refused before anything is sent.
var (
	// ErrUnknownUpstream: the name means no Service and no egress entry.
	ErrUnknownUpstream = errors.New("no such upstream")
	// ErrNotAllowed: the upstream exists, and this plugin may not call it.
	ErrNotAllowed = errors.New("the plugin may not call this upstream")
	// ErrBusy: too many calls are under way.
	ErrBusy = errors.New("too many calls are under way")
	// ErrMalformed: what the guest sends cannot be read.
	ErrMalformed = errors.New("malformed")
)

// HTTPCall is a request that a plugin sends. All bytes are its own: they are
// not changed after the call began.
type HTTPCall struct {
	// Filter is whose call it is: namespace and egress decide what it may reach.
	Filter *config.Filter
	// Upstream as the guest names it: Envoy's
	// "outbound|80||svc.ns.svc.cluster.local", Kong's "name:port", Higress'
	// "outbound|80||name.dns".
	Upstream string
	// Scheme "https" asks for TLS to a hostname, which port 443 has anyway, and makes
	// 443 the port where none is named.
	Method, Scheme, Authority, Path []byte
	Header, Trailer                 exchange.Header
	Body                            []byte
	Timeout                         time.Duration // of the whole call; 0: the caller's bound
}

// HTTPAnswer is what came back. It belongs to whoever gets it.
type HTTPAnswer struct {
	Status          int
	Header, Trailer exchange.Header
	Body            []byte
}

// HTTPCaller sends plugins' requests.
type HTTPCaller interface {
	// HTTPCall begins c. done is called exactly once, on another goroutine and
	// never before HTTPCall returned, with an answer or an error; not at all if
	// HTTPCall fails, or after cancel. Errors wrap ErrUnknownUpstream,
	// ErrNotAllowed or ErrBusy.
	HTTPCall(c *HTTPCall, done func(*HTTPAnswer, error)) (cancel func(), err error)
}

// GRPCCall is a gRPC call that a plugin makes.
type GRPCCall struct {
	Filter *config.Filter
	// Upstream as in HTTPCall, or taken from a serialised
	// envoy.config.core.v3.GrpcService.
	Upstream        string
	Secure          bool // TLS to a hostname, as HTTPCall's scheme
	Service, Method string
	Metadata        exchange.Header
	Timeout         time.Duration // of a unary call; 0: the caller's bound
}

// GRPCEvents receives what a gRPC call brings, one call at a time, on another
// goroutine than the one that began it. Close is the last one.
type GRPCEvents interface {
	InitialMetadata(h *exchange.Header)
	Message(b []byte)
	TrailingMetadata(h *exchange.Header)
	// Close ends the call with a status of gRPC (0 is OK) and its message.
	Close(status uint32, message string)
}

// GRPCStream is a gRPC call under way. Its methods are called while the plugin's
// instance is locked, so that every exchange on it waits for them: they queue what
// there is to do and return. They wait neither for the network, nor for an event to
// be taken, which itself waits for the instance: that would never end.
type GRPCStream interface {
	// Send has a message sent, which is kept; end closes the sending side. An error
	// means that too much waits to be sent.
	Send(message []byte, end bool) error
	// Cancel ends the call, also one that has ended. No event begins after it; one
	// that is under way is not waited for.
	Cancel()
}

// GRPCCaller makes plugins' gRPC calls.
type GRPCCaller interface {
	// GRPCCall begins a call, and waits for nothing, as GRPCStream's methods. Errors
	// as HTTPCaller's.
	GRPCCall(c *GRPCCall, events GRPCEvents) (GRPCStream, error)
}

// Resolver looks hostnames up for plugins.
type Resolver interface {
	// Resolve begins to look up one that f may call. done is called exactly
	// once, on another goroutine and never before Resolve returned, with an
	// address or an error; not at all if Resolve fails, or after cancel. Errors
	// wrap ErrUnknownUpstream or ErrBusy.
	Resolve(f *config.Filter, hostname string, done func(netip.Addr, error)) (cancel func(), err error)
}

// RedisCall is a command that a plugin sends to the Redis of its parameters.
type RedisCall struct {
	// Filter is whose command it is; its Redis is not nil, and its keys are
	// told apart from others' by its namespace and VMID.
	Filter *config.Filter
	// Query is an array of bulk strings (RESP); not kept.
	Query   []byte
	Timeout time.Duration // 0, or more than the parameters': theirs
}

// RedisCaller sends plugins' commands.
type RedisCaller interface {
	// RedisCall begins c. done is called exactly once, on another goroutine,
	// with one reply in RESP2 or an error; not at all if RedisCall fails, or
	// after cancel. Errors wrap ErrMalformed, ErrNotAllowed or ErrBusy.
	RedisCall(c *RedisCall, done func(reply []byte, err error)) (cancel func(), err error)
}
