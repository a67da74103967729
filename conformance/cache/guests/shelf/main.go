//go:build wasip1

// Command shelf is a plugin that does with the cache what a request's field x-do says,
// and answers with what came of it.
package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return plugin{} }) }

type plugin struct{}

// Configure implements sdk.Plugin.
func (plugin) Configure([]byte) error { return nil }

// NewStream implements sdk.Plugin.
func (plugin) NewStream() sdk.Stream { return &stream{} }

type stream struct{ sdk.Base }

// RequestHeaders implements sdk.Stream.
func (*stream) RequestHeaders(bool) sdk.Action {
	text, ok := sdk.RequestHeader.Get("x-do")
	if !ok {
		return sdk.Continue
	}
	words := strings.Fields(text)
	if words[0] == "steer" {
		if err := sdk.SteerCache(&sdk.Steering{Key: words[1:]}); err != nil {
			return answer("failed: " + oneLine(err))
		}
		return sdk.Continue
	}
	return answer(do(words))
}

// ResponseHeaders implements sdk.Stream: it is too late to steer then.
func (*stream) ResponseHeaders(bool) sdk.Action {
	if err := sdk.SteerCache(&sdk.Steering{Bypass: true}); err == nil {
		panic("steered by the response")
	}
	return sdk.Continue
}

func do(words []string) string {
	var err error
	switch words[0] {
	case "get":
		if o, ok := sdk.CacheGet(words[1]); ok {
			return fmt.Sprintf("%s left=%v stale=%v", o.Value, o.Left > 0 && o.Left <= time.Hour, o.Stale)
		}
		return "nothing"
	case "put":
		err = sdk.CachePut(words[1], []byte(words[2]), time.Hour, words[3:]...)
	case "fill": // with values of 1 MiB, until it fails
		n, _ := strconv.Atoi(words[1])
		value := make([]byte, sdk.MaxCacheValue)
		for i := range n {
			if err = sdk.CachePut("fill-"+strconv.Itoa(i), value, time.Hour); err != nil {
				return fmt.Sprintf("failed after %d: %s", i, oneLine(err))
			}
		}
	case "delete":
		err = sdk.CacheDelete(words[1])
	case "purge", "soft":
		var n int
		if n, err = sdk.CachePurge(words[0] == "soft", words[1:]...); err == nil {
			return fmt.Sprintf("purged %d", n)
		}
	}
	if err != nil {
		return "failed: " + oneLine(err)
	}
	return "done"
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", ", ") }

func answer(text string) sdk.Action {
	if err := sdk.Respond(200, nil, text, "shelf"); err != nil {
		panic(err)
	}
	return sdk.Pause
}
