package grpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/orca"

	"penstock.dev/penstock/conformance/harness"
)

// service is a Service that takes all paths, with HTTP/2 to its endpoint.
func service(port int) string {
	text := strings.Replace(harness.Service("a", "", port), "value: /a", "value: /", 1)
	return strings.Replace(text, "{name: http, port: 80,", "{name: http, appProtocol: kubernetes.io/h2c, port: 80,", 1)
}

// serve runs gRPC's test service and returns its port.
func serve(t *testing.T, s testgrpc.TestServiceServer, o ...grpc.ServerOption) int {
	t.Helper()
	g := grpc.NewServer(o...)
	testgrpc.RegisterTestServiceServer(g, s)
	if s, ok := s.(interface{ register(grpc.ServiceRegistrar) }); ok {
		s.register(g)
	}
	return harness.UpstreamOf(t, g.Serve, g.Stop)
}

// start runs the binary before that port, and returns its address. Files are those
// that differ.
func start(t *testing.T, port int, files map[string]string) (*harness.Proxy, string) {
	t.Helper()
	all := map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service(port)}
	maps.Copy(all, files)
	p := harness.Start(t, harness.Options{Files: all})
	return p, fmt.Sprintf("127.0.0.1:%d", p.Port)
}

// TestInterop runs the cases, each 20 times at least, in processes of their own.
func TestInterop(t *testing.T) {
	crt, key := harness.Pair(t, edgeName)
	inner, innerKey := harness.Pair(t, "shop.example")
	pair, err := tls.X509KeyPair(inner, innerKey)
	if err != nil {
		t.Fatal(err)
	}
	secure := map[string]string{"gateway.yaml": harness.SecureGateway(1), "edge.yaml": harness.SecretOf("edge", crt, key)}
	both := maps.Clone(secure)
	both["policy.yaml"] = harness.BackendTLS("a", "shop.example", inner)
	for name, tt := range map[string]struct {
		files  map[string]string
		server []grpc.ServerOption
		ca     []byte // the client's; nil: without TLS
		rounds int    // of five calls at once
		cases  map[string]interopCase
	}{
		"in plain text":           {nil, nil, nil, 10, cases},
		"TLS from the client":     {secure, nil, crt, 4, cases},
		"credentials":             {secure, nil, crt, 4, credentialed},
		"TLS to the upstream too": {both, []grpc.ServerOption{grpc.Creds(credentials.NewServerTLSFromCert(&pair))}, crt, 4, cases},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p, target := start(t, serve(t, s, append(tt.server, orca.CallMetricsServerOption(nil))...), tt.files)
			for name, c := range tt.cases {
				if c.slow && tt.files != nil {
					continue
				}
				t.Run(name, func(t *testing.T) {
					c := exec.CommandContext(t.Context(), os.Args[0])
					c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "INTEROP_CASE="+name, "INTEROP_TARGET="+target, "INTEROP_ROUNDS="+fmt.Sprint(tt.rounds),
						"INTEROP_CA="+string(tt.ca), "INTEROP_KEY="+s.keyFile, "GCE_METADATA_HOST="+s.metadata)
					if out, err := c.CombinedOutput(); err != nil {
						t.Fatalf("%v\n%s", err, out[max(0, len(out)-2000):])
					}
				})
			}
			answered := 0
			for line := range strings.Lines(p.Metrics()) {
				if rest, ok := strings.CutPrefix(line, `penstock_upstream_requests_total{code_class="2xx",`); ok {
					fmt.Sscan(rest[strings.Index(rest, "}")+1:], &answered)
				}
			}
			if least := len(tt.cases) * tt.rounds * 5 * 6 / 10; answered < least { // of some cases the calls end without an answer
				t.Errorf("the upstream answered %d calls; want %d at least", answered, least)
			}
		})
	}
}

// TestConnectionsThatAge: the upstream says goodbye five times a second, and no
// call is lost.
func TestConnectionsThatAge(t *testing.T) {
	_, target := start(t, serve(t, interop.NewTestServer(), grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 200 * time.Millisecond, MaxConnectionAgeGrace: 10 * time.Second,
	})), nil)
	conn, err := dial(target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := testgrpc.NewTestServiceClient(conn)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
				if _, err := client.EmptyCall(t.Context(), &testgrpc.Empty{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// waiting is a service whose calls wait until they are given up.
type waiting struct {
	testgrpc.UnimplementedTestServiceServer
	began, gone chan struct{}
}

func (s *waiting) wait(ctx context.Context) error {
	s.began <- struct{}{}
	<-ctx.Done()
	s.gone <- struct{}{}
	return ctx.Err()
}

func (s *waiting) UnaryCall(ctx context.Context, _ *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return nil, s.wait(ctx)
}

func (s *waiting) StreamingOutputCall(_ *testgrpc.StreamingOutputCallRequest, out grpc.ServerStreamingServer[testgrpc.StreamingOutputCallResponse]) error {
	if err := out.Send(&testgrpc.StreamingOutputCallResponse{}); err != nil {
		return err
	}
	return s.wait(out.Context())
}

// TestCancelReachesASilentServer: before the head of the answer, and in the
// middle of a stream of answers.
func TestCancelReachesASilentServer(t *testing.T) {
	s := &waiting{began: make(chan struct{}), gone: make(chan struct{})}
	_, target := start(t, serve(t, s), nil)
	conn, err := dial(target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := testgrpc.NewTestServiceClient(conn)
	calls := map[string]func(ctx context.Context){
		"a single answer": func(ctx context.Context) { _, _ = client.UnaryCall(ctx, &testgrpc.SimpleRequest{}) },
		"a stream": func(ctx context.Context) {
			in, err := client.StreamingOutputCall(ctx, &testgrpc.StreamingOutputCallRequest{})
			for err == nil {
				_, err = in.Recv()
			}
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { call(ctx) })
			<-s.began
			cancel()
			select {
			case <-s.gone:
			case <-time.After(20 * time.Second):
				t.Fatal("the server was not told")
			}
			wg.Wait()
		})
	}
}
