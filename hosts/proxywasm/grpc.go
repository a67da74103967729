package proxywasm

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

// maxGRPCMessage bounds a message, in bytes.
const maxGRPCMessage = 4 << 20

// grpcCall begins a unary call: service, service name, method, metadata,
// message, each with its size, then timeout and where its number goes.
func grpcCall(v *vm, p []uint64) uint32 {
	message, ok := v.read(p[8], p[9])
	if !ok {
		return statusInvalidMemory
	}
	if int32(u(p[10])) < 0 || len(message) > maxGRPCMessage {
		return statusBadArgument
	}
	c, status := openGRPC(v, p[:8], p[11], time.Duration(u(p[10]))*time.Millisecond)
	if status != statusOK {
		return status
	}
	c.unary = true
	if c.grpc.Send(bytes.Clone(message), true) != nil {
		v.drop(c)
		return statusInternal
	}
	return statusOK
}

// grpcStream begins a stream: as grpcCall without message and timeout.
func grpcStream(v *vm, p []uint64) uint32 {
	_, status := openGRPC(v, p[:8], p[8], 0)
	return status
}

func openGRPC(v *vm, p []uint64, number uint64, timeout time.Duration) (*call, uint32) {
	if !v.r.f.allowed(capability.HTTPCalls) {
		return nil, statusInternal
	}
	if v.r.f.abi.o.GRPC == nil {
		return nil, statusUnimplemented
	}
	service, ok := v.read(p[0], p[1])
	name, ok2 := v.read(p[2], p[3])
	method, ok3 := v.read(p[4], p[5])
	metadata, ok4 := v.read(p[6], p[7])
	if !ok || !ok2 || !ok3 || !ok4 || !v.writeU32(number, 0) {
		return nil, statusInvalidMemory
	}
	upstream, secure, ok := grpcUpstream(service)
	if !ok {
		return nil, statusParseFailure
	}
	out := &capability.GRPCCall{Filter: v.r.f.config, Upstream: upstream, Secure: secure, Service: string(name), Method: string(method), Timeout: timeout}
	if !isToken(method) || !isServiceName(name) || !fillFields(&out.Metadata, metadata) {
		return nil, statusBadArgument
	}
	if v.r.calls >= maxCalls {
		return nil, statusInternal
	}
	c := v.opened()
	stream, err := v.r.f.abi.o.GRPC.GRPCCall(out, &grpcEvents{v, c})
	if err != nil {
		v.forget(c)
		v.r.f.log.refusedCall(upstream, err)
		return nil, callStatus(err)
	}
	c.grpc = stream
	v.writeU32(number, c.id)
	return c, statusOK
}

func isServiceName(b []byte) bool {
	for _, part := range bytes.Split(b, []byte(".")) {
		if !isToken(part) {
			return false
		}
	}
	return len(b) <= maxPath
}

// grpcUpstream reads which upstream is meant: a name, or a serialised
// envoy.config.core.v3.GrpcService: envoy_grpc = 1 {cluster_name = 1},
// google_grpc = 2 {target_uri = 1, channel_credentials = 2}. It is secure if there are
// credentials other than local_credentials = 3; whom to trust is the operator's word,
// not the plugin's.
func grpcUpstream(b []byte) (name string, secure, ok bool) {
	if len(b) == 0 || len(b) > maxPath {
		return "", false, false
	}
	if isAuthority(b) && !bytes.ContainsAny(b[:1], "\x0a\x12") {
		return string(b), false, true
	}
	whole := true
	ok = bytesFields(b, func(number protowire.Number, inner []byte) {
		if number != 1 && number != 2 || name != "" {
			return
		}
		whole = bytesFields(inner, func(n protowire.Number, content []byte) {
			switch {
			case n == 1 && name == "" && isAuthority(content):
				name = string(content)
			case n == 2 && number == 2:
				local := false
				whole := bytesFields(content, func(n protowire.Number, _ []byte) { local = n == 3 })
				secure = len(content) > 0 && (!local || !whole)
			}
		}) && whole
	})
	return name, secure, ok && whole && name != ""
}

// bytesFields calls each with the fields of a message that are bytes; false: it is
// malformed.
func bytesFields(b []byte, each func(protowire.Number, []byte)) bool {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return false
		}
		if kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(b)
			each(number, content)
		}
		b = b[n:]
	}
	return true
}

// grpcEvents brings a call's events to the guest.
type grpcEvents struct {
	v *vm
	c *call
}

// InitialMetadata implements capability.GRPCEvents.
func (e *grpcEvents) InitialMetadata(h *exchange.Header) {
	e.v.happened(e.c, "proxy_on_grpc_receive_initial_metadata", false, func(v *vm) error {
		v.arrived.initial = h
		return v.callRoot(v.fn.grpcInitial, uint64(e.c.id), uint64(h.Len()))
	})
}

// Message implements capability.GRPCEvents.
func (e *grpcEvents) Message(b []byte) {
	e.v.happened(e.c, "proxy_on_grpc_receive", false, func(v *vm) error {
		v.arrived.message = b
		return v.callRoot(v.fn.grpcReceive, uint64(e.c.id), uint64(len(b)))
	})
}

// TrailingMetadata implements capability.GRPCEvents.
func (e *grpcEvents) TrailingMetadata(h *exchange.Header) {
	e.v.happened(e.c, "proxy_on_grpc_receive_trailing_metadata", false, func(v *vm) error {
		v.arrived.trailing = h
		return v.callRoot(v.fn.grpcTrailing, uint64(e.c.id), uint64(h.Len()))
	})
}

// Close implements capability.GRPCEvents.
func (e *grpcEvents) Close(status uint32, message string) {
	e.v.happened(e.c, "proxy_on_grpc_close", true, func(v *vm) error {
		v.r.status.code, v.r.status.message = status, message
		return v.callRoot(v.fn.grpcClose, uint64(e.c.id), uint64(status))
	})
}

var _ capability.GRPCEvents = (*grpcEvents)(nil)

// callOf returns a call of the filter whose guest code runs.
func (v *vm) callOf(p uint64) *call {
	if c := v.calls[u(p)]; c != nil && c.r == v.r {
		return c
	}
	return nil
}

// grpcSend sends a message on a stream.
func grpcSend(v *vm, p []uint64) uint32 {
	c := v.callOf(p[0])
	if c == nil || c.grpc == nil {
		return statusNotFound
	}
	message, ok := v.read(p[1], p[2])
	switch {
	case !ok:
		return statusInvalidMemory
	case c.unary || len(message) > maxGRPCMessage:
		return statusBadArgument
	case c.grpc.Send(bytes.Clone(message), u(p[3]) != 0) != nil:
		return statusInternal
	}
	return statusOK
}

// grpcCancel ends a call: no callback follows.
func grpcCancel(v *vm, p []uint64) uint32 {
	c := v.callOf(p[0])
	if c == nil || c.grpc == nil {
		return statusNotFound
	}
	v.drop(c)
	return statusOK
}

// grpcClose ends the sending side of a stream; a unary call is cancelled.
func grpcClose(v *vm, p []uint64) uint32 {
	c := v.callOf(p[0])
	switch {
	case c == nil || c.grpc == nil:
		return statusNotFound
	case c.unary:
		v.drop(c)
	case c.grpc.Send(nil, true) != nil:
		return statusInternal
	}
	return statusOK
}
