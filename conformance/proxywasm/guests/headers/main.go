//go:build wasip1

// Command headers is a plugin on the public Go SDK: header fields, properties, configuration.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	value string
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	config, err := proxywasm.GetPluginConfiguration()
	if err != nil {
		return types.OnPluginStartStatusFailed
	}
	p.value = string(config)
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{value: p.value} }

type stream struct {
	types.DefaultHttpContext
	value string
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	path, err := proxywasm.GetHttpRequestHeader(":path")
	must(err)
	must(proxywasm.AddHttpRequestHeader("x-path", path))
	must(proxywasm.ReplaceHttpRequestHeader("x-config", s.value))
	must(proxywasm.RemoveHttpRequestHeader("x-remove"))
	headers, err := proxywasm.GetHttpRequestHeaders()
	must(err)
	for _, h := range headers {
		if h[0] == "x-many" {
			must(proxywasm.AddHttpRequestHeader("x-seen", h[1]))
		}
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	status, err := proxywasm.GetHttpResponseHeader(":status")
	must(err)
	must(proxywasm.AddHttpResponseHeader("x-status", status))
	method, err := proxywasm.GetProperty([]string{"request", "method"})
	must(err)
	must(proxywasm.AddHttpResponseHeader("x-method", string(method)))
	return types.ActionContinue
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
