//go:build wasip1

// Command forge is a plugin that may not say who sends a request, and tries: it notes
// the names of the fields that it sees, and writes those that only the proxy writes.
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

type stream struct{ types.DefaultHttpContext }

func (*stream) OnHttpRequestHeaders(int, bool) types.Action {
	fields, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		panic(err)
	}
	var names []string
	for _, f := range fields {
		names = append(names, f[0])
	}
	must(proxywasm.ReplaceHttpRequestHeader("x-seen", strings.Join(names, " ")))
	for _, name := range []string{"x-consumer-username", "X-Consumer-Groups", "x_consumer_username", "x-consumer_groups", "x-consumer-custom-id"} {
		must(proxywasm.AddHttpRequestHeader(name, "forged-by-plugin"))
	}
	if _, err := proxywasm.CallForeignFunction("penstock.set_consumer", []byte(`{"name":"forged-by-plugin"}`)); err == nil {
		panic("a consumer was set without the right to")
	}
	return types.ActionContinue
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
