package oidc

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

const (
	mail = "reader@shop.example"
	// password and its hash by bcrypt, as dex wants it.
	password     = "password"
	passwordHash = "$2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W"
)

// dex is a running dex, seen through a proxy that counts.
type dex struct {
	port      int // of the proxy
	refreshes atomic.Int64
	refused   atomic.Int64
}

// startDex runs dex as http://dex/dex, with tokens that live for some seconds.
func startDex(t *testing.T, redirects ...string) *dex {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "dex")
	build := exec.Command("go", "build", "-C", "../../tools/dex", "-o", program, "github.com/dexidp/dex/cmd/dex")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	port := harness.FreePort(t)
	config := fmt.Sprintf(`
issuer: http://dex/dex
storage: {type: memory}
web: {http: "127.0.0.1:%d"}
expiry: {idTokens: 4s, refreshTokens: {reuseInterval: 0s}}
oauth2: {skipApprovalScreen: true}
enablePasswordDB: true
staticPasswords: [{email: %q, hash: %q, username: reader, userID: "1234"}]
staticClients: [{id: shop, secret: hush/hush, name: shop, redirectURIs: [%s]}]
`, port, mail, passwordHash, strings.Join(redirects, ", "))
	file := filepath.Join(dir, "dex.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	c := exec.Command(program, "serve", file)
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait() // ended by a signal
		if t.Failed() {
			t.Logf("dex:\n%s", log.String())
		}
	})
	address := fmt.Sprintf("http://127.0.0.1:%d", port)
	until(t, "dex is there", func() bool {
		r, err := http.Get(address + "/dex/healthz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	d := &dex{}
	d.port = harness.Upstream(t, d.counts(t, address))
	return d
}

// counts is a proxy to dex.
func (d *dex) counts(t *testing.T, address string) http.HandlerFunc {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return (&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Request.URL.Path != "/dex/token" {
				return nil
			}
			if r.StatusCode != http.StatusOK {
				d.refused.Add(1)
			}
			d.refreshes.Add(1) // and logins, which come first
			return nil
		},
	}).ServeHTTP
}

// page is what the shop shows to a browser.
func page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!doctype html><title>shop</title><p>%s for %s, mail %s, cookies %q</p>", r.URL.Path, r.Header.Get("X-Consumer-Username"), r.Header.Get("X-Email"), r.Header["Cookie"])
}

// fill fills in dex's form.
func (p *tab) fill() {
	p.t.Helper()
	p.shows("http://dex/dex/", "submit-login")
	p.eval(`(document.querySelector("#login").value = "` + mail + `", document.querySelector("#password").value = "` + password + `", document.querySelector("#submit-login").click())`)
}

// TestBrowser: a person logs in at dex with a browser, over TLS, and stays so until they log
// out.
func TestBrowser(t *testing.T) {
	harness.Long(t)
	const origin = "https://shop.test"
	d := startDex(t, origin+"/shop/callback", origin+"/strict/callback")
	crt, key := harness.Pair(t, "shop.test")
	_, spki := harness.Leaf(t, crt)
	port := harness.Upstream(t, page)
	p := harness.Start(t, harness.Options{Images: []string{harness.BundledPlugins(t)}, Files: map[string]string{
		"gateway.yaml": harness.SecureGateway(1),
		"edge.yaml":    harness.SecretOf("edge", crt, key),
		"secret.yaml":  pluginSecret,
		"dex.yaml":     harness.Service("dex", "", d.port),
		"shop.yaml":    harness.Service("shop", entry("shop", "http://dex/dex", ", scopes: [openid, email, offline_access], consumer: {claim: email}, claimsToHeaders: {email: X-Email}"), port),
		"strict.yaml":  harness.Service("strict", entry("strict", "http://dex/dex", ", scopes: [openid, email], consumer: {claim: email}, cookie: {name: s, sameSite: strict}"), port),
	}})
	for _, name := range []string{"shop", "strict"} {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/"+name).State == "Running" })
	}
	b := startBrowser(t, fmt.Sprintf("MAP shop.test 127.0.0.1:%d, MAP dex 127.0.0.1:%d", p.Port, d.port), spki)

	one, two := b.open(), b.open()
	one.visit(origin + "/shop/one?a=b")
	one.shows("http://dex/dex/", "submit-login")
	two.visit(origin + "/shop/two")
	two.fill()
	two.shows(origin+"/shop/two", "/shop/two for "+mail+", mail "+mail+", cookies []")
	one.fill() // which began first
	one.shows(origin+"/shop/one?a=b", "/shop/one for "+mail)
	had := checkCookies(one, origin)

	one.visit(origin + "/shop/three")
	one.shows(origin+"/shop/three", "for "+mail)
	refreshed(t, one, d)

	one.must(one.session, "Network.setCookie", map[string]any{"url": origin, "name": had.Name, "value": "1." + strings.Repeat("A", len(had.Value)-2), "secure": true, "httpOnly": true, "path": "/"}, nil)
	one.visit(origin + "/shop/four")
	one.fill()
	one.shows(origin+"/shop/four", "for "+mail)

	one.visit(origin + "/shop/logout")
	one.shows(origin+"/shop/logout", "You are logged out.")
	if left := one.cookies(origin); len(left) > 0 {
		t.Errorf("after the logout the browser has %v", left)
	}
	two.visit(origin + "/shop/two")
	two.shows("http://dex/dex/", "submit-login")
	two.visit(origin + "/strict/one?a=b")
	two.fill()
	two.shows(origin+"/strict/one?a=b", "/strict/one for "+mail)
	if all := two.cookies(origin); len(all) != 2 || all[0].SameSite != "Lax" && all[1].SameSite != "Lax" || all[0].SameSite != "Strict" && all[1].SameSite != "Strict" {
		t.Errorf("the browser has %v; want a login of the first Service and a session of the other", all)
	}
	if n := d.refused.Load(); n > 0 {
		t.Errorf("dex refused %d times", n)
	}
}

// checkCookies looks at what the browser keeps of a login.
func checkCookies(p *tab, origin string) cookie {
	p.t.Helper()
	all := p.cookies(origin)
	if len(all) != 1 {
		p.t.Fatalf("the browser has %v", all)
	}
	c := all[0]
	if c.Name != "__Host-oidc" || !c.Secure || !c.HTTPOnly || c.SameSite != "Lax" || c.Path != "/" || c.Domain != "shop.test" {
		p.t.Errorf("the browser has %+v", c)
	}
	if seen := p.eval("document.cookie"); seen != "" {
		p.t.Errorf("scripts see %q", seen)
	}
	return c
}

// refreshed has a page fetch others until their tokens were refreshed twice, many at once.
func refreshed(t *testing.T, p *tab, d *dex) {
	t.Helper()
	before, began := d.refreshes.Load(), time.Now()
	until(t, "the tokens are refreshed", func() bool {
		got := p.eval(`Promise.all([1,2,3,4,5,6,7,8].map(i => fetch("/shop/fetch/" + i).then(r => r.status))).then(all => all.join(" "))`)
		if got != "200 200 200 200 200 200 200 200" {
			t.Fatalf("got %q", got)
		}
		return d.refreshes.Load() >= before+2
	})
	if n, most := d.refreshes.Load()-before, int64(time.Since(began)/(4*time.Second))+2; n > most {
		t.Errorf("%d refreshes; want %d at most", n, most)
	}
}
