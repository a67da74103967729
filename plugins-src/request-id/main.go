//go:build wasip1

package main

import (
	"crypto/rand"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

type plugin struct{ config *config }

// Configure implements sdk.Plugin.
func (p *plugin) Configure(text []byte) (err error) {
	if p.config, err = parse(text); err != nil {
		return err
	}
	only := sdk.OnRequestHeaders
	if p.config.Response {
		only |= sdk.OnResponseHeaders
	}
	sdk.Only(only)
	return nil
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return &stream{config: p.config} }

type stream struct {
	sdk.Base
	config *config
	id     string
}

// RequestHeaders implements sdk.Stream.
func (s *stream) RequestHeaders(bool) sdk.Action {
	c := s.config
	there := false
	s.id, there = sdk.RequestHeader.Get(c.Header)
	if !there || !acceptable(s.id) || !s.accepts() {
		if s.id = uuidV4(fresh()); c.Format == "uuidv7" {
			s.id = uuidV7(fresh(), sdk.Now())
		}
	}
	must(sdk.RequestHeader.Set(c.Header, s.id)) // also where it was there: once
	if c.Trace != "off" {
		s.trace()
	}
	return sdk.Continue
}

// accepts reports whether an id that the request has counts.
func (s *stream) accepts() bool {
	if s.config.Accept != "trusted" {
		return s.config.Accept == "all"
	}
	// The proxy removes this field unless a trusted proxy sent it.
	_, trusted := sdk.RequestHeader.Get("x-forwarded-for")
	return trusted
}

// trace keeps the request in its trace, or begins one.
func (s *stream) trace() {
	field, _ := sdk.RequestHeader.Get("traceparent")
	p, ok := parseParent(field)
	switch {
	case !ok:
		p = begin(fresh(), fresh(), s.config.SamplePercent)
		must(sdk.RequestHeader.Del("tracestate")) // of a trace that is not told (3.3)
	case s.config.Trace == "make":
		return
	default:
		p.span = newSpan(fresh())
	}
	must(sdk.RequestHeader.Set("traceparent", p.String()))
}

// ResponseHeaders implements sdk.Stream.
func (s *stream) ResponseHeaders(bool) sdk.Action {
	if s.id != "" {
		must(sdk.ResponseHeader.Set(s.config.Header, s.id))
	}
	return sdk.Continue
}

func fresh() (r random) {
	if _, err := rand.Read(r[:]); err != nil {
		panic(err)
	}
	return r
}

// must traps: a change that cannot be made is not silently left out.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
