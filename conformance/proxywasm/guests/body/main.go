//go:build wasip1

// Command body is a plugin on the public Go SDK: it holds bodies back and replaces them.
package main

import (
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct{ types.DefaultPluginContext }

func (*plugin) NewHttpContext(uint32) types.HttpContext { return &stream{} }

type stream struct {
	types.DefaultHttpContext
	held int
}

func (s *stream) OnHttpRequestHeaders(_ int, end bool) types.Action {
	if !end {
		must(proxywasm.RemoveHttpRequestHeader("content-length"))
	}
	return types.ActionContinue
}

// OnHttpRequestBody upper-cases the whole body at its end.
func (s *stream) OnHttpRequestBody(size int, end bool) types.Action {
	if s.held = size; !end {
		return types.ActionPause
	}
	body, err := proxywasm.GetHttpRequestBody(0, s.held)
	must(err)
	must(proxywasm.ReplaceHttpRequestBody([]byte(strings.ToUpper(string(body)))))
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(_ int, end bool) types.Action {
	if !end {
		must(proxywasm.RemoveHttpResponseHeader("content-length"))
	}
	return types.ActionContinue
}

// OnHttpResponseBody prepends and appends to the streaming body.
func (s *stream) OnHttpResponseBody(_ int, end bool) types.Action {
	if s.held >= 0 {
		must(proxywasm.PrependHttpResponseBody([]byte("<")))
		s.held = -1
	}
	if end {
		must(proxywasm.AppendHttpResponseBody([]byte(">")))
	}
	return types.ActionContinue
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
