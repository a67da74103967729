package oci

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
)

// TestForbiddenRegistries: neither an image's name nor what a registry points to leads to
// an address that is forbidden, but what the operator lists does.
func TestForbiddenRegistries(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://192.0.2.66/token",service="r"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer registry.Close()
	server := &config.Forbidden{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.66")}}
	own := strings.TrimPrefix(registry.URL, "http://")
	tests := map[string]struct {
		image     string
		local     []string
		refused   string // empty: it is dialled
		forbidden *config.Forbidden
	}{
		"a name for it":     {"api.example/x/y:1", nil, "192.0.2.66", server},
		"its address":       {"192.0.2.66:443/x/y:1", nil, "192.0.2.66", server},
		"a bearer realm":    {own + "/x/y:1", []string{own}, "192.0.2.66", server},
		"another address":   {"api.example/x/y:1", nil, "", &config.Forbidden{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
		"a folder of files": {"api.example/x/y:1", nil, "", nil},
		"what is listed":    {"api.example:443/x/y:1", []string{"api.example:443"}, "", server},
	}
	errDialled := errors.New("dialled")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := New(Options{Dir: t.TempDir(), LocalRegistries: test.local, Dial: func(ctx context.Context, network, address string, control func(netip.Addr) error) (net.Conn, error) {
				if address == own {
					return dial(ctx, network, address, control)
				}
				if err := control(netip.MustParseAddr("192.0.2.66")); err != nil { // what each name stands for
					return nil, err
				}
				return nil, errDialled
			}}, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			s.Forbid(test.forbidden)
			_, err = s.Get(t.Context(), Request{Reference: test.image})
			want := "dialled"
			if test.refused != "" {
				want = test.refused + " is an address of the API server or of Penstock itself"
			}
			if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, errDialled) && test.refused != "" {
				t.Errorf("got %v; want %q", err, want)
			}
		})
	}
}
