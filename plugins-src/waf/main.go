//go:build wasip1

package main

import (
	"encoding/binary"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

// NewPluginContext implements types.VMContext.
func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	firewall *firewall
}

// Callbacks that penstock.set_callbacks knows.
const (
	requestCallbacks  = 1<<0 | 1<<1 | 1<<2
	responseCallbacks = 1<<3 | 1<<4 | 1<<5
	doneCallback      = 1 << 6
)

// OnPluginStart implements types.PluginContext.
func (p *plugin) OnPluginStart(size int) types.OnPluginStartStatus {
	var text []byte
	if size > 0 {
		var err error
		if text, err = proxywasm.GetPluginConfiguration(); err != nil {
			return refuse(err)
		}
	}
	c, err := parse(text)
	if err != nil {
		return refuse(err)
	}
	if p.firewall, err = newFirewall(c, proxywasm.LogWarn); err != nil {
		return refuse(err)
	}
	callbacks := uint32(requestCallbacks | doneCallback)
	if c.InspectResponse {
		callbacks |= responseCallbacks
	}
	// Elsewhere than in Penstock all callbacks are made.
	_, _ = proxywasm.CallForeignFunction("penstock.set_callbacks", binary.LittleEndian.AppendUint32(nil, callbacks))
	debug.SetGCPercent(gcPercent)
	collect()
	return types.OnPluginStartStatusOK
}

func refuse(err error) types.OnPluginStartStatus {
	proxywasm.LogError(err.Error())
	return types.OnPluginStartStatusFailed
}

// NewHttpContext implements types.PluginContext.
func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{inspection: p.firewall.newInspection()}
}

type stream struct {
	types.DefaultHttpContext
	*inspection
	protocol string
	refused  bool
}

//go:wasmimport env proxy_close_stream
func closeStream(kind uint32) uint32

const responseStream = 1

// answer tells the proxy. A response whose head has left is cut off. If even
// that fails the trap refuses.
func (s *stream) answer(v verdict) types.Action {
	if v == pass {
		return types.ActionContinue
	}
	s.refused = true
	text := strconv.Itoa(int(v)) + " refused\n"
	err := proxywasm.SendHttpResponse(uint32(v), [][2]string{{"content-type", "text/plain; charset=utf-8"}}, []byte(text), -1)
	if err != nil && closeStream(responseStream) != 0 {
		panic(err)
	}
	return types.ActionPause
}

// OnHttpRequestHeaders implements types.HttpContext.
func (s *stream) OnHttpRequestHeaders(_ int, end bool) types.Action {
	header, err := proxywasm.GetHttpRequestHeaders()
	must(err)
	if s.protocol = property("request", "protocol"); s.protocol == "" {
		s.protocol = "HTTP/1.1"
	}
	if s.config.InspectResponse { // a compressed body cannot be inspected
		must(proxywasm.RemoveHttpRequestHeader("accept-encoding"))
	}
	return s.answer(s.requestHeaders(property("source", "address"), property("destination", "address"), s.protocol, header, end))
}

// OnHttpRequestBody implements types.HttpContext: the body is held back until
// it was inspected.
func (s *stream) OnHttpRequestBody(size int, end bool) types.Action {
	s.held = size
	return s.body(s.requestBody(size, end, proxywasm.GetHttpRequestBody))
}

// OnHttpRequestTrailers implements types.HttpContext: the body ends here.
func (s *stream) OnHttpRequestTrailers(int) types.Action {
	return s.body(s.requestBody(s.held, true, proxywasm.GetHttpRequestBody))
}

// OnHttpResponseHeaders implements types.HttpContext.
func (s *stream) OnHttpResponseHeaders(_ int, end bool) types.Action {
	if s.refused || !s.config.InspectResponse {
		return types.ActionContinue
	}
	text, err := proxywasm.GetHttpResponseHeader(":status")
	must(err)
	status, err := strconv.Atoi(text)
	must(err)
	header, err := proxywasm.GetHttpResponseHeaders()
	must(err)
	return s.answer(s.responseHeaders(status, s.protocol, header, end))
}

// OnHttpResponseBody implements types.HttpContext, as OnHttpRequestBody.
func (s *stream) OnHttpResponseBody(size int, end bool) types.Action {
	if s.refused || !s.config.InspectResponse {
		return types.ActionContinue
	}
	s.held = size
	return s.body(s.responseBody(size, end, proxywasm.GetHttpResponseBody))
}

// OnHttpResponseTrailers implements types.HttpContext.
func (s *stream) OnHttpResponseTrailers(int) types.Action {
	if s.refused || !s.config.InspectResponse {
		return types.ActionContinue
	}
	return s.body(s.responseBody(s.held, true, proxywasm.GetHttpResponseBody))
}

// OnHttpStreamDone implements types.HttpContext.
func (s *stream) OnHttpStreamDone() {
	if err := s.done(); err != nil {
		proxywasm.LogError(err.Error())
	}
	if allocated() > collected+collectBytes {
		collect()
	}
}

// A garbage collection takes as many steps as ten requests. It is made when an
// exchange is over, so that no request's budget pays for it.
// Up to gcPercent of what stays, 20 MiB, none is made earlier.
const (
	collectBytes = 16 << 20
	gcPercent    = 300
)

var collected uint64 // what allocated was at the last one

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func collect() {
	runtime.GC()
	collected = allocated()
}

func (s *stream) body(v verdict, done bool) types.Action {
	if v == pass && !done {
		return types.ActionPause
	}
	return s.answer(v)
}

// property returns a property's text, empty if there is none.
func property(path ...string) string {
	value, err := proxywasm.GetProperty(path)
	if err != nil {
		return ""
	}
	return string(value)
}

// must traps, which refuses: a guard does not go on half-blind.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
