//go:build wasip1

// Command bodies is a plugin that changes headers, bodies and trailers as the field x-do
// of a request says: all parts of a message that the SDK has.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"testing"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return plugin{} }) }

type plugin struct{}

// Configure implements sdk.Plugin.
func (plugin) Configure([]byte) error { return nil }

// NewStream implements sdk.Plugin.
func (plugin) NewStream() sdk.Stream { return &stream{} }

type stream struct {
	sdk.Base
	do    string
	parts int
}

// RequestHeaders implements sdk.Stream.
func (s *stream) RequestHeaders(bool) sdk.Action {
	s.do, _ = sdk.RequestHeader.Get("x-do")
	must(sdk.RequestHeader.Del("content-length"))
	switch s.do {
	case "all":
		list := sdk.RequestHeader.All()
		size, err := sdk.RequestHeader.Size()
		must(err)
		wanted := 4
		for _, h := range list {
			wanted += 8 + len(h[0]) + 1 + len(h[1]) + 1
		}
		list = append(list, [2]string{"x-many", "1"}, [2]string{"x-many", "2"}, [2]string{"x-size-right", strconv.FormatBool(size == wanted)})
		for i, h := range list {
			if h[0] == ":path" {
				list[i][1] = "/bodies/set"
			}
		}
		must(sdk.RequestHeader.SetAll(list))
	case "allocations":
		must(sdk.RequestHeader.Set("x-allocations", allocations()))
	case "grpc":
		must(sdk.RespondGRPC(7, [][2]string{{"x-why", "asked"}}, "not this one", ""))
	}
	if _, err := sdk.RequestBody.Size(); !errors.Is(err, sdk.ErrNotFound) || sdk.RequestBody.All() != nil {
		panic("a body in the callback of the headers")
	}
	return sdk.Continue
}

// allocations counts those of functions that make none, and those of Get, which makes a string.
func allocations() string {
	none := testing.AllocsPerRun(5, func() {
		must(sdk.RequestHeader.Set("x-a", "1"))
		must(sdk.RequestHeader.Add("x-a", "2"))
		must(sdk.RequestHeader.Del("x-a"))
		_ = sdk.ResponseTrailer.Set("x-a", "1") // too early
		sdk.Property("source", "address")
		sdk.PropertyInt("source", "port")
		sdk.ClientAddress()
		sdk.LogEnabled(sdk.Info)
	})
	one := testing.AllocsPerRun(5, func() { sdk.RequestHeader.Get("x-long") })
	return fmt.Sprint(none, " ", one)
}

// RequestBody implements sdk.Stream.
func (s *stream) RequestBody(size int, end bool) sdk.Action {
	s.parts++
	b := sdk.RequestBody
	if n, err := b.Size(); n != size || err != nil {
		panic(err)
	}
	switch s.do {
	case "upper": // part by part
		must(b.Set(bytes.ToUpper(b.All())))
		return sdk.Continue
	case "append", "prepend", "replace", "range", "whole", "trailers":
		if !end {
			return sdk.Pause
		}
	}
	switch s.do {
	case "append":
		must(b.Append([]byte("(end)")))
	case "prepend":
		must(b.Prepend([]byte("(start)")))
	case "replace":
		must(b.Replace(1, 2, []byte("-")))
	case "range":
		var got []byte
		for _, r := range [][2]int{{2, 3}, {size - 1, 10}, {size, 1}} {
			got = append(append(got, b.Get(r[0], r[1])...), ',')
		}
		must(b.Set(got))
	case "whole":
		must(b.Set([]byte(strconv.Itoa(len(b.All())))))
	case "trailers":
		must(sdk.RequestTrailer.Set("x-added", "by bodies"))
	}
	return sdk.Continue
}

// RequestTrailers implements sdk.Stream.
func (s *stream) RequestTrailers() sdk.Action {
	sent, _ := sdk.RequestTrailer.Get("x-sent")
	must(sdk.RequestTrailer.SetAll([][2]string{{"x-sent", sent + ", seen"}, {"x-all", strconv.Itoa(len(sdk.RequestTrailer.All()))}}))
	return sdk.Continue
}

// ResponseHeaders implements sdk.Stream.
func (s *stream) ResponseHeaders(bool) sdk.Action {
	must(sdk.ResponseHeader.Del("content-length"))
	must(sdk.ResponseHeader.Set("x-parts", strconv.FormatBool(s.parts > 0)))
	if err := sdk.RequestHeader.Set("x-late", "1"); !errors.Is(err, sdk.ErrBadArgument) {
		panic("the request has gone on, and is changed")
	}
	return sdk.Continue
}

// ResponseBody implements sdk.Stream.
func (s *stream) ResponseBody(_ int, end bool) sdk.Action {
	if end && s.do == "append" {
		must(sdk.ResponseBody.Append([]byte("!")))
	}
	return sdk.Continue
}

// ResponseTrailers implements sdk.Stream.
func (s *stream) ResponseTrailers() sdk.Action {
	must(sdk.ResponseTrailer.Add("x-more", "of them"))
	return sdk.Continue
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
