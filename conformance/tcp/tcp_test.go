package tcp

import (
	"crypto/rand"
	"crypto/sha256"
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

// TestTCPRoute: Gateway API, TCPRoute; RFC 9293, 3.6, half-closed connections.
func TestTCPRoute(t *testing.T) {
	second, third, blocked := harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
	p := start(t,
		gateway("{name: one, protocol: TCP, port: ${PORT}}", fmt.Sprintf("{name: two, protocol: TCP, port: %d}", second),
			fmt.Sprintf("{name: three, protocol: TCP, port: %d}", third), fmt.Sprintf("{name: none, protocol: TCP, port: %d}", blocked)),
		parameters("{timeouts: {tcpIdle: 2s}}"),
		service("a", "", harness.UpstreamTCP(t, echo("a"))), service("b", "", harness.UpstreamTCP(t, echo("b"))),
		route("TCPRoute", "one", "one", "", "{name: a, port: 80}"),
		route("TCPRoute", "two", "two", "", "{name: a, port: 80, weight: 3}, {name: b, port: 80, weight: 1}, {name: b, port: 80, weight: 0}"),
		route("TCPRoute", "three", "three", "", "{name: a, port: 80}, {name: nobody, port: 80}"),
	)

	t.Run("bytes go both ways until both sides have ended", func(t *testing.T) {
		nc := dial(t, p.Port)
		if got := read(t, nc, 1); got != "a" {
			t.Fatalf("got %q", got)
		}
		io.WriteString(nc, "hello")
		if got := read(t, nc, 5); got != "hello" {
			t.Fatalf("got %q", got)
		}
		io.WriteString(nc, "last")
		if err := nc.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(nc); string(b) != "last" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
	})
	t.Run("64 MiB arrive as they were sent", func(t *testing.T) {
		nc := dial(t, p.Port)
		read(t, nc, 1)
		sent := sha256.New()
		go func() {
			_, _ = io.Copy(io.MultiWriter(nc, sent), io.LimitReader(rand.Reader, 64<<20))
			_ = nc.CloseWrite()
		}()
		got := sha256.New()
		n, err := io.Copy(got, nc)
		if n != 64<<20 || err != nil || string(got.Sum(nil)) != string(sent.Sum(nil)) {
			t.Errorf("got %d bytes, %v; or other ones", n, err)
		}
	})
	t.Run("backends by weight", func(t *testing.T) {
		count := map[string]int{}
		for range 400 {
			nc := dial(t, second)
			count[read(t, nc, 1)]++
			nc.Close()
		}
		if count["a"] < 240 || count["b"] < 50 || count["a"]+count["b"] != 400 {
			t.Errorf("got %v", count)
		}
	})
	t.Run("an invalid backend refuses its share", func(t *testing.T) {
		served, reset := 0, 0
		for range 60 {
			if _, err := first(t, third); err == nil {
				served++
			} else if errors.Is(err, syscall.ECONNRESET) {
				reset++
			}
		}
		if served == 0 || reset == 0 || served+reset != 60 {
			t.Errorf("%d served, %d reset", served, reset)
		}
	})
	t.Run("a listener without a route refuses", func(t *testing.T) { refused(t, blocked) })
	t.Run("an idle connection is cut", func(t *testing.T) {
		nc := dial(t, p.Port)
		read(t, nc, 1)
		for range 6 { // one that is used is not
			time.Sleep(500 * time.Millisecond)
			io.WriteString(nc, "x")
			read(t, nc, 1)
		}
		if _, err := io.ReadAll(nc); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v; want a reset", err)
		}
	})
	t.Run("records and metrics", func(t *testing.T) {
		p.Eventually("the log has the cut connection", func() bool {
			return strings.Contains(p.Log(), `"route":"TCPRoute/default/one/0","service":"default/a"`) && strings.Contains(p.Log(), `"reason":"idle"`)
		})
		for _, want := range []string{
			`penstock_proxy_connections_total{result="cut",route="TCPRoute/default/one/0",service="default/a"} 1`,
			`penstock_proxy_connections_total{result="closed",route="TCPRoute/default/one/0",service="default/a"} 2`,
			`penstock_proxy_connections_open{route="TCPRoute/default/one/0",service="default/a"} 0`,
		} {
			p.Eventually(want, func() bool { return strings.Contains(p.Metrics(), want) })
		}
	})
}

// TestResets: what was cut on one side does not look like an end on the other.
func TestResets(t *testing.T) {
	cut := make(chan error, 1)
	port := harness.UpstreamTCP(t, func(nc *net.TCPConn) {
		_, _ = io.WriteString(nc, "a")
		b := make([]byte, 1)
		if _, err := io.ReadFull(nc, b); err == nil && b[0] == 'r' {
			_ = nc.SetLinger(0)
			return
		}
		_, err := nc.Read(b)
		cut <- err
	})
	p := start(t, gateway("{name: one, protocol: TCP, port: ${PORT}}"), parameters("{}"), service("a", "", port), route("TCPRoute", "one", "one", "", "{name: a, port: 80}"))
	nc := dial(t, p.Port)
	read(t, nc, 1)
	io.WriteString(nc, "r")
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %v; want a reset", err)
	}
	nc = dial(t, p.Port)
	read(t, nc, 1)
	io.WriteString(nc, "x")
	_ = nc.SetLinger(0)
	nc.Close()
	if err := <-cut; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the upstream got %v; want a reset", err)
	}
}

// TestGuards: annotations.md, section 2: a filter cannot be walked around.
func TestGuards(t *testing.T) {
	guarded, alone, datagrams := harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
	port := harness.UpstreamTCP(t, echo("a"))
	all := func(annotation string) string {
		return strings.Join([]string{
			gateway("{name: open, protocol: TCP, port: ${PORT}}", fmt.Sprintf("{name: guarded, protocol: TCP, port: %d}", guarded),
				fmt.Sprintf("{name: alone, protocol: TCP, port: %d}", alone), fmt.Sprintf("{name: datagrams, protocol: UDP, port: %d}", datagrams)),
			parameters("{}"), service("a", "", port), service("g", annotation, port),
			route("TCPRoute", "open", "open", "", "{name: a, port: 80}"), route("TCPRoute", "guarded", "guarded", "", "{name: g, port: 80}"),
			route("UDPRoute", "datagrams", "datagrams", "", "{name: g, port: 80}"),
			strings.Replace(route("TCPRoute", "alone", "alone", "", "{name: a, port: 80}"), "{name: alone}", "{name: alone, annotations: {penstock.dev/plugins: '[nonsense]'}}", 1),
		}, "")
	}
	p := start(t, all("[{use: key-auth, config: {consumers: []}}]"))
	read(t, dial(t, p.Port), 1)
	refused(t, guarded)
	refused(t, alone) // a broken chain
	nc := dialUDP(t, datagrams)
	_, _ = nc.Write([]byte("x"))
	dropped := fmt.Sprintf(`penstock_listener_datagrams_dropped_total{reason="refused",socket="127.0.0.1:%d/udp"} 1`, datagrams)
	p.Eventually(dropped, func() bool { return strings.Contains(p.Metrics(), dropped) })
	for _, want := range []string{`"object":"Service/default/g","field":"metadata.annotations","reason":"PluginsNotApplicable"`, `"object":"TCPRoute/default/guarded","field":"","reason":"PluginsNotApplicable"`} {
		p.Logged(want)
	}
	p.Write("all.yaml", all(""))
	p.Eventually("without a filter it serves", func() bool {
		b, _ := first(t, guarded)
		return b == "a"
	})
	whole := strings.Replace(all(""), "metadata: {name: edge}", "metadata: {name: edge, annotations: {penstock.dev/plugins: '[{use: key-auth, config: {consumers: []}}]'}}", 1)
	p.Write("all.yaml", whole)
	p.Eventually("the Gateway's part counts", func() bool {
		_, err := first(t, p.Port)
		return err != nil
	})
	refused(t, guarded)
}

// TestDrain: a raw connection lives until the deadline, then it is cut.
func TestDrain(t *testing.T) {
	files := map[string]string{"all.yaml": gateway("{name: one, protocol: TCP, port: ${PORT}}") + parameters("{}") + service("a", "", harness.UpstreamTCP(t, echo("a"))) + route("TCPRoute", "one", "one", "", "{name: a, port: 80}")}
	p := harness.Start(t, harness.Options{Files: files, Args: []string{"--drain", "3s"}})
	nc := dial(t, p.Port)
	read(t, nc, 1)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.Eventually("it accepts no more", func() bool {
		other, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.Port))
		if err == nil {
			other.Close()
		}
		return err != nil
	})
	io.WriteString(nc, "still")
	if got := read(t, nc, 5); got != "still" {
		t.Errorf("got %q", got)
	}
	if _, err := io.ReadAll(nc); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v; want a reset", err)
	}
	if code := p.Exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestRemoval: a listener that is gone accepts nothing; its connections go on.
func TestRemoval(t *testing.T) {
	more := harness.FreePort(t)
	port := harness.UpstreamTCP(t, echo("a"))
	one, two := "{name: one, protocol: TCP, port: ${PORT}}", fmt.Sprintf("{name: two, protocol: TCP, port: %d}", more)
	rest := parameters("{}") + service("a", "", port) + route("TCPRoute", "one", "one", "", "{name: a, port: 80}") + route("TCPRoute", "two", "two", "", "{name: a, port: 80}")
	p := start(t, gateway(one, two), rest)
	nc := dial(t, more)
	read(t, nc, 1)
	p.Write("all.yaml", gateway(one)+rest)
	p.Eventually("the port is closed", func() bool {
		other, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", more))
		if err == nil {
			other.Close()
		}
		return err != nil
	})
	io.WriteString(nc, "x")
	if got := read(t, nc, 1); got != "x" {
		t.Errorf("got %q", got)
	}
	read(t, dial(t, p.Port), 1)
}
