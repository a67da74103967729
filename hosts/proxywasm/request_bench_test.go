package proxywasm

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability/compress"
	"penstock.dev/penstock/hosts/capability/consumer"
	"penstock.dev/penstock/hosts/capability/ratelimit"
)

// bundledPlugin builds a plugin of plugins-src and starts it with this config. One in Rust
// is built by make plugins.
func bundledPlugin(tb testing.TB, name, conf string) *Filter {
	tb.Helper()
	if _, err := os.Stat("../../plugins-src/" + name + "/Cargo.toml"); err == nil {
		wasm, err := os.ReadFile("../../build/" + name + ".wasm")
		if err != nil {
			tb.Skipf("%v: run make plugins first", err)
		}
		return pluginOf(tb, wasm, conf)
	}
	out := filepath.Join(tb.TempDir(), name+".wasm")
	c := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	c.Dir = "../../plugins-src/" + name
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := c.CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		tb.Fatal(err)
	}
	return pluginOf(tb, wasm, conf)
}

// pluginOf starts a plugin with this config.
func pluginOf(tb testing.TB, wasm []byte, conf string) *Filter {
	tb.Helper()
	m := telemetry.New()
	e, err := sandbox.New(sandbox.Options{Dir: filepath.Join(tb.TempDir(), "compiled")}, zap.NewNop(), m)
	if err != nil {
		tb.Fatal(err)
	}
	module, err := e.Load(tb.Context(), wasm)
	if err != nil {
		tb.Fatal(err)
	}
	who := new(consumer.Index)
	who.Apply(config.OverlayOf(map[string]*config.Consumer{"ns/bench": {
		Namespace: "ns", Name: "bench", Username: "bench", Credentials: []config.Credential{{Type: "key-auth", ID: config.CredentialID("key-auth", []byte("benchmark-key"))}},
	}}), nil)
	f, err := New(Options{Log: zap.NewNop(), Metrics: m, Consumers: who, Rates: ratelimit.New(ratelimit.Options{}), Recoder: compress.New(1<<30, m)}).Start(tb.Context(), module, &config.Filter{
		Part: "service", Name: "plugin", Owner: config.Object{Kind: "Service", Namespace: "ns", Name: "svc"}, Namespace: "ns",
		Config: []byte(conf), Limits: config.DefaultLimits(),
	}, config.Loaded{Grant: []string{"consumer", "ratelimit", "compress", "crypto"}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close(context.Background()); _ = e.Close() })
	return f
}

func benchmarkRequest(b *testing.B, f *Filter) { benchmarkRequests(b, f, nil) }

// benchmarkRequests is benchmarkRequest with one of these values of Authorization each.
func benchmarkRequests(b *testing.B, f *Filter, authorization [][]byte) {
	n := 0
	x := &exchange.Exchange{Conn: &exchange.Conn{ID: 1, Remote: netip.MustParseAddrPort("192.0.2.1:1"), RemoteIP: []byte("192.0.2.1")}}
	w := &filter.Waker{}
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.Start = time.Unix(0, 0)
		x.Request.Method, x.Request.Path, x.Request.Authority, x.Request.Scheme = []byte("GET"), []byte("/1k"), []byte("a.example"), []byte("http")
		x.Request.Header.Add([]byte("Accept"), []byte("*/*"))
		x.Request.Header.Add([]byte("X-API-Key"), []byte("benchmark-key"))
		if len(authorization) > 0 {
			x.Request.Header.Add([]byte("Authorization"), authorization[n%len(authorization)])
			n++
		}
		x.FindClient(false)
		s, err := f.Begin(x, w)
		if err != nil {
			b.Fatal(err)
		}
		if v, err := s.RequestHeaders(true); v != filter.Continue || err != nil {
			b.Fatal(v, err)
		}
		x.Response.Status = 200
		x.Response.Header.Add([]byte("Content-Type"), []byte("text/plain"))
		if f.Callbacks()&filter.OnResponseHeaders != 0 { // as a chain does
			if v, err := s.ResponseHeaders(false); v != filter.Continue || err != nil {
				b.Fatal(v, err)
			}
		}
		if f.Callbacks()&filter.OnResponseBody != 0 {
			buf := &filter.Buffer{Data: make([]byte, 1024)}
			if v, err := s.ResponseBody(buf, true); v != filter.Continue || err != nil {
				b.Fatal(v, err)
			}
		}
		s.Done()
	}
}

// BenchmarkGuest is all that the header plugins of bench/ (bench/run.sh builds them) cost
// one exchange, but for what the network takes: by hand in C, on our SDKs, on public ones.
func BenchmarkGuest(b *testing.B) {
	for _, name := range []string{"c", "sdk-c", "sdk-rust", "sdk-go", "sdk-assemblyscript", "go", "assemblyscript"} {
		wasm, err := os.ReadFile(filepath.Join("..", "..", "bench", "out", name+".wasm"))
		if err != nil {
			b.Logf("%v: bench/run.sh builds it", err)
			continue
		}
		b.Run(name, func(b *testing.B) { benchmarkRequest(b, pluginOf(b, wasm, "")) })
	}
}

// BenchmarkPlugin is all that a bundled plugin costs one exchange, but for what the network
// takes.
func BenchmarkPlugin(b *testing.B) {
	for _, plugin := range []struct{ name, config string }{
		{"key-auth", `{"keys":[{"key":"benchmark-key","consumer":"bench"}]}`},
		{"key-auth", `{"consumers":{}}`}, // with a key of a Consumer object
		{"ip-restriction", `{"allow":["127.0.0.0/8","192.0.2.0/24"]}`},
		{"cors", `{"origins":["https://app.example.com"]}`},
		{"rate-limit", `{"limit":1000000000,"window":"1m"}`},
		{"compress", `{}`},
		{"transform", `{"request":{"headers":{"set":{"X-Edge":"1"}}},"response":{"headers":{"set":{"X-Served-By":"penstock"}}}}`},
	} {
		b.Run(plugin.name, func(b *testing.B) { benchmarkRequest(b, bundledPlugin(b, plugin.name, plugin.config)) })
	}
}

// BenchmarkToken is what jwt takes for a token that it has seen before, and for one that it
// has not; and what Go's crypto alone takes for the latter.
func BenchmarkToken(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	const many = 8192 // more than jwt remembers
	tokens, messages, signatures := make([][]byte, many), make([][]byte, many), make([][]byte, many)
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"a"}`))
	for i := range tokens {
		claims := fmt.Sprintf(`{"iss":"https://id.example.com","aud":"shop","sub":"app","scope":"cart:read","jti":"%d","exp":4102444800}`, i)
		messages[i] = []byte(head + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)))
		sum := sha256.Sum256(messages[i])
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			b.Fatal(err)
		}
		if signatures[i], err = ecdsa.SignASN1(rand.Reader, key, sum[:]); err != nil {
			b.Fatal(err)
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		tokens[i] = fmt.Appendf(nil, "Bearer %s.%s", messages[i], base64.RawURLEncoding.EncodeToString(signature))
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		b.Fatal(err)
	}
	x, y := base64.RawURLEncoding.EncodeToString(public[1:33]), base64.RawURLEncoding.EncodeToString(public[33:])
	conf := fmt.Sprintf(`{"issuer":"https://id.example.com","audience":"shop","consumer":{"claim":"sub"},"jwks":{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"%s","y":"%s"}]}}`, x, y)
	b.Run("seen", func(b *testing.B) { benchmarkRequests(b, bundledPlugin(b, "jwt", conf), tokens[:1]) })
	b.Run("new", func(b *testing.B) { benchmarkRequests(b, bundledPlugin(b, "jwt", conf), tokens) })
	b.Run("crypto", func(b *testing.B) {
		n := 0
		for b.Loop() {
			sum := sha256.Sum256(messages[n%many])
			if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], signatures[n%many]) {
				b.Fatal("wrong")
			}
			n++
		}
	})
}

// BenchmarkHostCall is one call of a host function with five arguments.
func BenchmarkHostCall(b *testing.B) {
	const calls = 1000
	g := minimal()
	g.asks("proxy_get_buffer_bytes", "iiiii")
	g.has("proxy_on_request_headers", "iii", 1, // for n times: get_buffer_bytes(99, 0, 0, 0, 0)
		0x03, 0x40, 0x41, 0xe3, 0, 0x41, 0, 0x41, 0, 0x41, 0, 0x41, 0, 0x10, 0, 0x1a,
		0x20, 1, 0x41, 1, 0x6b, 0x22, 1, 0x0d, 0, 0x0b, 0x41, 0)
	bed := start(b, g.complete(), nil)
	if bed.err != nil {
		b.Fatal(bed.err)
	}
	r, err := bed.f.acquire()
	if err != nil {
		b.Fatal(err)
	}
	defer r.v.i.Unlock()
	stack, budget := make([]uint64, 3), &sandbox.Budget{Call: 1 << 40}
	b.ReportAllocs()
	for b.Loop() {
		stack[0], stack[1], stack[2] = 2, calls, 0
		if err := r.v.i.Call(r.v.fn.requestHeaders, budget, stack); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/calls, "ns/call")
}
