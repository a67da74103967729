// Command sdk is a header plugin on our SDK: four host calls an exchange, as
// bench/guests/c/header.c makes.
package main

import sdk "penstock.dev/penstock/wasm-sdk/go"

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return plugin{} }) }

type plugin struct{}

func (plugin) Configure([]byte) error {
	sdk.Only(sdk.OnRequestHeaders | sdk.OnResponseHeaders)
	return nil
}

func (plugin) NewStream() sdk.Stream { return &stream{} }

type stream struct{ sdk.Base }

func (*stream) RequestHeaders(bool) sdk.Action {
	agent := "none"
	if value, ok := sdk.RequestHeader.Get("user-agent"); ok && value != "" {
		agent = "known"
	}
	must(sdk.RequestHeader.Add("x-agent", agent))
	return sdk.Continue
}

func (*stream) ResponseHeaders(bool) sdk.Action {
	must(sdk.ResponseHeader.Set("x-served-by", "edge"))
	must(sdk.ResponseHeader.Del("server"))
	return sdk.Continue
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
