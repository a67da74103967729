package proxywasm

import (
	"errors"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/hosts/capability"
)

// vm is the state of one instance; used under its lock.
type vm struct {
	in    *instances
	i     *sandbox.Instance
	alloc *sandbox.Func
	fn    functions

	stack      [8]uint64
	allocStack [2]uint64
	scratch    []byte
	paths      map[string][]string // of properties, split
	digits     [4]byte             // of a status
	lastID     uint32
	wrapped    bool     // lastID has: numbers may be in use
	ended      []uint32 // contexts that the guest is told the end of with the next opening
	roots      map[*Filter]*root
	r          *root // whose callback runs; else the last one's; never nil
	streams    map[uint32]*stream
	current    *stream                         // whose callback runs; nil: the root's
	effective  *stream                         // nil: the root
	early      bool                            // before proxy_on_vm_start: nothing but the log works
	vmStart    bool                            // within proxy_on_vm_start
	consumers  map[string]exchange.Consumer    // by the JSON that named them
	steers     map[string]*exchange.CacheSteer // by the bytes that said so; their values are never changed
	object     []byte                          // buffer for a result
	rate       capability.Rate                 // that is asked for

	calls    map[uint32]*call // under way, by their number
	lastCall uint32
	arrived  incoming

	closed bool
	killer *Filter // whose call ended the instance; nil: nobody is to blame
}

// functions are the guest's callbacks; nil: not exported.
type functions struct {
	contextCreate, done, log, remove                   *sandbox.Func
	tick, queueReady, httpCallResponse, foreign, redis *sandbox.Func
	requestHeaders, requestBody, requestTrailers       *sandbox.Func
	// opening is our own: proxy_on_context_create of a stream and
	// proxy_on_request_headers in one.
	opening                                           *sandbox.Func
	responseHeaders, responseBody, responseTrailers   *sandbox.Func
	grpcInitial, grpcReceive, grpcTrailing, grpcClose *sandbox.Func
	newConnection, downstreamData, upstreamData       *sandbox.Func
	downstreamClose, upstreamClose                    *sandbox.Func
}

// openingExport takes the number of the stream's root context, what
// proxy_on_request_headers takes, and the number of a context that has ended, or 0
// (docs/hotpath.md).
const openingExport = "penstock_on_request_headers"

func (fn *functions) find(i *sandbox.Instance) {
	for name, f := range map[string]**sandbox.Func{
		"proxy_on_context_create": &fn.contextCreate, "proxy_on_done": &fn.done, "proxy_on_log": &fn.log, "proxy_on_delete": &fn.remove,
		"proxy_on_tick": &fn.tick, "proxy_on_queue_ready": &fn.queueReady, "proxy_on_http_call_response": &fn.httpCallResponse,
		"proxy_on_foreign_function": &fn.foreign, "proxy_on_redis_call_response": &fn.redis,
		"proxy_on_request_headers": &fn.requestHeaders, "proxy_on_request_body": &fn.requestBody, "proxy_on_request_trailers": &fn.requestTrailers,
		"proxy_on_response_headers": &fn.responseHeaders, "proxy_on_response_body": &fn.responseBody, "proxy_on_response_trailers": &fn.responseTrailers,
		"proxy_on_grpc_receive_initial_metadata": &fn.grpcInitial, "proxy_on_grpc_receive": &fn.grpcReceive, "proxy_on_grpc_close": &fn.grpcClose,
		"proxy_on_grpc_receive_trailing_metadata": &fn.grpcTrailing,
		"proxy_on_new_connection":                 &fn.newConnection, "proxy_on_downstream_data": &fn.downstreamData, "proxy_on_upstream_data": &fn.upstreamData,
		"proxy_on_downstream_connection_close": &fn.downstreamClose, "proxy_on_upstream_connection_close": &fn.upstreamClose,
	} {
		*f = i.Func(name)
	}
	if fn.requestHeaders != nil {
		fn.opening = i.Func(openingExport)
	}
	if fn.grpcTrailing == nil { // the AssemblyScript SDK's name for it
		fn.grpcTrailing = i.Func("proxy_on_grpc_trailing_metadata")
	}
}

// incoming is what map and buffer functions show within a root callback.
type incoming struct {
	headers, trailers             *exchange.Header // of an answer to an HTTP call
	initial, trailing             *exchange.Header // of a gRPC call
	body, message, foreign, redis []byte
}

// start readies a new instance (Proxy-Wasm, life cycle); one that is not shared
// gets its filter's root context too.
func (n *instances) start(i *sandbox.Instance) error {
	v := &vm{in: n, i: i, lastID: firstRoot - 1, roots: map[*Filter]*root{}, streams: map[uint32]*stream{}, calls: map[uint32]*call{}, consumers: map[string]exchange.Consumer{}, scratch: make([]byte, 0, 64), paths: map[string][]string{}, early: true}
	f := n.asker.Load()
	v.r = &root{f: f, v: v}
	i.Data = v
	if v.alloc = i.Func("proxy_on_memory_allocate"); v.alloc == nil {
		v.alloc = i.Func("malloc")
	}
	v.fn.find(i)
	left := sandbox.Steps(f.config.Limits.CPUTimeStart)
	err := v.initialise(&left)
	if err == nil && n.key == "" {
		_, err = v.add(f, &left)
	}
	if err != nil {
		v.close()
	}
	return err
}

// initialise calls what the module's toolchain wants called first.
func (v *vm) initialise(left *int64) error {
	for _, names := range [][]string{{"_initialize", "main"}, {"_initialize", "__main_void"}, {"_initialize"}, {"_start"}} {
		if v.i.Func(names[0]) == nil || len(names) > 1 && v.i.Func(names[1]) == nil {
			continue
		}
		for _, name := range names {
			if _, err := v.startCall(left, name, 0, 0); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

// newID returns a context number that no other context of the instance has.
func (v *vm) newID() uint32 {
	for {
		if v.lastID++; v.lastID < firstRoot { // after four billion contexts
			v.lastID, v.wrapped = firstRoot, true
		}
		if !v.wrapped || v.streams[v.lastID] == nil && !v.isRoot(v.lastID) {
			return v.lastID
		}
	}
}

func (v *vm) isRoot(id uint32) bool {
	for _, r := range v.roots {
		if r.id == id {
			return true
		}
	}
	return false
}

// exchange is the number of the exchange that the guest works for; 0: none.
func (v *vm) exchange() uint64 {
	if s := v.effective; s != nil && s.x != nil {
		return s.x.ID
	}
	return 0
}

// closing ends the root contexts before an orderly close.
func closing(i *sandbox.Instance) {
	v, ok := i.Data.(*vm)
	if !ok {
		return
	}
	for _, r := range v.roots {
		if i.Alive() {
			r.end()
		}
	}
	v.close()
	v.wakeAll()
}

// died ends what a dead instance does on its own.
func died(i *sandbox.Instance) {
	if v, ok := i.Data.(*vm); ok {
		v.close()
	}
}

// invoke calls the guest, with what stands on the stack; the error is a
// *sandbox.Failure. The streams of an instance that ends are told. Where several
// filters share it, the one whose call it was gets instances of its own.
func (v *vm) invoke(fn *sandbox.Func, b *sandbox.Budget) error {
	err := v.i.Call(fn, b, v.stack[:])
	if err == nil {
		return nil
	}
	if !blameless(err) {
		v.killer = v.r.f
		if v.in.key != "" {
			v.killer.alone.Store(true)
		}
	}
	v.wakeAll()
	return err
}

// blameless reports whether a guest's call ended, or there was none, for what is
// not the guest's fault.
func blameless(err error) bool {
	var f *sandbox.Failure
	return errors.As(err, &f) && (f.Cause == sandbox.CauseUnavailable || f.Cause == sandbox.CauseCut)
}

func (v *vm) wakeAll() {
	for _, s := range v.streams {
		s.wakeUp()
	}
}

// wakeUp has a waiting exchange learn that its instance or root context is gone.
func (s *stream) wakeUp() {
	switch {
	case !s.ways[0].waits() && !s.ways[1].waits():
	case s.v.killer == s.f:
		s.w.Post(filter.Fail)
	default:
		s.w.Post(filter.Gone)
	}
}

// close stops the roots' goroutines and gives up calls; the instance's lock is held.
func (v *vm) close() {
	if v.closed {
		return
	}
	v.closed = true
	for _, r := range v.roots {
		r.close()
	}
}

// idle says that the instance does nothing on its own.
func idle(i *sandbox.Instance) bool {
	v, ok := i.Data.(*vm)
	if !ok {
		return true
	}
	for _, r := range v.roots {
		if r.busy && !r.stranded() {
			return false
		}
	}
	return true
}

// minTick keeps a guest from ticking all the time.
const minTick = 10 * time.Millisecond
