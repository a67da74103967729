package chain

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"
)

// issuer signs tokens.
type issuer struct{ key *ecdsa.PrivateKey }

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{key}
}

// jwk is the public key.
func (i *issuer) jwk(t *testing.T) map[string]string {
	t.Helper()
	public, err := i.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"kty": "EC", "crv": "P-256", "kid": "a", "x": encode(public[1:33]), "y": encode(public[33:])}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign makes a token (RFC 7515).
func (i *issuer) sign(header, claims map[string]any) string {
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return encode(b)
	}
	message := text(header) + "." + text(claims)
	sum := sha256.Sum256([]byte(message))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return message + "." + encode(signature)
}

func header() map[string]any { return map[string]any{"alg": "ES256", "kid": "a"} }

func claims(sub string) map[string]any {
	return map[string]any{"iss": "https://id.example.com", "aud": "shop", "sub": sub, "exp": time.Now().Add(24 * time.Hour).Unix()}
}

// wrong are tokens that never count, each made once.
func (i *issuer) wrong(t *testing.T) []string {
	t.Helper()
	with := func(change func(header, claims map[string]any)) string {
		h, c := header(), claims("consumer-0")
		change(h, c)
		return i.sign(h, c)
	}
	good := i.sign(header(), claims("consumer-0"))
	other := newIssuer(t)
	all := []string{
		with(func(_, c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }),
		with(func(_, c map[string]any) { delete(c, "exp") }),
		with(func(_, c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() }),
		with(func(_, c map[string]any) { c["iss"] = "https://other.example.com" }),
		with(func(_, c map[string]any) { c["aud"] = []string{"other"} }),
		with(func(h, _ map[string]any) { h["alg"] = "none" }),
		with(func(h, _ map[string]any) { h["alg"] = "HS256" }),
		with(func(h, _ map[string]any) { h["kid"] = "b" }),
		with(func(h, _ map[string]any) { h["crit"] = []string{"exp"} }),
		with(func(_, c map[string]any) { c["pad"] = strings.Repeat("x", 13_000) }), // too long
		other.sign(header(), claims("consumer-0")),
		good + "a", good[:len(good)-2], "." + good, good + ".", "..", ".", "a.b.c", "",
	}
	for n := range 20 { // one byte is another one
		b := []byte(good)
		at := mathrand.IntN(len(b) - 2) // the last one has bits that stand for nothing
		if b[at] = 'A'; good[at] == 'A' {
			b[at] = 'B'
		}
		if n%4 == 0 {
			b[at] = "~ ,\x7f"[n/4%3]
		}
		all = append(all, string(b))
	}
	return all
}

// garbage is a text that is no token.
func garbage(r *mathrand.Rand) string {
	b := make([]byte, r.IntN(200))
	for i := range b {
		b[i] = byte('!' + r.IntN(94))
	}
	return fmt.Sprintf("%s.%s", b, b)
}
