//go:build wasip1

// Command held is a plugin on the public Go SDK: it holds the request's headers
// until it has seen the body, and writes a header about it.
package main

import (
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct{ types.DefaultPluginContext }

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{} }

type stream struct{ types.DefaultHttpContext }

func (*stream) OnHttpRequestHeaders(_ int, end bool) types.Action {
	if end {
		return types.ActionContinue
	}
	return types.ActionPause
}

func (*stream) OnHttpRequestBody(size int, end bool) types.Action {
	if !end {
		return types.ActionPause
	}
	if err := proxywasm.ReplaceHttpRequestHeader("x-body-size", strconv.Itoa(size)); err != nil {
		proxywasm.LogErrorf("replace: %v", err)
	}
	return types.ActionContinue
}
