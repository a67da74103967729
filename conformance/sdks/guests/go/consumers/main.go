//go:build wasip1

// Command consumers is a plugin that does what the field X-Do says, step by step, and tells
// in X-Said what came of each.
package main

import (
	"bytes"
	"encoding/hex"
	"strings"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

type plugin struct{ somebody sdk.Consumer }

// Configure implements sdk.Plugin.
func (p *plugin) Configure([]byte) (err error) {
	sdk.Only(sdk.OnRequestHeaders | sdk.SetsResponseHeaders)
	p.somebody, err = sdk.NewConsumer("somebody", []string{"g", "h"})
	return err
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return stream{plugin: p} }

type stream struct {
	sdk.Base
	plugin *plugin
}

// RequestHeaders implements sdk.Stream.
func (s stream) RequestHeaders(bool) sdk.Action {
	steps, _ := sdk.RequestHeader.Get("x-do")
	kind, _ := sdk.RequestHeader.Get("x-kind")
	key, _ := sdk.RequestHeader.Get("x-key")
	var said []string
	for _, step := range strings.Fields(steps) {
		said = append(said, s.step(step, kind, key))
	}
	if err := sdk.RequestHeader.Set("x-said", strings.Join(said, "; ")); err != nil {
		panic(err)
	}
	return sdk.Continue
}

func (s stream) step(step, kind, key string) string {
	switch step {
	case "set":
		return told(sdk.SetConsumer(s.plugin.somebody))
	case "find":
		return shown(sdk.FindConsumer(kind, key, "partners"))
	case "own":
		return shown(sdk.FindConsumer(kind, key))
	case "use":
		return told(sdk.UseConsumer())
	case "identify":
		return told(sdk.IdentifyConsumer(kind, key, "partners"))
	case "claim":
		return told(sdk.SetClaims([]byte(key)))
	case "claims":
		claims, _ := sdk.PropertyString("penstock", "claims")
		return claims
	case "client":
		address, ok := sdk.ClientAddress()
		if !ok {
			return "unknown"
		}
		return hex.EncodeToString(address.AsSlice())
	case "fields":
		return told(sdk.SetResponseHeaders([][2]string{{"x-set", "at the request"}, {"x-got-x-kind", key}}))
	case "pseudo":
		return told(sdk.SetResponseHeaders([][2]string{{"x-unset", "1"}, {":status", "200"}}))
	}
	return shown(sdk.CurrentConsumer())
}

func told(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

func shown(who sdk.Identity, err error) string {
	if err != nil {
		return err.Error()
	}
	return who.Username + "/" + string(bytes.ReplaceAll(who.Data, []byte{0}, []byte(" "))) + " [" + strings.Join(who.Groups, " ") + "]"
}
