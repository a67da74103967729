package proxy

import (
	"context"
	"net"
	"testing"

	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
)

// TestAConnectionIsCutFromOutside, once, and not after it was over.
func TestAConnectionIsCutFromOutside(t *testing.T) {
	newPump := func() *pump {
		a, b := net.Pipe()
		return &pump{client: newEnd(a), upstream: newEnd(b), counters: snapshot.NewMetrics(telemetry.New()).RawNone}
	}
	for want, err := range map[string]error{"chain-replaced": errReplaced, "drained": errDrained} {
		p := newPump()
		ctx, cancel := context.WithCancel(t.Context())
		stop := p.cutWhen(ending{t.Context(), errIdle}, ending{ctx, err})
		cancel()
		if _, err := p.client.nc.Read(make([]byte, 1)); err == nil {
			t.Error("it is open")
		}
		stop()
		if p.fault == nil || p.fault.Reason != want {
			t.Errorf("got %v; want %s", p.fault, want)
		}
	}
	p := newPump()
	ctx, cancel := context.WithCancel(t.Context())
	p.cutWhen(ending{ctx, errDrained})()
	cancel()
	if p.fault != nil {
		t.Errorf("got %v", p.fault)
	}
}
