package clients

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

// forwardProxy runs tinyproxy and returns its port.
func forwardProxy(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close() // it cannot be handed on
	file := filepath.Join(t.TempDir(), "conf")
	text := fmt.Sprintf("Port %d\nListen 127.0.0.1\nAllow 127.0.0.1\nLogLevel Warning\nTimeout 60\n", port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(harness.Tool(t, "tinyproxy"), "-d", "-c", file)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			nc.Close()
			return port
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestTunnels: curl, over HTTP/1.1, and Chromium, over HTTP/2, ask the binary for
// tunnels, which a forward proxy behind it opens.
func TestTunnels(t *testing.T) {
	harness.Long(t)
	origin := fmt.Sprintf("http://127.0.0.1:%d/a", harness.Upstream(t, upstream))
	service := harness.Service("a", "", forwardProxy(t))
	const match = "{path: {type: PathPrefix, value: /a}}"
	if !strings.Contains(service, match) {
		t.Fatalf("no %s in\n%s", match, service)
	}
	tunnels := strings.Replace(service, match, "{method: CONNECT}", 1)
	crt, key := harness.Pair(t, "a.example")
	plain := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": tunnels}})
	edge := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.SecureGateway(1), "edge.yaml": harness.SecretOf("edge", crt, key), "a.yaml": tunnels}})
	other := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service}})
	over := fmt.Sprintf("https://127.0.0.1:%d", edge.Port)
	body := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(body, []byte(strings.Repeat("x", 3_000_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"plain":                    {"-x", plain.URL},
		"over TLS":                 {"-x", over, "--proxy-insecure"},
		"over TLS, a large upload": {"-x", over, "--proxy-insecure", "--data-binary", "@" + body},
	} {
		want := "200 200"
		args = append([]string{"-sS", "-p", "-o", os.DevNull, "-w", "%{http_connect} %{http_code}"}, args...)
		if got := run(t, time.Minute, "curl", append(args, origin)...); got != want {
			t.Errorf("%s: got %q; want %q", name, got, want)
		}
	}
	c := exec.Command(harness.Tool(t, "curl"), "-sS", "-p", "-o", os.DevNull, "-w", "%{http_connect}", "-x", other.URL, origin)
	if out, _ := c.Output(); string(out) != "501" {
		t.Errorf("without a match that names the method: got %q; want 501", out)
	}

	page, spki := secure(t)
	_, spkiOfEdge := harness.Leaf(t, crt)
	out := run(t, 2*time.Minute, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(),
		"--ignore-certificate-errors-spki-list="+spki+","+spkiOfEdge, "--proxy-server="+over, "--proxy-bypass-list=<-loopback>",
		"--virtual-time-budget=8000", "--dump-dom", fmt.Sprintf("https://127.0.0.1:%d/a/page", page.Port))
	if !strings.Contains(out, ">data h2<") {
		t.Errorf("Chromium got %s", out)
	}
	if log := edge.Log(); !strings.Contains(log, fmt.Sprintf(`"authority":"127.0.0.1:%d"`, page.Port)) {
		t.Errorf("Chromium asked for no tunnel\n%s", log)
	}
}
