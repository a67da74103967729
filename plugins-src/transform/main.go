//go:build wasip1

package main

import (
	"strconv"
	"strings"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

type plugin struct {
	config *config
	path   bool // the path may change
}

// Configure implements sdk.Plugin.
func (p *plugin) Configure(text []byte) (err error) {
	p.config, err = parse(text)
	if err != nil {
		return err
	}
	q, r := &p.config.Request, &p.config.Response
	p.path = q.Path.Set != nil || q.Path.ReplaceStart != nil || !q.Query.empty()
	var only sdk.Callbacks
	if p.path || !q.Headers.empty() {
		only |= sdk.OnRequestHeaders
	}
	if !q.Body.empty() {
		only |= sdk.OnRequestHeaders | sdk.OnRequestBody | sdk.OnRequestTrailers
	}
	if r.Status != nil || !r.Headers.empty() {
		only |= sdk.OnResponseHeaders
	}
	if !r.Body.empty() {
		only |= sdk.OnResponseHeaders | sdk.OnResponseBody | sdk.OnResponseTrailers
	}
	sdk.Only(only)
	return nil
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return &stream{plugin: p} }

type stream struct {
	sdk.Base
	plugin *plugin
	// request and response are true while the body is to be changed.
	request, response bool
}

// RequestHeaders implements sdk.Stream.
func (s *stream) RequestHeaders(end bool) sdk.Action {
	c := &s.plugin.config.Request
	if s.plugin.path {
		if path, ok := sdk.RequestHeader.Get(":path"); ok && path != "*" {
			must(sdk.RequestHeader.Set(":path", changePath(c, path)))
		}
	}
	changeHeader(sdk.RequestHeader, &c.Headers)
	s.request = s.wants(sdk.RequestHeader, &c.Body, end)
	return sdk.Continue
}

// ResponseHeaders implements sdk.Stream.
func (s *stream) ResponseHeaders(end bool) sdk.Action {
	c := &s.plugin.config.Response
	changeHeader(sdk.ResponseHeader, &c.Headers)
	if c.Status != nil {
		must(sdk.ResponseHeader.Set(":status", strconv.Itoa(*c.Status)))
	}
	s.response = s.wants(sdk.ResponseHeader, &c.Body, end)
	return sdk.Continue
}

// wants reports whether the body is to be changed, and takes its length away.
func (s *stream) wants(h sdk.Header, c *bodyChanges, end bool) bool {
	if end || c.empty() {
		return false
	}
	contentType, _ := h.Get("content-type")
	if _, encoded := h.Get("content-encoding"); encoded || !isJSON(contentType) {
		return false
	}
	must(h.Del("content-length"))
	return true
}

// RequestBody implements sdk.Stream.
func (s *stream) RequestBody(size int, end bool) sdk.Action {
	return s.body(&s.request, size, end, &s.plugin.config.Request.Body, sdk.RequestBody)
}

// ResponseBody implements sdk.Stream.
func (s *stream) ResponseBody(size int, end bool) sdk.Action {
	return s.body(&s.response, size, end, &s.plugin.config.Response.Body, sdk.ResponseBody)
}

// body holds a JSON body back until it is whole; one that grows too large, or
// is no JSON object, streams on as it is.
func (s *stream) body(wanted *bool, size int, end bool, c *bodyChanges, b sdk.Buffer) sdk.Action {
	if !*wanted {
		return sdk.Continue
	}
	if size > s.plugin.config.MaxBody {
		*wanted = false
		sdk.Log(sdk.Warn, "a JSON body exceeds maxBody and passes unchanged")
		return sdk.Continue
	}
	if !end {
		return sdk.Pause
	}
	*wanted = false
	changed, err := changeBody(c, b.Get(0, size))
	if err != nil {
		sdk.Log(sdk.Debug, err.Error())
		return sdk.Continue
	}
	must(b.Set(changed))
	return sdk.Continue
}

// RequestTrailers implements sdk.Stream: a body with trailers ends here.
func (s *stream) RequestTrailers() sdk.Action {
	s.request = false
	return sdk.Continue
}

// ResponseTrailers implements sdk.Stream.
func (s *stream) ResponseTrailers() sdk.Action {
	s.response = false
	return sdk.Continue
}

func changeHeader(h sdk.Header, c *changes) {
	for _, n := range c.Remove {
		must(h.Del(n))
	}
	for _, r := range c.rename {
		rename(h, r[0], r[1])
	}
	for _, s := range c.set {
		must(h.Set(s[0], s[1]))
	}
	for _, a := range c.add {
		must(h.Add(a[0], a[1]))
	}
}

// rename gives all fields of a name another one, in place of those that had it.
func rename(h sdk.Header, from, to string) {
	if _, ok := h.Get(from); !ok { // most often, and cheaper to know
		return
	}
	first := true
	for _, f := range h.All() {
		if !strings.EqualFold(f[0], from) {
			continue
		}
		if first {
			must(h.Del(from))
			must(h.Set(to, f[1]))
			first = false
			continue
		}
		must(h.Add(to, f[1]))
	}
}

// must traps: a change that cannot be made is not silently left out.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
