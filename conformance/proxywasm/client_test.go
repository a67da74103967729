package proxywasm

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/sdks"
)

// trusting makes clients of loopback trusted proxies.
const trusting = `apiVersion: penstock.dev/v1alpha1
kind: ProxyParameters
metadata: {name: edge}
spec: {trustedProxies: [127.0.0.0/8]}
`

// TestSDKClient: the SDKs say who the client is, as a trusted proxy has said it, and set
// fields of the response at the request.
func TestSDKClient(t *testing.T) { eachSDK(t, testClient) }

func testClient(t *testing.T, s *sdks.SDK) {
	layout := t.TempDir()
	own(t, s, layout, "consumers")
	gateway := func(parameters string) string {
		return strings.Replace(harness.GatewayFor(1), "gatewayClassName: penstock\n", "gatewayClassName: penstock\n"+parameters, 1)
	}
	port := harness.Upstream(t, harness.Echo)
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml":    gateway("  infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: edge}}\n"),
		"parameters.yaml": trusting, "client.yaml": harness.Service("client", "- image: test.example/plugins/consumers:1"+guestLimits, port),
	}})
	p.Eventually("the plugin runs", func() bool { return p.Chain("Service/default/client").State == "Running" })
	ask := func(what string, forwarded []string) *http.Response {
		t.Helper()
		r, _ := do(t, "GET", p.URL+"/client", "", http.Header{"X-Do": {what}, "X-Kind": {"of the client"}, "X-Key": {"of the plugin"}, "X-Forwarded-For": forwarded})
		if r.StatusCode != http.StatusOK {
			t.Fatalf("%s, %q: got %d", what, forwarded, r.StatusCode)
		}
		return r
	}

	for name, test := range map[string]struct {
		forwarded []string
		want      string
	}{
		"of the connection": {nil, "7f000001"}, "told": {[]string{"192.0.2.7"}, "c0000207"}, "told last": {[]string{"198.51.100.1, 192.0.2.7"}, "c0000207"},
		"of IPv6": {[]string{"2001:db8::1"}, "20010db8000000000000000000000001"}, "mapped": {[]string{"::ffff:192.0.2.7"}, "c0000207"},
		// The address of the trusted proxy is not that of the client.
		"no address": {[]string{"192.0.2.7, unknown"}, "unknown"}, "nothing": {[]string{""}, "unknown"},
	} {
		if got := ask("client", test.forwarded).Header.Get("X-Got-X-Said"); got != test.want {
			t.Errorf("%s: got %q; want %q", name, got, test.want)
		}
	}

	for what, want := range map[string]struct {
		said, set string
		kind      []string
	}{
		"get": {"the proxy refused: not found", "", []string{"of the client"}}, "fields": {"ok", "at the request", []string{"of the plugin"}},
		"pseudo":        {"the proxy refused: bad argument", "", []string{"of the client"}}, // all of it, and not in part
		"fields pseudo": {"ok; the proxy refused: bad argument", "at the request", []string{"of the plugin"}},
	} {
		h := ask(what, nil).Header
		if said, set, kind := h.Get("X-Got-X-Said"), h.Get("X-Set"), h.Values("X-Got-X-Kind"); said != want.said || set != want.set || !slices.Equal(kind, want.kind) || h.Get("X-Unset") != "" {
			t.Errorf("%s: got %q, %q, %q, %q; want %q", what, said, set, kind, h.Get("X-Unset"), want)
		}
	}
}
