package grpc

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	orcapb "github.com/cncf/xds/go/xds/data/orca/v3"
	orcagrpc "github.com/cncf/xds/go/xds/service/orca/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/orca"
	"google.golang.org/grpc/status"
)

const (
	account = "interop@edge.example"
	scope   = "https://edge.example/auth/interop"
)

// server is grpc-go's interop server and what that leaves out: it knows who calls,
// by tokens that it issues or by those that the account's key signs, says which
// server it is, and reports its load on a stream at any interval.
type server struct {
	testgrpc.TestServiceServer
	orcagrpc.UnimplementedOpenRcaServiceServer
	load     orca.ServerMetricsRecorder
	key      *rsa.PrivateKey
	keyFile  string // of the account, in the form of Google's
	metadata string // address that issues tokens as that of Google's machines does
}

func newServer(t *testing.T) *server {
	t.Helper()
	load := orca.NewServerMetricsRecorder()
	s := &server{TestServiceServer: interop.NewTestServer(interop.NewTestServerOptions{MetricsRecorder: load}), load: load}
	var err error
	if s.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.exchange)
	mux.HandleFunc("GET /computeMetadata/v1/instance/service-accounts/default/token", func(w http.ResponseWriter, _ *http.Request) { issue(w) })
	issuer := httptest.NewServer(mux)
	t.Cleanup(issuer.Close)
	s.metadata = strings.TrimPrefix(issuer.URL, "http://")
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": account, "private_key_id": "1", "token_uri": issuer.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.keyFile = filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(s.keyFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) register(r grpc.ServiceRegistrar) { orcagrpc.RegisterOpenRcaServiceServer(r, s) }

const issued = "issued-to-the-account"

func issue(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"access_token": "` + issued + `", "token_type": "Bearer", "expires_in": 3600}`))
}

// exchange gives a token for a statement that the account's key signs (RFC 7523).
func (s *server) exchange(w http.ResponseWriter, r *http.Request) {
	if c, err := s.verify(r.FormValue("assertion")); err != nil || c.Issuer != account || c.Scope != scope {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	issue(w)
}

// claims of a token.
type claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Scope    string `json:"scope"`
}

// verify reads a token that the account's key signs (RFC 7515, RS256).
func (s *server) verify(token string) (c claims, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errors.New("no JWT")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return c, err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&s.key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		return c, err
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(text, &c)
}

// UnaryCall implements testgrpc.TestServiceServer.
func (s *server) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	out, err := s.TestServiceServer.UnaryCall(ctx, in)
	if err != nil {
		return nil, err
	}
	if in.FillServerId {
		out.ServerId = "the only one"
	}
	if !in.FillUsername && !in.FillOauthScope {
		return out, nil
	}
	token := strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), "; ")
	token, _ = strings.CutPrefix(token, "Bearer ")
	if token != issued {
		c, err := s.verify(token)
		if err != nil || c.Audience != "https://"+edgeName+"/" {
			return nil, status.Errorf(codes.Unauthenticated, "%v, for %q", err, c.Audience)
		}
		out.Username = c.Issuer
		return out, nil
	}
	out.Username, out.OauthScope = account, scope
	return out, nil
}

// StreamCoreMetrics implements orcagrpc.OpenRcaServiceServer. That of grpc-go reports
// every 30 s at most.
func (s *server) StreamCoreMetrics(in *orcagrpc.OrcaLoadReportRequest, out grpc.ServerStreamingServer[orcapb.OrcaLoadReport]) error {
	for {
		m := s.load.(orca.ServerMetricsProvider).ServerMetrics()
		if err := out.Send(&orcapb.OrcaLoadReport{CpuUtilization: max(m.CPUUtilization, 0), MemUtilization: max(m.MemUtilization, 0), Utilization: m.Utilization}); err != nil {
			return err
		}
		select {
		case <-out.Context().Done():
			return out.Context().Err()
		case <-time.After(in.ReportInterval.AsDuration()):
		}
	}
}
