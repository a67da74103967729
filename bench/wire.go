package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Servers behind the proxy other than the origin.
const (
	grpcPort = 29001 // nghttpd: HTTP/2, a message and grpc-status
	echoPort = 29002 // load echo
)

// wires are the workloads of other protocols than HTTP/1.1 in plain text.
func wires() []workload {
	grpc := [][]string{{"nghttpd", "--no-tls", "-a", "127.0.0.1", "--trailer", "grpc-status: 0", "-d", "@OUT@/grpc", strconv.Itoa(grpcPort)}}
	echo := [][]string{{"@OUT@/load", "echo", "-address", fmt.Sprintf("127.0.0.1:%d", echoPort)}}
	cleartext := edge("penstock", setup{listener: plainListener, routes: 1, behind: originPort})
	unary := edge("penstock", setup{listener: plainListener, routes: 1, behind: grpcPort, port: ", appProtocol: kubernetes.io/h2c"})
	sockets := edge("penstock", setup{listener: plainListener, routes: 1, behind: echoPort})
	raw := edge("penstock", setup{listener: "{name: tcp, protocol: TCP, port: 28080}", behind: echoPort, extra: tcpRoute})
	return []workload{
		{name: "tls", path: "/1k", connections: 64, load: secureWrk, targets: []target{secureEdge(), nginxTLS(), haproxyHTTP(16384, "ssl crt @OUT@/both.pem", originPort, "")}},
		{name: "h2", path: "/1k", connections: 16, load: h2load("https", 8), targets: []target{secureEdge(), nginxTLS(), haproxyHTTP(16384, "ssl crt @OUT@/both.pem alpn h2", originPort, "")}},
		{name: "h2c", path: "/1k", connections: 16, load: h2load("http", 8), targets: []target{cleartext, haproxyHTTP(16384, "proto h2", originPort, "")}},
		{name: "grpc", path: "/unary", connections: 16, load: h2load("http", 8, "-d", "out/grpc/request", "-H", "content-type: application/grpc", "-H", "te: trailers"), servers: grpc,
			targets: []target{unary, haproxyHTTP(16384, "proto h2", grpcPort, "proto h2")}},
		{name: "h3", path: "/1k", connections: 64, load: custom("h3"), targets: []target{secureEdge(), caddyTLS()}},
		{name: "handshake", connections: 16, load: custom("handshake"), targets: []target{secureEdge(), nginxTLS()}},
		{name: "resumed", connections: 16, load: custom("handshake", "-resume"), targets: []target{secureEdge(), nginxTLS()}},
		{name: "websocket", connections: 64, load: custom("ws", "-size", "100"), servers: echo, targets: []target{sockets, haproxyHTTP(16384, "", echoPort, "")}},
		{name: "tcp 1k", connections: 64, load: custom("tcp"), servers: echo, targets: []target{raw, haproxyTCP(16384)}},
		{name: "tcp 1m", connections: 16, load: custom("big"), servers: echo, targets: []target{raw, haproxyTCP(65536)}},
	}
}

// wireGoals are those of the wires.
func wireGoals() []goal {
	return []goal{
		{"HTTP/1.1 1 KiB, of HAProxy", "1k", "penstock", "HAProxy", 1.10, false},
		{"HTTP/1.1 over TLS, of HAProxy", "tls", "penstock", "HAProxy", 0.95, false},
		{"HTTP/2 over TLS, of HAProxy", "h2", "penstock", "HAProxy", 1.00, false},
		{"h2c, of HAProxy", "h2c", "penstock", "HAProxy", 1.00, false},
		{"gRPC unary through HTTP/2 on both sides, of HAProxy", "grpc", "penstock", "HAProxy", 1.10, false},
		{"HTTP/3, of Caddy", "h3", "penstock", "Caddy", 0.45, false},
		{"TLS handshakes, full, of nginx", "handshake", "penstock", "nginx", 0.80, false},
		{"TLS handshakes, resumed, of nginx", "resumed", "penstock", "nginx", 0.80, false},
		{"WebSocket messages, of HAProxy", "websocket", "penstock", "HAProxy", 1.10, false},
		{"TCP messages of 1 KiB, of HAProxy", "tcp 1k", "penstock", "HAProxy", 1.08, false},
		{"TCP 1 MiB, of HAProxy", "tcp 1m", "penstock", "HAProxy", 0.90, false},
		{"1 MiB over HTTP/1.1, of nginx", "1m", "penstock", "nginx", 0.65, false},
		{"1 MiB over HTTP/1.1, of HAProxy", "1m", "penstock", "HAProxy", 0.80, false},
	}
}

const tcpRoute = `---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: raw}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: origin, port: 80}]}]}
`

// secureEdge is penstock with TLS; the Secret is written by prepare.
func secureEdge() target {
	return edge("penstock", setup{
		listener: "{name: https, protocol: HTTPS, port: 28080, tls: {certificateRefs: [{name: edge}]}}", routes: 1, behind: originPort, extra: "---\n@SECRET@",
	})
}

// nginxTLS uses the key exchange and the protocols that everybody has.
func nginxTLS() target {
	t := nginx()
	t.files["nginx.conf"] = strings.Replace(t.files["nginx.conf"], "reuseport;", "reuseport ssl http2; ssl_certificate @OUT@/cert.pem; ssl_certificate_key @OUT@/key.pem; ssl_protocols TLSv1.2 TLSv1.3; ssl_ecdh_curve X25519; ssl_session_tickets on; ssl_session_timeout 1h; http2_max_concurrent_streams 128;", 1)
	t.files["nginx.conf"] = strings.Replace(t.files["nginx.conf"], "keepalive_requests 1000000000; keepalive_timeout", "keepalive_requests 1000000000; http2_max_requests 1000000000; keepalive_timeout", 1)
	return t
}

func caddyTLS() target {
	t := caddy()
	text := strings.Replace(t.files["Caddyfile"], "http://:", "https://a.example:", 1)
	t.files["Caddyfile"] = strings.Replace(text, "	bind 127.0.0.1\n", "	bind 127.0.0.1\n	tls @OUT@/cert.pem @OUT@/key.pem\n", 1)
	return t
}

// prepare writes what the wires need: a certificate, and a message of gRPC.
func (l *lab) prepare() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a.example"}, DNSNames: []string{"a.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	crt, pemKey := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	block := func(b []byte) string { return strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "\n    ") }
	l.secret = fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: edge}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n    %s\n  tls.key: |\n    %s\n", block(crt), block(pemKey))
	message := append([]byte{0, 0, 0, 0, 59}, strings.Repeat("m", 59)...)
	for name, text := range map[string][]byte{"cert.pem": crt, "key.pem": pemKey, "both.pem": append(crt, pemKey...), "grpc/unary": message, "grpc/request": message} {
		file := filepath.Join(l.out, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// serve starts servers on CPU 1.
func (l *lab) serve(commands [][]string) (stop func(), err error) {
	var started []*exec.Cmd
	stop = func() {
		for _, c := range started {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
	for _, command := range commands {
		args := []string{"-c", "1"}
		for _, a := range command {
			args = append(args, strings.ReplaceAll(a, "@OUT@", l.out))
		}
		c := exec.Command("taskset", args...)
		if err := c.Start(); err != nil {
			stop()
			return nil, err
		}
		started = append(started, c)
		port := echoPort
		if command[0] == "nghttpd" {
			port = grpcPort
		}
		if err := waitPort(port); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}

func secureWrk(w workload, length time.Duration) (sample, int, error) { return wrk(w, "https", length) }

var (
	h2Requests = regexp.MustCompile(`requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2Rate     = regexp.MustCompile(`finished in \S+, ([\d.]+) req/s`)
	h2Time     = regexp.MustCompile(`time for request:\s+(\S+)\s+(\S+)\s+(\S+)`)
	h2Status   = regexp.MustCompile(`status codes: (\d+) 2xx`)
)

// h2load loads over HTTP/2, with that many streams on a connection.
func h2load(scheme string, streams int, extra ...string) func(workload, time.Duration) (sample, int, error) {
	return func(w workload, length time.Duration) (s sample, n int, err error) {
		args := []string{"-c", "1", "h2load", "-t1", fmt.Sprintf("-c%d", w.connections), fmt.Sprintf("-m%d", streams), fmt.Sprintf("-D%d", int(length.Seconds())), "-H", ":authority: a.example"}
		for _, h := range headers {
			if len(extra) == 0 {
				args = append(args, "-H", h)
			}
		}
		args = append(append(args, extra...), fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, proxyPort, w.path))
		out, err := exec.Command("taskset", args...).CombinedOutput()
		m, r, t, ok := h2Requests.FindStringSubmatch(string(out)), h2Rate.FindStringSubmatch(string(out)), h2Time.FindStringSubmatch(string(out)), h2Status.FindStringSubmatch(string(out))
		if err != nil || m == nil || r == nil || t == nil || ok == nil {
			return s, 0, fmt.Errorf("h2load: %w\n%s", errors.Join(err, errors.New("no result")), out)
		}
		if n, err = strconv.Atoi(m[2]); err != nil || n == 0 {
			return s, 0, fmt.Errorf("h2load: no request\n%s", out)
		}
		for _, text := range m[4:] {
			bad, err := strconv.Atoi(text)
			if err != nil {
				return s, 0, err
			}
			s.bad += bad
		}
		if good, err := strconv.Atoi(ok[1]); err == nil {
			s.bad += max(n-good, 0)
		}
		s.rate, err = strconv.ParseFloat(r[1], 64)
		s.p50, s.p99 = "mean "+t[3], "max "+t[2]
		return s, n, err
	}
}

// loaded is what command load says.
type loaded struct {
	Requests          int
	Bad               int
	Seconds, P50, P99 float64
	First             string
}

// custom loads with bench/load.
func custom(kind string, extra ...string) func(workload, time.Duration) (sample, int, error) {
	return func(w workload, length time.Duration) (sample, int, error) {
		r, err := runLoad(kind, append([]string{"-connections", strconv.Itoa(w.connections), "-length", length.String()}, extra...)...)
		if err != nil {
			return sample{}, 0, err
		}
		return sample{rate: float64(r.Requests) / r.Seconds, p50: fmt.Sprintf("%.2fms", r.P50), p99: fmt.Sprintf("%.2fms", r.P99), bad: r.Bad}, r.Requests, nil
	}
}

func runLoad(kind string, args ...string) (r loaded, err error) {
	out, err := exec.Command("taskset", append([]string{"-c", "1", "out/load", kind, "-address", fmt.Sprintf("127.0.0.1:%d", proxyPort)}, args...)...).CombinedOutput()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil || r.Requests == 0 {
		return r, fmt.Errorf("load %s: %w\n%s", kind, errors.Join(err, errors.New("no request")), out)
	}
	return r, nil
}

// idling returns what an idle connection of penstock's takes, in KiB of resident
// memory.
func (l *lab) idling() ([]row, error) {
	const many = 8000 // and as many of the client's, with what one process may open
	var rows []row
	for _, k := range []struct {
		text  string
		args  []string
		limit float64
	}{{"an idle connection, HTTP/1.1, KiB", nil, 10}, {"an idle connection, HTTP/2, KiB", []string{"-h2"}, 30}} {
		c, stop, err := l.start(penstock("penstock, idle", 1, ""))
		if err != nil {
			return nil, err
		}
		before, err := residentKiB(c.Process.Pid)
		if err == nil {
			var during float64
			during, err = l.holding(many, k.args, func() (float64, error) { return residentKiB(c.Process.Pid) })
			rows = append(rows, row{k.text, (during - before) / many, k.limit})
		}
		stop()
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func residentKiB(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), "VmRSS:")
	if !ok {
		return 0, errors.New("no VmRSS")
	}
	return strconv.ParseFloat(strings.Fields(rest)[0], 64)
}

// holding measures while n connections are idle.
func (l *lab) holding(n int, args []string, measure func() (float64, error)) (float64, error) {
	c := exec.Command("taskset", append([]string{"-c", "1", "out/load", "idle", "-address", fmt.Sprintf("127.0.0.1:%d", proxyPort), "-connections", strconv.Itoa(n)}, args...)...)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = c.Wait() }()
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		return 0, fmt.Errorf("load idle: %q, %w", line, err)
	}
	time.Sleep(5 * time.Second) // what was busy rests
	return measure()
}

// atHalf compares the p99 at a fixed rate, half of what the slower of the two can
// do, with HAProxy's.
func (l *lab) atHalf(rounds int, length time.Duration) ([]row, error) {
	targets := []target{penstock("penstock", 1, ""), haproxy(16384)}
	one := func(t target, args ...string) (r loaded, err error) {
		_, stop, err := l.start(t)
		if err != nil {
			return r, err
		}
		defer stop()
		if _, err := runLoad("open", "-length", "1s"); err != nil {
			return r, err
		}
		return runLoad("open", append([]string{"-length", length.String()}, args...)...)
	}
	capacity := 0.0
	for _, t := range targets {
		r, err := one(t)
		if err != nil {
			return nil, err
		}
		if rate := float64(r.Requests) / r.Seconds; capacity == 0 || rate < capacity {
			capacity = rate
		}
	}
	var p99 [2][]float64
	for range rounds {
		for i, t := range targets {
			r, err := one(t, "-rate", fmt.Sprint(capacity/2))
			if err != nil {
				return nil, err
			}
			if r.Bad > 0 {
				return nil, fmt.Errorf("%s: %d bad answers at half of the capacity: %s", t.name, r.Bad, r.First)
			}
			p99[i] = append(p99[i], r.P99)
		}
	}
	return []row{{fmt.Sprintf("p99 at %.0f requests/s, half of the capacity, of HAProxy", capacity/2), middle(p99[0]) / middle(p99[1]), 1.3}}, nil
}
