package otherhost

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mosn.io/proxy-wasm-go-host/proxywasm/common"
	"mosn.io/proxy-wasm-go-host/proxywasm/v1"
)

// exchange is what the host hands to a plugin, and what that does with it.
type exchange struct {
	v1.DefaultImportsHandler
	config            string
	request, response common.CommonHeader
	logs              []string
	status            int32 // of the plugin's own answer; 0: none
	answer            common.HeaderMap
}

func (x *exchange) Log(_ v1.LogLevel, text string) v1.WasmResult {
	x.logs = append(x.logs, text)
	return v1.WasmResultOk
}

func (x *exchange) GetPluginConfig() common.IoBuffer {
	return common.NewIoBufferBytes([]byte(x.config))
}

func (x *exchange) GetHttpRequestHeader() common.HeaderMap  { return x.request }
func (x *exchange) GetHttpResponseHeader() common.HeaderMap { return x.response }

func (x *exchange) GetProperty(name string) (string, v1.WasmResult) {
	if strings.TrimSuffix(strings.ReplaceAll(name, "\x00", "."), ".") == "source.address" {
		return "192.0.2.10:4711", v1.WasmResultOk
	}
	return "", v1.WasmResultNotFound
}

// CallForeignFunction has none: as Envoy says it.
func (x *exchange) CallForeignFunction(string, []byte) ([]byte, v1.WasmResult) {
	return nil, v1.WasmResultNotFound
}

func (x *exchange) SendHttpResp(status int32, _, _ common.IoBuffer, headers common.HeaderMap, _ int32) v1.WasmResult {
	x.status, x.answer = status, headers
	return v1.WasmResultOk
}

// register adds what 0.2.1 names otherwise than 0.1.0.
func register(i common.WasmInstance) {
	v1.RegisterImports(i)
	for name, f := range map[string]any{
		"proxy_send_local_response": v1.ProxySendHttpResponse,
		"proxy_get_log_level": func(i common.WasmInstance, at int32) int32 {
			if i.PutUint32(uint64(at), uint32(v1.LogLevelInfo)) != nil {
				return v1.WasmResultInvalidMemoryAccess.Int32()
			}
			return v1.WasmResultOk.Int32()
		},
	} {
		_ = i.RegisterFunc("env", name, f)
	}
}

// tests are the plugins of the catalogue: what becomes of a request there.
var tests = map[string]struct {
	config  string
	refused string // a part of what is logged if it does not start there
	method  string // GET
	request map[string]string
	status  int32 // of its own answer; 0: the request goes on
	traps   bool  // instead of an answer
	// sent, answered are fields afterwards; "*": any value.
	sent, answered map[string]string
}{
	"acl":                {config: `{"deny": {"groups": ["a"]}}`, status: 403}, // nobody can be told from nobody: it cannot be known
	"authz":              {config: `{"allow": ["true"]}`, refused: "this proxy has no expressions"},
	"basic-auth":         {config: `{"users": [{"username": "app", "passwordHash": "$2a$04$FssefhEog8zzlV77fK6iD.fbSuvarTdzAUxZhIWrS2924pwmOidQS"}]}`, status: 401, answered: map[string]string{"www-authenticate": "*"}},
	"bot-detect":         {config: `{"deny": ["evil"]}`, request: map[string]string{"user-agent": "an Evil one"}, status: 403},
	"cache-rules":        {config: `{"rules": [{"ttl": "1m"}]}`, traps: true}, // there is no cache to steer; a bypass that got lost would be worse
	"canary":             {config: `{"header": "X-Choice"}`, request: map[string]string{"x-choice": "always"}, sent: map[string]string{"x-canary": "true"}},
	"compress":           {config: `{}`, request: map[string]string{"accept-encoding": "gzip"}},
	"cors":               {config: `{"origins": ["https://app.example"]}`, request: map[string]string{"origin": "https://app.example"}, answered: map[string]string{"access-control-allow-origin": "https://app.example"}},
	"csrf":               {config: `{}`, method: "POST", request: map[string]string{"sec-fetch-site": "cross-site"}, status: 403},
	"decompress":         {config: `{}`, method: "POST", request: map[string]string{"content-encoding": "gzip"}, status: 415},
	"ext-authz":          {config: `{"http": {"url": "http://auth/verify"}}`, status: 503},
	"ip-restriction":     {config: `{"deny": ["192.0.2.0/24"]}`, status: 403},
	"jwt":                {config: `{"jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}}`, refused: "jwks"},
	"key-auth":           {config: `{"keys": [{"key": "12345678", "consumer": "shop"}]}`, request: map[string]string{"x-api-key": "87654321"}, status: 401},
	"mock":               {config: `{"rules": [{"path": {"exact": "/a"}, "body": "ok", "status": 202}]}`, status: 202},
	"oidc":               {config: `{"issuer": "https://id.example.com", "clientId": "shop", "secret": "0123456789abcdef0123456789abcdef"}`, refused: "config.secret"}, // it cannot seal
	"mtls-auth":          {config: `{"clients": [{"name": "cart", "dns": "cart.example"}]}`, status: 403},
	"rate-limit":         {config: `{"limit": 1, "window": "10s"}`, status: 503},                                                                                             // it cannot count there, and does not let pass what it has not counted
	"redirect":           {config: `{"rules": [{"from": {"exact": "/a"}, "to": "/another/place"}]}`, status: 308, answered: map[string]string{"location": "/another/place"}}, // that host loses a last value that is shorter than its name
	"request-id":         {config: `{}`, sent: map[string]string{"x-request-id": "*"}},
	"request-size-limit": {config: `{"maxBodyBytes": 10}`, method: "POST", request: map[string]string{"content-length": "11"}, status: 413},
	"security-headers":   {config: `{}`, answered: map[string]string{"x-content-type-options": "nosniff"}},
	"transform":          {config: `{"request": {"headers": {"set": {"x-new": "1"}}}}`, sent: map[string]string{"x-new": "1"}},
}

// untried are not run there, and why.
var untried = map[string]string{
	"waf": "24 MB, whose start takes minutes without a compiler",
}

// TestCatalogue: the bundled plugins start on the other host, and do what it has the means
// for; they say so, and let nothing pass, where it has not.
func TestCatalogue(t *testing.T) {
	folders, err := filepath.Glob("../../plugins-src/*/plugin.json")
	if err != nil || len(folders) < 16 {
		t.Fatalf("%d plugins, %v", len(folders), err)
	}
	for _, folder := range folders {
		name := filepath.Base(filepath.Dir(folder))
		test, there := tests[name]
		if _, not := untried[name]; there == not {
			t.Errorf("%s: say what becomes of it there", name)
		}
		if !there {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			module := filepath.Join("..", "..", "build", name+".wasm")
			if _, err := os.Stat(module); os.IsNotExist(err) && os.Getenv("PENSTOCK_SKIP_TOOLCHAINS") != "" {
				t.Skip("it was not built: its toolchain is not installed")
			}
			x := &exchange{config: test.config, request: common.CommonHeader{":method": "GET", ":path": "/a", ":authority": "shop.example", ":scheme": "https"}, response: common.CommonHeader{":status": "200", "content-type": "text/plain"}}
			if test.method != "" {
				x.request[":method"] = test.method
			}
			maps.Copy(x.request, test.request)
			host := &v1.ABIContext{Imports: x}
			host.Instance = load(t, module, register, host)

			const root, stream = 1, 2
			must(t, host.ProxyOnContextCreate(root, 0))
			if ok, err := host.ProxyOnVmStart(root, 0); err != nil || ok != 1 {
				t.Fatalf("it does not start: %d, %v, %q", ok, err, x.logs)
			}
			ok, err := host.ProxyOnConfigure(root, int32(len(x.config)))
			if test.refused != "" {
				if said := slices.ContainsFunc(x.logs, func(s string) bool { return strings.Contains(s, test.refused) }); err != nil || ok != 0 || !said {
					t.Errorf("got %d, %v, %q; want that it is refused, and %q", ok, err, x.logs, test.refused)
				}
				return
			}
			if err != nil || ok != 1 {
				t.Fatalf("its configuration is refused: %d, %v, %q", ok, err, x.logs)
			}
			must(t, host.ProxyOnContextCreate(stream, root))
			end := int32(1)
			if test.method == "POST" {
				end = 0
			}
			_, err = host.ProxyOnRequestHeaders(stream, int32(len(x.request)), end)
			if test.traps {
				if err == nil || x.status != 0 {
					t.Errorf("it goes on: %d", x.status)
				}
				return
			}
			must(t, err)
			if x.status != test.status {
				t.Errorf("its answer is %d; want %d; %q", x.status, test.status, x.logs)
			}
			if x.status == 0 {
				if _, err := host.ProxyOnResponseHeaders(stream, int32(len(x.response)), 1); err != nil {
					t.Fatal(err)
				}
				x.answer = x.response
			}
			has(t, "the request", x.request, test.sent)
			has(t, "the answer", x.answer, test.answered)
			if ok, err := host.ProxyOnDone(stream); err != nil || ok != 1 {
				t.Errorf("done: %d, %v", ok, err)
			}
			if _, err := host.Instance.GetExportsFunc("proxy_on_log"); err == nil { // a plugin may have none
				must(t, host.ProxyOnLog(stream))
			}
			must(t, host.ProxyOnDelete(stream))
		})
	}
}

// has checks some fields of a message; names in any case.
func has(t *testing.T, what string, m common.HeaderMap, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	m.Range(func(name, value string) bool {
		got[strings.ToLower(name)] = value
		return true
	})
	for name, value := range want {
		if have, ok := got[name]; !ok || value != "*" && have != value {
			t.Errorf("%s: %s: got %q, %v; want %q", what, name, have, ok, value)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
