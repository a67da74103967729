//go:build wasip1

package main

import (
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

// period is how exactly delays are kept.
const period = 5 * time.Millisecond

type plugin struct {
	rules   []rule
	delays  waiting[sdk.Context]
	ticking bool
}

// Configure implements sdk.Plugin.
func (p *plugin) Configure(text []byte) (err error) {
	if p.rules, err = parse(text); err != nil {
		return err
	}
	only := sdk.OnRequestHeaders
	for i := range p.rules {
		if p.rules[i].delay > 0 {
			only |= sdk.OnDone
		}
	}
	sdk.Only(only)
	return nil
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return &stream{plugin: p} }

type stream struct {
	sdk.Base
	plugin *plugin
	waits  bool
}

// RequestHeaders implements sdk.Stream.
func (s *stream) RequestHeaders(bool) sdk.Action {
	p := s.plugin
	path, _ := sdk.RequestHeader.Get(":path")
	method, _ := sdk.RequestHeader.Get(":method")
	r := find(p.rules, method, path)
	if r == nil {
		return sdk.Continue
	}
	if r.delay > 0 && p.delays.add(sdk.EffectiveContext(), sdk.Now().Add(r.delay), r) {
		s.waits = true
		p.tick(true)
		return sdk.Pause
	}
	must(r.respond())
	return sdk.Pause
}

// Done implements sdk.Stream.
func (s *stream) Done() {
	if s.waits {
		s.plugin.delays.drop(sdk.EffectiveContext())
	}
}

// Tick implements sdk.Ticker.
func (p *plugin) Tick() {
	for _, w := range p.delays.take(sdk.Now()) {
		if sdk.SetEffectiveContext(w.stream) == nil {
			_ = w.rule.respond() // the client may have gone
		}
	}
	p.tick(len(p.delays.list) > 0)
}

// tick lets the time be told while somebody waits for it, and no longer.
func (p *plugin) tick(on bool) {
	if p.ticking == on {
		return
	}
	p.ticking = on
	every := time.Duration(0)
	if on {
		every = period
	}
	must(sdk.SetTickPeriod(every))
}

func (r *rule) respond() error {
	return sdk.Respond(r.status, r.headers, r.body, r.details())
}

// must traps: a request must not go on to the Service instead.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
