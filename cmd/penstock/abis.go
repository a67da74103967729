package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/upstream"
	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/httpwasm"
	"penstock.dev/penstock/hosts/proxywasm"
)

// nodeID is what plugins see as node.id: the Pod's or the machine's name.
func nodeID() string {
	name, err := os.Hostname()
	if err != nil {
		return "penstock"
	}
	return name
}

// httpCaller makes upstream.Caller a capability.HTTPCaller.
type httpCaller struct{ *upstream.Caller }

// HTTPCall implements capability.HTTPCaller.
func (h httpCaller) HTTPCall(c *capability.HTTPCall, done func(*capability.HTTPAnswer, error)) (func(), error) {
	cancel, err := h.Call(&upstream.Call{
		Namespace: c.Filter.Namespace, Egress: c.Filter.Egress, Upstream: c.Upstream, Secure: exchange.EqualFold(c.Scheme, "https"),
		Method: c.Method, Authority: c.Authority, Path: c.Path, Header: c.Header, Trailer: c.Trailer, Body: c.Body, Timeout: c.Timeout,
	}, func(a *upstream.Answer, err error) {
		if err != nil {
			done(nil, callError(err))
			return
		}
		done(&capability.HTTPAnswer{Status: a.Status, Header: a.Header, Trailer: a.Trailer, Body: a.Body}, nil)
	})
	return cancel, callError(err)
}

// GRPCCall implements capability.GRPCCaller.
func (h httpCaller) GRPCCall(c *capability.GRPCCall, events capability.GRPCEvents) (capability.GRPCStream, error) {
	s, err := h.GRPC(&upstream.GRPCCall{
		Namespace: c.Filter.Namespace, Egress: c.Filter.Egress, Upstream: c.Upstream, Secure: c.Secure,
		Service: c.Service, Method: c.Method, Metadata: c.Metadata, Timeout: c.Timeout,
	}, events)
	if err != nil {
		return nil, callError(err)
	}
	return s, nil
}

// Resolve implements capability.Resolver.
func (h httpCaller) Resolve(f *config.Filter, hostname string, done func(netip.Addr, error)) (func(), error) {
	cancel, err := h.Caller.Resolve(f.Egress, hostname, done)
	return cancel, callError(err)
}

// callError says in the words of package capability why a call was refused.
func callError(err error) error {
	for from, to := range map[error]error{
		upstream.ErrUnknown: capability.ErrUnknownUpstream, upstream.ErrForbidden: capability.ErrNotAllowed,
		upstream.ErrNotAllowed: capability.ErrNotAllowed, upstream.ErrTooMany: capability.ErrBusy,
	} {
		if errors.Is(err, from) {
			return fmt.Errorf("%w: %w", to, err)
		}
	}
	return err
}

var (
	_ capability.HTTPCaller = httpCaller{}
	_ capability.GRPCCaller = httpCaller{}
	_ capability.Resolver   = httpCaller{}

	_ capability.CacheObjects = (*cache.Cache)(nil)
)

// redisDialer opens connections to "hostname:port", an operator's word, with the
// resolver and the dialler of all calls out.
type redisDialer struct{ upstream.Dialer }

func (d redisDialer) dial(ctx context.Context, address string) (net.Conn, error) {
	hostname, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	addresses := []netip.Addr{}
	if a, err := netip.ParseAddr(hostname); err == nil {
		addresses = append(addresses, a)
	} else if addresses, err = upstream.ResolveDNS(ctx, hostname); err != nil {
		return nil, err
	}
	err = fmt.Errorf("%s has no address", hostname)
	for _, a := range addresses {
		var nc net.Conn
		endpoint := config.Endpoint{Address: netip.AddrPortFrom(a.Unmap(), uint16(number))}
		if nc, err = d.Dial(ctx, endpoint, config.DefaultProxyParameters().ConnectTimeout); err == nil {
			return nc, nil
		}
	}
	return nil, err
}

// proxyWasm makes hosts/proxywasm a plugin.ABI and gives its errors reasons.
type proxyWasm struct{ *proxywasm.ABI }

// Start implements plugin.ABI.
func (a proxyWasm) Start(ctx context.Context, m *sandbox.Module, f *config.Filter, image config.Loaded) (plugin.Running, error) {
	running, err := a.ABI.Start(ctx, m, f, image)
	switch {
	case errors.Is(err, proxywasm.ErrConfigRefused):
		return nil, &plugin.Fault{Reason: "InvalidConfig", Err: err}
	case err != nil:
		return nil, &plugin.Fault{Reason: "InvalidModule", Err: err}
	}
	return running, nil
}

// httpWasm makes hosts/httpwasm a plugin.ABI and gives its errors reasons.
type httpWasm struct{ *httpwasm.ABI }

// Start implements plugin.ABI.
func (a httpWasm) Start(ctx context.Context, m *sandbox.Module, f *config.Filter, image config.Loaded) (plugin.Running, error) {
	running, err := a.ABI.Start(ctx, m, f, image)
	switch {
	case errors.Is(err, httpwasm.ErrConfigRefused):
		return nil, &plugin.Fault{Reason: "InvalidConfig", Err: err}
	case err != nil:
		return nil, &plugin.Fault{Reason: "InvalidModule", Err: err}
	}
	return running, nil
}

var _, _ plugin.ABI = proxyWasm{}, httpWasm{}
