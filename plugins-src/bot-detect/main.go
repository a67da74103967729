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
	agent, _ := sdk.RequestHeader.Get("user-agent")
	why := s.rules.refuse(agent)
	if why == "" {
		return sdk.Continue
	}
	body := map[int]string{403: "403 Forbidden\n", 404: "404 Not Found\n", 429: "429 Too Many Requests\n"}[s.rules.status]
	if err := sdk.Respond(s.rules.status, [][2]string{{"content-type", "text/plain; charset=utf-8"}}, body, why); err != nil {
		panic(err) // onError decides
	}
	return sdk.Pause
}
