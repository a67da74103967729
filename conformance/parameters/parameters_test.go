// Package parameters changes a Gateway's ProxyParameters under traffic.
package parameters

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// object is a ProxyParameters with that body of spec.
func object(spec string) string {
	return "apiVersion: penstock.dev/v1alpha1\nkind: ProxyParameters\nmetadata: {name: edge}\nspec:\n" + spec
}

var gateway = strings.Replace(harness.GatewayFor(1), "spec:\n  gatewayClassName: penstock",
	"spec:\n  infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: edge}}\n  gatewayClassName: penstock", 1)

// client opens a connection for each request: parameters hold for new ones.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}

// get returns a response's status, and the field that the upstream got.
func get(t *testing.T, url, field string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Forwarded-For", "192.0.2.99")
	response, err := client.Do(r)
	if err != nil {
		return 0, err.Error() // not served
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("X-Got-" + field)
}

func TestParameters(t *testing.T) {
	port := harness.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/slow") {
			select {
			case <-r.Context().Done():
			case <-time.After(3 * time.Second):
			}
		}
		harness.Echo(w, r)
	})
	p := harness.Start(t, harness.Options{Files: map[string]string{
		"gateway.yaml": gateway, "a.yaml": harness.Service("a", "", port),
		"parameters.yaml": object("  limits: {requestLine: 1Ki}\n  timeouts: {response: 200ms}\n"),
	}})
	long := p.URL + "/a/" + strings.Repeat("x", 2000)
	t.Run("limits and timeouts", func(t *testing.T) {
		if status, _ := get(t, long, "Path"); status != http.StatusRequestURITooLong {
			t.Errorf("got %d; want 414", status)
		}
		if status, _ := get(t, p.URL+"/a/slow", "Path"); status != http.StatusGatewayTimeout {
			t.Errorf("got %d; want 504", status)
		}
	})
	t.Run("peers that are not trusted", func(t *testing.T) {
		if _, got := get(t, p.URL+"/a", "X-Forwarded-For"); got != "127.0.0.1" {
			t.Errorf("got %q; want the peer alone", got)
		}
	})
	t.Run("a change is live", func(t *testing.T) {
		p.Write("parameters.yaml", object("  trustedProxies: [127.0.0.0/8]\n  forwarded: {via: edge-1}\n"))
		p.Eventually("the line is allowed", func() bool { status, _ := get(t, long, "Path"); return status == http.StatusOK })
		if status, via := get(t, p.URL+"/a/slow", "Via"); status != http.StatusOK || !strings.Contains(via, "edge-1") {
			t.Errorf("got %d, Via %q", status, via)
		}
		if _, got := get(t, p.URL+"/a", "X-Forwarded-For"); got != "192.0.2.99, 127.0.0.1" {
			t.Errorf("got %q; want the trusted peer's word kept", got)
		}
	})
	t.Run("a mistake changes nothing", func(t *testing.T) {
		for i, spec := range []string{"  limits: {requestLine: 1}\n", "  limits: {requestLine: \"7\"}\n", "  accessLog: {}\n", "  nobodyKnows: 1\n"} {
			p.Write("parameters.yaml", object(spec+fmt.Sprintf("# %d\n", i)))
			p.Eventually("it is told", func() bool {
				return strings.Contains(p.Log(), []string{"requestLine of type string", "want a size from 1Ki", "spec.accessLog", "nobodyKnows"}[i])
			})
			if status, _ := get(t, long, "Path"); status != http.StatusOK {
				t.Errorf("%s: got %d; want the last good parameters", spec, status)
			}
		}
	})
}
