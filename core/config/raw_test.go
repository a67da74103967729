package config

import (
	"strings"
	"testing"
)

func TestRawListenersAreValidated(t *testing.T) {
	p := DefaultProxyParameters()
	table := func(upstream string, hostnames ...string) *RawTable {
		return &RawTable{Entries: []RawEntry{{Hostnames: hostnames, Route: &RawRoute{Backends: []Backend{{Weight: 1, Upstream: upstream}}}}}}
	}
	tests := map[string]struct {
		listeners []*Listener
		want      string // in the error; empty: none
	}{
		"one of each, and TCP and UDP on one port": {[]*Listener{
			{Port: 1, Protocol: "TCP", RawRoutes: table("t")}, {Port: 1, Protocol: "UDP", RawRoutes: table("u")},
			{Port: 2, Protocol: "TLS", RawRoutes: table("t", "a")}, {Port: 2, Protocol: "TLS", TLS: &TLS{}, RawRoutes: table("t")},
			{Port: 2, Protocol: "HTTPS", TLS: &TLS{}, Routes: &RouteTable{}},
		}, ""},
		"two of TCP on a port":   {[]*Listener{{Port: 1, Protocol: "TCP", RawRoutes: table("t")}, {Port: 1, Protocol: "TCP", RawRoutes: table("t")}}, "two protocols"},
		"TCP and HTTP on a port": {[]*Listener{{Port: 1, Protocol: "TCP", RawRoutes: table("t")}, {Port: 1, Protocol: "HTTP", Routes: &RouteTable{}}}, "two protocols"},
		"TLS and HTTP on a port": {[]*Listener{{Port: 1, Protocol: "TLS", RawRoutes: table("t")}, {Port: 1, Protocol: "HTTP", Routes: &RouteTable{}}}, "two protocols"},
		"HTTPS without TLS":      {[]*Listener{{Port: 1, Protocol: "HTTPS", Routes: &RouteTable{}}}, "TLS and plain text"},
		"TCP with TLS":           {[]*Listener{{Port: 1, Protocol: "TCP", TLS: &TLS{}, RawRoutes: table("t")}}, "or TLS"},
		"no raw routes":          {[]*Listener{{Port: 1, Protocol: "TCP"}}, "without raw routes"},
		"routes of HTTP":         {[]*Listener{{Port: 1, Protocol: "UDP", RawRoutes: table("u"), Routes: &RouteTable{}}}, "other ones"},
		"hostnames of TCP":       {[]*Listener{{Port: 1, Protocol: "TCP", RawRoutes: table("t", "a")}}, "hostnames"},
		"an unknown upstream":    {[]*Listener{{Port: 1, Protocol: "TCP", RawRoutes: table("x")}}, "upstream x"},
		"datagrams to TCP":       {[]*Listener{{Port: 1, Protocol: "UDP", RawRoutes: table("t")}}, "protocol http"},
		"TCP to datagrams":       {[]*Listener{{Port: 1, Protocol: "TCP", RawRoutes: table("u")}}, "protocol udp"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := &Config{
				Gateways:  []*Gateway{{Parameters: p, Listeners: tt.listeners}},
				Upstreams: map[string]*Upstream{"t": {Name: "t", Protocol: "http", Parameters: p}, "u": {Name: "u", Protocol: "udp", Parameters: p}},
			}
			err := c.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v; want %q", err, tt.want)
			}
		})
	}
}
