package registry

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// pullSecret is a Secret with a login for host.
func pullSecret(name, host, password string) string {
	text := fmt.Sprintf(`{"auths":{"%s":{"username":"penstock","password":"%s"}}}`, host, password)
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/dockerconfigjson\ndata: {.dockerconfigjson: %s}\n",
		name, base64.StdEncoding.EncodeToString([]byte(text)))
}

func withSecret(image, secret string) string {
	return "- image: " + image + "\n  imagePullSecrets: [{name: " + secret + "}]\n  config: {response: {headers: {set: {X-From: registry}}}}"
}

// state waits until a Service answers with status and its chain says reason.
func state(t *testing.T, p *harness.Proxy, name string, status int, reason string) {
	t.Helper()
	p.Eventually(fmt.Sprintf("%s answers %d (%s)", name, status, reason), func() bool {
		response, err := http.Get(p.URL + "/" + name)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == status && p.Chain("Service/default/"+name).Reason == reason
	})
}

func TestPrivateRepository(t *testing.T) {
	t.Parallel()
	r := newPrivateRegistry(t)
	digest := r.push(harness.BundledPlugins(t), "penstock.dev/plugins/transform:1", "plugins/transform", "1")
	upstream := harness.Upstream(t, harness.Echo)
	image := r.host() + "/plugins/transform@" + digest
	files := map[string]string{
		"gateway.yaml":   harness.GatewayFor(r.port),
		"secrets.yaml":   pullSecret("right", r.host(), "right") + "---\n" + pullSecret("wrong", r.host(), "a-wrong-password") + "---\n" + pullSecret("elsewhere", "registry.example.com", "right"),
		"right.yaml":     harness.Service("right", withSecret(image, "right"), upstream),
		"wrong.yaml":     harness.Service("wrong", withSecret(image, "wrong"), upstream),
		"elsewhere.yaml": harness.Service("elsewhere", withSecret(image, "elsewhere"), upstream),
		"missing.yaml":   harness.Service("missing", withSecret(image, "nobody"), upstream),
		"none.yaml":      harness.Service("none", annotation(image), upstream),
		"plain.yaml":     harness.Service("plain", "", upstream),
	}
	home := t.TempDir()
	p := harness.Start(t, harness.Options{Files: files, State: home, LocalRegistry: r.host()})
	state(t, p, "right", 200, "")
	state(t, p, "missing", 503, "SecretMissing")
	for _, name := range []string{"wrong", "elsewhere", "none"} {
		state(t, p, name, 503, "PullForbidden")
	}
	state(t, p, "plain", 200, "")
	if log := p.Log(); strings.Contains(log, "a-wrong-password") {
		t.Error("a password is in the log")
	}

	r.setPassword("another")
	began := time.Now()
	state(t, p, "right", 503, "PullForbidden")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("revoked after %v; want at most 30 s", took)
	}
	r.setPassword("right")
	state(t, p, "right", 200, "")
}
