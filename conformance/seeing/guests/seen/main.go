//go:build wasip1

// Command seen is a plugin that does what a request or its configuration says,
// and never shows what it was told in confidence.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct {
	types.DefaultVMContext
	config string
}

func (v *vm) OnVMStart(int) types.OnVMStartStatus {
	config, _ := proxywasm.GetVMConfiguration() // there may be none
	v.config = string(config)
	return types.OnVMStartStatusOK
}

func (v *vm) NewPluginContext(uint32) types.PluginContext { return &plugin{vm: v} }

type plugin struct {
	types.DefaultPluginContext
	vm     *vm
	env    string
	config struct{ Start, Secret, Hidden string }
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	text, err := proxywasm.GetPluginConfiguration()
	if err != nil || json.Unmarshal(text, &p.config) != nil {
		return types.OnPluginStartStatusFailed
	}
	p.env = os.Getenv("TOKEN")
	switch p.config.Start {
	case "refuse":
		proxywasm.LogCritical("this configuration will not do")
		return types.OnPluginStartStatusFailed
	case "trap":
		trap(p.config.Secret, p.config.Hidden, p.env, p.vm.config)
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

// OnHttpRequestHeaders says with "know" how many bytes of secrets it knows.
func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	p := s.plugin
	do, _ := proxywasm.GetHttpRequestHeader("x-do") // there may be none
	switch do {
	case "log":
		proxywasm.LogWarn("a line by the host")
		fmt.Fprintln(os.Stderr, "a line of its own")
	case "trap":
		trap(p.config.Secret, p.config.Hidden, p.env, p.vm.config)
	case "spin":
		for i := 0; ; i++ {
			_ = i
		}
	case "exit":
		os.Exit(len(p.config.Secret))
	}
	if err := proxywasm.ReplaceHttpRequestHeader("x-known", fmt.Sprint(len(p.config.Secret), len(p.config.Hidden), len(p.env), len(p.vm.config))); err != nil {
		panic(err)
	}
	return types.ActionContinue
}

// trap has the secrets among its arguments.
//
//go:noinline
func trap(secrets ...string) {
	var p *string
	for _, s := range secrets {
		if len(s) > 1000 {
			p = &s
		}
	}
	fmt.Fprintln(os.Stderr, "about to fail")
	*p = "nil"
}
