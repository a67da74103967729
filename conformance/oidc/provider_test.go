package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"penstock.dev/penstock/conformance/harness"
)

// provider is an OpenID provider that can lie. It keeps the rules where it does not.
type provider struct {
	issuer  string
	private *ecdsa.PrivateKey
	lie     lie

	mu         sync.Mutex
	challenges map[string]string // by nonce, which is the code too
	refresh    string            // the refresh token that counts; each does once
	refreshes  int
	faults     []string
}

// lie is how a provider lies; zero: it does not.
type lie struct {
	metadata, keys, token http.HandlerFunc
	// claims changes those of an ID token.
	claims func(map[string]any)
	// sign signs it.
	sign func(p *provider, payload []byte) string
	// life is how long tokens live, in seconds; default 300.
	life int
}

func newProvider(t testing.TB, name string, l lie) *provider {
	t.Helper()
	return &provider{issuer: "http://" + name, private: harness.NewKey(t), lie: l, challenges: map[string]string{}}
}

func (p *provider) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{KeyID: "k", Key: p.private.Public(), Use: "sig", Algorithm: "ES256"}
}

// ServeHTTP implements http.Handler.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own, lies := p.metadata, p.lie.metadata
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
	case "/keys":
		own, lies = p.keys, p.lie.keys
	case "/token":
		own, lies = p.token, p.lie.token
	default:
		http.NotFound(w, r)
		return
	}
	if lies != nil {
		own = lies
	}
	own(w, r)
}

func (p *provider) metadata(w http.ResponseWriter, _ *http.Request) {
	show(w, map[string]any{
		"issuer": p.issuer, "authorization_endpoint": p.issuer + "/auth", "token_endpoint": p.issuer + "/token",
		"jwks_uri": p.issuer + "/keys", "end_session_endpoint": p.issuer + "/end",
	})
}

func (p *provider) keys(w http.ResponseWriter, _ *http.Request) {
	show(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.jwk()}})
}

func show(w io.Writer, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(text)
}

// token gives tokens for a code, whose half of PKCE has to be right, or for a refresh token.
func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, secret, _ := r.BasicAuth()
	nonce := r.PostFormValue("code")
	switch {
	case r.Method != http.MethodPost || id != "shop" || secret != "hush%2Fhush":
		p.faults = append(p.faults, fmt.Sprintf("a client %q %q by %s", id, secret, r.Method))
		w.WriteHeader(http.StatusUnauthorized)
		show(w, map[string]string{"error": "invalid_client"})
		return
	case r.PostFormValue("grant_type") == "authorization_code":
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if want := p.challenges[nonce]; want == "" || want != b64.EncodeToString(sum[:]) {
			p.refuse(w, "a code, or its verifier")
			return
		}
		delete(p.challenges, nonce)
	case r.PostFormValue("refresh_token") != p.refresh || p.refresh == "":
		p.refuse(w, "a refresh token that was used")
		return
	default:
		p.refreshes++
		nonce = ""
	}
	p.refresh = fmt.Sprintf("refresh-%d-%d", p.refreshes, time.Now().UnixNano())
	life := p.lie.life
	if life == 0 {
		life = 300
	}
	show(w, map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": life, "refresh_token": p.refresh, "id_token": p.idToken(nonce)})
}

func (p *provider) refuse(w http.ResponseWriter, what string) {
	p.faults = append(p.faults, what)
	w.WriteHeader(http.StatusBadRequest)
	show(w, map[string]string{"error": "invalid_grant"})
}

func (p *provider) idToken(nonce string) string {
	now := time.Now().Unix()
	sum := sha256.Sum256([]byte("access"))
	c := map[string]any{"iss": p.issuer, "aud": "shop", "sub": "reader", "iat": now, "exp": now + 600, "at_hash": b64.EncodeToString(sum[:16])}
	if nonce != "" {
		c["nonce"] = nonce
	}
	if p.lie.claims != nil {
		p.lie.claims(c)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	if p.lie.sign != nil {
		return p.lie.sign(p, payload)
	}
	return signed(jose.ES256, p.private, "k", payload)
}

// signed is a token in the compact form.
func signed(algorithm jose.SignatureAlgorithm, key any, id string, payload []byte) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", id))
	if err != nil {
		panic(err)
	}
	object, err := s.Sign(payload)
	if err != nil {
		panic(err)
	}
	text, err := object.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

// says answers with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// lies are the lies, with the status that somebody gets who logs in with such a provider.
var lies = map[string]struct {
	lie    lie
	status int
	early  bool // it is seen before the browser is led to the provider
}{
	"nonce":    {lie{claims: set("nonce", "another")}, 502, false},
	"audience": {lie{claims: set("aud", "other")}, 502, false},
	"several":  {lie{claims: set("aud", []string{"shop", "other"})}, 502, false},
	"party":    {lie{claims: set("azp", "other")}, 502, false},
	"issuer":   {lie{claims: set("iss", "http://good")}, 502, false},
	"old":      {lie{claims: set("exp", 1000)}, 502, false},
	"nobody":   {lie{claims: set("sub", "")}, 502, false},
	"hash":     {lie{claims: set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")}, 502, false},
	"another-key": {lie{sign: func(_ *provider, payload []byte) string {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return signed(jose.ES256, private, "k", payload)
	}}, 502, false},
	"public-key-as-secret": {lie{sign: func(p *provider, payload []byte) string {
		text, err := p.jwk().MarshalJSON()
		if err != nil {
			panic(err)
		}
		return signed(jose.HS256, text, "k", payload)
	}}, 502, false},
	"unsigned": {lie{sign: func(_ *provider, payload []byte) string {
		return b64.EncodeToString([]byte(`{"alg":"none","kid":"k"}`)) + "." + b64.EncodeToString(payload) + "."
	}}, 502, false},
	"html":      {lie{token: says("<!doctype html><title>Sign in</title>")}, 502, false},
	"cut":       {lie{token: says(`{"access_token":"access","token_type":"Bearer"`)}, 502, false},
	"twice":     {lie{token: says(`{"access_token":"a","access_token":"b","token_type":"Bearer"}`)}, 502, false},
	"no-id":     {lie{token: says(`{"access_token":"a","token_type":"Bearer"}`)}, 502, false},
	"huge":      {lie{token: says(`{"access_token":"` + strings.Repeat("a", 300<<10) + `","token_type":"Bearer"}`)}, 502, false},
	"too-large": {lie{claims: set("more", strings.Repeat("x", 9<<10))}, 502, false},
	"moved":     {lie{token: moved}, 502, false},
	"fails":     {lie{token: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }}, 503, false},
	"slow":      {lie{token: slow}, 503, false},
	"other":     {lie{metadata: says(`{"issuer":"http://good","authorization_endpoint":"http://good/auth","token_endpoint":"http://good/token","jwks_uri":"http://good/keys"}`)}, 503, true},
	"script":    {lie{metadata: says(`{"issuer":"http://script","authorization_endpoint":"javascript:alert(1)","token_endpoint":"http://good/token","jwks_uri":"http://good/keys"}`)}, 503, true},
	"secrets":   {lie{keys: says(`{"keys":[{"kty":"oct","kid":"k","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`)}, 503, true},
	"gone":      {lie{metadata: moved}, 503, true},
}

func set(name string, value any) func(map[string]any) {
	return func(c map[string]any) { c[name] = value }
}

func moved(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "http://good"+r.URL.Path, http.StatusTemporaryRedirect)
}

// slow answers once nobody waits any more, which a server sees after the body.
func slow(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}
