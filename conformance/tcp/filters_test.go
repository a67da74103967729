package tcp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/sdks"
)

// TestFilters: Proxy-Wasm's callbacks for raw connections, on the public Go SDK and on
// those of this repository.
func TestFilters(t *testing.T) {
	t.Run("public SDK", func(t *testing.T) { testFilters(t, harness.Guest(t, "guests/lines")) })
	for _, s := range sdks.All {
		t.Run(s.Name, func(t *testing.T) { testFilters(t, s.Guest(t, "connection")) })
	}
}

func testFilters(t *testing.T, module string) {
	layout := t.TempDir()
	manifest := filepath.Join(t.TempDir(), "plugin.json")
	if err := os.WriteFile(manifest, []byte(`{"abi": "proxy-wasm", "connections": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Pack(t, layout, "lines", module, "--manifest", manifest)
	harness.Pack(t, layout, "unsure", module)
	ended := make(chan error, 100)
	port := harness.UpstreamTCP(t, func(nc *net.TCPConn) {
		_, err := io.Copy(nc, nc)
		_ = nc.CloseWrite()
		ended <- err
	})
	entry := func(image, more string) string {
		return "[{image: 'test.example/plugins/" + image + ":1'" + more + ", limits: {cpuTime: 200ms, cpuTimeExchange: 1s, body: 2Ki}}]"
	}
	var listeners, rest []string
	ports := map[string]int{}
	for name, annotation := range map[string]string{
		"lines": entry("lines", ""), "deny": entry("lines", ", config: 127.0.0.1"), "skip": entry("lines", ", onError: skip"), "unsure": entry("unsure", ""), "own": "",
	} {
		ports[name] = harness.FreePort(t)
		listeners = append(listeners, fmt.Sprintf("{name: %s, protocol: TCP, port: %d}", name, ports[name]))
		r := route("TCPRoute", name, name, "", "{name: "+name+", port: 80}")
		if name == "own" {
			r = strings.Replace(r, "{name: own}", fmt.Sprintf("{name: own, annotations: {penstock.dev/plugins: %q}}", entry("unsure", "")), 1)
		}
		rest = append(rest, service(name, annotation, port), r)
	}
	p := harness.Start(t, harness.Options{Files: map[string]string{"all.yaml": gateway(listeners...) + parameters("{timeouts: {tcpIdle: 20s}}") + strings.Join(rest, "")}, Images: []string{layout}})

	say := func(nc net.Conn, text, want string) {
		t.Helper()
		io.WriteString(nc, text)
		if got := read(t, nc, len(want)); got != want {
			t.Fatalf("got %q; want %q", got, want)
		}
	}
	cut := func(nc net.Conn) {
		t.Helper()
		if _, err := io.ReadAll(nc); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v; want a reset", err)
		}
	}
	for _, name := range []string{"lines", "own"} {
		t.Run(name+" change both directions", func(t *testing.T) {
			nc := dial(t, ports[name])
			say(nc, "hello\n", "[HELLO\n]")
			io.WriteString(nc, "in ")
			io.WriteString(nc, "parts")
			say(nc, "\n", "[IN PARTS\n]")
			io.WriteString(nc, "rest")
			if err := nc.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(nc); string(b) != "[REST]" || err != nil {
				t.Errorf("got %q, %v", b, err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("what was held goes on when the plugin says so", func(t *testing.T) {
		nc := dial(t, ports["lines"])
		say(nc, "later\n", "[later\n]")
		io.WriteString(nc, "later, and no more")
		_ = nc.CloseWrite()
		if b, err := io.ReadAll(nc); string(b) != "[later, and no more]" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
	})
	t.Run("a plugin closes", func(t *testing.T) {
		nc := dial(t, ports["lines"])
		say(nc, "x\n", "[X\n]")
		io.WriteString(nc, "close\n")
		cut(nc)
	})
	t.Run("a plugin refuses", func(t *testing.T) {
		p.Eventually("it is ready", func() bool { return p.Chain("Service/default/deny").State == "Running" })
		refused(t, ports["deny"])
	})
	t.Run("it holds more than it may", func(t *testing.T) {
		nc := dial(t, ports["lines"])
		_, _ = io.WriteString(nc, strings.Repeat("x", 4<<10))
		cut(nc)
	})
	t.Run("a trap", func(t *testing.T) {
		nc := dial(t, ports["lines"])
		say(nc, "x\n", "[X\n]")
		io.WriteString(nc, "trap\n")
		cut(nc)
		nc = dial(t, ports["skip"])
		say(nc, "x\n", "[X\n]")
		say(nc, "trap\n", "trap\n")
		say(nc, "x\n", "x\n")
	})
	t.Run("callbacks that nobody vouches for", func(t *testing.T) {
		p.Eventually("it is ready", func() bool { return p.Chain("Service/default/unsure").State == "Running" })
		refused(t, ports["unsure"])
		if all := p.AdminText("/chains"); !strings.Contains(all, `"object": "TCPRoute/default/unsure"`) || !strings.Contains(all, "PluginsNotApplicable") {
			t.Errorf("nothing in /chains: %s", all)
		}
	})
	t.Run("records", func(t *testing.T) {
		for _, want := range []string{
			"client closed by 2", "upstream closed by 2", "client closed by 1", "stream done",
			`"reason":"plugin-reset"`, `"plugin":"service/lines"`, `"reason":"plugin-trap"`, `"reason":"body-limit"`, `"reason":"plugins-not-applicable"`,
		} {
			p.Eventually(want, func() bool { return strings.Contains(p.Log(), want) })
		}
	})
	t.Run("much of it, by many", func(t *testing.T) {
		done := make(chan error)
		const clients, lines = 20, 200
		for range clients {
			nc := dial(t, ports["lines"])
			go func() {
				go func() {
					for i := range lines {
						fmt.Fprintf(nc, "line %d\n", i)
					}
				}()
				// Lines may come together, so that brackets are not counted.
				s := bufio.NewScanner(nc)
				for i := range lines {
					if !s.Scan() || strings.Trim(s.Text(), "[]") != fmt.Sprintf("LINE %d", i) {
						done <- fmt.Errorf("line %d: got %q, %v", i, s.Text(), s.Err())
						return
					}
				}
				done <- nc.Close()
			}()
		}
		for range clients {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
