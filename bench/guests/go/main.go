// Command go is a header plugin on the public Go SDK for Proxy-Wasm: four host
// calls an exchange.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetVMContext(&vm{})
}

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct{ types.DefaultPluginContext }

func (*plugin) NewHttpContext(uint32) types.HttpContext { return &stream{} }

type stream struct{ types.DefaultHttpContext }

func (*stream) OnHttpRequestHeaders(int, bool) types.Action {
	agent, value := "none", ""
	value, _ = proxywasm.GetHttpRequestHeader("user-agent")
	if value != "" {
		agent = "known"
	}
	_ = proxywasm.AddHttpRequestHeader("x-agent", agent)
	return types.ActionContinue
}

func (*stream) OnHttpResponseHeaders(int, bool) types.Action {
	_ = proxywasm.ReplaceHttpResponseHeader("x-served-by", "edge")
	_ = proxywasm.RemoveHttpResponseHeader("server")
	return types.ActionContinue
}
