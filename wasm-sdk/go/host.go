//go:build wasip1

package sdk

import (
	"errors"
	"strconv"
	"unsafe"
)

// Levels of Log (Proxy-Wasm, proxy_log_level_t).
const (
	Trace uint32 = iota
	Debug
	Info
	Warn
	Error
	Critical
)

// mapType and bufferType are Proxy-Wasm's numbers.
type mapType uint32

const (
	requestHeaderMap   mapType = 0
	requestTrailerMap  mapType = 1
	responseHeaderMap  mapType = 2
	responseTrailerMap mapType = 3

	bufferRequestBody         uint32 = 0
	bufferResponseBody        uint32 = 1
	bufferPluginConfiguration uint32 = 7
)

// ErrHost is what a host function that refused returns, with its status.
var ErrHost = errors.New("the proxy refused")

func failure(status uint32) error {
	if status == 0 {
		return nil
	}
	return errors.Join(ErrHost, errors.New("status "+strconv.Itoa(int(status))))
}

//go:wasmimport env proxy_log
func proxyLog(level uint32, p unsafe.Pointer, n uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBuffer(kind, start, n uint32, p, size unsafe.Pointer) uint32

//go:wasmimport env proxy_set_buffer_bytes
func proxySetBuffer(kind, start, n uint32, p unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_get_header_map_pairs
func proxyPairs(kind uint32, p, size unsafe.Pointer) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeader(kind uint32, key unsafe.Pointer, n uint32, p, size unsafe.Pointer) uint32

//go:wasmimport env proxy_add_header_map_value
func proxyAddHeader(kind uint32, key unsafe.Pointer, n uint32, value unsafe.Pointer, m uint32) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxySetHeader(kind uint32, key unsafe.Pointer, n uint32, value unsafe.Pointer, m uint32) uint32

//go:wasmimport env proxy_remove_header_map_value
func proxyDelHeader(kind uint32, key unsafe.Pointer, n uint32) uint32

//go:wasmimport env proxy_send_local_response
func proxyRespond(status uint32, details unsafe.Pointer, n uint32, body unsafe.Pointer, m uint32, headers unsafe.Pointer, k uint32, grpc int32) uint32

//go:wasmimport env proxy_get_property
func proxyGetProperty(path unsafe.Pointer, n uint32, p, size unsafe.Pointer) uint32

//go:wasmimport env proxy_call_foreign_function
func proxyForeign(name unsafe.Pointer, n uint32, args unsafe.Pointer, m uint32, p, size unsafe.Pointer) uint32

// str returns a string's bytes as the host reads them. The pointer is used
// within the host call only.
func str(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

func raw(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// ret is where a host function leaves the place and size of its result.
var ret struct{ p, n uint32 }

// result is what the host wrote: always into scratch, because the host asks
// memoryAllocate for room.
func result() []byte {
	if ret.n == 0 {
		return nil
	}
	return scratch[:ret.n]
}

// Log writes a line to the proxy's log.
func Log(level uint32, text string) { proxyLog(level, str(text), uint32(len(text))) }

func buffer(kind uint32, start, n int) []byte {
	if proxyGetBuffer(kind, uint32(start), uint32(n), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)) != 0 {
		return nil
	}
	return result()
}

// RequestBody returns size bytes of the request's body from start on, valid
// until the next host call; nil outside of its callbacks.
func RequestBody(start, size int) []byte { return buffer(bufferRequestBody, start, size) }

// ResponseBody returns a part of the response's body, as RequestBody.
func ResponseBody(start, size int) []byte { return buffer(bufferResponseBody, start, size) }

// SetRequestBody replaces what RequestBody shows.
func SetRequestBody(b []byte) error {
	return failure(proxySetBuffer(bufferRequestBody, 0, 0xffffffff, raw(b), uint32(len(b))))
}

// SetResponseBody replaces what ResponseBody shows.
func SetResponseBody(b []byte) error {
	return failure(proxySetBuffer(bufferResponseBody, 0, 0xffffffff, raw(b), uint32(len(b))))
}

// Header is one of the exchange's header lists.
type Header struct{ kind mapType }

// The lists. Pseudo header fields (":path", ":method", ":authority",
// ":status") are part of them. A list can be changed until it was sent.
var (
	RequestHeader   = Header{requestHeaderMap}
	RequestTrailer  = Header{requestTrailerMap}
	ResponseHeader  = Header{responseHeaderMap}
	ResponseTrailer = Header{responseTrailerMap}
)

// Get returns the first value of that name.
func (h Header) Get(name string) (value string, ok bool) {
	if proxyGetHeader(uint32(h.kind), str(name), uint32(len(name)), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)) != 0 {
		return "", false
	}
	return string(result()), true
}

// Add appends a field.
func (h Header) Add(name, value string) error {
	return failure(proxyAddHeader(uint32(h.kind), str(name), uint32(len(name)), str(value), uint32(len(value))))
}

// Set replaces all fields of that name by one.
func (h Header) Set(name, value string) error {
	return failure(proxySetHeader(uint32(h.kind), str(name), uint32(len(name)), str(value), uint32(len(value))))
}

// Del removes all fields of that name.
func (h Header) Del(name string) error {
	return failure(proxyDelHeader(uint32(h.kind), str(name), uint32(len(name))))
}

// All returns the whole list.
func (h Header) All() [][2]string {
	if proxyPairs(uint32(h.kind), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)) != 0 {
		return nil
	}
	return decodePairs(result())
}

// Respond answers in the proxy's name; the callback's action no longer counts.
// details goes to the access log only.
func Respond(status int, headers [][2]string, body, details string) error {
	pairs := encodePairs(headers)
	return failure(proxyRespond(uint32(status), str(details), uint32(len(details)), str(body), uint32(len(body)), raw(pairs), uint32(len(pairs)), -1))
}

// Property returns a property by its path, such as "source", "address".
func Property(path ...string) ([]byte, bool) {
	var key []byte
	for i, p := range path {
		if i > 0 {
			key = append(key, 0)
		}
		key = append(key, p...)
	}
	if proxyGetProperty(raw(key), uint32(len(key)), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)) != 0 {
		return nil, false
	}
	return result(), true
}

// CallForeign calls a function that is not part of the ABI.
func CallForeign(name string, args []byte) ([]byte, error) {
	if status := proxyForeign(str(name), uint32(len(name)), raw(args), uint32(len(args)), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)); status != 0 {
		return nil, failure(status)
	}
	return result(), nil
}
