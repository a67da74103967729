//go:build wasip1

package main

import sdk "penstock.dev/penstock/wasm-sdk/go"

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return &plugin{} }) }

type plugin struct{ ring *keyring }

// Configure implements sdk.Plugin.
func (p *plugin) Configure(text []byte) (err error) {
	if p.ring, err = parse(text); err != nil {
		return err
	}
	for _, c := range p.ring.all {
		if c.ready, err = sdk.NewConsumer(c.name, c.groups); err != nil {
			return err
		}
	}
	sdk.Only(sdk.OnRequestHeaders)
	return nil
}

// NewStream implements sdk.Plugin.
func (p *plugin) NewStream() sdk.Stream { return stream{ring: p.ring} }

type stream struct {
	sdk.Base
	ring *keyring
}

// RequestHeaders implements sdk.Stream.
func (s stream) RequestHeaders(bool) sdk.Action {
	value, ok := s.key()
	if !ok {
		return deny("key missing")
	}
	c := s.ring.find(value)
	if c == nil {
		return deny("key unknown")
	}
	if err := sdk.SetConsumer(c.ready); err != nil {
		// Who the consumer is must not get lost: other filters decide by it.
		sdk.Log(sdk.Error, "set consumer: "+err.Error())
		if err := sdk.Respond(500, nil, "500 Internal Server Error\n", "consumer refused"); err != nil {
			panic(err)
		}
		return sdk.Pause
	}
	return sdk.Continue
}

// key returns what the client sent, if it is there once.
func (s stream) key() (string, bool) {
	switch s.ring.in {
	case "query":
		path, _ := sdk.RequestHeader.Get(":path")
		return fromQuery(path, s.ring.name)
	case "cookie":
		field, _ := sdk.RequestHeader.Get("cookie")
		return fromCookie(field, s.ring.name)
	}
	return sdk.RequestHeader.Get(s.ring.name)
}

// deny answers 401 (RFC 9110, 15.5.2). If even that fails the trap denies.
func deny(why string) sdk.Action {
	headers := [][2]string{{"www-authenticate", "Key"}, {"content-type", "text/plain; charset=utf-8"}}
	if err := sdk.Respond(401, headers, "401 Unauthorized\n", why); err != nil {
		panic(err)
	}
	return sdk.Pause
}
