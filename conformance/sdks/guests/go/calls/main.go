//go:build wasip1

// Command calls is a plugin that asks another Service by HTTP what becomes of a request,
// as its field x-do says: the calls, pauses and resets of the SDK.
package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

type plugin struct {
	upstream string
	answers  sdk.Counter
	waiting  []sdk.Context
	beats    int
}

// Configure implements sdk.Plugin.
func (p *plugin) Configure(config []byte) (err error) {
	p.upstream = string(config)
	if p.answers, err = sdk.DefineCounter("answers"); err != nil {
		return err
	}
	return sdk.SetTickPeriod(20 * time.Millisecond)
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return &stream{plugin: p} }

// Tick implements sdk.Ticker: a call of its own, once, before the tick is about a stream;
// and those that wait go on.
func (p *plugin) Tick() {
	if p.beats++; p.beats == 1 {
		must(p.ask("beat", "/beat", 0, func(r sdk.HTTPResponse) { sdk.Log(sdk.Warn, fmt.Sprint("the beat's answer: ", r.Status())) }))
		_, err := sdk.CallForeign("resolve_lua", []byte("localhost"))
		must(err)
	}
	for _, c := range p.waiting {
		if err := sdk.SetEffectiveContext(c); errors.Is(err, sdk.ErrBadArgument) {
			continue // it has ended
		}
		must(sdk.RequestHeader.Set("x-ticked", fmt.Sprint(sdk.EffectiveContext() == c)))
		must(sdk.Resume(sdk.Request))
	}
	p.waiting = nil
}

// ForeignFunction implements sdk.ForeignReceiver: how long an address is, the address, its name.
func (p *plugin) ForeignFunction(function uint32, arguments []byte) {
	sdk.Log(sdk.Warn, fmt.Sprint("function ", function, " found ", string(arguments[1+arguments[0]:])))
}

func (p *plugin) ask(token, path string, timeout time.Duration, answered func(sdk.HTTPResponse)) error {
	return sdk.HTTPCall(p.upstream, [][2]string{{":method", "POST"}, {":path", path}, {":authority", "auth.example"}, {"x-token", token}},
		[]byte("is this one allowed?"), [][2]string{{"x-end", "of the question"}}, timeout, answered)
}

type stream struct {
	sdk.Base
	plugin *plugin
}

// RequestHeaders implements sdk.Stream.
func (s *stream) RequestHeaders(bool) sdk.Action {
	do, _ := sdk.RequestHeader.Get("x-do")
	switch do {
	case "tick":
		s.plugin.waiting = append(s.plugin.waiting, sdk.EffectiveContext())
		return sdk.Pause
	case "reset":
		must(sdk.Reset(sdk.Request))
	case "resume": // wins over the Pause
		must(sdk.Resume(sdk.Request))
		return sdk.Pause
	case "unknown":
		err := sdk.HTTPCall("outbound|80||nobody.default.svc.cluster.local", [][2]string{{":method", "GET"}, {":path", "/"}, {":authority", "a"}}, nil, nil, time.Second, func(sdk.HTTPResponse) {})
		s.answer(400, fmt.Sprint(errors.Is(err, sdk.ErrBadArgument), errors.Is(err, sdk.ErrHost), err))
	case "never":
		s.answer(400, fmt.Sprint(s.plugin.ask("", "/", -1, nil)))
	case "leave": // and do not wait for the answer
		must(s.plugin.ask("held", "/", 0, func(sdk.HTTPResponse) { s.plugin.answers.Increment(1) }))
	case "twice":
		must(s.plugin.ask("good", "/", 0, func(sdk.HTTPResponse) { must(s.plugin.ask("good", "/again", 0, s.answered)) }))
		return sdk.Pause
	default:
		must(s.plugin.ask(do, "/check?a=b", 500*time.Millisecond, s.answered))
		return sdk.Pause
	}
	return sdk.Continue
}

// answered is what a call calls.
func (s *stream) answered(r sdk.HTTPResponse) {
	s.plugin.answers.Increment(1)
	var failed *sdk.CallError
	if errors.As(r.Err, &failed) {
		s.answer(502, fmt.Sprint(errors.Is(r.Err, sdk.ErrBrokenConnection), " ", r.Status(), " ", r.Body.All() == nil, " ", failed.Message != ""))
		return
	}
	if r.Status() != 200 {
		s.answer(403, string(r.Body.All()))
		return
	}
	user, _ := r.Header.Get("x-user")
	sum, _ := r.Trailer.Get("x-sum")
	size, err := r.Body.Size()
	must(err)
	if err := r.Header.Set("x-user", "forged"); !errors.Is(err, sdk.ErrBadArgument) {
		panic(err)
	}
	must(sdk.RequestHeader.Set("x-user", user))
	must(sdk.RequestHeader.Set("x-answer", sum+" "+strconv.Itoa(size)+" "+string(r.Body.Get(1, 3))))
	must(sdk.Resume(sdk.Request))
}

func (s *stream) answer(status int, body string) {
	must(sdk.Respond(status, [][2]string{{"x-by", "calls"}}, body, "asked"))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
