package oidc

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/conformance/harness"
)

const secret = "clientSecret: hush/hush\nsecret: 0123456789abcdef0123456789abcdef"

// pluginSecret is the Secret that entries name.
var pluginSecret = "apiVersion: v1\nkind: Secret\nmetadata: {name: login, labels: {penstock.dev/plugin-secret: \"true\"}}\nstringData:\n  oidc.yaml: |\n    " + strings.ReplaceAll(secret, "\n", "\n    ") + "\n"

// entry is the plugin on the Service of that name, below /name.
func entry(name, issuer, more string) string {
	return fmt.Sprintf("- use: oidc\n  config: {issuer: %q, clientId: shop, callbackPath: /%s/callback, logout: {path: /%s/logout}%s}\n  configFrom: [{secretKeyRef: {name: login, key: oidc.yaml}}]\n", issuer, name, name, more)
}

// visitor is a browser without scripts.
type visitor struct {
	t testing.TB
	*http.Client
	base string
}

func newVisitor(t testing.TB, base string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, &http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, base}
}

// get asks for a path; page: as for a page that is navigated to.
func (v *visitor) get(path string, page bool) (*http.Response, string) {
	r, body, err := v.try(path, page)
	if err != nil {
		v.t.Fatal(err)
	}
	return r, body
}

func (v *visitor) try(path string, page bool) (*http.Response, string, error) {
	r, err := http.NewRequest(http.MethodGet, v.base+path, nil)
	if err != nil {
		return nil, "", err
	}
	if page {
		r.Header.Set("Sec-Fetch-Mode", "navigate")
	}
	response, err := v.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

// login goes to a Service's page, and comes back from its provider, which needs no password.
// It returns the callback's response.
func (v *visitor) login(name string, p *provider) *http.Response {
	v.t.Helper()
	callback := v.leave(name, "/page?a=b", p)
	r, _ := v.get(callback, true)
	return r
}

// leave goes to a page, and returns the callback that the provider would lead to.
func (v *visitor) leave(name, page string, p *provider) (callback string) {
	v.t.Helper()
	r, body := v.get("/"+name+page, true)
	to, err := url.Parse(r.Header.Get("Location"))
	if err != nil || r.StatusCode != http.StatusFound || r.Header.Get("Cache-Control") != "no-store" {
		v.t.Fatalf("%s: got %d, %v, %s", name, r.StatusCode, err, body)
	}
	q := to.Query()
	want := map[string]string{"response_type": "code", "client_id": "shop", "redirect_uri": v.base + "/" + name + "/callback", "scope": "openid", "code_challenge_method": "S256"}
	for key, value := range want {
		if q.Get(key) != value {
			v.t.Errorf("%s: %s is %q; want %q", name, key, q.Get(key), value)
		}
	}
	if to.Path != "/auth" || len(q.Get("state")) != 43 || len(q.Get("nonce")) != 43 || len(q) != 8 {
		v.t.Errorf("%s: led to %s", name, to)
	}
	p.mu.Lock()
	p.challenges[q.Get("nonce")] = q.Get("code_challenge")
	p.mu.Unlock()
	return fmt.Sprintf("/%s/callback?code=%s&state=%s", name, q.Get("nonce"), q.Get("state"))
}

// shop shows who came.
func shop(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s consumer=%q cookies=%q", r.URL.RequestURI(), r.Header["X-Consumer-Username"], r.Header["Cookie"])
}

// bed is a proxy with a Service for each provider.
func bed(t *testing.T, providers map[string]*provider) *harness.Proxy {
	t.Helper()
	port := harness.Upstream(t, shop)
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1), "secret.yaml": pluginSecret}
	for name, p := range providers {
		files[name+".yaml"] = harness.Service(name, "", harness.Upstream(t, p.ServeHTTP))
		files["uses-"+name+".yaml"] = harness.Service("uses-"+name, entry("uses-"+name, p.issuer, ""), port)
	}
	p := harness.Start(t, harness.Options{Images: []string{harness.BundledPlugins(t)}, Files: files})
	for name := range providers {
		p.Eventually(name+" runs", func() bool { return p.Chain("Service/default/uses-"+name).State == "Running" })
	}
	return p
}

// TestLies: a provider that lies gets nobody in.
func TestLies(t *testing.T) {
	providers := map[string]*provider{}
	for name, l := range lies {
		providers[name] = newProvider(t, name, l.lie)
	}

	b := bed(t, providers)
	for name, l := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVisitor(t, b.URL)
			path := "/uses-" + name
			var r *http.Response
			if l.early {
				r, _ = v.get(path+"/page", true)
			} else {
				r = v.login("uses-"+name, providers[name])
			}
			if r.StatusCode != l.status || r.Header.Get("Location") != "" {
				t.Errorf("got %d %s; want %d", r.StatusCode, r.Header.Get("Location"), l.status)
			}
			if r, body := v.get(path+"/page", false); r.StatusCode != http.StatusUnauthorized {
				t.Errorf("it is let in: %d %s", r.StatusCode, body)
			}
		})
	}
	t.Cleanup(func() {
		if log := b.Log(); strings.Contains(log, "hush/hush") || strings.Contains(log, "eyJ") {
			t.Error("a secret or a token is in the log")
		}
	})
}

// TestLogin: who logs in is let in, until a cookie is another one.
func TestLogin(t *testing.T) {
	good := newProvider(t, "good", lie{})
	other := newProvider(t, "second", lie{})
	b := bed(t, map[string]*provider{"good": good, "second": other})
	v := newVisitor(t, b.URL)
	r := v.login("uses-good", good)
	if got := r.Header.Get("Location"); r.StatusCode != http.StatusFound || got != "/uses-good/page?a=b" {
		t.Fatalf("got %d %s", r.StatusCode, got)
	}
	_, body := v.get("/uses-good/page?a=b", true)
	if want := `/uses-good/page?a=b consumer=["reader"] cookies=[]`; body != want {
		t.Errorf("got %s; want %s", body, want)
	}
	address, err := url.Parse(b.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	cookies := v.Jar.Cookies(address)
	if len(cookies) != 1 || cookies[0].Name != "oidc" {
		t.Fatalf("the browser has %v", cookies)
	}
	value := cookies[0].Value
	ask := func(service, cookie string) int {
		r, err := http.NewRequest(http.MethodGet, b.URL+"/"+service, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", "oidc="+cookie)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for at := 0; at < len(value); at += 7 {
		c := byte('A')
		if value[at] == c {
			c = 'B'
		}
		if got := ask("uses-good", value[:at]+string(c)+value[at+1:]); got != http.StatusUnauthorized {
			t.Fatalf("with byte %d changed: got %d", at, got)
		}
	}
	if got := ask("uses-good", value); got != http.StatusOK {
		t.Errorf("as it was: got %d", got)
	}
	if got := ask("uses-second", value); got != http.StatusUnauthorized {
		t.Errorf("another issuer's: got %d", got)
	}
	r, _ = v.get("/uses-good/logout", true)
	end, err := url.Parse(r.Header.Get("Location"))
	if err != nil || end.Host != "good" || end.Path != "/end" || end.Query().Get("id_token_hint") == "" {
		t.Errorf("the logout leads to %v", end)
	}
	if r, _ := v.get("/uses-good/page", false); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the logout: got %d", r.StatusCode)
	}
}

// TestCallbacksOfOthers: a login counts in the browser that began it, once.
func TestCallbacksOfOthers(t *testing.T) {
	good := newProvider(t, "good", lie{})
	b := bed(t, map[string]*provider{"good": good})
	attacker, victim := newVisitor(t, b.URL), newVisitor(t, b.URL)
	stolen := attacker.leave("uses-good", "/mine", good)
	if r, body := victim.get(stolen, true); r.StatusCode != http.StatusForbidden {
		t.Errorf("without a login of its own: got %d %s", r.StatusCode, body)
	}
	own := victim.leave("uses-good", "/page", good)
	code, _, _ := strings.Cut(strings.TrimPrefix(stolen, "/uses-good/callback?"), "&")
	_, state, _ := strings.Cut(own, "&")
	if r, _ := victim.get("/uses-good/callback?"+code+"&"+state, true); r.StatusCode != http.StatusForbidden {
		t.Errorf("with a code of somebody else's: got %d", r.StatusCode)
	}
	one, two := victim.leave("uses-good", "/one", good), victim.leave("uses-good", "//evil.example/two", good)
	for callback, want := range map[string]string{one: "/uses-good/one", two: "/uses-good//evil.example/two"} {
		if r, _ := victim.get(callback, true); r.StatusCode != http.StatusFound || r.Header.Get("Location") != want {
			t.Errorf("one of two tabs: got %d %s; want %s", r.StatusCode, r.Header.Get("Location"), want)
		}
	}
	if r, _ := victim.get(one, true); r.StatusCode != http.StatusForbidden {
		t.Errorf("for the second time: got %d", r.StatusCode)
	}
	many := newVisitor(t, b.URL)
	var last string
	for range 12 {
		last = many.leave("uses-good", "/page", good)
	}
	address, err := url.Parse(b.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(many.Jar.Cookies(address)); n > 5 {
		t.Errorf("the browser keeps %d logins", n)
	}
	if r, _ := many.get(last, true); r.StatusCode != http.StatusFound {
		t.Errorf("the last of many: got %d", r.StatusCode)
	}
}

// TestRefresh: requests that come at once refresh once, with a provider that takes each refresh
// token once only; and nobody is logged out.
func TestRefresh(t *testing.T) {
	brief := newProvider(t, "brief", lie{life: 1})
	b := bed(t, map[string]*provider{"brief": brief})
	v := newVisitor(t, b.URL)
	if r := v.login("uses-brief", brief); r.StatusCode != http.StatusFound {
		t.Fatalf("got %d", r.StatusCode)
	}
	statuses := func() map[int]int {
		var mu sync.Mutex
		all := map[int]int{}
		var wg sync.WaitGroup
		for range 24 {
			wg.Go(func() {
				r, _, err := v.try("/uses-brief/page", false)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				all[r.StatusCode]++
			})
		}
		wg.Wait()
		return all
	}
	refreshes := func() int {
		brief.mu.Lock()
		defer brief.mu.Unlock()
		return brief.refreshes
	}
	began := time.Now()
	b.Eventually("it is refreshed three times", func() bool {
		if all := statuses(); !maps.Equal(all, map[int]int{200: 24}) {
			t.Fatalf("got %v", all)
		}
		return refreshes() >= 3
	})
	if most := int(time.Since(began)/time.Second) + 2; refreshes() > most {
		t.Errorf("%d refreshes in %d s", refreshes(), most)
	}
	brief.mu.Lock()
	defer brief.mu.Unlock()
	if len(brief.faults) > 0 {
		t.Errorf("the provider refused %q", brief.faults)
	}
}

// TestRulesAfterIt: plugins that follow know who it is, and what the token says.
func TestRulesAfterIt(t *testing.T) {
	good := newProvider(t, "good", lie{claims: set("groups", []string{"buyers"})})
	port := harness.Upstream(t, shop)
	rules := map[string]struct {
		rule   string
		status int
	}{
		"claim": {"- {use: authz, config: {allow: ['claims.sub == \"reader\" && \"buyers\" in claims.groups']}}\n", 200},
		"other": {"- {use: authz, config: {allow: ['claims.sub == \"other\"']}}\n", 403},
		"group": {"- {use: acl, config: {allow: {groups: [buyers]}}}\n", 200},
		"none":  {"- {use: acl, config: {allow: {groups: [sellers]}}}\n", 403},
	}
	files := map[string]string{"gateway.yaml": harness.GatewayFor(1), "secret.yaml": pluginSecret, "good.yaml": harness.Service("good", "", harness.Upstream(t, good.ServeHTTP))}
	for name, r := range rules {
		files[name+".yaml"] = harness.Service(name, entry(name, good.issuer, ", consumer: {groups: groups}")+r.rule, port)
	}
	b := harness.Start(t, harness.Options{Images: []string{harness.BundledPlugins(t)}, Files: files})
	for name := range rules {
		b.Eventually(name+" runs", func() bool { return b.Chain("Service/default/"+name).State == "Running" })
	}
	v := newVisitor(t, b.URL)
	if r := v.login("claim", good); r.StatusCode != http.StatusFound {
		t.Fatalf("got %d", r.StatusCode)
	}
	for name, r := range rules {
		if got, body := v.get("/"+name+"/page", false); got.StatusCode != r.status {
			t.Errorf("%s: got %d %s; want %d", name, got.StatusCode, body, r.status)
		}
	}
}

// TestHostileCookies: cookies that nobody has set end no instance, and leave others alone.
func TestHostileCookies(t *testing.T) {
	good := newProvider(t, "good", lie{})
	b := bed(t, map[string]*provider{"good": good})
	newVisitor(t, b.URL).login("uses-good", good) // so that the provider is known
	var many, large strings.Builder
	for i := range 500 {
		fmt.Fprintf(&many, "oidc.login.%010d=%s; ", i, strings.Repeat("A", 60))
		fmt.Fprintf(&large, "oidc.%d=%s; ", i, strings.Repeat("B", 100))
	}
	for name, field := range map[string]string{
		"many logins":   many.String(),
		"odd names":     "oidc.login.\xff\xfe345678=x; oidc.login.a\tb=x; oidc.\x80=1; oidc.login.=x; oidc.=y; oidc.login.\"\"\"\"\"\"\"\"\"\"=x",
		"many pieces":   "oidc=6.A; " + large.String(),
		"a huge one":    "oidc=1." + strings.Repeat("A", 50_000),
		"half a number": "oidc=99999999999999999999.A",
		"too many":      strings.Repeat("a=b; ", 5000),
		"nothing":       ";;;;=;=;;",
	} {
		r, err := http.NewRequest(http.MethodGet, b.URL+"/uses-good/page", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Cookie": {field}, "Sec-Fetch-Mode": {"navigate"}}
		response, err := (&http.Transport{}).RoundTrip(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		response.Body.Close()
		if got := response.StatusCode; got != http.StatusFound && got != http.StatusBadRequest {
			t.Errorf("%s: got %d", name, got)
		}
	}
	for _, f := range b.Chain("Service/default/uses-good").Filters {
		if len(f.Failures) > 0 || f.State != "Ready" {
			t.Errorf("the filter is %s, and failed: %v", f.State, f.Failures)
		}
	}
}
