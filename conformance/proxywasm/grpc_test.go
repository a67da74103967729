package proxywasm

import (
	"context"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/sdks"
)

// patient is gRPC's test service, with calls that wait until they are given up.
type patient struct {
	testgrpc.TestServiceServer
	gone chan struct{}
}

func (s *patient) UnaryCall(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	if r.FillUsername {
		<-ctx.Done()
		s.gone <- struct{}{}
		return nil, ctx.Err()
	}
	return s.TestServiceServer.UnaryCall(ctx, r)
}

func (s *patient) FullDuplexCall(stream grpc.BidiStreamingServer[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]) error {
	err := s.TestServiceServer.FullDuplexCall(stream)
	if stream.Context().Err() != nil {
		s.gone <- struct{}{}
	}
	return err
}

// serve runs it and returns its port.
func (s *patient) serve(t *testing.T) int {
	t.Helper()
	g := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(g, s)
	return harness.UpstreamOf(t, g.Serve, g.Stop)
}

func message(t *testing.T, m proto.Message) string {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

const callers = `
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: grpc}
spec:
  versions: [{name: "1", image: "test.example/plugins/grpc:1"}]
  capabilities: [http-call]
`

// TestGRPCOfAPlugin: a plugin calls a server of grpc-go in its namespace over
// HTTP/2; what it hears becomes the answer. One imports the host's functions, the others
// are on the SDKs of this repository.
func TestGRPCOfAPlugin(t *testing.T) {
	t.Run("functions", func(t *testing.T) {
		layout := t.TempDir()
		harness.Pack(t, layout, "grpc", harness.Guest(t, "guests/grpc"))
		testGRPC(t, layout, false)
	})
	eachSDK(t, func(t *testing.T, s *sdks.SDK) {
		layout := t.TempDir()
		own(t, s, layout, "grpc")
		testGRPC(t, layout, true)
	})
}

// testGRPC runs the plugin of layout; leaves: it cancels what it opened for an exchange
// that ends.
func testGRPC(t *testing.T, layout string, leaves bool) {
	s := &patient{interop.NewTestServer(), make(chan struct{}, 1)}
	greeter := strings.Replace(harness.Service("greeter", "", s.serve(t)), "{name: http, port: 80,", "{name: http, appProtocol: kubernetes.io/h2c, port: 80,", 1)
	limits := "\n  limits: {cpuTime: 200ms, cpuTimeExchange: 1s}"
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1), "plugin.yaml": callers, "greeter.yaml": greeter,
		"plain.yaml": harness.Service("plain", "", harness.Upstream(t, harness.Echo)),
		"grpc.yaml":  harness.Service("grpc", "- use: grpc"+limits, harness.Upstream(t, harness.Echo)),
		"may.yaml":   harness.Service("may", "- image: test.example/plugins/grpc:1"+limits, harness.Upstream(t, harness.Echo)),
	}})
	for _, name := range []string{"grpc", "may"} {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	payload := func(n int) *testgrpc.Payload { return &testgrpc.Payload{Body: make([]byte, n)} }
	large := message(t, &testgrpc.SimpleRequest{ResponseSize: 100_000, Payload: payload(1000)})
	stream := message(t, &testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 3}, {Size: 70_000}}})
	answer := message(t, &testgrpc.StreamingOutputCallResponse{Payload: payload(3)})
	second := message(t, &testgrpc.StreamingOutputCallResponse{Payload: payload(70_000)})
	failing := message(t, &testgrpc.SimpleRequest{ResponseStatus: &testgrpc.EchoStatus{Code: 9, Message: "not: 5% ☺"}})
	const there = "outbound|80||greeter.default.svc.cluster.local"
	for name, tt := range map[string]struct {
		path, kind, upstream, method, messages, timeout, cancel string
		outcome, body                                           string
		metadata, gone                                          bool
	}{
		"empty":       {kind: "unary", upstream: there, method: "EmptyCall", outcome: "closed 0 0"},
		"large":       {kind: "unary", upstream: there, method: "UnaryCall", messages: large, timeout: "20000", outcome: "closed 0 0", body: message(t, &testgrpc.SimpleResponse{Payload: payload(100_000)}), metadata: true},
		"status":      {kind: "unary", upstream: there, method: "UnaryCall", messages: failing, outcome: "closed 9 9 not: 5% ☺", metadata: true},
		"no method":   {kind: "unary", upstream: there, method: "None", outcome: "closed 12 12 unknown method None"},
		"deadline":    {kind: "unary", upstream: there, method: "UnaryCall", messages: message(t, &testgrpc.SimpleRequest{FillUsername: true}), timeout: "300", outcome: "closed 4 4 deadline exceeded", gone: true},
		"stream":      {upstream: there, method: "FullDuplexCall", messages: stream + "," + stream, outcome: "closed 0 0", body: strings.Join([]string{answer, second, answer, second}, ","), metadata: true},
		"cancel":      {upstream: there, method: "FullDuplexCall", messages: message(t, &testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 3}}}), cancel: "yes", outcome: "cancelled 0", body: answer, gone: true},
		"leave":       {upstream: there, method: "FullDuplexCall", messages: message(t, &testgrpc.StreamingOutputCallRequest{}), cancel: "leave", gone: true},
		"unknown":     {kind: "unary", upstream: "outbound|80||nobody.default.svc.cluster.local", method: "EmptyCall", outcome: "refused"},
		"not granted": {path: "/may", kind: "unary", upstream: there, method: "EmptyCall", outcome: "refused 10"},
		"HTTP/1.1":    {kind: "unary", upstream: "outbound|80||plain.default.svc.cluster.local", method: "EmptyCall", outcome: "closed 14 14 the Service's port has no appProtocol: kubernetes.io/h2c"},
	} {
		if name == "leave" && !leaves {
			continue
		}
		t.Run(name, func(t *testing.T) {
			path := tt.path
			if path == "" {
				path = "/grpc"
			}
			h := http.Header{"X-Kind": {tt.kind}, "X-Upstream": {tt.upstream}, "X-Method": {tt.method}, "X-Messages": {tt.messages}}
			for field, value := range map[string]string{"X-Timeout": tt.timeout, "X-Cancel": tt.cancel} {
				if value != "" {
					h.Set(field, value)
				}
			}
			r, body := do(t, "GET", p.URL+path, "", h)
			if got := r.Header.Get("X-Outcome"); !strings.HasPrefix(got, tt.outcome) || body != tt.body {
				t.Errorf("got %d, %q, %.100q; want %q, %.100q", r.StatusCode, got, body, tt.outcome, tt.body)
			}
			initial, trailing := r.Header.Get("X-X-Grpc-Test-Echo-Initial"), r.Header.Get("X-X-Grpc-Test-Echo-Trailing-Bin")
			if tt.metadata && (initial != "hello" || trailing != "q6ur") {
				t.Errorf("got metadata %q, %q", initial, trailing)
			}
			if !tt.gone {
				return
			}
			select {
			case <-s.gone:
			case <-time.After(20 * time.Second):
				t.Error("the server was not told")
			}
		})
	}
}
