//go:build wasip1

// Command lines is a plugin on the public Go SDK for raw connections: it holds what
// the client says until a line is whole, and hands it on in upper case. What the
// upstream says is put into brackets. Its configuration is a client that is refused.
package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	refused string
	waiting []*conn
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	if b, err := proxywasm.GetPluginConfiguration(); err == nil {
		p.refused = string(b)
	}
	must(proxywasm.SetTickPeriodMilliSeconds(20))
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewTcpContext(id uint32) types.TcpContext { return &conn{p: p, id: id} }

// OnTick lets the connections go on that said "later".
func (p *plugin) OnTick() {
	for _, c := range p.waiting {
		must(proxywasm.SetEffectiveContext(c.id))
		must(proxywasm.ContinueTcpStream())
	}
	p.waiting = nil
}

type conn struct {
	types.DefaultTcpContext
	p  *plugin
	id uint32
}

func (c *conn) OnNewConnection() types.Action {
	source, err := proxywasm.GetProperty([]string{"source", "address"})
	must(err)
	if c.p.refused != "" && strings.HasPrefix(string(source), c.p.refused) {
		must(proxywasm.CloseDownstream())
	}
	return types.ActionContinue
}

func (c *conn) OnDownstreamData(size int, end bool) types.Action {
	if size == 0 {
		return types.ActionContinue
	}
	b, err := proxywasm.GetDownstreamData(0, size)
	must(err)
	switch {
	case bytes.HasPrefix(b, []byte("trap")):
		panic("asked for")
	case bytes.HasPrefix(b, []byte("close")):
		must(proxywasm.CloseDownstream())
	case bytes.HasPrefix(b, []byte("later")):
		c.p.waiting = append(c.p.waiting, c)
		return types.ActionPause
	case !end && b[len(b)-1] != '\n':
		return types.ActionPause
	}
	must(proxywasm.ReplaceDownstreamData(bytes.ToUpper(b)))
	return types.ActionContinue
}

func (c *conn) OnUpstreamData(size int, end bool) types.Action {
	if size == 0 {
		return types.ActionContinue
	}
	b, err := proxywasm.GetUpstreamData(0, size)
	must(err)
	must(proxywasm.ReplaceUpstreamData([]byte("[" + string(b) + "]")))
	return types.ActionContinue
}

func (c *conn) OnDownstreamClose(by types.PeerType) {
	proxywasm.LogWarn(fmt.Sprint("client closed by ", by))
}

func (c *conn) OnUpstreamClose(by types.PeerType) {
	proxywasm.LogWarn(fmt.Sprint("upstream closed by ", by))
}

func (c *conn) OnStreamDone() { proxywasm.LogWarn("stream done") }

func must(err error) {
	if err != nil {
		panic(err)
	}
}
