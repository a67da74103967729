//go:build wasip1

package main

import sdk "penstock.dev/penstock/wasm-sdk/go"

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

type plugin struct{ rules *rules }

// Configure implements sdk.Plugin.
func (p *plugin) Configure(text []byte) (err error) {
	if p.rules, err = parse(text); err != nil {
		return err
	}
	sdk.Only(sdk.OnRequestHeaders)
	return nil
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return stream{rules: p.rules} }

type stream struct {
	sdk.Base
	rules *rules
}

// RequestHeaders implements sdk.Stream.
func (s stream) RequestHeaders(bool) sdk.Action {
	q := request{get: sdk.RequestHeader.Get, all: sdk.RequestHeader.All}
	var ok bool
	if q.path, ok = sdk.RequestHeader.Get(":path"); !ok { // a CONNECT
		return sdk.Continue
	}
	if s.rules.methods {
		q.method, _ = sdk.RequestHeader.Get(":method")
	}
	o := s.rules.decide(&q)
	switch {
	case o.device != "":
		must(sdk.RequestHeader.Set(deviceHeader, o.device))
	case s.rules.devices: // only the origin's word on what the rules say
		must(sdk.RequestHeader.Del(deviceHeader))
	}
	if o.path != "" {
		must(sdk.RequestHeader.Set(":path", o.path))
	}
	if o.steering != nil {
		must(sdk.SendSteering(o.steering))
	}
	return sdk.Continue
}

// must traps: a key part or a bypass that gets lost would show one client's response to
// another.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
