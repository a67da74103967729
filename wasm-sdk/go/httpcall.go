//go:build wasip1

package sdk

import (
	"strconv"
	"time"
	"unsafe"
)

//go:wasmimport env proxy_http_call
func proxyHTTPCall(upstream unsafe.Pointer, n uint32, headers unsafe.Pointer, m uint32, body unsafe.Pointer, k uint32, trailers unsafe.Pointer, l, timeout uint32, id unsafe.Pointer) uint32

//go:wasmimport env proxy_get_status
func proxyStatus(code, p, size unsafe.Pointer) uint32

// HTTPResponse is what came of an HTTPCall. Its lists and its body can be read in the
// callback, and only there.
type HTTPResponse struct {
	// Err is why there is no response, a *CallError: no connection, no answer in time;
	// then the rest is empty. A response with a status of 400 and above is no error.
	Err     error
	Header  Header // with ":status"
	Body    Buffer
	Trailer Header
}

// Status returns the response's status; 0: there is none.
func (r HTTPResponse) Status() int {
	text, _ := r.Header.Get(":status")
	status, _ := strconv.Atoi(text)
	return status
}

// httpCall is an HTTP call under way.
type httpCall struct {
	context  uint32 // that made it
	answered func(HTTPResponse)
}

var httpCalls = map[uint32]httpCall{}

// HTTPCall sends a request to an upstream (proxy_http_call): "NAME" or "NAME:PORT", a Service
// of the plugin's namespace, "outbound|80||NAME.NAMESPACE.svc.cluster.local", as Envoy says
// it, or in these forms a hostname that a policy's egress lists; other proxies have names of
// their own. headers has ":method", ":path" and ":authority"; body and trailers may be nil.
// timeout, in whole milliseconds, is for all of it; 0: none.
//
// answered is called once, with the context that made the call as the effective one, and
// not at all if that has ended meanwhile. A callback that waits for it returns Pause;
// answered then calls Resume, or Respond. It needs the capability http-call: without it
// HTTPCall fails with ErrInternal, for an upstream that is not known with ErrBadArgument.
func HTTPCall(upstream string, headers [][2]string, body []byte, trailers [][2]string, timeout time.Duration, answered func(HTTPResponse)) error {
	ms, err := milliseconds(timeout)
	if err != nil {
		return err
	}
	arguments = appendPairs(arguments[:0], headers)
	n := len(arguments)
	arguments = appendPairs(arguments, trailers)
	h, t := arguments[:n], arguments[n:]
	if status := proxyHTTPCall(str(upstream), uint32(len(upstream)), raw(h), uint32(len(h)), raw(body), uint32(len(body)), raw(t), uint32(len(t)), ms, unsafe.Pointer(&ret.number)); status != 0 {
		return failure(status)
	}
	httpCalls[ret.number] = httpCall{effective, answered}
	return nil
}

//go:wasmexport proxy_on_http_call_response
func httpCallResponse(root, id, headers, _, _ uint32) {
	c, ok := httpCalls[id]
	delete(httpCalls, id)
	if !ok || !enter(c.context, root) {
		return
	}
	r := HTTPResponse{Header: httpCallHeader, Body: httpCallBody, Trailer: httpCallTrailer}
	if headers == 0 {
		r.Err = callError()
	}
	c.answered(r)
}

// callStatus returns how the last call ended (proxy_get_status).
func callStatus() (code uint32, message string) {
	if proxyStatus(unsafe.Pointer(&ret.number), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)) != 0 {
		return 0, ""
	}
	return ret.number, string(result())
}

func callError() error {
	code, message := callStatus()
	if code == 0 { // a proxy that does not say
		code = uint32(ErrBrokenConnection)
	}
	return &CallError{Status(code), message}
}
