//go:build wasip1

// Command answer is a plugin on the public Go SDK: local responses.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct{ types.DefaultPluginContext }

func (*plugin) NewHttpContext(uint32) types.HttpContext { return &stream{} }

type stream struct{ types.DefaultHttpContext }

func (*stream) OnHttpRequestHeaders(int, bool) types.Action {
	if value, err := proxywasm.GetHttpRequestHeader("x-let-me-in"); err == nil && value == "please" {
		return types.ActionContinue
	}
	headers := [][2]string{{"x-why", "no please"}}
	if err := proxywasm.SendHttpResponse(403, headers, []byte("denied by the plugin\n"), -1); err != nil {
		panic(err)
	}
	// The answer counts, whatever the action says.
	return types.ActionContinue
}

func (*stream) OnHttpResponseHeaders(int, bool) types.Action {
	if value, err := proxywasm.GetHttpResponseHeader("x-replace"); err == nil && value == "yes" {
		if err := proxywasm.SendHttpResponse(502, nil, []byte("replaced\n"), -1); err != nil {
			panic(err)
		}
	}
	return types.ActionContinue
}
