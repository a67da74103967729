package proxywasm

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
	"penstock.dev/penstock/conformance/plain"
	"penstock.dev/penstock/conformance/sdks"
)

// TestSDKCapabilities: the functions of ratelimit, kv, crypto and compress do the same in each
// language, and say the same where a plugin was not granted them.
func TestSDKCapabilities(t *testing.T) { eachSDK(t, testCapabilities) }

func testCapabilities(t *testing.T, s *sdks.SDK) {
	layout, manifest := t.TempDir(), filepath.Join(t.TempDir(), "plugin.json")
	if err := os.WriteFile(manifest, []byte(`{"abi": "proxy-wasm", "capabilities": ["ratelimit", "kv", "crypto", "compress"], "multiConfig": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	module := s.Guest(t, "capabilities")
	harness.Pack(t, layout, "able", module, "--manifest", manifest)
	harness.Pack(t, layout, "unable", module)
	port := harness.Upstream(t, harness.Echo)
	files := map[string]string{"gateway.yaml": strings.ReplaceAll(harness.GatewayFor(1), "capabilities: [consumer]", "capabilities: [ratelimit, kv, crypto, compress]")}
	for _, name := range []string{"able", "unable"} {
		files[name+".yaml"] = harness.Service(name, "- image: test.example/plugins/"+name+":1"+guestLimits, port)
	}
	p := harness.Start(t, harness.Options{Images: []string{layout}, Files: files})
	for name := range files {
		if name, ok := strings.CutSuffix(name, ".yaml"); ok && name != "gateway" {
			p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
		}
	}
	ask := func(path, what, with string) string {
		t.Helper()
		r, body := do(t, "GET", p.URL+path, "", http.Header{"X-Do": {what}, "X-With": {with}})
		if r.StatusCode != 200 {
			t.Errorf("%s %s: got %d", what, with, r.StatusCode)
		}
		return body
	}
	const refused = "the proxy refused: "
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte("text")))
	for _, test := range []struct{ what, with, want string }{
		{"rate", "a", "true 1 true false"},
		{"rate", "a", "true 0 true false"},
		{"rate", "a", "false 0 true true"},
		{"rate", "b", "true 1 true false"},
		{"rate", "", refused + "bad argument"},
		{"window", "a", "true 0 true false"},
		{"window", "a", "false 0 true true"},
		{"shared", "a", refused + "unimplemented"}, // there is no Redis
		{"kv", "a", "ok; value; true; " + refused + "compare and swap mismatch; " + refused + "parse failure; ok; false; 5 ok; -2 ok; ok; " + refused + "bad argument"},
		{"crypto", "text", "32 ok; true; false; " + refused + "bad argument; " + refused + "bad argument; a secret for HS256 has 32 bytes, or more if it is for HS: this one 5; 28 ok; text true; false; " + digest + " ok; " + refused + "bad argument"},
		{"password", "open sesame", "true"},
		{"password", "open", "false"},
		{"password", "open sesame", "true"},
	} {
		if got := ask("/able", test.what, test.with); got != test.want {
			t.Errorf("%s %q: got  %q\nwant %q", test.what, test.with, got, test.want)
		}
	}
	testEncoding(t, p.URL)
	none := refused + "internal failure"
	for what, want := range map[string]string{
		"rate": none, "window": none, "shared": none, "crypto": none, "password": none,
		"encode": none + "; " + none + "; " + refused + "bad argument; " + none + "; " + refused + "bad argument; " + none,
		"kv":     none + "; ; false; " + none + "; " + none + "; " + none + "; false; 0 " + none + "; 0 " + none + "; " + none + "; " + refused + "bad argument",
	} {
		if got := ask("/unable", what, "a"); got != want {
			t.Errorf("%s without the right: got  %q\nwant %q", what, got, want)
		}
	}
}

// testEncoding: a plugin has its own answer encoded, and calls that come at a wrong time are
// refused.
func testEncoding(t *testing.T, url string) {
	const want = "the proxy refused: empty; the proxy refused: not found; the proxy refused: bad argument; the proxy refused: empty; the proxy refused: bad argument; the proxy refused: bad argument"
	for coding, said := range map[string]string{"gzip": "ok", "br": "ok", "zstd": "ok", "foo": "the proxy refused: not found"} {
		r, body := do(t, "GET", url+"/able", "", http.Header{"X-Do": {"encode"}, "X-With": {coding}, "Accept-Encoding": {coding}})
		if got := r.Header.Get("X-Said"); got != said || r.StatusCode != 200 {
			t.Errorf("%s: got %d, %q; want %q", coding, r.StatusCode, got, said)
			continue
		}
		encoded := ""
		if said == "ok" {
			encoded = coding
		}
		if got := r.Header.Get("Content-Encoding"); got != encoded {
			t.Errorf("%s: Content-Encoding %q", coding, got)
		}
		if got := plain.Text(t, encoded, body); got != want {
			t.Errorf("%s: got %q; want %q", coding, got, want)
		}
	}
}
