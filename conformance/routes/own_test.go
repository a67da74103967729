package routes

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	pb "sigs.k8s.io/gateway-api/conformance/echo-basic/grpcechoserver"
	"sigs.k8s.io/gateway-api/conformance/utils/grpc"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// ownText is what the suite has no cases for.
const ownText = `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls, namespace: gateway-conformance-infra}
spec:
  parentRefs: [{name: same-namespace}]
  hostnames: [grpc.example]
  rules:
    - matches: [{method: {type: RegularExpression, service: "gateway_api_conformance\\..*", method: "Echo(Two)?"}}]
      filters:
        - {type: RequestMirror, requestMirror: {backendRef: {name: grpc-infra-backend-v2, port: 8080}}}
        - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: by-the-rule}]}}
      backendRefs: [{name: grpc-infra-backend-v1, port: 8080}]
    - matches: [{method: {method: EchoThree}}]
      backendRefs: [{name: nobody, port: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stays, namespace: gateway-conformance-infra}
spec:
  parentRefs: [{name: same-namespace}]
  hostnames: [stays.example]
  rules:
    - matches: [{path: {value: /cookie}}]
      sessionPersistence: {sessionName: stay, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}
      backendRefs: ${ALL}
    - matches: [{path: {value: /header}}]
      sessionPersistence: {sessionName: X-Stay, type: Header}
      backendRefs: ${ALL}
    - matches: [{path: {value: /order}}]
      filters:
        - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: first}]}}
        - {type: ExtensionRef, extensionRef: {group: penstock.dev, kind: PluginChain, name: renames}}
        - {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /rewritten}}}
        - {type: ExtensionRef, extensionRef: {group: penstock.dev, kind: PluginChain, name: responds}}
        - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Order, value: modifier}]}}
      backendRefs:
        - name: infra-backend-v1
          port: 8080
          filters:
            - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: second}]}}
    - matches: [{path: {value: /last}}]
      filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Order, value: modifier}]}}]
      backendRefs:
        - name: infra-backend-v1
          port: 8080
          filters:
            - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: last}]}}
            - {type: ExtensionRef, extensionRef: {group: penstock.dev, kind: PluginChain, name: renames}}
            - {type: ExtensionRef, extensionRef: {group: penstock.dev, kind: PluginChain, name: responds}}
    - matches: [{path: {value: /each}}]
      backendRefs:
        - name: infra-backend-v1
          port: 8080
          filters:
            - {type: URLRewrite, urlRewrite: {hostname: one.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}}}
            - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Backend, value: one}]}}
        - name: infra-backend-v2
          port: 8080
          filters: [{type: RequestRedirect, requestRedirect: {hostname: two.example, statusCode: 307}}]
`

const chainsText = `
apiVersion: penstock.dev/v1alpha1
kind: PluginChain
metadata: {name: renames, namespace: gateway-conformance-infra}
spec: {plugins: [{name: t, use: transform, config: {request: {headers: {rename: {X-A: X-B}}}}}]}
---
apiVersion: penstock.dev/v1alpha1
kind: PluginChain
metadata: {name: responds, namespace: gateway-conformance-infra}
spec: {plugins: [{name: t, use: transform, config: {response: {headers: {set: {X-Order: plugin}}}}}]}
`

func own(t *testing.T) *world {
	s := scheme(t)
	base := append(manifests(t, s, "base/manifests.yaml"), made(t)...)
	backends := startBackends(t, base, 0)
	objects := decode(t, s, "own", []byte(strings.ReplaceAll(ownText, "${ALL}", "[{name: infra-backend-v1, port: 8080}, {name: infra-backend-v2, port: 8080}, {name: infra-backend-v3, port: 8080}]")))
	return newWorld(t, s, append(reached(base, objects), objects...), backends, chainsText)
}

func TestOwn(t *testing.T) {
	w := own(t)
	t.Run("calls", w.calls)
	t.Run("sessions", w.sessions)
	t.Run("filters of backendRefs", w.each)
	t.Run("plugins among filters", w.order)
}

// calls are what gRPC's clients see.
func (w *world) calls(t *testing.T) {
	call := func(e grpc.ExpectedResponse) *grpc.Response {
		t.Helper()
		c := &grpc.DefaultClient{}
		defer c.Close()
		e.RequestMetadata = &grpc.RequestMetadata{Authority: "grpc.example", Metadata: map[string]string{"x-set": "by-the-client"}}
		r, err := c.SendRPC(t, "127.0.0.1:80", e, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := call(grpc.ExpectedResponse{EchoRequest: &pb.EchoRequest{}})
	if r.Code != codes.OK || !strings.HasPrefix(r.Response.GetAssertions().GetContext().GetPod(), "grpc-infra-backend-v1") {
		t.Fatalf("got %+v", r)
	}
	set := ""
	for _, h := range r.Response.GetAssertions().GetHeaders() {
		if h.GetKey() == "x-set" {
			set += h.GetValue()
		}
	}
	if set != "by-the-rule" {
		t.Errorf("x-set: got %q; want by-the-rule", set)
	}
	w.proxy.Eventually("the call is copied", func() bool {
		return strings.Contains(w.proxy.Metrics(), `penstock_proxy_mirrored_requests_total{result="sent",route="GRPCRoute/gateway-conformance-infra/calls/0",service="gateway-conformance-infra/grpc-infra-backend-v2"} 1`)
	})
	if r := call(grpc.ExpectedResponse{EchoThreeRequest: &pb.EchoRequest{}}); r.Code != codes.Unavailable {
		t.Errorf("got %v of a Service that there is not; want Unavailable", r.Code)
	}
	request, _ := http.NewRequest("GET", "http://127.0.0.1/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/Echo", nil)
	request.Host = "grpc.example"
	if r, _ := do(t, request); r.StatusCode != 404 {
		t.Errorf("got %d for what is no gRPC; want 404", r.StatusCode)
	}
}

func do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// ask sends a request to the HTTPRoute and returns the Pod that answered.
func ask(t *testing.T, path string, header http.Header) (pod string, r *http.Response, body string) {
	t.Helper()
	q, _ := http.NewRequest("GET", "http://127.0.0.1"+path, nil)
	q.Host, q.Header = "stays.example", header
	r, body = do(t, q)
	_, rest, _ := strings.Cut(body, `"pod": "`)
	pod, _, _ = strings.Cut(rest, `"`)
	return pod, r, body
}

func (w *world) sessions(t *testing.T) {
	seen := map[string]bool{}
	for range 20 {
		first, r, _ := ask(t, "/cookie", http.Header{})
		seen[first] = true
		if len(r.Cookies()) != 1 || r.Cookies()[0].Name != "stay" || r.Cookies()[0].MaxAge != 3600 || r.Cookies()[0].Path != "/cookie" {
			t.Fatalf("got cookies %v", r.Cookies())
		}
		token := r.Cookies()[0].Value
		firstByHeader, r, _ := ask(t, "/header", http.Header{})
		for range 3 {
			if again, r, _ := ask(t, "/cookie", http.Header{"Cookie": {"stay=" + token}}); again != first || len(r.Cookies()) != 0 {
				t.Fatalf("got %s; want %s", again, first)
			}
			if again, _, _ := ask(t, "/header", http.Header{"X-Stay": {r.Header.Get("X-Stay")}}); again != firstByHeader {
				t.Fatalf("got %s; want %s", again, firstByHeader)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("sessions are at %v; want three Pods", seen)
	}
}

func (w *world) each(t *testing.T) {
	one, two := 0, 0
	for range 40 {
		pod, r, body := ask(t, "/each/a?b=c", http.Header{})
		switch r.StatusCode {
		case 200:
			one++
			if !strings.HasPrefix(pod, suite.InfraBackendServiceNameV1) || r.Header.Get("X-Backend") != "one" || !strings.Contains(body, `"path": "/one/a?b=c"`) || !strings.Contains(body, `"host": "one.example"`) {
				t.Fatalf("got %v\n%s", r.Header, body)
			}
		case 307:
			two++
			if got := r.Header.Get("Location"); got != "http://two.example/each/a?b=c" {
				t.Fatalf("got Location %s", got)
			}
		default:
			t.Fatalf("got %d", r.StatusCode)
		}
	}
	if one == 0 || two == 0 {
		t.Errorf("%d were sent on and %d redirected; want both", one, two)
	}
}

// order: the plugins of a rule and of a backendRef run at their places.
func (w *world) order(t *testing.T) {
	for path, want := range map[string]struct{ a, b, order, path string }{
		"/order": {"second", "first", "plugin", "/rewritten"},
		"/last":  {"", "last", "modifier", "/last"},
	} {
		_, r, body := ask(t, path, http.Header{})
		var got struct {
			Path    string
			Headers map[string][]string
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%d %s: %v", r.StatusCode, body, err)
		}
		if a, b := strings.Join(got.Headers["X-A"], ","), strings.Join(got.Headers["X-B"], ","); a != want.a || b != want.b || got.Path != want.path {
			t.Errorf("%s: the Service got X-A %q, X-B %q, path %s; want %+v", path, a, b, got.Path, want)
		}
		if order := r.Header.Get("X-Order"); order != want.order {
			t.Errorf("%s: X-Order: got %q; want %q", path, order, want.order)
		}
	}
}
