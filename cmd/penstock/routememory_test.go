package main

import (
	"net/netip"
	"runtime"
	"testing"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
	"penstock.dev/penstock/k8s/translate"
)

// heldBy is the heap that a proxy holds with so many routes to a Service each two.
func heldBy(t *testing.T, routes, services int) uint64 {
	t.Helper()
	var encoder remote.Encoder
	u, err := encoder.Encode(translate.New(translatorOptions(nil)).Translate(crowd(routes, services, "")).Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]*remote.Resource{u.Config.Changed, u.Endpoints.Changed} {
		for i, r := range list { // as they come from the wire
			list[i] = &remote.Resource{Name: string([]byte(r.Name)), Version: string([]byte(r.Version)), Bytes: append([]byte(nil), r.Bytes...)}
		}
	}
	encoder = remote.Encoder{}
	before := heap()
	m := telemetry.New()
	plugins := plugin.New(plugin.Options{Log: zap.NewNop(), Metrics: m})
	groups := upstream.New(zap.NewNop(), m, upstream.NetDialer{})
	store := snapshot.New(netip.MustParseAddr("127.0.0.1"), noSockets{}, groups, plugins, nil, m)
	decoder := remote.NewDecoder()
	if _, err := decoder.Endpoints(&u.Endpoints); err != nil {
		t.Fatal(err)
	}
	c, err := decoder.Config(&u.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Apply(c); err != nil {
		t.Fatal(err)
	}
	after := heap()
	bytes := uint64(0)
	for _, list := range [][]*remote.Resource{u.Config.Changed, u.Endpoints.Changed} {
		for _, r := range list {
			bytes += uint64(len(r.Name) + len(r.Version) + len(r.Bytes))
		}
	}
	runtime.KeepAlive(decoder)
	store.Close()
	plugins.Close()
	groups.Close()
	return after - before + bytes // which the decoder keeps
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemoryOfARoute: what a further route costs a proxy.
func TestMemoryOfARoute(t *testing.T) {
	few, many := heldBy(t, 1000, 500), heldBy(t, 10_000, 500)
	each := (many - few) / 9000
	t.Logf("%d bytes for a route; %d MiB for 10,000 routes and 500 Services", each, many>>20)
	t.Logf("%d MiB for 10,000 routes and 5,000 Services", heldBy(t, 10_000, 5000)>>20)
	if each > 4<<10 {
		t.Errorf("a further route costs %d bytes; want at most 4096", each)
	}
}
