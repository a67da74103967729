// Package jwt tests the bundled plugin jwt in the binary: by public vectors, by a second
// implementation, and with sources of keys that misbehave.
package jwt

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// config is one of the plugin.
type config map[string]any

// bed is a proxy with a Service for each configuration, and what answers for all of them.
type bed struct {
	*harness.Proxy
	t testing.TB
}

// start runs the proxy. sources are Services that plugins call.
func start(t testing.TB, configs map[string]config, sources map[string]http.HandlerFunc) *bed {
	t.Helper()
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1)}
	port := harness.Upstream(t, harness.Echo)
	for name, c := range configs {
		text, err := json.Marshal([]any{map[string]any{"use": "jwt", "config": c}})
		if err != nil {
			t.Fatal(err)
		}
		files[name+".yaml"] = harness.Service(name, string(text), port)
	}
	for name, source := range sources {
		files[name+".yaml"] = harness.Service(name, "", harness.Upstream(t, source))
	}
	b := &bed{harness.Start(t, harness.Options{Files: files, Images: []string{harness.BundledPlugins(t)}}), t}
	for name := range configs {
		b.Eventually(name+" runs", func() bool { return b.Chain("Service/default/"+name).State == "Running" })
	}
	return b
}

// verdict is what became of a token.
type verdict struct {
	status int
	// why is what WWW-Authenticate says of the token.
	why        string
	retryAfter string
	consumer   string
}

var description = regexp.MustCompile(`error_description="([^"]*)"`)

// ask sends a token; an empty one is none.
func (b *bed) ask(name, token string) verdict {
	b.t.Helper()
	v, err := b.try(name, token)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func (b *bed) try(name, token string) (verdict, error) {
	r, err := http.NewRequest(http.MethodGet, b.URL+"/"+name, nil)
	if err != nil {
		return verdict{}, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return verdict{}, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return verdict{}, err
	}
	v := verdict{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After"), consumer: response.Header.Get("X-Got-X-Consumer-Username")}
	if m := description.FindStringSubmatch(response.Header.Get("WWW-Authenticate")); m != nil {
		v.why = m[1]
	}
	return v, nil
}

func (v verdict) String() string { return strings.TrimSpace(fmt.Sprint(v.status, " ", v.why)) }
