//go:build wasip1

// Command connection is a plugin on the public Go SDK: it hands on what it reads of
// the client's connection.
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

var names = []string{
	"requested_server_name", "tls_version", "subject_peer_certificate", "dns_san_peer_certificate",
	"uri_san_peer_certificate", "sha256_peer_certificate_digest",
}

func (*stream) OnHttpRequestHeaders(int, bool) types.Action {
	set := func(name, value string) {
		if err := proxywasm.ReplaceHttpRequestHeader("x-"+strings.ReplaceAll(name, "_", "-"), value); err != nil {
			panic(err)
		}
	}
	for _, name := range names {
		if value, err := proxywasm.GetProperty([]string{"connection", name}); err == nil {
			set(name, string(value))
		} else {
			set(name, "none")
		}
	}
	mutual, err := proxywasm.GetProperty([]string{"connection", "mtls"})
	if err != nil || len(mutual) != 1 {
		panic("no mtls")
	}
	set("mtls", string('0'+mutual[0]))
	return types.ActionContinue
}
