//go:build wasip1

// Command queue is a plugin on the public Go SDK: requests put their path into
// a shared queue, whose reader keeps the last one in the shared data.
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
	queue uint32
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	id, err := proxywasm.RegisterSharedQueue("paths")
	if err != nil {
		return types.OnPluginStartStatusFailed
	}
	if same, err := proxywasm.ResolveSharedQueue("", "paths"); err != nil || same != id {
		return types.OnPluginStartStatusFailed
	}
	p.queue = id
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnQueueReady(id uint32) {
	path, err := proxywasm.DequeueSharedQueue(id)
	if err != nil {
		return
	}
	if err := proxywasm.SetSharedData("last", path, 0); err != nil {
		proxywasm.LogErrorf("set: %v", err)
	}
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	path, _ := proxywasm.GetHttpRequestHeader(":path")
	if err := proxywasm.EnqueueSharedQueue(s.plugin.queue, []byte(path)); err != nil {
		proxywasm.LogErrorf("enqueue: %v", err)
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	if last, _, err := proxywasm.GetSharedData("last"); err == nil {
		_ = proxywasm.AddHttpResponseHeader("x-last", string(last))
	}
	return types.ActionContinue
}
