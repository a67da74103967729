package snapshot

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// rawConfig is one Gateway with these listeners and no upstreams.
func rawConfig(listeners ...*config.Listener) *config.Config {
	return &config.Config{Gateways: []*config.Gateway{{Object: config.Object{Kind: "Gateway", Namespace: "ns", Name: "g"}, Parameters: config.DefaultProxyParameters(), Listeners: listeners}}}
}

func rawEntry(name string, created int64, hostnames ...string) config.RawEntry {
	return config.RawEntry{Hostnames: hostnames, Route: &config.RawRoute{Object: config.Object{Kind: "TLSRoute", Namespace: "ns", Name: name}, Created: time.Unix(created, 0), Name: name, Backends: []config.Backend{{Weight: 1, Service: "ns/s"}}}}
}

func TestRawRoutesAreFound(t *testing.T) {
	b := newBed(t)
	c := rawConfig(&config.Listener{Name: "tls", Port: 1, Protocol: "TLS", RawRoutes: &config.RawTable{Entries: []config.RawEntry{
		rawEntry("young", 2, "a.example"), rawEntry("old", 1, "a.example"), rawEntry("wild", 1, "*.example"), rawEntry("z", 1, "a.b.example"), rawEntry("y", 1, "a.b.example"), rawEntry("any", 1),
	}}}, &config.Listener{Name: "web", Port: 1, Protocol: "HTTPS", Hostname: "web.example", TLS: &config.TLS{}, Routes: &config.RouteTable{}},
		&config.Listener{Name: "udp", Port: 1, Protocol: "UDP", RawRoutes: &config.RawTable{}}, &config.Listener{Name: "tcp", Port: 2, Protocol: "TCP", RawRoutes: &config.RawTable{}})
	if err := b.Apply(c); err != nil {
		t.Fatal(err)
	}
	port := b.Load().Port("127.0.0.1:1")
	for name, want := range map[string]string{"a.example": "old", "x.example": "wild", "x.y.example": "wild", "a.b.example": "y", "example": "any", "": "any"} {
		if got := port.Named(name).Raw.Find(name); got == nil || got.Name != want {
			t.Errorf("%q: got %v; want %s", name, got, want)
		}
	}
	if l := port.Named("web.example"); l.Raw != nil || l.Table == nil {
		t.Errorf("got %+v", l)
	}
	if l := b.Load().Port("127.0.0.1:1/udp").Named(""); l == nil || l.Name != "ns/g/udp" || l.Raw.Find("") != nil {
		t.Errorf("got %+v", l)
	}
	want := []struct {
		key          string
		names        int
		raw, udp, of bool
	}{{"127.0.0.1:1", 2, false, false, true}, {"127.0.0.1:1/udp", 0, false, true, false}, {"127.0.0.1:2", 0, true, false, false}}
	for i, s := range b.sockets.wanted {
		w := want[i]
		if s.Key() != w.key || len(s.Names) != w.names || s.Raw != w.raw || s.UDP != w.udp || w.of && (!s.Names[0].Raw || s.Names[0].TLS != nil || s.Names[1].Raw) {
			t.Errorf("got %+v", s)
		}
	}
}

func TestSeriesOfRawRoutesEndWithThem(t *testing.T) {
	m := telemetry.New()
	metrics := NewMetrics(m)
	cfg, other := rawEntry("r", 1).Route, rawEntry("other", 1).Route
	of := func(c ...*config.RawRoute) *Snapshot {
		k := compiler{metrics: metrics, new: &Snapshot{raw: map[*config.RawRoute]*RawRoute{}}}
		for _, r := range c {
			k.rawRoute(r)
		}
		return k.new
	}
	series := func(name string) bool {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Contains(w.Body.String(), `penstock_proxy_connections_total{result="closed",route="`+name+`"`)
	}
	both, one := of(cfg, other), of(other)
	one.raw[other].Counters.Refused()
	if !series("r") || !series("other") {
		t.Fatal("no series")
	}
	metrics.forget(both, one, nil)
	if series("r") || !series("other") {
		t.Errorf("r is there: %v, other: %v", series("r"), series("other"))
	}
}

// TestALinkThatIsClosedIsGone: whoever runs its filters all the time learns of it.
func TestALinkThatIsClosedIsGone(t *testing.T) {
	c := &Chain{}
	c.set(&Link{})
	l, err := c.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	c.set(nil)
	if l.Gone().Err() != nil {
		t.Error("it is gone while it is pinned")
	}
	l.timer.Stop()
	l.drop() // its time is over
	if l.Gone().Err() == nil {
		t.Error("it is not gone")
	}
	l.Release()
}
