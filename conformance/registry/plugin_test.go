package registry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// command runs penstock plugin with a home of its own.
func command(t *testing.T, home string, args ...string) (out string, ok bool) {
	t.Helper()
	c := exec.Command(harness.Binary(t), append([]string{"plugin"}, args...)...)
	c.Env = append(os.Environ(), "HOME="+home, "DOCKER_CONFIG="+filepath.Join(home, ".docker"), "XDG_CACHE_HOME="+filepath.Join(home, ".cache"))
	text, err := c.CombinedOutput()
	return strings.TrimSpace(string(text)), err == nil
}

// pair writes a key and its public half.
func pair(t *testing.T, kind string) (private, public string) {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private = write("key.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(key.Public())
	return private, write("public.pem", "PUBLIC KEY", der, err)
}

// TestPluginPush: what penstock plugin push, sign and verify do with a real registry, and
// what a policy that asks for signatures says to it.
func TestPluginPush(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	home, upstream := t.TempDir(), harness.Upstream(t, harness.Echo)
	local := []string{"--local-registry", r.host()}
	do := func(want bool, args ...string) string {
		t.Helper()
		out, ok := command(t, home, append(args, local...)...)
		if ok != want {
			t.Fatalf("plugin %q: got %s", args, out)
		}
		return out
	}
	folder, module := "../../plugins-src/transform", harness.BundledModule(t, "transform")
	files := map[string]string{}
	policy := strings.Replace(harness.GatewayFor(r.port), fmt.Sprintf(`    - {prefix: "127.0.0.1:%d/plugins", unsigned: true, allowTags: true}`+"\n", r.port), "", 1)
	trusted := ""
	for _, kind := range []string{"ecdsa", "rsa", "ed25519"} {
		private, public := pair(t, kind)
		_, other := pair(t, kind)
		name := r.host() + "/" + kind + "/transform:1"
		pushed := do(true, "push", name, folder, "--module", module, "--key", private)
		if !strings.HasPrefix(pushed, name+"@sha256:") {
			t.Fatalf("push says %q", pushed)
		}
		if again := do(true, "push", name, folder, "--module", module); again != pushed {
			t.Errorf("pushed again: got %s; want %s", again, pushed)
		}
		do(true, "verify", name, "--key", public)
		do(true, "verify", name, "--key", other, "--key", public)
		if out := do(false, "verify", name, "--key", other); !strings.Contains(out, "signature invalid") {
			t.Errorf("another key: got %s", out)
		}
		text, err := os.ReadFile(public)
		if err != nil {
			t.Fatal(err)
		}
		trusted += fmt.Sprintf("    - {prefix: %s/%s, allowTags: true, signedBy: [{publicKey: %q}]}\n", r.host(), kind, text)
		files[kind+".yaml"] = harness.Service(kind, annotation(pushed), upstream)

		later := r.host() + "/" + kind + "/later:1"
		do(true, "push", later, folder, "--module", module)
		do(false, "verify", later, "--key", public)
		first, _ := pair(t, kind) // a signature that is there stays
		do(true, "sign", later, "--key", first)
		do(true, "sign", later, "--key", private)
		do(true, "verify", later, "--key", public)
	}
	files["gateway.yaml"] = strings.Replace(policy, "  capabilities:", trusted+"  capabilities:", 1)
	p := harness.Start(t, harness.Options{Files: files, LocalRegistry: r.host()})
	for _, kind := range []string{"ecdsa", "rsa", "ed25519"} {
		state(t, p, kind, 200, "")
	}
	said := do(true, "inspect", r.host()+"/rsa/transform:1")
	for _, want := range []string{"ABI           proxy-wasm 0.2.1", "multiConfig   yes", "env.proxy_log", "proxy_on_request_headers", "image         " + r.host() + "/rsa/transform@sha256:"} {
		if !strings.Contains(said, want) {
			t.Errorf("inspect: got %s; want %q", said, want)
		}
	}

	for what, args := range map[string][]string{
		"an image is pushed under a tag": {"push", r.host() + "/a/b@sha256:" + strings.Repeat("0", 64), folder, "--module", module},
		"no such file":                   {"push", r.host() + "/a/b:1", folder, "--module", "none.wasm"},
		"want a private key in PEM":      {"push", r.host() + "/a/b:1", folder, "--module", module, "--key", "plugin_test.go"},
		"want a public key in PEM":       {"verify", r.host() + "/rsa/transform:1", "--key", "plugin_test.go"},
		"not in the registry":            {"inspect", r.host() + "/none/none:1"},
		"no plugin is here":              {"push", r.host() + "/a/b:1", t.TempDir()},
		"the registry does not take the": {"push", "127.0.0.1:1/a/b:1", folder, "--module", module, "--local-registry", "127.0.0.1:1"},
		`required flag(s) "key" not set`: {"sign", r.host() + "/rsa/transform:1"},
	} {
		if out := do(false, args...); !strings.Contains(out, what) {
			t.Errorf("%q: got %s; want %q", args, out, what)
		}
	}
}

// TestPluginPushLogsIn: a registry that asks for a password gets that of docker login.
func TestPluginPushLogsIn(t *testing.T) {
	t.Parallel()
	r := newPrivateRegistry(t)
	home := t.TempDir()
	args := []string{"push", r.host() + "/shop/transform:1", "../../plugins-src/transform", "--module", harness.BundledModule(t, "transform"), "--local-registry", r.host()}
	if out, ok := command(t, home, args...); ok || !strings.Contains(out, "docker login "+r.host()) {
		t.Errorf("without a login: got %s", out)
	}
	login := func(password string) {
		text := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, r.host(), base64.StdEncoding.EncodeToString([]byte("penstock:"+password)))
		if err := os.MkdirAll(filepath.Join(home, ".docker"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, ".docker", "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	login("wrong")
	if out, ok := command(t, home, args...); ok || !strings.Contains(out, "forbidden") {
		t.Errorf("with a wrong password: got %s", out)
	}
	login("right")
	if out, ok := command(t, home, args...); !ok {
		t.Errorf("with the login: got %s", out)
	}
}
