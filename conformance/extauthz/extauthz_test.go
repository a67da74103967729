// Package extauthz runs the bundled plugin ext-authz against real authorization services: one
// of gRPC with Envoy's own messages, and one of HTTP.
package extauthz

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"penstock.dev/penstock/conformance/harness"
)

// authorizer decides by the path.
type authorizer struct {
	authv3.UnimplementedAuthorizationServer

	mu   sync.Mutex
	last *authv3.AttributeContext_HttpRequest
	more map[string]string
}

func option(name, value string, append corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: append}
}

// Check implements authv3.AuthorizationServer.
func (a *authorizer) Check(ctx context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	r := q.GetAttributes().GetRequest().GetHttp()
	a.mu.Lock()
	a.last, a.more = r, q.GetAttributes().GetContextExtensions()
	a.mu.Unlock()
	path, _, _ := strings.Cut(r.GetPath(), "?")
	_, what, _ := strings.Cut(path[1:], "/")
	switch what {
	case "denied":
		return &authv3.CheckResponse{
			Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized}, Body: "who are you?",
				Headers: []*corev3.HeaderValueOption{option("www-authenticate", "Bearer", 0)},
			}},
		}, nil
	case "broken":
		return nil, status.Error(codes.Internal, "broken")
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers:              []*corev3.HeaderValueOption{option("x-user", "ann", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)},
			HeadersToRemove:      []string{"x-secret"},
			ResponseHeadersToAdd: []*corev3.HeaderValueOption{option("x-checked", "yes", 0)},
			QueryParametersToSet: []*corev3.QueryParameter{{Key: "q", Value: "1 2"}},
		}},
	}, nil
}

// asked is what an HTTP service was asked.
type asked struct {
	mu   sync.Mutex
	last *http.Request
	body string
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.last, a.body = r, string(b)
	a.mu.Unlock()
	switch _, what, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("X-Forwarded-Uri"), "/"), "/"); what {
	case "denied":
		w.Header().Set("WWW-Authenticate", "Basic")
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case "login":
		http.Redirect(w, r, "https://login.example/", http.StatusFound)
	case "broken":
		w.WriteHeader(http.StatusInternalServerError)
	case "slow":
		<-r.Context().Done()
	case "early":
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusForbidden)
	case "huge":
		for i := range 50 {
			w.Header().Set(fmt.Sprint("X-Auth-", i), strings.Repeat("a", 1000))
		}
	default:
		w.Header().Set("X-User", "ann")
		w.Header().Set("X-Consumer-Username", "root")
	}
}

// service is a Service without a chain, at a port.
func service(name, protocol string, port int) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {ports: [{name: p, port: 80%[2]s}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: p, port: %[3]d}]
endpoints: [{addresses: [127.0.0.1]}]
`, name, protocol, port)
}

func do(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(b)
}

// upstream shows what came.
func upstream(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s user=%q secret=%q consumer=%q body=%d", r.URL.RequestURI(), r.Header["X-User"], r.Header["X-Secret"], r.Header["X-Consumer-Username"], len(b))
}

func TestAuthorization(t *testing.T) {
	authority := &authorizer{}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, authority)
	grpcPort := harness.UpstreamOf(t, func(l net.Listener) error { return server.Serve(l) }, server.Stop)
	over := &asked{}
	httpPort := harness.Upstream(t, over.ServeHTTP)
	port := harness.Upstream(t, upstream)
	entry := func(config string) string { return "- {use: ext-authz, config: {timeout: 300ms, " + config + "}}" }
	p := harness.Start(t, harness.Options{Images: []string{harness.BundledPlugins(t)}, Files: map[string]string{
		"gateway.yaml": harness.GatewayFor(1),
		"auth.yaml":    service("auth", "", httpPort),
		"check.yaml":   service("check", ", appProtocol: kubernetes.io/h2c", grpcPort),
		"nobody.yaml":  service("nobody", "", harness.FreePort(t)),
		"h.yaml":       harness.Service("h", entry(`http: {url: "http://auth/verify"}, responseHeaders: [X-User, "X-Auth-*"]`), port),
		"g.yaml":       harness.Service("g", entry(`grpc: {upstream: "check:80", contextExtensions: {tier: gold}}`), port),
		"b.yaml":       harness.Service("b", entry(`http: {url: "http://auth/verify"}, responseHeaders: [X-User], body: {maxBytes: 100000, partial: true}`), port),
		"down.yaml":    harness.Service("down", entry(`http: {url: "http://nobody/"}`), port),
		"open.yaml":    harness.Service("open", entry(`http: {url: "http://nobody/"}, onFailure: allow`), port),
	}})
	for _, name := range []string{"h", "g", "b", "down", "open"} {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	tests := map[string]struct {
		path   string
		status int
		body   string // what it begins with
		field  string // "name: value" of the response
	}{
		"HTTP, allowed":            {"/h/ok?a=b", 200, `/h/ok?a=b user=["ann"] secret=["s"] consumer=[]`, ""},
		"HTTP, denied":             {"/h/denied", 401, "who are you?", "Www-Authenticate: Basic"},
		"HTTP, a login":            {"/h/login", 302, "", "Location: https://login.example/"},
		"HTTP, broken":             {"/h/broken", 503, "", ""},
		"HTTP, slow":               {"/h/slow", 503, "", ""},
		"HTTP, 103 before 403":     {"/h/early", 403, "", ""},
		"HTTP, too many fields":    {"/h/huge", 503, "", ""},
		"HTTP, down":               {"/down/ok", 503, "", ""},
		"HTTP, down, and open":     {"/open/ok", 200, "/open/ok", ""},
		"gRPC, allowed":            {"/g/ok?a=b", 200, `/g/ok?a=b&q=1%202 user=["ann"] secret=[] consumer=[]`, "X-Checked: yes"},
		"gRPC, denied":             {"/g/denied", 401, "who are you?", "Www-Authenticate: Bearer"},
		"gRPC, broken":             {"/g/broken", 503, "", ""},
		"gRPC, slow":               {"/g/slow", 503, "", ""},
		"with a body, but without": {"/b/ok", 200, `/b/ok user=["ann"]`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, body := do(t, http.MethodGet, p.URL+test.path, "", "X-User", "root", "X-Secret", "s")
			if r.StatusCode != test.status || !strings.HasPrefix(body, test.body) {
				t.Errorf("got %d %q; want %d %q", r.StatusCode, body, test.status, test.body)
			}
			if field, value, ok := strings.Cut(test.field, ": "); ok && r.Header.Get(field) != value {
				t.Errorf("got %s: %q; want %q", field, r.Header.Get(field), value)
			}
		})
	}
	t.Run("what gRPC is told", func(t *testing.T) {
		do(t, http.MethodPut, p.URL+"/g/ok?a=b", "hello", "X-Other", "1")
		authority.mu.Lock()
		defer authority.mu.Unlock()
		q := authority.last
		if q.GetMethod() != "PUT" || q.GetPath() != "/g/ok?a=b" || q.GetSize() != 5 || q.GetProtocol() != "HTTP/1.1" || q.GetScheme() != "http" || q.GetHeaders()["x-other"] != "1" || q.GetHeaders()[":method"] != "PUT" || authority.more["tier"] != "gold" {
			t.Errorf("got %v, %v", q, authority.more)
		}
	})
	for name, size := range map[string]int{"short": 10, "longer than a window": 60_000, "longer than it is shown": 400_000} {
		t.Run("a body that is "+name, func(t *testing.T) {
			r, body := do(t, http.MethodPost, p.URL+"/b/ok", strings.Repeat("x", size))
			if want := fmt.Sprintf("body=%d", size); r.StatusCode != 200 || !strings.HasSuffix(body, want) || !strings.Contains(body, `user=["ann"]`) {
				t.Errorf("got %d %q; want %s", r.StatusCode, body, want)
			}
			over.mu.Lock()
			defer over.mu.Unlock()
			if len(over.body) != min(size, 100_000) || over.last.Method != http.MethodPost || over.last.Header.Get("X-Envoy-Auth-Partial-Body") != fmt.Sprint(size > 100_000) {
				t.Errorf("the service got %d bytes by %s, partial %q", len(over.body), over.last.Method, over.last.Header.Get("X-Envoy-Auth-Partial-Body"))
			}
		})
	}
}
