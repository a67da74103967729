//go:build wasip1

package sdk

import (
	"math"
	"unsafe"
)

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBuffer(kind, start, n uint32, p, size unsafe.Pointer) uint32

//go:wasmimport env proxy_get_buffer_status
func proxyBufferStatus(kind uint32, size, flags unsafe.Pointer) uint32

//go:wasmimport env proxy_set_buffer_bytes
func proxySetBuffer(kind, start, n uint32, p unsafe.Pointer, size uint32) uint32

// Buffer is a body, or what came of a raw connection or a call (proxy_buffer_type_t).
//
// A body's callback sees one part after another. With Continue the part goes on as it
// was left, and the next one begins at 0. With Pause it is held back, and the next
// callback sees all that is held: so a plugin pauses until end for a whole body. Bytes
// that are held count against the filter's limit: beyond it the request is answered
// with 413, the response with 500. What changes a body's length has to take the field
// content-length away in the callback of the headers.
type Buffer struct{ kind uint32 }

// The buffers of a stream: there in their own callbacks, and while these pause.
var (
	RequestBody    = Buffer{0}
	ResponseBody   = Buffer{1}
	DownstreamData = Buffer{2}
	UpstreamData   = Buffer{3}
)

// The buffers that callbacks are handed.
var (
	httpCallBody        = Buffer{4}
	grpcMessage         = Buffer{5}
	vmConfiguration     = Buffer{6}
	pluginConfiguration = Buffer{7}
	foreignArguments    = Buffer{8}
)

const all = math.MaxUint32 // to the end, or behind it

// Get returns size bytes from start on (proxy_get_buffer_bytes), fewer if there are no
// more; nil where the buffer cannot be read. They are valid until the next call of a
// function of this package.
func (b Buffer) Get(start, size int) []byte { return b.get(uint32(start), uint32(size)) }

// All returns the whole buffer, as Get.
func (b Buffer) All() []byte { return b.get(0, all) }

func (b Buffer) get(start, size uint32) []byte {
	if proxyGetBuffer(b.kind, start, size, unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)) != 0 {
		return nil
	}
	return result()
}

// Size returns how many bytes there are (proxy_get_buffer_status); ErrNotFound where the
// buffer cannot be read.
func (b Buffer) Size() (bytes int, err error) {
	err = failure(proxyBufferStatus(b.kind, unsafe.Pointer(&ret.number), unsafe.Pointer(&ret.wide)))
	return int(ret.number), err
}

// Set replaces the whole buffer (proxy_set_buffer_bytes).
func (b Buffer) Set(data []byte) error { return b.set(0, all, data) }

// Append puts data behind the buffer.
func (b Buffer) Append(data []byte) error { return b.set(all, 0, data) }

// Prepend puts data before the buffer.
func (b Buffer) Prepend(data []byte) error { return b.set(0, 0, data) }

// Replace puts data in the place of size bytes from start on. Envoy refuses, with
// ErrBadArgument, what neither Set, Append nor Prepend could do.
func (b Buffer) Replace(start, size int, data []byte) error {
	return b.set(uint32(start), uint32(size), data)
}

func (b Buffer) set(start, size uint32, data []byte) error {
	return failure(proxySetBuffer(b.kind, start, size, raw(data), uint32(len(data))))
}
