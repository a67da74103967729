//go:build wasip1

// Command guest is a plugin that does what the field x-do of a request says.
package main

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

type plugin struct {
	config  config
	asked   sdk.Counter
	ticks   int
	waiting []sdk.Context
}

type config struct {
	To string `json:"to"`
}

// Configure implements sdk.Plugin.
func (p *plugin) Configure(text []byte) (err error) {
	if p.config, err = sdk.ParseConfig(text, config{To: "outbound|80||auth.default.svc.cluster.local"}); err != nil {
		return err
	}
	if p.asked, err = sdk.DefineCounter("asked"); err != nil {
		return err
	}
	return sdk.SetTickPeriod(time.Second)
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return &stream{plugin: p} }

// Tick implements sdk.Ticker.
func (p *plugin) Tick() {
	p.ticks++
	for _, c := range p.waiting {
		if sdk.SetEffectiveContext(c) == nil {
			_ = sdk.Resume(sdk.Request) // it may have gone
		}
	}
	p.waiting = nil
}

type stream struct {
	sdk.Base
	plugin *plugin
	do     string
	open   int
}

func (s *stream) call(path string, timeout time.Duration, answered func(sdk.HTTPResponse)) {
	s.plugin.asked.Increment(1)
	err := sdk.HTTPCall(s.plugin.config.To, [][2]string{{":method", "POST"}, {":path", path}, {":authority", "auth.example"}, {"x-token", "a"}}, []byte("may it?"), nil, timeout, answered)
	if err != nil {
		deny("refused: " + err.Error())
	}
}

// RequestHeaders implements sdk.Stream.
func (s *stream) RequestHeaders(bool) sdk.Action {
	s.do, _ = sdk.RequestHeader.Get("x-do")
	must(sdk.RequestHeader.Set("x-ticks", strconv.Itoa(s.plugin.ticks)))
	must(sdk.RequestHeader.Set("x-now", sdk.Now().UTC().Format(time.RFC3339Nano)))
	must(sdk.RequestHeader.Set("x-clock", time.Now().UTC().Format(time.RFC3339Nano)))
	switch s.do {
	case "call", "whole":
		s.call("/check", time.Second, s.answered)
		return sdk.Pause
	case "both":
		s.open = 2
		for _, path := range []string{"/slow", "/fast"} {
			s.call(path, 0, func(r sdk.HTTPResponse) {
				must(sdk.RequestHeader.Add("x-order", string(r.Body.All())))
				if s.open--; s.open == 0 {
					must(sdk.Resume(sdk.Request))
				}
			})
		}
		return sdk.Pause
	case "tell":
		s.call("/tell", 0, func(r sdk.HTTPResponse) { sdk.Log(sdk.Warn, "told: "+strconv.Itoa(r.Status())) })
	case "tick":
		s.plugin.waiting = append(s.plugin.waiting, sdk.EffectiveContext())
		return sdk.Pause
	case "hold":
		must(sdk.SetTickPeriod(0))
		return sdk.Pause
	case "trap":
		panic(errors.New("as asked"))
	case "spin":
		for {
		}
	case "lie":
		lie(sdk.RequestHeader)
	case "deny":
		deny("not you")
	}
	return sdk.Continue
}

func (s *stream) answered(r sdk.HTTPResponse) {
	if r.Err != nil || r.Status() != 200 {
		deny("the answer is " + strconv.Itoa(r.Status()))
		return
	}
	user, _ := r.Header.Get("x-user")
	must(sdk.RequestHeader.Set("x-user", user+" "+string(r.Body.All())))
	must(sdk.Resume(sdk.Request))
}

// RequestBody implements sdk.Stream.
func (s *stream) RequestBody(_ int, end bool) sdk.Action {
	switch s.do {
	case "upper":
		must(sdk.RequestBody.Set(bytes.ToUpper(sdk.RequestBody.All())))
	case "twice":
		must(sdk.RequestBody.Append(bytes.Clone(sdk.RequestBody.All())))
	case "held": // the whole body, and a call about it
		if !end {
			return sdk.Pause
		}
		s.call("/body?"+string(sdk.RequestBody.All()), 0, func(sdk.HTTPResponse) { must(sdk.Resume(sdk.Request)) })
		return sdk.Pause
	}
	return sdk.Continue
}

// RequestTrailers implements sdk.Stream.
func (s *stream) RequestTrailers() sdk.Action {
	must(sdk.RequestTrailer.Add("x-seen", "yes"))
	return sdk.Continue
}

// ResponseHeaders implements sdk.Stream.
func (s *stream) ResponseHeaders(bool) sdk.Action {
	must(sdk.ResponseHeader.Set("x-plugin", "was here"))
	switch s.do {
	case "late":
		deny("too late for you")
	case "lie":
		lie(sdk.ResponseHeader)
	}
	return sdk.Continue
}

// ResponseBody implements sdk.Stream.
func (s *stream) ResponseBody(_ int, end bool) sdk.Action {
	switch s.do {
	case "upper":
		must(sdk.ResponseBody.Set(bytes.ToUpper(sdk.ResponseBody.All())))
	case "twice":
		must(sdk.ResponseBody.Append(bytes.Clone(sdk.ResponseBody.All())))
	}
	return sdk.Continue
}

// lie says what the proxy alone says.
func lie(h sdk.Header) {
	must(h.Set("content-length", "999"))
	_ = h.Set("keep-alive", "timeout=999") // it may be refused
}

func deny(why string) {
	sdk.Log(sdk.Info, "denied: "+why)
	must(sdk.Respond(403, [][2]string{{"x-why", why}}, why+"\n", "denied"))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
