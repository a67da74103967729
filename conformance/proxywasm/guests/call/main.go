//go:build wasip1

// Command call is a plugin on the public Go SDK: it asks another Service
// whether a request may go on, and takes a header from its answer.
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
	upstream string
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	config, err := proxywasm.GetPluginConfiguration()
	if err != nil {
		return types.OnPluginStartStatusFailed
	}
	p.upstream = string(config)
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	token, _ := proxywasm.GetHttpRequestHeader("x-token")
	_, err := proxywasm.DispatchHttpCall(s.plugin.upstream, [][2]string{
		{":method", "POST"}, {":path", "/check?a=b"}, {":authority", "auth.example"}, {"x-token", token},
	}, []byte("is this one allowed?"), nil, 500, s.answered)
	if err != nil {
		_ = proxywasm.SendHttpResponse(500, nil, []byte("dispatch: "+err.Error()), -1)
		return types.ActionPause
	}
	return types.ActionPause
}

func (s *stream) answered(headers, size, _ int) {
	if headers == 0 {
		_ = proxywasm.SendHttpResponse(502, nil, []byte("no answer"), -1)
		return
	}
	list, err := proxywasm.GetHttpCallResponseHeaders()
	if err != nil {
		proxywasm.LogErrorf("headers: %v", err)
	}
	body, _ := proxywasm.GetHttpCallResponseBody(0, size)
	status, user := "", ""
	for _, h := range list {
		switch h[0] {
		case ":status":
			status = h[1]
		case "x-user":
			user = h[1]
		}
	}
	if status != "200" {
		_ = proxywasm.SendHttpResponse(403, [][2]string{{"x-status", status}}, body, -1)
		return
	}
	if err := proxywasm.AddHttpRequestHeader("x-user", user); err != nil {
		proxywasm.LogErrorf("add: %v", err)
	}
	if err := proxywasm.ResumeHttpRequest(); err != nil {
		proxywasm.LogErrorf("resume: %v", err)
	}
}
