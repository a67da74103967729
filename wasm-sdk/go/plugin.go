package sdk

// Action is what a callback tells the proxy.
type Action uint32

// The actions (Proxy-Wasm, proxy_action_t).
const (
	// Continue hands headers, the part of the body or trailers on.
	Continue Action = 0
	// Pause holds them back; for a body, the next callback sees all of it so far.
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
	OnDone
)

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

// registered makes a Plugin for each configuration; set by Register.
var registered func() Plugin

// Register says how a Plugin is made. To be called once, from init.
func Register(newPlugin func() Plugin) { registered = newPlugin }

// contexts is what the host knows by number. The host never calls two
// callbacks of one instance at once.
var contexts = struct {
	plugins map[uint32]Plugin
	streams map[uint32]Stream
}{map[uint32]Plugin{}, map[uint32]Stream{}}
