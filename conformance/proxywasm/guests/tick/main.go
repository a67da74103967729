//go:build wasip1

// Command tick is a plugin on the public Go SDK: requests pause until a tick lets them go on.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{waiting: map[uint32]bool{}} }

type plugin struct {
	types.DefaultPluginContext
	waiting map[uint32]bool
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	if err := proxywasm.SetTickPeriodMilliSeconds(20); err != nil {
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnTick() {
	for id := range p.waiting {
		delete(p.waiting, id)
		if err := proxywasm.SetEffectiveContext(id); err != nil {
			continue
		}
		if err := proxywasm.AddHttpRequestHeader("x-ticked", "yes"); err != nil {
			proxywasm.LogErrorf("add: %v", err)
		}
		if err := proxywasm.ResumeHttpRequest(); err != nil {
			proxywasm.LogErrorf("resume: %v", err)
		}
	}
}

func (p *plugin) NewHttpContext(id uint32) types.HttpContext { return &stream{plugin: p, id: id} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
	id     uint32
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	s.plugin.waiting[s.id] = true
	return types.ActionPause
}

func (s *stream) OnHttpStreamDone() { delete(s.plugin.waiting, s.id) }
