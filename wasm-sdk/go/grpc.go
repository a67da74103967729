//go:build wasip1

package sdk

import (
	"time"
	"unsafe"
)

//go:wasmimport env proxy_grpc_call
func proxyGRPCCall(upstream unsafe.Pointer, n uint32, service unsafe.Pointer, m uint32, method unsafe.Pointer, k uint32, metadata unsafe.Pointer, l uint32, message unsafe.Pointer, o, timeout uint32, id unsafe.Pointer) uint32

//go:wasmimport env proxy_grpc_stream
func proxyGRPCStream(upstream unsafe.Pointer, n uint32, service unsafe.Pointer, m uint32, method unsafe.Pointer, k uint32, metadata unsafe.Pointer, l uint32, id unsafe.Pointer) uint32

//go:wasmimport env proxy_grpc_send
func proxyGRPCSend(id uint32, message unsafe.Pointer, n, end uint32) uint32

//go:wasmimport env proxy_grpc_cancel
func proxyGRPCCancel(id uint32) uint32

//go:wasmimport env proxy_grpc_close
func proxyGRPCClose(id uint32) uint32

// GRPC is a gRPC call, or stream, under way.
type GRPC struct{ id uint32 }

// GRPCHandler is what a gRPC stream calls, with the context that opened it as the
// effective one; what is nil is not called.
type GRPCHandler struct {
	InitialMetadata  func(Header) // readable within the callback only
	Message          func([]byte) // valid until the next call of a function of this package
	TrailingMetadata func(Header) // as InitialMetadata
	Close            func(GRPCStatus)
}

// GRPCResponse is what came of a unary call.
type GRPCResponse struct {
	Status           GRPCStatus
	Message          []byte // nil: none
	InitialMetadata  [][2]string
	TrailingMetadata [][2]string
}

// grpcCall is a gRPC call under way.
type grpcCall struct {
	context uint32 // that made it
	stream  bool
	handler GRPCHandler
}

var grpcCalls = map[uint32]*grpcCall{}

// GRPCCall sends one message to a method, as "EmptyCall" of the service
// "grpc.testing.TestService", and gets one (proxy_grpc_call). For upstream, timeout,
// answered and errors see HTTPCall.
func GRPCCall(upstream, service, method string, metadata [][2]string, message []byte, timeout time.Duration, answered func(GRPCResponse)) (GRPC, error) {
	ms, err := milliseconds(timeout)
	if err != nil {
		return GRPC{}, err
	}
	arguments = appendPairs(arguments[:0], metadata)
	if status := proxyGRPCCall(str(upstream), uint32(len(upstream)), str(service), uint32(len(service)), str(method), uint32(len(method)),
		raw(arguments), uint32(len(arguments)), raw(message), uint32(len(message)), ms, unsafe.Pointer(&ret.number)); status != 0 {
		return GRPC{}, failure(status)
	}
	r := &GRPCResponse{}
	grpcCalls[ret.number] = &grpcCall{effective, false, GRPCHandler{
		InitialMetadata:  func(h Header) { r.InitialMetadata = h.All() },
		Message:          func(b []byte) { r.Message = append([]byte{}, b...) },
		TrailingMetadata: func(h Header) { r.TrailingMetadata = h.All() },
		Close: func(s GRPCStatus) {
			r.Status = s
			answered(*r)
		},
	}}
	return GRPC{ret.number}, nil
}

// GRPCStream opens a stream to a method (proxy_grpc_stream), as GRPCCall. One that a
// stream of the plugin opened is cancelled when that ends: what is to last is opened in
// Configure or Tick.
func GRPCStream(upstream, service, method string, metadata [][2]string, h GRPCHandler) (GRPC, error) {
	arguments = appendPairs(arguments[:0], metadata)
	if status := proxyGRPCStream(str(upstream), uint32(len(upstream)), str(service), uint32(len(service)), str(method), uint32(len(method)),
		raw(arguments), uint32(len(arguments)), unsafe.Pointer(&ret.number)); status != 0 {
		return GRPC{}, failure(status)
	}
	grpcCalls[ret.number] = &grpcCall{effective, true, h}
	return GRPC{ret.number}, nil
}

// Send sends a message on a stream (proxy_grpc_send); end says that it is the last. The
// error is ErrNotFound once the stream has ended, ErrBadArgument for a unary call.
func (g GRPC) Send(message []byte, end bool) error {
	var last uint32
	if end {
		last = 1
	}
	return failure(proxyGRPCSend(g.id, raw(message), uint32(len(message)), last))
}

// End says that no more messages are sent on a stream (proxy_grpc_close); those of the
// other side still come. A unary call is cancelled.
func (g GRPC) End() error { return failure(proxyGRPCClose(g.id)) }

// Cancel gives the call up (proxy_grpc_cancel): no callback follows.
func (g GRPC) Cancel() error {
	delete(grpcCalls, g.id)
	return failure(proxyGRPCCancel(g.id))
}

// grpcEvent enters the context of a call that something came for; nil: it has ended, or
// the call was cancelled.
func grpcEvent(root, id uint32) *grpcCall {
	if c := grpcCalls[id]; c != nil && enter(c.context, root) {
		return c
	}
	return nil
}

// leaveGRPC cancels the streams of a context that ends. Its unary calls go on: their
// message may be all that they are for.
func leaveGRPC(context uint32) {
	for id, c := range grpcCalls {
		if c.context == context && c.stream {
			_ = GRPC{id}.Cancel() // it may be over already
		}
	}
}

//go:wasmexport proxy_on_grpc_receive_initial_metadata
func grpcReceiveInitialMetadata(root, id, _ uint32) {
	if c := grpcEvent(root, id); c != nil && c.handler.InitialMetadata != nil {
		c.handler.InitialMetadata(grpcInitialMetadata)
	}
}

//go:wasmexport proxy_on_grpc_receive
func grpcReceive(root, id, _ uint32) {
	if c := grpcEvent(root, id); c != nil && c.handler.Message != nil {
		c.handler.Message(grpcMessage.All())
	}
}

//go:wasmexport proxy_on_grpc_receive_trailing_metadata
func grpcReceiveTrailingMetadata(root, id, _ uint32) {
	if c := grpcEvent(root, id); c != nil && c.handler.TrailingMetadata != nil {
		c.handler.TrailingMetadata(grpcTrailingMetadata)
	}
}

//go:wasmexport proxy_on_grpc_close
func grpcClose(root, id, code uint32) {
	c := grpcEvent(root, id)
	delete(grpcCalls, id)
	if c == nil || c.handler.Close == nil {
		return
	}
	_, message := callStatus()
	c.handler.Close(GRPCStatus{code, message})
}
