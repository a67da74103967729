package proxywasm

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// TestExpressionsOfAPlugin: a plugin of the public SDK evaluates CEL over the
// attributes of an exchange; a text that is none is a bad configuration.
func TestExpressionsOfAPlugin(t *testing.T) {
	expressions := map[string]struct{ text, request, response string }{
		"plain":   {`request.method + ' ' + request.url_path + '?' + request.query`, "GET /plain/x?a=b", "GET /plain/x?a=b"},
		"choice":  {`request.headers['x-plan'] == 'gold' && !has(request.referer) ? 'fast' : 'slow'`, "fast", "fast"},
		"loop":    {`request.headers.exists(h, h.startsWith('x-p')) ? 'there' : 'not'`, "there", "there"},
		"number":  {`string(source.port > 0) + ' ' + string(request.size)`, "true 0", "true 0"},
		"answer":  {`string(response.code)`, "error status returned by host: internal failure", "200"},
		"service": {`cluster_name + ' ' + route_name`, "outbound|80||service.default.svc.cluster.local HTTPRoute/default/service/0", "outbound|80||service.default.svc.cluster.local HTTPRoute/default/service/0"},
	}
	layout, port := t.TempDir(), harness.Upstream(t, harness.Echo)
	harness.Pack(t, layout, "expression", harness.Guest(t, "guests/expression"))
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1)}
	entry := func(text string) string {
		return fmt.Sprintf("- image: test.example/plugins/expression:1\n  config: %q", text)
	}
	for name, e := range expressions {
		files[name+".yaml"] = harness.Service(name, entry(e.text), port)
	}
	files["broken.yaml"] = harness.Service("broken", entry("request.method +"), port)
	p := harness.Start(t, harness.Options{Files: files, Images: []string{layout}})
	for name, e := range expressions {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
		response, _ := do(t, http.MethodGet, p.URL+"/"+name+"/x?a=b", "", http.Header{"X-Plan": {"gold"}})
		if got := response.Header.Get("X-Got-X-Expression"); got != e.request {
			t.Errorf("%s: got %q for the request; want %q", name, got, e.request)
		}
		if got := response.Header.Get("X-Expression"); got != e.response {
			t.Errorf("%s: got %q for the response; want %q", name, got, e.response)
		}
	}
	p.Eventually("the broken one is refused", func() bool { return strings.Contains(fmt.Sprint(p.Chain("Service/default/broken")), "InvalidConfig") })
}
