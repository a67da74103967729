package grpc

import (
	"context"
	"crypto/x509"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/oauth"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// edgeName is what the listener's certificate is for.
const edgeName = "edge.example"

// interopCase is a case of grpc-go's interop client.
type interopCase struct {
	run func(ctx context.Context, conn *grpc.ClientConn, target string)
	// options are what the case's channel has besides; nil: nothing.
	options func() ([]grpc.DialOption, error)
	once    bool // it has rounds of its own
	alone   bool // one at a time
	slow    bool // run without TLS only
}

// cases are those that need no credentials. pick_first_unary has one address here.
var cases = map[string]interopCase{
	"empty_unary":                 {run: plain(interop.DoEmptyUnaryCall)},
	"large_unary":                 {run: plain(interop.DoLargeUnaryCall)},
	"client_streaming":            {run: plain(interop.DoClientStreaming)},
	"server_streaming":            {run: plain(interop.DoServerStreaming)},
	"ping_pong":                   {run: plain(interop.DoPingPong)},
	"empty_stream":                {run: plain(interop.DoEmptyStream)},
	"timeout_on_sleeping_server":  {run: plain(interop.DoTimeoutOnSleepingServer)},
	"cancel_after_begin":          {run: plain(interop.DoCancelAfterBegin)},
	"cancel_after_first_response": {run: plain(interop.DoCancelAfterFirstResponse)},
	"custom_metadata":             {run: plain(interop.DoCustomMetadata)},
	"status_code_and_message":     {run: plain(interop.DoStatusCodeAndMessage)},
	"special_status_message":      {run: plain(interop.DoSpecialStatusMessage)},
	"pick_first_unary":            {run: bare(interop.DoPickFirstUnary)},
	"orca_per_rpc":                {run: bare(interop.DoORCAPerRPCTest), options: balanced},
	"orca_oob":                    {run: bare(interop.DoORCAOOBTest), options: balanced, alone: true, slow: true},
	"unimplemented_method": {run: func(_ context.Context, conn *grpc.ClientConn, _ string) {
		interop.DoUnimplementedMethod(context.Background(), conn)
	}},
	"unimplemented_service": {run: func(ctx context.Context, conn *grpc.ClientConn, _ string) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
	}},
	"rpc_soak": {once: true, run: func(ctx context.Context, conn *grpc.ClientConn, target string) {
		soak(ctx, target, func() (*grpc.ClientConn, func()) { return conn, func() {} })
	}},
	"channel_soak": {once: true, run: func(ctx context.Context, _ *grpc.ClientConn, target string) {
		soak(ctx, target, func() (*grpc.ClientConn, func()) {
			conn, err := dial(target)
			if err != nil {
				panic(err)
			}
			return conn, func() { conn.Close() }
		})
	}},
}

// credentialed are those with credentials, which a client shows over TLS only. Left
// out are google_default_credentials and compute_engine_channel_credentials: they choose
// TLS with the system's authorities or ALTS, whose handshaker runs in Google's machines only.
var credentialed = map[string]interopCase{
	"compute_engine_creds": {
		run: bare(func(ctx context.Context, c testgrpc.TestServiceClient) {
			interop.DoComputeEngineCreds(ctx, c, account, scope)
		}),
		options: func() ([]grpc.DialOption, error) { return shows(oauth.NewComputeEngine(), nil) },
	},
	"service_account_creds": {
		run: bare(func(ctx context.Context, c testgrpc.TestServiceClient) {
			interop.DoServiceAccountCreds(ctx, c, keyFile(), scope)
		}),
		options: func() ([]grpc.DialOption, error) { return shows(oauth.NewServiceAccountFromFile(keyFile(), scope)) },
	},
	"jwt_token_creds": {
		run: bare(func(ctx context.Context, c testgrpc.TestServiceClient) {
			interop.DoJWTTokenCreds(ctx, c, keyFile())
		}),
		options: func() ([]grpc.DialOption, error) { return shows(oauth.NewJWTAccessFromFile(keyFile())) },
	},
	"oauth2_auth_token": {
		run: bare(func(ctx context.Context, c testgrpc.TestServiceClient) {
			interop.DoOauth2TokenCreds(ctx, c, keyFile(), scope)
		}),
		options: func() ([]grpc.DialOption, error) {
			token := interop.GetToken(context.Background(), keyFile(), scope)
			return shows(oauth.TokenSource{TokenSource: oauth2.StaticTokenSource(token)}, nil)
		},
	},
	"per_rpc_creds": {run: bare(func(ctx context.Context, c testgrpc.TestServiceClient) {
		interop.DoPerRPCCreds(ctx, c, keyFile(), scope)
	})},
}

func keyFile() string { return os.Getenv("INTEROP_KEY") }

func plain(f func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn, string) {
	return bare(func(ctx context.Context, c testgrpc.TestServiceClient) { f(ctx, c) })
}

func bare(f func(context.Context, testgrpc.TestServiceClient)) func(context.Context, *grpc.ClientConn, string) {
	return func(ctx context.Context, conn *grpc.ClientConn, _ string) {
		f(ctx, testgrpc.NewTestServiceClient(conn))
	}
}

// balanced is the policy of interop that looks at what servers say of their load.
func balanced() ([]grpc.DialOption, error) {
	return []grpc.DialOption{grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`)}, nil
}

func shows(c credentials.PerRPCCredentials, err error) ([]grpc.DialOption, error) {
	return []grpc.DialOption{grpc.WithPerRPCCredentials(c)}, err
}

func soak(ctx context.Context, target string, channel func() (*grpc.ClientConn, func())) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize: 271828, ResponseSize: 314159, PerIterationMaxAcceptableLatency: 20 * time.Second,
		OverallTimeout: 50 * time.Second, ServerAddr: target, NumWorkers: 8, Iterations: 80, ChannelForTest: channel,
	})
}

// dial opens a channel; with TLS if INTEROP_CA says who vouches for the listener.
func dial(target string, o ...grpc.DialOption) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if ca := os.Getenv("INTEROP_CA"); ca != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(ca))
		transport = credentials.NewClientTLSFromCert(pool, edgeName)
	}
	return grpc.NewClient("passthrough:///"+target, append(o, grpc.WithTransportCredentials(transport))...)
}

// TestMain runs one case, several times at once, if it is told to: one that fails
// ends its process.
func TestMain(m *testing.M) {
	name, target := os.Getenv("INTEROP_CASE"), os.Getenv("INTEROP_TARGET")
	if name == "" {
		os.Exit(m.Run())
	}
	c, ok := cases[name]
	if !ok {
		c = credentialed[name]
	}
	rounds, err := strconv.Atoi(os.Getenv("INTEROP_ROUNDS"))
	if err != nil {
		panic(err)
	}
	at := 5
	switch {
	case c.once:
		rounds, at = 1, 1
	case c.alone && os.Getenv("PENSTOCK_LONG") == "":
		rounds, at = 2, 1
	case c.alone:
		rounds, at = 20, 1
	}
	var options []grpc.DialOption
	if c.options != nil {
		if options, err = c.options(); err != nil {
			panic(err)
		}
	}
	conn, err := dial(target, options...)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	for range rounds {
		var wg sync.WaitGroup
		for range at {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				c.run(ctx, conn, target)
			})
		}
		wg.Wait()
	}
}
