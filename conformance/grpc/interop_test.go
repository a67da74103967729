package grpc

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"

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
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(o...)
	testgrpc.RegisterTestServiceServer(g, s)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Serve(ln); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		g.Stop()
		wg.Wait()
	})
	return ln.Addr().(*net.TCPAddr).Port
}

// start runs the binary before that port, and returns its address.
func start(t *testing.T, port int) (*harness.Proxy, string) {
	t.Helper()
	p := harness.Start(t, harness.Options{Files: map[string]string{"gateway.yaml": harness.GatewayFor(1), "a.yaml": service(port)}})
	return p, fmt.Sprintf("127.0.0.1:%d", p.Port)
}

func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// cases are those that need neither TLS nor credentials, nor a special server.
// pick_first_unary is for a client that has several addresses.
var cases = map[string]func(ctx context.Context, conn *grpc.ClientConn, target string){
	"empty_unary":                 plain(interop.DoEmptyUnaryCall),
	"large_unary":                 plain(interop.DoLargeUnaryCall),
	"client_streaming":            plain(interop.DoClientStreaming),
	"server_streaming":            plain(interop.DoServerStreaming),
	"ping_pong":                   plain(interop.DoPingPong),
	"empty_stream":                plain(interop.DoEmptyStream),
	"timeout_on_sleeping_server":  plain(interop.DoTimeoutOnSleepingServer),
	"cancel_after_begin":          plain(interop.DoCancelAfterBegin),
	"cancel_after_first_response": plain(interop.DoCancelAfterFirstResponse),
	"custom_metadata":             plain(interop.DoCustomMetadata),
	"status_code_and_message":     plain(interop.DoStatusCodeAndMessage),
	"special_status_message":      plain(interop.DoSpecialStatusMessage),
	"unimplemented_method": func(_ context.Context, conn *grpc.ClientConn, _ string) {
		interop.DoUnimplementedMethod(context.Background(), conn)
	},
	"unimplemented_service": func(ctx context.Context, conn *grpc.ClientConn, _ string) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
	},
	"rpc_soak": func(ctx context.Context, conn *grpc.ClientConn, target string) {
		soak(ctx, target, func() (*grpc.ClientConn, func()) { return conn, func() {} })
	},
	"channel_soak": func(ctx context.Context, _ *grpc.ClientConn, target string) {
		soak(ctx, target, func() (*grpc.ClientConn, func()) {
			conn, err := dial(target)
			if err != nil {
				panic(err)
			}
			return conn, func() { conn.Close() }
		})
	},
}

func plain(f func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn, string) {
	return func(ctx context.Context, conn *grpc.ClientConn, _ string) {
		f(ctx, testgrpc.NewTestServiceClient(conn))
	}
}

func soak(ctx context.Context, target string, channel func() (*grpc.ClientConn, func())) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize: 271828, ResponseSize: 314159, PerIterationMaxAcceptableLatency: 20 * time.Second,
		OverallTimeout: 50 * time.Second, ServerAddr: target, NumWorkers: 8, Iterations: 80, ChannelForTest: channel,
	})
}

// TestMain runs one case, several times at once, if it is told to: one that fails
// ends its process.
func TestMain(m *testing.M) {
	name, target := os.Getenv("INTEROP_CASE"), os.Getenv("INTEROP_TARGET")
	if name == "" {
		os.Exit(m.Run())
	}
	conn, err := dial(target)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	rounds, at := 10, 5
	switch name {
	case "rpc_soak", "channel_soak":
		rounds, at = 1, 1
	}
	for range rounds {
		var wg sync.WaitGroup
		for range at {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				cases[name](ctx, conn, target)
			})
		}
		wg.Wait()
	}
}

func TestInterop(t *testing.T) {
	p, target := start(t, serve(t, interop.NewTestServer()))
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), os.Args[0])
			c.Env = append(os.Environ(), "INTEROP_CASE="+name, "INTEROP_TARGET="+target)
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
	if least := len(cases) * 50 * 6 / 10; answered < least { // of some cases the calls end without an answer
		t.Errorf("the upstream answered %d calls; want %d at least", answered, least)
	}
}

// TestConnectionsThatAge: the upstream says goodbye five times a second, and no
// call is lost.
func TestConnectionsThatAge(t *testing.T) {
	_, target := start(t, serve(t, interop.NewTestServer(), grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 200 * time.Millisecond, MaxConnectionAgeGrace: 10 * time.Second,
	})))
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
	_, target := start(t, serve(t, s))
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
