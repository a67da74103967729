// Package redis runs a plugin that uses a real Redis, which its Gateway's
// ProxyParameters name.
package redis

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// gateway is a Gateway with parameters; more is the body of spec.
func gateway(more string) string {
	text := strings.Replace(harness.GatewayFor(1), "spec:\n  gatewayClassName: penstock",
		"spec:\n  infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: edge}}\n  gatewayClassName: penstock", 1)
	text = strings.Replace(text, "port: ${PORT}}", "port: ${PORT}, allowedRoutes: {namespaces: {from: All}}}", 1)
	return text + `
---
apiVersion: penstock.dev/v1alpha1
kind: ProxyParameters
metadata: {name: edge}
spec:
` + more + `
---
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: command}
spec:
  versions: [{name: "1", image: "test.example/plugins/command:1"}]
  capabilities: [redis]
---
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: without-right}
spec:
  versions: [{name: "1", image: "test.example/plugins/command:1"}]
`
}

func redisAt(s *server) string {
	return fmt.Sprintf("  redis: {address: \"127.0.0.1:%d\", timeout: 2s}", s.port)
}

// start serves Services with the plugin: a and b, c and d of one vmId, other and far,
// which has that vmId too, in another namespace, and one without the right.
func start(t *testing.T, gatewayText string, more map[string]string) *harness.Proxy {
	t.Helper()
	layout := t.TempDir()
	port := harness.Upstream(t, harness.Echo)
	harness.Pack(t, layout, "command", harness.Guest(t, "guests/command"))
	away := func(name, entry string) string {
		text := harness.Service(name, entry, port)
		text = strings.ReplaceAll(strings.ReplaceAll(text, "metadata: {name: "+name, "metadata: {namespace: team, name: "+name), "metadata:\n  name: "+name, "metadata:\n  namespace: team\n  name: "+name)
		return strings.ReplaceAll(text, "parentRefs: [{name: edge}]", "parentRefs: [{name: edge, namespace: default}]")
	}
	files := map[string]string{
		"gateway.yaml": gatewayText,
		"a.yaml":       harness.Service("a", "- command", port),
		"b.yaml":       harness.Service("b", "- command", port),
		"c.yaml":       harness.Service("c", "- {use: command, vmId: shared}", port),
		"d.yaml":       harness.Service("d", "- {use: command, vmId: shared}", port),
		"other.yaml":   away("other", "- command"),
		"far.yaml":     away("far", "- {use: command, vmId: shared}"),
		"none.yaml":    harness.Service("none", "- without-right", port),
	}
	for name, text := range more {
		files[name] = text
	}
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}})
	for _, target := range []string{"default/a", "default/b", "default/c", "default/d", "team/other", "team/far", "default/none"} {
		p.Eventually(target+" runs", func() bool { return p.Chain("Service/"+target).State == "Running" })
	}
	return p
}

// send has the plugin of a Service send a command, and returns its answer.
func send(t *testing.T, p *harness.Proxy, service string, words ...string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.URL+"/"+service, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Redis", strings.Join(words, "|"))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestRedis(t *testing.T) {
	s := newServer(t)
	p := start(t, gateway(redisAt(s)), nil)
	t.Run("replies come as Redis sends them", func(t *testing.T) {
		want(t, send(t, p, "a", "PING"), "+PONG\r\n")
		want(t, send(t, p, "a", "GET", "k"), "$-1\r\n")
		want(t, send(t, p, "a", "SET", "k", "v", "EX", "100"), "+OK\r\n")
		want(t, send(t, p, "a", "GET", "k"), "$1\r\nv\r\n")
		want(t, send(t, p, "a", "incrby", "n", "5"), ":5\r\n")
		want(t, send(t, p, "a", "MSET", "x", "1", "y", "2"), "+OK\r\n")
		want(t, send(t, p, "a", "MGET", "x", "y", "z"), "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n")
		want(t, send(t, p, "a", "ZADD", "s", "1", "m"), ":1\r\n")
		want(t, send(t, p, "a", "ZRANGE", "s", "0", "-1"), "*1\r\n$1\r\nm\r\n")
		want(t, send(t, p, "a", "LPUSH", "k", "x"), "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n")
	})
	t.Run("keys stay with their filter", func(t *testing.T) {
		want(t, send(t, p, "a", "SET", "mine", "a"), "+OK\r\n")
		for _, service := range []string{"b", "c", "other"} {
			want(t, send(t, p, service, "GET", "mine"), "$-1\r\n")
		}
		want(t, send(t, p, "c", "SET", "ours", "c"), "+OK\r\n")
		want(t, send(t, p, "d", "GET", "ours"), "$1\r\nc\r\n")
		want(t, send(t, p, "far", "GET", "ours"), "$-1\r\n") // the same vmId, of another namespace
		want(t, send(t, p, "far", "SET", "ours", "f"), "+OK\r\n")
		want(t, send(t, p, "c", "GET", "ours"), "$1\r\nc\r\n")
		want(t, send(t, p, "other", "SET", "mine", "o"), "+OK\r\n")
		for _, key := range []string{"penstock:default:filter:Service/default/a/service/command:mine", "penstock:default:vm:shared:ours", "penstock:team:vm:shared:ours", "penstock:team:filter:Service/team/other/service/command:mine"} {
			if all := s.keys(); !slices.Contains(all, key) {
				t.Errorf("got %q; want %q among them", all, key)
			}
		}
		for _, key := range s.keys() {
			if !strings.HasPrefix(key, "penstock:") {
				t.Errorf("a key without prefix: %q", key)
			}
		}
	})
	t.Run("what could reach others' keys is refused", func(t *testing.T) {
		for _, words := range [][]string{{"EVAL", "return redis.call('get', 'x')", "0"}, {"KEYS", "*"}, {"SCAN", "0"}, {"FLUSHALL"}, {"CONFIG", "GET", "*"}, {"SUBSCRIBE", "x"}, {"SELECT", "1"}, {"MULTI"}, {"BLPOP", "x", "0"}} {
			want(t, send(t, p, "a", words...), "refused 10 init 0")
		}
		want(t, send(t, p, "a", "MSET", "odd"), "refused 2 init 0")
		want(t, send(t, p, "none", "GET", "k"), "refused 10 init 10")
		p.Logged("only listed commands")
		if n := strings.Count(p.Log(), "only listed commands"); n != 1 {
			t.Errorf("%d lines about commands that are not listed; want 1", n)
		}
	})
	t.Run("a restart", func(t *testing.T) {
		s.stop()
		p.Eventually("calls fail", func() bool { return send(t, p, "a", "PING") == "failed 11" })
		s.start()
		p.Eventually("calls are answered", func() bool { return send(t, p, "a", "PING") == "+PONG\r\n" })
		want(t, send(t, p, "a", "SET", "k", "again"), "+OK\r\n")
	})
}

// TestNoRedis: the plugin is told, and the operator once.
func TestNoRedis(t *testing.T) {
	p := start(t, gateway("  timeouts: {response: 5s}"), nil)
	want(t, send(t, p, "a", "GET", "k"), "refused 12 init 12")
	want(t, send(t, p, "a", "GET", "k"), "refused 12 init 12")
	p.Logged("set spec.redis there")
}

// TestPassword: it comes from a Secret, and a new one counts at once.
func TestPassword(t *testing.T) {
	s := newServer(t, "--requirepass", "pw-correct")
	secret := func(password string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: redis}\nstringData: {password: " + password + "}\n"
	}
	text := fmt.Sprintf("  redis: {address: \"127.0.0.1:%d\", passwordSecretRef: {name: redis, key: password}}", s.port)
	p := start(t, gateway(text), map[string]string{"secret.yaml": secret("pw-mistaken")})
	want(t, send(t, p, "a", "GET", "k"), "failed 11")
	p.Logged("refuses the password")
	p.Write("secret.yaml", secret("pw-correct"))
	p.Eventually("the new password counts", func() bool { return send(t, p, "a", "GET", "k") == "$-1\r\n" })
	response, err := http.Get(p.Admin + "/config")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	shown, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(shown), fmt.Sprint("127.0.0.1:", s.port)) {
		t.Errorf("/config: got %.200s, %v; want the address in it", shown, err)
	}
	for _, place := range []string{p.Log(), p.Metrics(), string(shown)} {
		if strings.Contains(place, "pw-") {
			t.Error("a password is shown")
		}
	}
}

// TestTLS: the certificate must be for the name, and vouched for.
func TestTLS(t *testing.T) {
	cert, key, text := certificate(t, "redis.test")
	s := newServer(t, "--tls-port", "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	ca := harness.ConfigMap("ca", map[string]string{"ca.pem": text})
	spec := func(name string) string {
		return fmt.Sprintf("  redis: {address: \"127.0.0.1:%d\", tls: {serverName: %s, ca: {configMapKeyRef: {name: ca, key: ca.pem}}}}", s.port, name)
	}
	p := start(t, gateway(spec("other.test")), map[string]string{"ca.yaml": ca})
	want(t, send(t, p, "a", "PING"), "failed 11")
	p.Write("gateway.yaml", gateway(spec("redis.test")))
	p.Eventually("the certificate is accepted", func() bool { return send(t, p, "a", "PING") == "+PONG\r\n" })
}
