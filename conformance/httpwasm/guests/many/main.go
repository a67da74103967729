//go:build wasip1

// Command many is an http-wasm guest that does what the request's field X-Do
// says.
package main

import "unsafe"

//go:wasmimport http_handler enable_features
func enableFeatures(bits uint32) uint32

//go:wasmimport http_handler get_config
func getConfig(buf unsafe.Pointer, limit uint32) uint32

//go:wasmimport http_handler set_method
func setMethod(method unsafe.Pointer, size uint32)

//go:wasmimport http_handler get_header_values
func getHeaderValues(kind uint32, name unsafe.Pointer, size uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler set_header_value
func setHeaderValue(kind uint32, name unsafe.Pointer, size uint32, value unsafe.Pointer, valueSize uint32)

//go:wasmimport http_handler read_body
func readBody(kind uint32, buf unsafe.Pointer, limit uint32) uint64

//go:wasmimport http_handler write_body
func writeBody(kind uint32, text unsafe.Pointer, size uint32)

//go:wasmimport http_handler set_status_code
func setStatusCode(code uint32)

const (
	request  = 0
	response = 1
)

func main() {}

var (
	config []byte
	what   string // X-Do of the exchange that this instance serves
)

func init() {
	if enableFeatures(7) != 7 {
		panic("not all features")
	}
	config = make([]byte, getConfig(nil, 0))
	getConfig(unsafe.Pointer(unsafe.SliceData(config)), uint32(len(config)))
}

func text(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

func header(kind uint32, name string) string {
	buf := make([]byte, 1024)
	p, n := text(name)
	size := uint32(getHeaderValues(kind, p, n, unsafe.Pointer(&buf[0]), uint32(len(buf))))
	if size == 0 {
		return ""
	}
	return string(buf[:size-1])
}

func set(kind uint32, name, value string) {
	p, n := text(name)
	q, m := text(value)
	setHeaderValue(kind, p, n, q, m)
}

// upper replaces a body with itself in upper case, read in parts.
func upper(kind uint32) {
	var all []byte
	buf := make([]byte, 1000)
	for {
		r := readBody(kind, unsafe.Pointer(&buf[0]), uint32(len(buf)))
		all = append(all, buf[:uint32(r)]...)
		if r>>32 != 0 {
			break
		}
	}
	for i, c := range all {
		if 'a' <= c && c <= 'z' {
			all[i] = c - 32
		}
	}
	for len(all) > 0 {
		n := min(len(all), 7000)
		writeBody(kind, unsafe.Pointer(&all[0]), uint32(n))
		all = all[n:]
	}
}

//go:wasmexport handle_request
func handleRequest() uint64 {
	what = header(request, "x-do")
	set(request, "X-Config", string(config))
	switch what {
	case "trap":
		panic("a secret that no client may see")
	case "GET", "HEAD":
		setMethod(text(what))
	case "upper-request":
		upper(request)
	case "answer":
		setStatusCode(403)
		set(response, "X-Why", "because")
		p, n := text("denied\n")
		writeBody(response, p, n)
		return 0
	}
	return 5<<32 | 1
}

//go:wasmexport handle_response
func handleResponse(context, isError uint32) {
	if context != 5 {
		panic("not the context")
	}
	if isError == 1 {
		set(response, "X-Is-Error", "yes")
	}
	set(response, "X-Was", what)
	switch what {
	case "trap-response":
		panic("a secret that no client may see")
	case "upper-response":
		upper(response)
	case "status":
		setStatusCode(418)
	case "trailer":
		set(3, "X-Last", "of all")
	}
}
