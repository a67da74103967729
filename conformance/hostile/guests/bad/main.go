//go:build wasip1

// Command bad is a plugin that does harm: its configuration says which.
package main

import (
	"os"
	"strings"
	"unsafe"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	harm string
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	config, err := proxywasm.GetPluginConfiguration()
	if err != nil {
		return types.OnPluginStartStatusFailed
	}
	p.harm = string(config)
	if harm, ok := strings.CutPrefix(p.harm, "start "); ok {
		do(harm)
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{harm: p.harm} }

type stream struct {
	types.DefaultHttpContext
	harm string
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	// Only one request in two is harmed, so that the next instance is seen to work.
	if _, err := proxywasm.GetHttpRequestHeader("x-harm"); err == nil {
		do(s.harm)
	}
	return types.ActionContinue
}

var kept [][]byte

//go:noinline
func recurse(n int) int {
	if n < 0 {
		return n
	}
	return recurse(n+1) + 1
}

//go:wasmimport env proxy_log
func rawLog(level uint32, p, n uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func rawGet(kind, key, n, p, size uint32) uint32

//go:wasmimport env proxy_set_header_map_pairs
func rawPairs(kind, p, n uint32) uint32

func do(harm string) {
	switch harm {
	case "spin":
		for i := 0; ; i++ {
			_ = i
		}
	case "recurse":
		recurse(0)
	case "grow":
		for {
			block := make([]byte, 1<<20)
			for i := 0; i < len(block); i += 4096 {
				block[i] = 1
			}
			kept = append(kept, block)
		}
	case "trap":
		var p *int
		*p = 1
	case "exit":
		os.Exit(3)
	case "pointers":
		wild()
	case "crlf":
		refused(proxywasm.AddHttpRequestHeader("x-a", "b\r\nx-injected: yes"))
		refused(proxywasm.AddHttpRequestHeader("x a", "b"))
		refused(proxywasm.ReplaceHttpRequestHeader(":path", "/x HTTP/1.1\r\nHost: evil"))
		refused(proxywasm.SendHttpResponse(200, [][2]string{{"x-a", "b\r\n\r\n<html>"}}, nil, -1))
	case "twice":
		if err := proxywasm.SendHttpResponse(403, nil, []byte("first"), -1); err != nil {
			panic(err)
		}
		refused(proxywasm.SendHttpResponse(200, nil, []byte("second"), -1))
	}
}

func refused(err error) {
	if err == nil {
		panic("the host accepted it")
	}
}

// wild passes pointers and sizes that lie outside of memory.
func wild() {
	for _, p := range []uint32{0xffffffff, 0xfffffff0, 0x7fffffff} {
		for _, n := range []uint32{1, 0xffffffff, 0x80000000} {
			if rawLog(2, p, n) == 0 || rawGet(0, p, n, p, p) == 0 || rawPairs(0, p, n) == 0 {
				panic("the host took a wild pointer")
			}
		}
	}
	key := []byte(":path")
	at := uint32(uintptr(unsafe.Pointer(&key[0])))
	if rawGet(0, at, uint32(len(key)), 0xfffffffc, 0xfffffffc) == 0 {
		panic("the host wrote to a wild pointer")
	}
}
