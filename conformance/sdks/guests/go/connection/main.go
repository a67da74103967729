//go:build wasip1

// Command connection is a plugin for raw connections: what conformance/tcp's guest lines
// does, with the functions of the SDK. It holds what the client says until a line is
// whole, and hands it on in upper case. What the upstream says is put into brackets. Its
// configuration is a client that is refused.
package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

type plugin struct {
	refused string
	waiting []sdk.Context
}

// Configure implements sdk.Plugin.
func (p *plugin) Configure(config []byte) error {
	p.refused = string(config)
	return sdk.SetTickPeriod(20 * time.Millisecond)
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return &conn{plugin: p} }

// Tick implements sdk.Ticker: the connections go on that said "later".
func (p *plugin) Tick() {
	for _, c := range p.waiting {
		must(sdk.SetEffectiveContext(c))
		must(sdk.Resume(sdk.Downstream))
	}
	p.waiting = nil
}

type conn struct {
	sdk.Base
	sdk.BaseConnection
	plugin *plugin
}

var _ sdk.Connection = (*conn)(nil)

// NewConnection implements sdk.Connection.
func (c *conn) NewConnection() sdk.Action {
	source, ok := sdk.PropertyString("source", "address")
	if !ok {
		panic("no source")
	}
	if c.plugin.refused != "" && strings.HasPrefix(source, c.plugin.refused) {
		must(sdk.Reset(sdk.Downstream))
	}
	return sdk.Continue
}

// DownstreamData implements sdk.Connection.
func (c *conn) DownstreamData(size int, end bool) sdk.Action {
	if size == 0 {
		return sdk.Continue
	}
	b := sdk.DownstreamData.Get(0, size)
	switch {
	case bytes.HasPrefix(b, []byte("trap")):
		panic("asked for")
	case bytes.HasPrefix(b, []byte("close")):
		must(sdk.Reset(sdk.Downstream))
	case bytes.HasPrefix(b, []byte("later")):
		c.plugin.waiting = append(c.plugin.waiting, sdk.EffectiveContext())
		return sdk.Pause
	case !end && b[len(b)-1] != '\n':
		return sdk.Pause
	}
	must(sdk.DownstreamData.Set(bytes.ToUpper(b)))
	return sdk.Continue
}

// UpstreamData implements sdk.Connection.
func (c *conn) UpstreamData(size int, _ bool) sdk.Action {
	if size > 0 {
		must(sdk.UpstreamData.Prepend([]byte("[")))
		must(sdk.UpstreamData.Append([]byte("]")))
	}
	return sdk.Continue
}

// DownstreamClose implements sdk.Connection.
func (c *conn) DownstreamClose(by sdk.Peer) { sdk.Log(sdk.Warn, fmt.Sprint("client closed by ", by)) }

// UpstreamClose implements sdk.Connection.
func (c *conn) UpstreamClose(by sdk.Peer) { sdk.Log(sdk.Warn, fmt.Sprint("upstream closed by ", by)) }

// Done implements sdk.Stream.
func (c *conn) Done() { sdk.Log(sdk.Warn, "stream done") }

func must(err error) {
	if err != nil {
		panic(err)
	}
}
