package cases

import (
	"fmt"
	"strings"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

// GRPCCall implements capability.GRPCCaller.
func (c *calls) GRPCCall(k *capability.GRPCCall, events capability.GRPCEvents) (capability.GRPCStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	said, where := c.take(fmt.Sprintf("gRPC %s/%s to %q", k.Service, k.Method, k.Upstream), k.Upstream, callGRPC)
	if said == nil {
		return nil, capability.ErrUnknownUpstream
	}
	g := said.GRPC
	for _, one := range []struct{ field, got, want string }{{"service", k.Service, g.Service}, {"method", k.Method, g.Method}} {
		if one.want != "" && one.got != one.want {
			c.faults = append(c.faults, fmt.Sprintf("%s.grpc.%s: got %q; want %q", where, one.field, one.got, one.want))
		}
	}
	c.faults = append(c.faults, g.Metadata.compare(where+".grpc.metadata", &k.Metadata)...)
	return &unary{c: c, said: said, where: where, timeout: k.Timeout, events: events}, nil
}

// unary is a call of the script: its answer is due once the plugin has said all.
type unary struct {
	c       *calls
	said    *Call
	where   string
	timeout time.Duration
	events  capability.GRPCEvents

	// Guarded by c.mu.
	sent   string
	cancel func()
}

// Send implements capability.GRPCStream.
func (u *unary) Send(message []byte, end bool) error {
	c := u.c
	c.mu.Lock()
	defer c.mu.Unlock()
	u.sent += string(message)
	if !end || u.cancel != nil {
		return nil
	}
	g := u.said.GRPC
	if g.Message != nil && *g.Message != u.sent {
		c.faults = append(c.faults, fmt.Sprintf("%s.grpc.message: got %q; want %q", u.where, u.sent, *g.Message))
	}
	for i, part := range g.Contains {
		if !strings.Contains(u.sent, part) {
			c.faults = append(c.faults, fmt.Sprintf("%s.grpc.contains[%d]: %q is not in %q", u.where, i, part, u.sent))
		}
	}
	fails, after := u.said.ends(u.timeout)
	u.cancel = c.wait(after, func() { u.answer(fails) })
	return nil
}

// Statuses of gRPC.
const (
	deadlineExceeded = 4
	unavailable      = 14
)

// answer tells of what comes, and how it ends.
func (u *unary) answer(fails string) {
	if fails != "" {
		code := uint32(unavailable)
		if fails == "timeout" {
			code = deadlineExceeded
		}
		u.events.Close(code, callFailures[fails].Error())
		return
	}
	a := u.said.GRPC.Answer
	if a.Metadata != nil || a.Message != nil {
		h := &exchange.Header{}
		a.Metadata.addTo(h)
		u.events.InitialMetadata(h)
	}
	if a.Message != nil {
		u.events.Message([]byte(*a.Message))
	}
	h := &exchange.Header{}
	a.Trailers.addTo(h)
	u.events.TrailingMetadata(h)
	u.events.Close(a.Code, a.Text)
}

// Cancel implements capability.GRPCStream.
func (u *unary) Cancel() {
	u.c.mu.Lock()
	cancel := u.cancel
	u.cancel = func() {}
	u.c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

var (
	_ capability.GRPCCaller = (*calls)(nil)
	_ capability.GRPCStream = (*unary)(nil)
)
