package soak

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go/http3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"penstock.dev/penstock/conformance/harness"
)

// fault is something that the test does, and what of it is allowed to fail from
// when until when.
type fault struct {
	name     string
	from, to time.Time
}

// fleet is the proxy, whichever process it is, and what goes wrong.
type fleet struct {
	*harness.Proxy
	t      *testing.T
	secure int
	tcp    int
	udp    int

	mu     sync.Mutex
	faults []fault
}

// inject notes a fault that lasts until the returned function is called, and a
// little longer.
func (f *fleet) inject(name string, after time.Duration) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := len(f.faults)
	f.faults = append(f.faults, fault{name, time.Now(), time.Now().Add(time.Hour)})
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.faults[i].to = time.Now().Add(after)
	}
}

// explains reports whether one of the faults was there between two moments.
func (f *fleet) explains(names []string, from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.faults, func(one fault) bool {
		return slices.Contains(names, one.name) && one.from.Before(to) && from.Before(one.to)
	})
}

// sort is one sort of load.
type sort struct {
	name string
	// excuses are the faults that may make it fail.
	excuses []string
	open    func(f *fleet) (do func() error, close func(), err error)

	sent, failed, explained atomic.Int64
}

// run does one thing after another, each on the connection of before while that
// works.
func (k *sort) run(f *fleet, stop <-chan struct{}) {
	var do func() error
	var end func()
	for {
		select {
		case <-stop:
			if end != nil {
				end()
			}
			return
		case <-time.After(2 * time.Millisecond):
		}
		began := time.Now()
		var err error
		if do == nil {
			do, end, err = k.open(f)
		}
		if err == nil {
			err = do()
		}
		k.sent.Add(1)
		if err == nil {
			continue
		}
		if end != nil {
			end()
		}
		do, end = nil, nil
		if f.explains(k.excuses, began, time.Now()) {
			k.explained.Add(1)
		} else if k.failed.Add(1) < 10 {
			f.t.Errorf("%s at %s: %v", k.name, time.Now().Format(time.TimeOnly), err)
		}
	}
}

func get(c *http.Client, url string) error {
	r, err := c.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && (r.StatusCode != http.StatusOK || !bytes.HasPrefix(body, []byte("hello"))) {
		err = fmt.Errorf("%s %.40q", r.Status, body)
	}
	return err
}

// overHTTP is requests on the connections of one transport.
func overHTTP(connect func(f *fleet) (http.RoundTripper, string, func())) func(*fleet) (func() error, func(), error) {
	return func(f *fleet) (func() error, func(), error) {
		t, base, end := connect(f)
		c := &http.Client{Transport: t, Timeout: 30 * time.Second}
		n := 0
		return func() error {
			n++
			return get(c, base+[]string{"/plain", "/plugin", "/plain/large"}[n%3])
		}, end, nil
	}
}

func transport(h2c, secure bool) func(*fleet) (http.RoundTripper, string, func()) {
	return func(f *fleet) (http.RoundTripper, string, func()) {
		p := new(http.Protocols)
		p.SetHTTP1(!h2c)
		p.SetHTTP2(h2c && secure)
		p.SetUnencryptedHTTP2(h2c && !secure)
		t := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{ServerName: "a.example", InsecureSkipVerify: true}}
		base := f.URL
		if secure {
			base = fmt.Sprintf("https://127.0.0.1:%d", f.secure)
		}
		return t, base, t.CloseIdleConnections
	}
}

// pingPong says something over a connection and waits until it is back.
func pingPong(dial func(f *fleet) (io.ReadWriteCloser, error)) func(*fleet) (func() error, func(), error) {
	return func(f *fleet) (func() error, func(), error) {
		nc, err := dial(f)
		if err != nil {
			return nil, nil, err
		}
		message, got := []byte("hello over there"), make([]byte, 16)
		return func() error {
			if d, ok := nc.(net.Conn); ok {
				_ = d.SetDeadline(time.Now().Add(20 * time.Second))
			}
			if _, err := nc.Write(message); err != nil {
				return err
			}
			if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, message) {
				return fmt.Errorf("got %q: %w", got, errors.Join(err, errors.New("not what was sent")))
			}
			return nil
		}, func() { nc.Close() }, nil
	}
}

func sorts() []*sort {
	// A new process: HTTP/3 and flows begin anew, tunnels end with the old one.
	handover := []string{"handover"}
	return []*sort{
		{name: "HTTP/1.1", open: overHTTP(transport(false, false))},
		{name: "HTTP/1.1 over TLS", open: overHTTP(transport(false, true))},
		{name: "h2c", open: overHTTP(transport(true, false))},
		{name: "HTTP/2 over TLS", open: overHTTP(transport(true, true))},
		{name: "HTTP/3", excuses: handover, open: overHTTP(func(f *fleet) (http.RoundTripper, string, func()) {
			t := &http3.Transport{TLSClientConfig: &tls.Config{ServerName: "a.example", InsecureSkipVerify: true}}
			return t, fmt.Sprintf("https://127.0.0.1:%d", f.secure), func() { t.Close() }
		})},
		{name: "to a Service that restarts", excuses: []string{"restart"}, open: func(f *fleet) (func() error, func(), error) {
			t := &http.Transport{}
			c := &http.Client{Transport: t, Timeout: 30 * time.Second}
			return func() error { return get(c, f.URL+"/flaky") }, t.CloseIdleConnections, nil
		}},
		{name: "new connections", open: func(f *fleet) (func() error, func(), error) {
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
			return func() error { return get(c, f.URL+"/plain") }, func() {}, nil
		}},
		{name: "TLS handshakes", open: func(f *fleet) (func() error, func(), error) {
			return func() error {
				nc, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.secure), &tls.Config{ServerName: "a.example", InsecureSkipVerify: true})
				if err != nil {
					return err
				}
				defer nc.Close()
				fmt.Fprint(nc, "GET /plain HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
				r, err := http.ReadResponse(bufio.NewReader(nc), nil)
				if err != nil {
					return err
				}
				return r.Body.Close()
			}, func() {}, nil
		}},
		{name: "WebSocket", excuses: handover, open: func(f *fleet) (func() error, func(), error) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			c, _, err := websocket.Dial(ctx, f.URL+"/ws", nil)
			if err != nil {
				return nil, nil, err
			}
			return func() error {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
					return err
				}
				_, got, err := c.Read(ctx)
				if err == nil && string(got) != "hello" {
					err = fmt.Errorf("got %q", got)
				}
				return err
			}, func() { c.CloseNow() }, nil
		}},
		{name: "gRPC", open: func(f *fleet) (func() error, func(), error) {
			c, err := grpc.NewClient("127.0.0.1:"+strconv.Itoa(f.Port), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return nil, nil, err
			}
			client := testgrpc.NewTestServiceClient(c)
			return func() error {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				if _, err := client.EmptyCall(ctx, &testgrpc.Empty{}); err != nil {
					return err
				}
				s, err := client.FullDuplexCall(ctx)
				if err != nil {
					return err
				}
				for range 3 {
					if err := s.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 100}}}); err != nil {
						return err
					}
					if _, err := s.Recv(); err != nil {
						return err
					}
				}
				if err := s.CloseSend(); err != nil {
					return err
				}
				if _, err := s.Recv(); err != io.EOF {
					return fmt.Errorf("the end: %w", err)
				}
				return nil
			}, func() { c.Close() }, nil
		}},
		{name: "TCP", excuses: handover, open: pingPong(func(f *fleet) (io.ReadWriteCloser, error) {
			return net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.tcp))
		})},
		{name: "UDP", excuses: handover, open: pingPong(func(f *fleet) (io.ReadWriteCloser, error) {
			return net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", f.udp))
		})},
	}
}

// TestMixed is load over every protocol, while the configuration, certificates and
// plugins change, an upstream restarts, and the process is replaced. Every request
// that fails is explained by a fault; memory and goroutines come back to what they
// were.
func TestMixed(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("PENSTOCK_SOAK"))
	if err != nil {
		length = 15 * time.Second
	}
	f := &fleet{t: t, secure: harness.FreePort(t), tcp: harness.FreePort(t), udp: harness.FreePort(t)}
	upstream, flaky := harness.Upstream(t, serve), newFlaky(t)
	layout := t.TempDir()
	pack(t, layout, "v:1", "build/transform.wasm")
	f.Proxy = harness.StartReplaceable(t, harness.Options{
		Files:  f.files(t, upstream, flaky.port),
		Images: []string{harness.BundledPlugins(t), layout},
		Args:   []string{"--access-log", "off"},
	})
	f.Eventually("the plugin runs", func() bool { return f.Chain("Service/default/plugin").State == "Running" })

	stop := make(chan struct{})
	var group sync.WaitGroup
	all := sorts()
	for _, k := range all {
		for range 2 {
			group.Go(func() { k.run(f, stop) })
		}
	}
	f.disturb(length, layout, upstream, flaky)
	close(stop)
	group.Wait()
	for _, k := range all {
		t.Logf("%-28s %8d done, %5d failed for a fault that was injected, %d for none", k.name, k.sent.Load(), k.explained.Load(), k.failed.Load())
		if k.sent.Load() < 10 || k.explained.Load() > k.sent.Load()/2 {
			t.Errorf("%s: %d of %d failed", k.name, k.explained.Load(), k.sent.Load())
		}
	}
	f.rests()
}

// disturb does one thing each second. The last process has a while of its own.
func (f *fleet) disturb(length time.Duration, layout string, upstream int, flaky *flakyServer) {
	began := time.Now()
	handovers := []time.Duration{length / 3, length * 2 / 3}
	for i := 1; time.Since(began) < length; i++ {
		time.Sleep(time.Second)
		if len(handovers) > 0 && time.Since(began) > handovers[0] {
			handovers = handovers[1:]
			f.replace()
		}
		switch i % 4 {
		case 0:
			secret, _ := harness.Secret(f.t, "edge", "a.example")
			f.Write("edge.yaml", secret)
		case 1:
			change(f.t, f.Proxy, layout, upstream, i)
		case 2:
			end := f.inject("restart", 3*time.Second)
			flaky.restart()
			end()
		case 3:
			f.Write("more.yaml", harness.Service("more"+strconv.Itoa(i), "", upstream))
		}
	}
}

// replace has a new process take over.
func (f *fleet) replace() {
	end := f.inject("handover", 15*time.Second)
	before := f.Replace()
	f.WaitEnd(before)
	end()
	f.t.Logf("%d handed over to %d", before, f.PID())
}

var goroutines = regexp.MustCompile(`goroutine profile: total (\d+)`)

// rests reports whether what served the load is gone.
func (f *fleet) rests() {
	var n int
	f.Eventually("goroutines end", func() bool {
		r, err := http.Get(f.Admin + "/debug/pprof/goroutine?debug=1")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		m := goroutines.FindSubmatch(text)
		if err != nil || m == nil {
			return false
		}
		n, err = strconv.Atoi(string(m[1]))
		return err == nil && n < 100
	})
	mib := f.Resident()
	f.t.Logf("at rest: %d goroutines, %d MiB of resident memory", n, mib)
	if mib > 200 {
		f.t.Errorf("%d MiB of resident memory at rest", mib)
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Upgrade") != "":
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, m, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, m) != nil {
				return
			}
		}
	case strings.HasSuffix(r.URL.Path, "/large"):
		_, _ = io.WriteString(w, "hello"+strings.Repeat("x", 100_000))
	default:
		_, _ = io.WriteString(w, "hello")
	}
}

// flakyServer is an upstream that goes away and comes back.
type flakyServer struct {
	t    *testing.T
	port int
	s    *httptest.Server
}

func newFlaky(t *testing.T) *flakyServer {
	f := &flakyServer{t: t}
	f.start("127.0.0.1:0")
	t.Cleanup(func() { f.s.Close() })
	return f
}

func (f *flakyServer) start(address string) {
	var l net.Listener
	var err error
	for range 100 {
		if l, err = net.Listen("tcp", address); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.port = l.Addr().(*net.TCPAddr).Port
	f.s = &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(serve)}}
	f.s.Start()
}

func (f *flakyServer) restart() {
	f.s.CloseClientConnections()
	f.s.Close()
	time.Sleep(200 * time.Millisecond)
	f.start(fmt.Sprintf("127.0.0.1:%d", f.port))
}

// files is the configuration.
func (f *fleet) files(t *testing.T, upstream, flaky int) map[string]string {
	t.Helper()
	secret, _ := harness.Secret(t, "edge", "a.example")
	listeners := fmt.Sprintf(`port: ${PORT}}, {name: https, protocol: HTTPS, port: %d, tls: {certificateRefs: [{name: edge}]}}, {name: tcp, protocol: TCP, port: %d}, {name: udp, protocol: UDP, port: %d}]`, f.secure, f.tcp, f.udp)
	calls := harness.Service("calls", "", calls(t))
	calls = strings.Replace(calls, "port: 80, targetPort", "appProtocol: kubernetes.io/h2c, port: 80, targetPort", 1)
	calls = strings.Replace(calls, "value: /calls", "value: /grpc.testing.TestService", 1)
	return map[string]string{
		"gateway.yaml": strings.Replace(harness.GatewayFor(1), "port: ${PORT}}]", listeners, 1),
		"edge.yaml":    secret,
		"plain.yaml":   harness.Service("plain", "", upstream),
		"ws.yaml":      harness.Service("ws", "", upstream),
		"flaky.yaml":   harness.Service("flaky", "", flaky),
		"plugin.yaml":  harness.Service("plugin", transform("test.example/plugins/v:1", 0), upstream),
		"calls.yaml":   calls,
		"raw.yaml":     raw("TCPRoute", "tcp", "", harness.UpstreamTCP(t, func(nc *net.TCPConn) { _, _ = io.Copy(nc, nc) })) + raw("UDPRoute", "udp", ", protocol: UDP", echoUDP(t)),
	}
}

func raw(kind, name, protocol string, port int) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %[2]s}
spec: {ports: [{name: x, port: 80%[3]s}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[2]s, labels: {kubernetes.io/service-name: %[2]s}}
addressType: IPv4
ports: [{name: x, port: %[4]d%[3]s}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: %[1]s
metadata: {name: %[2]s}
spec: {parentRefs: [{name: edge, sectionName: %[2]s}], rules: [{backendRefs: [{name: %[2]s, port: 80}]}]}
`, kind, name, protocol, port)
}

func calls(t *testing.T) int {
	t.Helper()
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	return harness.UpstreamOf(t, s.Serve, s.Stop)
}

func echoUDP(t *testing.T) int {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	return pc.LocalAddr().(*net.UDPAddr).Port
}
