package router_test

import (
	"regexp"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/router"
)

// TestMethodsOfGRPC: exact names go before expressions, and of these the one with the
// higher rank; a request that is not gRPC matches none of them.
func TestMethodsOfGRPC(t *testing.T) {
	expression := func(rank int, text string) config.Match {
		return config.Match{PathType: config.PathMethod, Regex: regexp.MustCompile("^/" + text + "$"), Rank: rank, GRPC: true}
	}
	version := []config.ValueMatch{{Name: "version", Value: "2"}}
	table := router.New(nil, []*router.Route[string]{{Name: "ns/r", Rules: []router.Rule[string]{
		{Value: "any", Matches: []config.Match{{PathType: config.PathPrefix, Path: "/", GRPC: true}}},
		{Value: "method", Matches: []config.Match{expression(3, "[^/]+/Add")}},
		{Value: "expression", Matches: []config.Match{expression(7<<16, "shop\\..*/[^/]+")}},
		{Value: "service", Matches: []config.Match{{PathType: config.PathPrefix, Path: "/shop.Cart", GRPC: true}}},
		{Value: "both", Matches: []config.Match{{PathType: config.PathExact, Path: "/shop.Cart/Add", GRPC: true}}},
		{Value: "header", Matches: []config.Match{{PathType: config.PathExact, Path: "/shop.Cart/Add", Headers: version, GRPC: true}}},
	}}})
	tests := map[string]struct{ path, method, contentType, version, want string }{
		"service and method":             {"/shop.Cart/Add", "POST", "application/grpc", "", "both"},
		"with a header":                  {"/shop.Cart/Add", "POST", "application/grpc+proto", "2", "header"},
		"the service alone":              {"/shop.Cart/Drop", "POST", "application/grpc", "", "service"},
		"an expression":                  {"/shop.Till/Add", "POST", "application/grpc", "", "expression"},
		"the method alone":               {"/bank.Till/Add", "POST", "application/grpc", "", "method"},
		"neither":                        {"/bank.Till/Drop", "POST", "application/grpc", "", "any"},
		"gRPC-Web":                       {"/bank.Till/Drop", "POST", "application/grpc-web-text", "", "any"},
		"a parameter":                    {"/bank.Till/Drop", "POST", "Application/gRPC; x=1", "", "any"},
		"another content type":           {"/shop.Cart/Add", "POST", "application/json", "", ""},
		"one that only begins so":        {"/shop.Cart/Add", "POST", "application/grpcx", "", ""},
		"another method of HTTP":         {"/shop.Cart/Add", "GET", "application/grpc", "", ""},
		"no content type":                {"/shop.Cart/Add", "POST", "", "", ""},
		"a name that is cased otherwise": {"/shop.cart/Add", "POST", "application/grpc", "", "expression"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var h exchange.Header
			if test.contentType != "" {
				h.Add([]byte("Content-Type"), []byte(test.contentType))
			}
			if test.version != "" {
				h.Add([]byte("Version"), []byte(test.version))
			}
			got, _, _ := table.Find(&router.Request{Hostname: []byte("a.example"), Path: []byte(test.path), Method: []byte(test.method), Header: &h})
			if got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}
