package upstream

import (
	"testing"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// TestMapsThatWereApplied: what was applied is not looked at again, unless endpoints have
// changed on their own since.
func TestMapsThatWereApplied(t *testing.T) {
	s := New(zap.NewNop(), telemetry.New(), NetDialer{})
	defer s.Close()
	upstreams := map[string]*config.Upstream{"u": {Name: "u", Protocol: config.ProtocolHTTP, Parameters: config.DefaultProxyParameters()}}
	first, second := &config.EndpointSet{}, &config.EndpointSet{}
	one := config.OverlayOf(map[string]*config.EndpointSet{"u": first})
	if !s.Apply(upstreams, one) {
		t.Error("new groups replace none, and are said to")
	}
	g := s.Group("u")
	s.ApplyEndpoints(map[string]*config.EndpointSet{"u": second})
	if s.Apply(upstreams, one); g.src != first || s.Group("u") != g {
		t.Error("not the endpoints of the config")
	}
	if s.Apply(upstreams, config.OverlayOf(map[string]*config.EndpointSet{"u": second})); g.src != second {
		t.Error("not the endpoints of the next config")
	}
	other := map[string]*config.Upstream{"u": {Name: "u", Protocol: config.ProtocolHTTP, Parameters: config.DefaultProxyParameters()}}
	if s.Apply(other, one) || s.Group("u") == g {
		t.Error("another upstream is not another group")
	}
}
