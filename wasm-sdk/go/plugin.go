package sdk

// Action is what a callback tells the proxy.
type Action uint32

// The actions (Proxy-Wasm, proxy_action_t).
const (
	// Continue hands headers, the part of the body or trailers on.
	Continue Action = 0
	// Pause holds them back. Of a body, the next callback sees all of it so far. Of
	// headers and trailers, no callback of that direction follows until Resume or Respond
	// is called, by what a call calls, or by Tick.
	Pause Action = 1
)

// Plugin is one configuration of the plugin.
type Plugin interface {
	// Configure is called once, before any stream. An error refuses the
	// configuration; its text is logged, so that it must hold no secret.
	Configure(config []byte) error
	// NewStream makes the plugin's part in one exchange.
	NewStream() Stream
}

// Stream is the plugin's part in one exchange. Embed Base for the callbacks
// that a plugin does not need.
type Stream interface {
	// RequestHeaders sees the request's head; end says that no body follows.
	RequestHeaders(end bool) Action
	// RequestBody sees size bytes, all that were held back so far; end says
	// that they are the last.
	RequestBody(size int, end bool) Action
	RequestTrailers() Action
	ResponseHeaders(end bool) Action
	ResponseBody(size int, end bool) Action
	ResponseTrailers() Action
	// Done is the last call; the exchange can be read, not changed.
	Done()
}

// A Plugin may implement more callbacks:

// VMStarter is a Plugin that is told the VM's configuration, before its own. Where several
// configurations share an instance, only the first one's Plugin is. An error refuses it.
type VMStarter interface{ VMStart(config []byte) error }

// Ticker is a Plugin that is called as SetTickPeriod says.
type Ticker interface{ Tick() }

// QueueReader is a Plugin that is told that something was put into a queue which it
// registered. It is told once each time; another instance may have taken it by then.
type QueueReader interface{ QueueReady(q Queue) }

// Finisher is a Plugin that is told that it is to end. If Done returns false it goes on,
// with its ticks and calls, until it calls the function Done, or the proxy waits no longer.
type Finisher interface{ Done() bool }

// ForeignReceiver is a Plugin that a function called by CallForeign calls back. arguments
// are valid until the next call of a function of this package.
type ForeignReceiver interface {
	ForeignFunction(function uint32, arguments []byte)
}

// A Stream may implement more callbacks:

// Logger is a Stream that is called when proxies write their access logs. It comes after
// Done in Penstock, and before it in others; Only's OnDone stands for it too.
type Logger interface{ Log() }

// Connection is a Stream that is also there for raw connections: TCP, or what TLS carries.
// DownstreamData sees what the client sent, UpstreamData what it gets, each size bytes,
// all that were held back so far, in the Buffers of the same names; end says that this
// side sends no more. Embed BaseConnection for the callbacks that a plugin does not need.
// In Penstock the image's manifest has to say "connections": true.
type Connection interface {
	NewConnection() Action
	DownstreamData(size int, end bool) Action
	UpstreamData(size int, end bool) Action
	DownstreamClose(by Peer)
	UpstreamClose(by Peer)
}

// Peer is who closed a connection (proxy_peer_type_t).
type Peer uint32

// The peers.
const (
	UnknownPeer Peer = 0
	LocalPeer   Peer = 1 // the proxy
	RemotePeer  Peer = 2
)

// StreamType is a direction of a stream, for Resume and Reset (proxy_stream_type_t).
type StreamType uint32

// The directions: of an exchange, of a raw connection.
const (
	Request    StreamType = 0
	Response   StreamType = 1
	Downstream StreamType = 2
	Upstream   StreamType = 3
)

// Context is the number of a Plugin or of a Stream; see EffectiveContext.
type Context uint32

// Queue is a shared queue; see RegisterQueue.
type Queue uint32

// Callbacks is a set of callbacks, for Only.
type Callbacks uint32

// The callbacks of a Stream.
const (
	OnRequestHeaders Callbacks = 1 << iota
	OnRequestBody
	OnRequestTrailers
	OnResponseHeaders
	OnResponseBody
	OnResponseTrailers
	OnDone // also Log
	// SetsResponseHeaders is no callback: the Stream calls SetResponseHeaders.
	SetsResponseHeaders Callbacks = 1 << 8
)

// endWithRequestHeaders says that no other callback follows RequestHeaders.
func (c Callbacks) endWithRequestHeaders() bool {
	return c&^SetsResponseHeaders == OnRequestHeaders
}

// Base continues in every callback.
type Base struct{}

// RequestHeaders implements Stream.
func (Base) RequestHeaders(bool) Action { return Continue }

// RequestBody implements Stream.
func (Base) RequestBody(int, bool) Action { return Continue }

// RequestTrailers implements Stream.
func (Base) RequestTrailers() Action { return Continue }

// ResponseHeaders implements Stream.
func (Base) ResponseHeaders(bool) Action { return Continue }

// ResponseBody implements Stream.
func (Base) ResponseBody(int, bool) Action { return Continue }

// ResponseTrailers implements Stream.
func (Base) ResponseTrailers() Action { return Continue }

// Done implements Stream.
func (Base) Done() {}

// BaseConnection continues in every callback of a raw connection.
type BaseConnection struct{}

// NewConnection implements Connection.
func (BaseConnection) NewConnection() Action { return Continue }

// DownstreamData implements Connection.
func (BaseConnection) DownstreamData(int, bool) Action { return Continue }

// UpstreamData implements Connection.
func (BaseConnection) UpstreamData(int, bool) Action { return Continue }

// DownstreamClose implements Connection.
func (BaseConnection) DownstreamClose(Peer) {}

// UpstreamClose implements Connection.
func (BaseConnection) UpstreamClose(Peer) {}

// registered makes a Plugin for each configuration; set by Register.
var registered func() Plugin

// Register says how a Plugin is made. To be called once, from init.
func Register(newPlugin func() Plugin) { registered = newPlugin }

// contexts is what the host knows by number. The host never calls two
// callbacks of one instance at once.
var contexts = struct {
	plugins map[uint32]Plugin
	streams map[uint32]Stream
	wanted  map[uint32]Callbacks // what a Plugin has said by Only
}{map[uint32]Plugin{}, map[uint32]Stream{}, map[uint32]Callbacks{}}
