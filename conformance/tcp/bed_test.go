package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// gateway returns a Gateway with these listeners, in flow style.
func gateway(listeners ...string) string {
	return strings.Replace(harness.GatewayFor(1), "listeners: [{name: http, protocol: HTTP, port: ${PORT}}]",
		"infrastructure: {parametersRef: {group: penstock.dev, kind: ProxyParameters, name: edge}}\n  listeners:\n    - "+strings.Join(listeners, "\n    - "), 1)
}

// parameters returns the Gateway's ProxyParameters.
func parameters(spec string) string {
	return "---\napiVersion: penstock.dev/v1alpha1\nkind: ProxyParameters\nmetadata: {name: edge}\nspec: " + spec + "\n"
}

// service returns a Service with a TCP and a UDP port 80 and its endpoint.
func service(name, annotation string, port int) string {
	meta := ""
	if annotation != "" {
		meta = fmt.Sprintf(", annotations: {penstock.dev/plugins: %q}", annotation)
	}
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %[1]s%[2]s}
spec: {ports: [{name: t, port: 80}, {name: u, port: 80, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: t, port: %[3]d}, {name: u, port: %[3]d, protocol: UDP}]
endpoints: [{addresses: [127.0.0.1]}]
`, name, meta, port)
}

// route returns a raw route to one listener. more is further fields of its spec.
func route(kind, name, listener, more, backends string) string {
	if more != "" {
		more = "\n  " + more
	}
	return fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: %s}
spec:
  parentRefs: [{name: edge, sectionName: %s}]%s
  rules: [{backendRefs: [%s]}]
`, kind, name, listener, more, backends)
}

// echo says its name, and then what it gets until that ends.
func echo(name string) func(*net.TCPConn) {
	return func(nc *net.TCPConn) {
		_, _ = io.WriteString(nc, name)
		_, _ = io.Copy(nc, nc)
		_ = nc.CloseWrite()
	}
}

func dial(t *testing.T, port int) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(60 * time.Second))
	return nc.(*net.TCPConn)
}

// read reads n bytes.
func read(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// first returns the first byte of a connection to the port. A reset may come before
// the client knows that it is connected.
func first(t *testing.T, port int) (string, error) {
	t.Helper()
	nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "", err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(60 * time.Second))
	b := make([]byte, 1)
	n, err := nc.Read(b)
	return string(b[:n]), err
}

// refused fails unless a connection to the port is reset at once.
func refused(t *testing.T, port int) {
	t.Helper()
	if b, err := first(t, port); b != "" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %q, %v; want a reset", b, err)
	}
}

// certificate makes one for a name, with its Secret of the same name.
func certificate(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	crt, key := harness.Pair(t, name)
	c, err := tls.X509KeyPair(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	return c, "---\n" + harness.SecretOf(name, crt, key)
}

func start(t *testing.T, parts ...string) *harness.Proxy {
	t.Helper()
	return harness.Start(t, harness.Options{Files: map[string]string{"all.yaml": strings.Join(parts, "")}, Images: []string{harness.BundledPlugins(t)}})
}
