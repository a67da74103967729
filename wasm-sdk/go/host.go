//go:build wasip1

package sdk

import "unsafe"

//go:wasmimport env proxy_send_local_response
func proxyRespond(status uint32, details unsafe.Pointer, n uint32, body unsafe.Pointer, m uint32, headers unsafe.Pointer, k uint32, grpc int32) uint32

//go:wasmimport env proxy_call_foreign_function
func proxyForeign(name unsafe.Pointer, n uint32, args unsafe.Pointer, m uint32, p, size unsafe.Pointer) uint32

//go:wasmimport env proxy_continue_stream
func proxyContinue(stream uint32) uint32

//go:wasmimport env proxy_close_stream
func proxyClose(stream uint32) uint32

// str returns a string's bytes as the host reads them. The pointer is used
// within the host call only.
func str(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

func raw(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// ret is where a host function leaves the place and size of its result, and the numbers
// that it returns beside it.
var ret struct {
	p, n   uint32
	number uint32
	wide   uint64
}

// result is what the host wrote: always into scratch, because the host asks
// memoryAllocate for room.
func result() []byte {
	if ret.n == 0 {
		return nil
	}
	return scratch[:ret.n]
}

// arguments is room for those of host functions, which run one at a time.
var arguments []byte

// Respond answers in the proxy's name (proxy_send_local_response); the callback's action
// no longer counts. details goes to the access log only. It can be called until the
// response's head has gone on, also for a paused stream from the callback of a call;
// later it fails with ErrBadArgument.
func Respond(status int, headers [][2]string, body, details string) error {
	return respond(status, headers, body, details, -1)
}

// RespondGRPC is Respond for a gRPC client, which gets that grpc-status, and message as
// the grpc-message.
func RespondGRPC(code uint32, headers [][2]string, message, details string) error {
	return respond(200, headers, message, details, int32(code))
}

func respond(status int, headers [][2]string, body, details string, grpc int32) error {
	arguments = appendPairs(arguments[:0], headers)
	return failure(proxyRespond(uint32(status), str(details), uint32(len(details)), str(body), uint32(len(body)), raw(arguments), uint32(len(arguments)), grpc))
}

// Resume lets a direction go on that a callback paused (proxy_continue_stream). Within a
// callback of that direction it wins over Pause. It is for the effective context; without
// a stream it fails with ErrBadArgument, and for a direction that the stream does not have
// with ErrUnimplemented.
func Resume(t StreamType) error { return failure(proxyContinue(uint32(t))) }

// Reset ends the effective context's stream without an answer (proxy_close_stream); of a
// raw connection, that side is closed. It fails as Resume does.
func Reset(t StreamType) error { return failure(proxyClose(uint32(t))) }

// CallForeign calls a function that is not part of the ABI (proxy_call_foreign_function).
// The error is ErrNotFound where the proxy has none of that name.
func CallForeign(name string, args []byte) ([]byte, error) {
	if status := proxyForeign(str(name), uint32(len(name)), raw(args), uint32(len(args)), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)); status != 0 {
		return nil, failure(status)
	}
	return result(), nil
}
