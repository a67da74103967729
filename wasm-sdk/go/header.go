//go:build wasip1

package sdk

import "unsafe"

//go:wasmimport env proxy_get_header_map_size
func proxyHeaderSize(kind uint32, size unsafe.Pointer) uint32

//go:wasmimport env proxy_get_header_map_pairs
func proxyPairs(kind uint32, p, size unsafe.Pointer) uint32

//go:wasmimport env proxy_set_header_map_pairs
func proxySetPairs(kind uint32, p unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeader(kind uint32, key unsafe.Pointer, n uint32, p, size unsafe.Pointer) uint32

//go:wasmimport env proxy_add_header_map_value
func proxyAddHeader(kind uint32, key unsafe.Pointer, n uint32, value unsafe.Pointer, m uint32) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxySetHeader(kind uint32, key unsafe.Pointer, n uint32, value unsafe.Pointer, m uint32) uint32

//go:wasmimport env proxy_remove_header_map_value
func proxyDelHeader(kind uint32, key unsafe.Pointer, n uint32) uint32

// Header is a header list, or one of trailers or metadata (proxy_map_type_t). Names are
// found in upper and lower case alike. What changes it allocates nothing.
type Header struct{ kind uint32 }

// The lists of an exchange. Pseudo header fields (":path", ":method", ":authority",
// ":scheme", ":status") are part of them. A list can be changed until it has gone on:
// headers while their callback runs or pauses them, trailers from the last callback of
// the body on, which may add some where there were none. Changes come too late, or too
// early, with ErrBadArgument.
var (
	RequestHeader   = Header{0}
	RequestTrailer  = Header{1}
	ResponseHeader  = Header{2}
	ResponseTrailer = Header{3}
)

// The lists of calls, which their callbacks get.
var (
	grpcInitialMetadata  = Header{4}
	grpcTrailingMetadata = Header{5}
	httpCallHeader       = Header{6}
	httpCallTrailer      = Header{7}
)

// Get returns the first value of that name (proxy_get_header_map_value). The string is
// the one allocation.
func (h Header) Get(name string) (value string, ok bool) {
	if proxyGetHeader(h.kind, str(name), uint32(len(name)), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)) != 0 {
		return "", false
	}
	return string(result()), true
}

// Add appends a field (proxy_add_header_map_value).
func (h Header) Add(name, value string) error {
	return failure(proxyAddHeader(h.kind, str(name), uint32(len(name)), str(value), uint32(len(value))))
}

// Set replaces all fields of that name by one (proxy_replace_header_map_value).
func (h Header) Set(name, value string) error {
	return failure(proxySetHeader(h.kind, str(name), uint32(len(name)), str(value), uint32(len(value))))
}

// Del removes all fields of that name (proxy_remove_header_map_value).
func (h Header) Del(name string) error {
	return failure(proxyDelHeader(h.kind, str(name), uint32(len(name))))
}

// All returns the whole list (proxy_get_header_map_pairs), nil where it cannot be read.
// It allocates the list and each string.
func (h Header) All() [][2]string {
	if proxyPairs(h.kind, unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)) != 0 {
		return nil
	}
	return decodePairs(result())
}

// SetAll replaces the whole list (proxy_set_header_map_pairs). Other proxies replace
// pseudo header fields too, so that they are to be among pairs, as All has them.
func (h Header) SetAll(pairs [][2]string) error {
	arguments = appendPairs(arguments[:0], pairs)
	return failure(proxySetPairs(h.kind, raw(arguments), uint32(len(arguments))))
}

// SetResponseHeaders has the response's head get these fields when it passes the plugin,
// each in place of those of its name: no callback is needed for what is known at the
// request. Only in RequestHeaders, or in what a call of it calls while the request waits;
// later, and for fields that no response may have, it fails with ErrBadArgument. A plugin
// that says which callbacks it wants says SetsResponseHeaders too. Elsewhere than in Penstock
// it fails with ErrNotFound.
func SetResponseHeaders(pairs [][2]string) error {
	arguments = appendPairs(arguments[:0], pairs)
	_, err := CallForeign("penstock.set_response_headers", arguments)
	return err
}

// Size returns how many bytes All would read (proxy_get_header_map_size).
func (h Header) Size() (bytes int, err error) {
	err = failure(proxyHeaderSize(h.kind, unsafe.Pointer(&ret.number)))
	return int(ret.number), err
}
