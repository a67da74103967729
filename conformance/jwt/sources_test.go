package jwt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"penstock.dev/penstock/conformance/harness"
)

// signer makes tokens with one key.
type signer struct {
	id      string
	private *ecdsa.PrivateKey
}

func newSigner(t testing.TB, id string) *signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{id, private}
}

func (s *signer) token(issuer string, more map[string]any) string {
	header := map[string]any{"alg": "ES256"}
	if s.id != "" {
		header["kid"] = s.id
	}
	claims := map[string]any{"iss": issuer, "sub": "app", "exp": time.Now().Unix() + 3600}
	for k, v := range more {
		claims[k] = v
	}
	return join(header, claims, jose.ES256, s.private)
}

func (s *signer) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{KeyID: s.id, Key: s.private.Public(), Use: "sig", Algorithm: "ES256"}
}

// set is the JWK Set of keys.
func set(all ...*signer) string {
	var s jose.JSONWebKeySet
	for _, one := range all {
		s.Keys = append(s.Keys, one.jwk())
	}
	text, _ := json.Marshal(s)
	return string(text)
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// TestSources: keys are fetched; a source that answers anything else than keys gets nobody in,
// and does not end the plugin.
func TestSources(t *testing.T) {
	s := newSigner(t, "a")
	good := set(s)
	many := make([]*signer, 65)
	for i := range many {
		many[i] = &signer{fmt.Sprint(i), s.private}
	}
	var wide strings.Builder
	for i := 0; wide.Len() < 60<<10; i++ {
		fmt.Fprintf(&wide, `,"%x":0`, i)
	}
	var redirected atomic.Bool
	pages := map[string]struct {
		page http.HandlerFunc
		want int
		log  string
	}{
		"good":      {says(good), 200, ""},
		"html":      {says("<!DOCTYPE html><title>Sign in</title>"), 503, "no JSON object"},
		"nothing":   {says(""), 503, "no JSON object"},
		"list":      {says("[" + good + "]"), 503, "no JSON object"},
		"cut":       {says(good[:len(good)-2]), 503, "no JSON object"},
		"twice":     {says(`{"keys":[],` + good[1:]), 503, "no JSON object"},
		"deep":      {says(strings.Repeat("[", 60_000)), 503, "no JSON object"},
		"huge":      {says(good[:len(good)-1] + `,"x":"` + strings.Repeat("x", 300<<10) + `"}`), 503, "more than 64 KiB"},
		"large":     {says(good[:len(good)-1] + `,"x":"` + strings.Repeat("x", 60<<10) + `"}`), 200, ""},
		"wide":      {says(good[:len(good)-1] + wide.String() + "}"), 200, ""},
		"many":      {says(set(many...)), 503, "65 keys"},
		"others":    {says(set(newSigner(t, "b"))), 401, ""},
		"encrypts":  {says(strings.ReplaceAll(good, `"sig"`, `"enc"`)), 503, "no key that could be of use"},
		"secret":    {says(`{"keys":[{"kty":"oct","kid":"a","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`), 503, "no key that could be of use"},
		"off-curve": {says(strings.Replace(good, `"y":"`, `"y":"A`, 1)), 401, "a key is of no use"},
		"error":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, good, http.StatusInternalServerError) }, 503, "status 500"},
		"moved": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/else" {
				redirected.Store(true)
				_, _ = io.WriteString(w, good)
				return
			}
			http.Redirect(w, r, "/else", http.StatusFound)
		}, 503, "status 302"},
		"breaks": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, good)
		}, 503, "broken connection"},
	}
	configs, sources := map[string]config{}, map[string]http.HandlerFunc{}
	for name, p := range pages {
		configs["uses-"+name] = config{"jwksUri": "http://" + name + "/keys"}
		sources[name] = p.page
	}
	configs["uses-none"] = config{"jwksUri": "http://none.example/keys"}
	b := start(t, configs, sources)
	token := s.token("x", nil)
	for name, p := range pages {
		for range 3 {
			got := b.ask("uses-"+name, token)
			if got.status != p.want || (got.retryAfter != "") != (p.want == 503) {
				t.Errorf("%s: got %v, Retry-After %q; want %d", name, got, got.retryAfter, p.want)
			}
		}
		if got := b.ask("uses-"+name, ""); got.status != 401 {
			t.Errorf("%s, no token: got %v; want 401", name, got)
		}
		if p.log != "" {
			b.Eventually(name+" in the log: "+p.log, func() bool {
				return slices.ContainsFunc(strings.Split(b.Log(), "\n"), func(line string) bool {
					return strings.Contains(line, "Service/default/uses-"+name) && strings.Contains(line, p.log)
				})
			})
		}
	}
	if got := b.ask("uses-none", token); got.status != 503 {
		t.Errorf("nothing of that name: got %v; want 503", got)
	}
	if redirected.Load() {
		t.Error("a redirect was followed")
	}
	if strings.Contains(b.Log(), token) || strings.Contains(b.Log(), strings.Split(token, ".")[1]) {
		t.Error("a token is in the log")
	}
}

// TestDiscovery: the metadata of an issuer say where its keys are; those of another one count
// nothing.
func TestDiscovery(t *testing.T) {
	s := newSigner(t, "a")
	metadata := func(issuer, uri string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/.well-known/openid-configuration", "/realms/a/.well-known/openid-configuration":
				_ = json.NewEncoder(w).Encode(map[string]any{"issuer": issuer, "jwks_uri": uri, "authorization_endpoint": issuer + "/auth"})
			case "/keys":
				_, _ = io.WriteString(w, set(s))
			default:
				http.NotFound(w, r)
			}
		}
	}
	sources := map[string]http.HandlerFunc{
		"right":  metadata("http://right", "http://right/keys"),
		"realm":  metadata("http://realm/realms/a", "http://right/keys"),
		"other":  metadata("http://right", "http://other/keys"),
		"slash":  metadata("http://slash/", "http://slash/keys"),
		"nokeys": metadata("http://nokeys", "http://nokeys/missing"),
		"nouri":  metadata("http://nouri", "file:///keys"),
		"away":   metadata("http://away", "http://elsewhere.example/keys"),
	}
	configs := map[string]config{}
	want := map[string]int{"right": 200, "realm": 200, "other": 503, "slash": 503, "nokeys": 503, "nouri": 503, "away": 503}
	for name := range sources {
		configs["uses-"+name] = config{"issuer": "http://" + name}
	}
	configs["uses-realm"] = config{"issuer": "http://realm/realms/a"}
	b := start(t, configs, sources)
	for name := range sources {
		issuer := configs["uses-"+name]["issuer"].(string)
		if got := b.ask("uses-"+name, s.token(issuer, nil)); got.status != want[name] {
			t.Errorf("%s: got %v; want %d", name, got, want[name])
		}
	}
	if got := b.ask("uses-right", s.token("http://realm/realms/a", nil)); got.status != 401 {
		t.Errorf("a token of another issuer: got %v; want 401", got)
	}
}

// TestSlowSource: requests wait for one fetch together, on each instance.
func TestSlowSource(t *testing.T) {
	s := newSigner(t, "a")
	release := make(chan struct{})
	var fetches, waiting atomic.Int64
	slow := func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, set(s))
	}
	b := start(t, map[string]config{"uses-slow": {"jwksUri": "http://slow/keys"}}, map[string]http.HandlerFunc{"slow": slow})
	const n = 200
	var wg sync.WaitGroup
	got := make([]verdict, n)
	wrong := newSigner(t, "a").token("x", nil)
	for i := range n {
		wg.Go(func() {
			token := s.token("x", map[string]any{"i": i})
			if i%4 == 0 {
				token = wrong
			}
			waiting.Add(1)
			got[i], _ = b.try("uses-slow", token)
		})
	}
	b.Eventually("all are sent, and the keys asked for", func() bool { return waiting.Load() == n && fetches.Load() > 0 })
	close(release)
	wg.Wait()
	for i, v := range got {
		want := 200
		if i%4 == 0 {
			want = 401
		}
		if v.status != want {
			t.Errorf("request %d: got %v; want %d", i, v, want)
		}
	}
	// As many instances as decisions D4 allows, after the one that tried the configuration.
	if most := int64(min(runtime.GOMAXPROCS(0), 4)) + 1; fetches.Load() > most {
		t.Errorf("%d fetches; want %d at most", fetches.Load(), most)
	}
}

// TestSourceComesBack: without keys nobody passes; once the source answers they do.
func TestSourceComesBack(t *testing.T) {
	s := newSigner(t, "a")
	var up atomic.Bool
	source := func(w http.ResponseWriter, r *http.Request) {
		if !up.Load() {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, set(s))
	}
	b := start(t, map[string]config{"uses-it": {"jwksUri": "http://it/keys"}, "may-use-it": {"jwksUri": "http://it/keys", "optional": true}}, map[string]http.HandlerFunc{"it": source})
	token := s.token("x", nil)
	for _, name := range []string{"uses-it", "may-use-it"} {
		if got := b.ask(name, token); got.status != 503 || got.retryAfter == "" {
			t.Errorf("%s: got %v; want 503 with Retry-After", name, got)
		}
	}
	if got := b.ask("may-use-it", ""); got.status != 200 {
		t.Errorf("no token where none is needed: got %v; want 200", got)
	}
	up.Store(true)
	for _, name := range []string{"uses-it", "may-use-it"} {
		b.Eventually(name+" has keys", func() bool { return b.ask(name, token).status == 200 })
	}
}

// TestRotation: a new key counts as soon as a token names it, or the keys are fetched again,
// and an old one no longer.
func TestRotation(t *testing.T) {
	harness.Long(t) // keys are fetched again after 10 s
	before, after := newSigner(t, "before"), newSigner(t, "after")
	var now atomic.Pointer[string]
	publish := func(all ...*signer) { text := set(all...); now.Store(&text) }
	publish(before)
	b := start(t, map[string]config{"uses-it": {"jwksUri": "http://it/keys", "cacheFor": "30s"}}, map[string]http.HandlerFunc{
		"it": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, *now.Load()) },
	})
	old, fresh := before.token("x", nil), after.token("x", nil)
	if got := b.ask("uses-it", old); got.status != 200 {
		t.Fatalf("got %v; want 200", got)
	}
	publish(before, after)
	b.Eventually("the new key counts", func() bool { return b.ask("uses-it", fresh).status == 200 })
	if got := b.ask("uses-it", old); got.status != 200 {
		t.Errorf("the old key, which is there still: got %v; want 200", got)
	}
	publish(after)
	b.Eventually("the old key counts no longer", func() bool { return b.ask("uses-it", old).status == 401 })
	if got := b.ask("uses-it", fresh); got.status != 200 {
		t.Errorf("the new key: got %v; want 200", got)
	}
}

// TestDearTokens: what a token may cost stays within the plugin's limits: as many claims as
// it has room for, as many keys as a set has, deep claims, headers of all sizes.
func TestDearTokens(t *testing.T) {
	s := newSigner(t, "")
	all := make([]*signer, 64)
	for i := range all {
		all[i] = newSigner(t, "")
	}
	all[7] = s // of the first eight
	b := start(t, map[string]config{"uses-it": {"jwksUri": "http://it/keys", "claims": true}}, map[string]http.HandlerFunc{"it": says(set(all...))})
	wide := map[string]any{}
	for i := range 1500 {
		wide[fmt.Sprintf("%x", i)] = 1
	}
	deep := any(1)
	for range 60 {
		deep = []any{deep}
	}
	tokens := map[string]struct {
		token string
		want  int
	}{
		"wide":     {s.token("x", wide), 200},
		"deep":     {s.token("x", map[string]any{"d": deep}), 200},
		"long":     {s.token("x", map[string]any{"d": strings.Repeat("x", 11_500)}), 200},
		"too long": {s.token("x", map[string]any{"d": strings.Repeat("x", 12_500)}), 401},
		"too deep": {s.token("x", map[string]any{"d": []any{[]any{[]any{[]any{[]any{deep}}}}}}), 401},
		"of none":  {newSigner(t, "").token("x", wide), 401},
	}
	for name, one := range tokens {
		if n := len(one.token); name != "too long" && n > 16<<10 {
			t.Fatalf("%s: %d bytes", name, n)
		}
		for range 3 {
			if got := b.ask("uses-it", one.token); got.status != one.want {
				t.Errorf("%s: got %v; want %d", name, got, one.want)
			}
		}
	}
	// As wide a header as one may be, with a signature of nobody's.
	header := map[string]any{"alg": "ES256"}
	for i := range 350 {
		header[fmt.Sprintf("%x", i)] = 1
	}
	for range 20 {
		if got := b.ask("uses-it", join(header, wide, jose.ES256, s.private)); got.status != 200 && got.status != 401 {
			t.Errorf("wide header: got %v", got)
		}
	}
	if failures := b.Chain("Service/default/uses-it").Filters[0].Failures; len(failures) > 0 {
		t.Errorf("failures %v; want none", failures)
	}
}

// TestKnownTokens: a token that was seen before is neither read nor verified again.
func TestKnownTokens(t *testing.T) {
	s := newSigner(t, "a")
	var keys any
	if err := json.Unmarshal([]byte(set(s)), &keys); err != nil {
		t.Fatal(err)
	}
	b := start(t, map[string]config{"uses-it": {"issuer": "x", "jwks": keys}}, nil)
	token := s.token("x", map[string]any{"scope": strings.Repeat("shop:read ", 40)})
	const n = 200
	send := func() harness.Filter {
		for range n {
			if got := b.ask("uses-it", token); got.status != 200 {
				t.Fatalf("got %v; want 200", got)
			}
		}
		return b.Chain("Service/default/uses-it").Filters[0]
	}
	before := send() // on each instance
	after := send()
	each := (after.Steps - before.Steps) / n
	t.Logf("%d steps and %.1f µs for a token of %d bytes", each, (after.Seconds-before.Seconds)*1e6/n, len(token))
	if each > 6000 {
		t.Errorf("%d steps; want 6000 at most", each)
	}
}
