//go:build wasip1

// Command expression is a plugin whose configuration is an expression; what it
// is for a request goes on in X-Expression, what it is for a response in the
// response's X-Expression.
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
	token []byte
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	text, err := proxywasm.GetPluginConfiguration()
	if err == nil {
		p.token, err = proxywasm.CallForeignFunction("expr_create", text)
	}
	if err != nil {
		proxywasm.LogErrorf("expression: %v", err)
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{token: p.token} }

type stream struct {
	types.DefaultHttpContext
	token []byte
}

func (s *stream) value() string {
	value, err := proxywasm.CallForeignFunction("expr_evaluate", s.token)
	if err != nil {
		return err.Error()
	}
	return string(value)
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	_ = proxywasm.ReplaceHttpRequestHeader("x-expression", s.value())
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	_ = proxywasm.ReplaceHttpResponseHeader("x-expression", s.value())
	return types.ActionContinue
}
