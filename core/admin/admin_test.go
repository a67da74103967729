package admin

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
)

type sockets struct{}

func (sockets) Reconcile([]config.Socket) error { return nil }

func newServer(t *testing.T) (*Server, *snapshot.Store) {
	t.Helper()
	m := telemetry.New()
	plugins := plugin.New(plugin.Options{Log: zap.NewNop(), Metrics: m})
	groups := upstream.New(zap.NewNop(), m, upstream.NetDialer{})
	store := snapshot.New(netip.MustParseAddr("127.0.0.1"), sockets{}, groups, plugins, nil, m)
	t.Cleanup(func() { store.Close(); plugins.Close(); groups.Close() })
	return New(store, nil, m, func() []Problem { return []Problem{{Object: "Service/a/b", Reason: "Invalid"}} }), store
}

func (s *Server) get(t *testing.T, path string, health bool) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h := s.Admin(Open())
	if health {
		h = s.Health()
	}
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String()
}

func TestReadiness(t *testing.T) {
	s, store := newServer(t)
	ready := func(want int) {
		t.Helper()
		if got, _ := s.get(t, "/readyz", true); got != want {
			t.Errorf("got %d; want %d", got, want)
		}
	}
	ready(503)
	if err := store.Apply(&config.Config{}); err != nil {
		t.Fatal(err)
	}
	ready(503)
	s.Bound()
	ready(200)
	s.Stopping()
	ready(503)
	if got, _ := s.get(t, "/livez", true); got != 200 {
		t.Errorf("a stopping process is not live: %d", got)
	}
}

func TestHealthShowsNoMore(t *testing.T) {
	s, _ := newServer(t)
	for path, want := range map[string]int{"/metrics": 200, "/config": 404, "/chains": 404, "/debug/pprof/heap": 404} {
		if got, _ := s.get(t, path, true); got != want {
			t.Errorf("%s: got %d; want %d", path, got, want)
		}
	}
}

func TestConfigHidesSecrets(t *testing.T) {
	s, store := newServer(t)
	f := &config.Filter{Name: "x", Config: []byte(`{"key":"hush-hush"}`), Env: []config.EnvVar{{Name: "TOKEN", Value: "hush-hush"}}, Hash: "h"}
	canary := *f
	canary.PullSecrets = []config.PullCredential{{Registry: "r.example", Password: "hush-hush"}}
	f.Canary = &config.Canary{Filter: &canary, WeightPercent: 5}
	part := &config.Part{Name: "service", Fault: &config.Fault{Reason: "InvalidAnnotation"}, Hash: "p", Fallback: &config.Part{Name: "service", Filters: []*config.Filter{f}}}
	chain := &config.Chain{Parts: []*config.Part{part}}
	rule := &config.Rule{Matches: []config.Match{{PathType: config.PathPrefix, Path: "/"}}, Status: 500, Chain: chain, Backends: []config.Backend{{Chain: chain}}}
	c := &config.Config{Gateways: []*config.Gateway{{Parameters: config.DefaultProxyParameters(), Listeners: []*config.Listener{{
		Name: "http", Port: 80, Chain: chain, Routes: &config.RouteTable{Entries: []*config.RouteEntry{{Route: &config.Route{Rules: []*config.Rule{rule}}}}},
	}}}}}
	who := func(namespace string) *config.Consumer {
		of := *part
		of.Name, of.Object = config.PartConsumer, config.Object{Kind: "Consumer", Namespace: namespace, Name: "mobile"}
		return &config.Consumer{Namespace: namespace, Name: "mobile", Username: "till", Chain: &config.Chain{Parts: []*config.Part{&of}}, Credentials: []config.Credential{{Type: "jwt", ID: config.CredentialID("jwt", []byte("hush-hush")), Data: []byte("HS256\x00hush-hush")}}}
	}
	c.Consumers = config.OverlayOf(map[string]*config.Consumer{"store/mobile": who("store"), "other/mobile": who("other")})
	if err := store.Apply(c); err != nil {
		t.Fatal(err)
	}
	own := shown{namespace: "store"}.config(c)
	if own.Consumers.Len() != 1 || own.Consumers.Of("store/mobile") == nil || len(own.Consumers.Of("store/mobile").Chain.Parts) != 1 {
		t.Errorf("a namespace is shown %v", own.Consumers)
	}
	code, body := s.get(t, "/config", false)
	id := config.CredentialID("jwt", []byte("hush-hush"))
	for _, secret := range []string{fmt.Sprintf("%x", id[:4]), base64.StdEncoding.EncodeToString(id[:])[:12], fmt.Sprintf("%d,%d,%d", id[0], id[1], id[2]), "HS256", base64.StdEncoding.EncodeToString([]byte("HS256"))[:6]} {
		if strings.Contains(body, secret) {
			t.Errorf("a credential is shown: %s", secret)
		}
	}
	if !strings.Contains(body, "till") {
		t.Error("the Consumer is not shown")
	}
	if code != 200 || strings.Contains(body, "hush") || strings.Contains(body, "aHVzaC1odXNo") || !strings.Contains(body, "TOKEN") {
		t.Errorf("got %d, %s", code, body)
	}
	var reply struct{ Problems []Problem }
	if _, body = s.get(t, "/chains", false); json.Unmarshal([]byte(body), &reply) != nil || len(reply.Problems) != 1 || strings.Contains(body, "hush") {
		t.Errorf("got %s", body)
	}
}
