package translate_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/config"
)

const parameterised = common + `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: penstock
  infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: edge}}
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
`

func parameters(timeout, password string) string {
	return fmt.Sprintf(`apiVersion: penstock.dev/v1alpha1
kind: ProxyParameters
metadata: {name: edge}
spec:
  timeouts: {response: %s}
  redis: {address: "redis:6379", passwordSecretRef: {name: redis, key: password}}
---
apiVersion: v1
kind: Secret
metadata: {name: redis}
stringData: {password: %q}
`, timeout, password)
}

// TestLastGoodParameters: parameters that are right serve until others are;
// a Gateway without any is not served with a part of them.
func TestLastGoodParameters(t *testing.T) {
	f := newFolder(t)
	f.write("gateway.yaml", parameterised)
	f.write("parameters.yaml", parameters("-1s", "a"))
	if c := f.load(); len(c.Gateways) != 0 {
		t.Errorf("a Gateway is served whose parameters were never right")
	}
	f.write("parameters.yaml", parameters("7s", "a"))
	good := f.load()
	if len(good.Gateways) != 1 || good.Gateways[0].Parameters.ResponseTimeout != 7*time.Second || good.Gateways[0].Parameters.Redis.Password != "a" {
		t.Fatalf("got %+v", good.Gateways)
	}
	for name, text := range map[string]string{"a wrong value": parameters("-2s", "a"), "no password": strings.Replace(parameters("8s", "a"), "password:", "other:", 1), "no object": "# nothing"} {
		f.write("parameters.yaml", text)
		if c := f.load(); len(c.Gateways) != 1 || c.Gateways[0].Parameters != good.Gateways[0].Parameters {
			t.Errorf("%s: the last good parameters do not serve", name)
		}
	}
	f.write("parameters.yaml", parameters("7s", "a"))
	if c := f.load(); c != good {
		t.Error("the same parameters make another config")
	}
	f.write("parameters.yaml", parameters("7s", "b"))
	if c := f.load(); c.Gateways[0].Parameters.Redis.Password != "b" {
		t.Error("a new password is not seen")
	}
	f.write("gateway.yaml", gatewayText)
	if c := f.load(); c.Gateways[0].Parameters.Redis != nil || c.Gateways[0].Parameters.ResponseTimeout != time.Minute {
		t.Error("a Gateway without a reference has other parameters than the defaults")
	}
}

// TestParametersAreDocumented: each field of the kind stands in docs/parameters.md
// with the default that the code has.
func TestParametersAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/parameters.md")
	if err != nil {
		t.Fatal(err)
	}
	d := config.DefaultProxyParameters()
	for field, value := range map[string]string{
		"timeouts.header": d.HeaderTimeout.String(), "timeouts.idle": "60s", "timeouts.connect": d.ConnectTimeout.String(), "timeouts.response": "60s",
		"limits.requestLine": fmt.Sprintf("%dKi", d.RequestLineBytes>>10), "limits.headers": fmt.Sprintf("%dKi", d.HeaderBytes>>10), "limits.headerFields": fmt.Sprint(d.HeaderFields),
		"limits.connections": fmt.Sprint(d.MaxConnections), "limits.idleConnections": fmt.Sprint(d.MaxIdle), "limits.pending": fmt.Sprint(d.MaxPending),
		"forwarded.headers": fmt.Sprint(d.Forwarded), "forwarded.via": d.Via, "trustedProxies": "none", "redis": "none",
		"redis.address": "required", "redis.database": "0", "redis.username": "the default user", "redis.passwordSecretRef": "none", "redis.tls": "none",
		"redis.tls.serverName": "the address' hostname", "redis.tls.ca": "the system's", "redis.timeout": "1s", "redis.connections": "4",
	} {
		row := regexp.MustCompile(`(?m)^\| .` + regexp.QuoteMeta(field) + `. \| ` + regexp.QuoteMeta(value) + ` \|`)
		if !row.Match(text) {
			t.Errorf("no row for %s with the default %s", field, value)
		}
	}
}
