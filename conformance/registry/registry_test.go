// Package registry pulls plugin images from a real registry: CNCF distribution.
package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

func annotation(image string) string {
	return "- image: " + image + "\n  config: {response: {headers: {set: {X-From: registry}}}}"
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	digest := r.push(harness.BundledPlugins(t), "penstock.dev/plugins/transform:1", "plugins/transform", "1")
	upstream := harness.Upstream(t, harness.Echo)
	byTag, byDigest := r.host()+"/plugins/transform:1", r.host()+"/plugins/transform@"+digest
	files := map[string]string{
		"gateway.yaml": harness.GatewayFor(r.port),
		"tag.yaml":     harness.Service("tag", annotation(byTag), upstream),
		"digest.yaml":  harness.Service("digest", annotation(byDigest), upstream),
		"wrong.yaml":   harness.Service("wrong", annotation(r.host()+"/plugins/transform@sha256:"+strings.Repeat("0", 64)), upstream),
		"missing.yaml": harness.Service("missing", annotation(r.host()+"/plugins/none:1"), upstream),
		"plain.yaml":   harness.Service("plain", "", upstream),
	}
	state := t.TempDir()
	p := harness.Start(t, harness.Options{Files: files, State: state, LocalRegistry: r.host()})
	serves := func(p *harness.Proxy, name string, status int) {
		t.Helper()
		p.Eventually(fmt.Sprintf("%s answers %d", name, status), func() bool {
			response, err := http.Get(p.URL + "/" + name)
			if err != nil {
				return false
			}
			response.Body.Close()
			return response.StatusCode == status && (status != 200 || name == "plain" || response.Header.Get("X-From") == "registry")
		})
	}
	serves(p, "tag", 200)
	serves(p, "digest", 200)
	serves(p, "wrong", 503)
	serves(p, "missing", 503)
	serves(p, "plain", 200)
	if got := p.Chain("Service/default/tag").Filters[0].Digest; got != digest {
		t.Errorf("got digest %s; want %s", got, digest)
	}
	for _, name := range []string{"wrong", "missing"} {
		if c := p.Chain("Service/default/" + name); c.Reason != "ImageUnavailable" {
			t.Errorf("%s: got reason %q; want ImageUnavailable", name, c.Reason)
		}
	}
	p.Stop()

	r.stop()
	again := harness.Start(t, harness.Options{Files: files, State: state, LocalRegistry: r.host()})
	serves(again, "tag", 200)
	serves(again, "digest", 200)
	serves(again, "missing", 503)

	// What could not be pulled is tried again once the registry is back.
	r.start()
	r.push(harness.BundledPlugins(t), "penstock.dev/plugins/transform:1", "plugins/none", "1")
	serves(again, "missing", 200)
}
