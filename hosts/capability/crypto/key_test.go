package crypto_test

import (
	"bytes"
	gocrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"penstock.dev/penstock/hosts/capability/crypto"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestVectors are the examples of RFC 7515 (A.1, A.3) and RFC 8037 (A.4).
func TestVectors(t *testing.T) {
	tests := []struct{ algorithm, jwk, token string }{
		{"HS256", `{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`,
			"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
		{"ES256", `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
		{"EdDSA", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
	}
	for _, test := range tests {
		k, err := crypto.ParseKey(test.algorithm, crypto.FormatJWK, []byte(test.jwk))
		if err != nil {
			t.Errorf("%s: %v", test.algorithm, err)
			continue
		}
		at := strings.LastIndexByte(test.token, '.')
		signature := must(base64.RawURLEncoding.DecodeString(test.token[at+1:]))
		message := []byte(test.token[:at])
		if ok, err := k.Verify(signature, message); !ok || err != nil {
			t.Errorf("%s: %v, %v", test.algorithm, ok, err)
		}
		for i := range signature {
			wrong := bytes.Clone(signature)
			wrong[i] ^= 1
			if ok, _ := k.Verify(wrong, message); ok {
				t.Errorf("%s: byte %d may be anything", test.algorithm, i)
			}
		}
		for _, wrong := range [][]byte{nil, signature[:len(signature)-1], append(bytes.Clone(signature), 0), make([]byte, len(signature))} {
			if ok, _ := k.Verify(wrong, message); ok {
				t.Errorf("%s: a signature of %d bytes is taken", test.algorithm, len(wrong))
			}
		}
	}
}

// TestAgainstJOSE: go-jose takes what we sign and we what it signs, in each form of key;
// no key is taken for another algorithm.
func TestAgainstJOSE(t *testing.T) {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	secret := bytes.Repeat([]byte("secret-"), 10)
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	kinds := []struct {
		algorithms string
		private    any
		public     any
	}{
		{"RS256 RS384 RS512 PS256 PS384 PS512", rsaKey, rsaKey.Public()},
		{"HS256 HS384 HS512", secret, secret},
		{"EdDSA", edKey, edKey.Public()},
	}
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		k := must(ecdsa.GenerateKey(curve, rand.Reader))
		kinds = append(kinds, struct {
			algorithms      string
			private, public any
		}{name, k, k.Public()})
	}
	all := ""
	for _, k := range kinds {
		all += k.algorithms + " "
	}
	all += "A128GCM A256GCM"
	for _, kind := range kinds {
		private, public := forms(kind.private), forms(kind.public)
		for _, name := range strings.Fields(all) {
			for form, data := range public {
				k, err := crypto.ParseKey(name, form, data)
				if fits := strings.Contains(kind.algorithms, name); (err == nil) != fits {
					t.Fatalf("a key for %s, used for %s: %v", kind.algorithms, name, err)
				} else if !fits {
					continue
				}
				signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(name), Key: kind.private}, nil))
				token := must(must(signer.Sign([]byte("payload"))).CompactSerialize())
				at := strings.LastIndexByte(token, '.')
				if ok, err := k.Verify(must(base64.RawURLEncoding.DecodeString(token[at+1:])), []byte(token[:at])); !ok || err != nil {
					t.Errorf("%s, format %d: %v, %v", name, form, ok, err)
				}
				if _, err := k.Sign([]byte("x")); (err == nil) != (name[0] == 'H') {
					t.Errorf("%s: a public key signs: %v", name, err)
				}
				if _, _, err := k.Open(nil, nil); err == nil {
					t.Errorf("%s opens what is sealed", name)
				}
			}
			for form, data := range private {
				k, err := crypto.ParseKey(name, form, data)
				if err != nil {
					continue // as above
				}
				head := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":%q}`, name)) + "." + base64.RawURLEncoding.EncodeToString([]byte("payload"))
				token := head + "." + base64.RawURLEncoding.EncodeToString(must(k.Sign([]byte(head))))
				parsed := must(jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(name)}))
				if _, err := parsed.Verify(kind.public); err != nil {
					t.Errorf("%s, format %d: %v", name, form, err)
				}
				if k.SignMicros() < k.VerifyMicros() || k.VerifyMicros() < 1 || k.SignMicros() > 30_000 {
					t.Errorf("%s costs %d and %d", name, k.VerifyMicros(), k.SignMicros())
				}
			}
		}
	}
}

// forms writes a key in all formats that it has.
func forms(key any) map[crypto.Format][]byte {
	all := map[crypto.Format][]byte{crypto.FormatJWK: must(json.Marshal(jose.JSONWebKey{Key: key}))}
	if secret, ok := key.([]byte); ok {
		all[crypto.FormatRaw] = secret
		return all
	}
	if _, private := key.(gocrypto.Signer); private {
		all[crypto.FormatPEM] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))})
	} else {
		all[crypto.FormatPEM] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key))})
	}
	return all
}

func TestKeysThatAreRefused(t *testing.T) {
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	ec := `"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	tests := map[string]struct {
		algorithm string
		format    crypto.Format
		data      []byte
		want      string
	}{
		"algorithm none":          {"none", crypto.FormatRaw, nil, `algorithm "none"`},
		"no algorithm":            {"", crypto.FormatRaw, nil, `algorithm ""`},
		"a hash that none has":    {"RS224", crypto.FormatRaw, nil, `algorithm "RS224"`},
		"a short secret":          {"HS256", crypto.FormatRaw, []byte("very-secret-short"), "has 32 bytes"},
		"a secret too long":       {"A256GCM", crypto.FormatRaw, make([]byte, 33), "has 32 bytes"},
		"a public key as secret":  {"HS256", crypto.FormatPEM, forms(small.Public())[crypto.FormatPEM], "needs a secret"},
		"a secret as public key":  {"RS256", crypto.FormatRaw, make([]byte, 64), "not a secret"},
		"a small RSA key":         {"RS256", crypto.FormatPEM, forms(small.Public())[crypto.FormatPEM], "2048 to 8192 bits, this one 1024"},
		"another curve":           {"ES384", crypto.FormatJWK, []byte("{" + ec + "}"), "another kind or curve"},
		"a point off the curve":   {"ES256", crypto.FormatJWK, []byte(`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5b0"}`), "cannot be read"},
		"for something else":      {"ES256", crypto.FormatJWK, []byte("{" + ec + `,"use":"enc"}`), "use or key_ops"},
		"operations of something": {"ES256", crypto.FormatJWK, []byte("{" + ec + `,"key_ops":["deriveKey"]}`), "use or key_ops"},
		"another algorithm":       {"ES256", crypto.FormatJWK, []byte("{" + ec + `,"alg":"ES384"}`), `for "ES384"`},
		"a set":                   {"ES256", crypto.FormatJWK, []byte(`{"keys":[{` + ec + `}]}`), "cannot be read"},
		"no JSON":                 {"ES256", crypto.FormatJWK, []byte("{" + ec), "cannot be read"},
		"no PEM":                  {"ES256", crypto.FormatPEM, []byte("-----BEGIN"), "no PEM block"},
		"another PEM":             {"ES256", crypto.FormatPEM, pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: []byte("x")}), "no public key"},
		"another format":          {"ES256", 9, nil, "format"},
		"too large":               {"ES256", crypto.FormatJWK, make([]byte, 1<<20), "too large"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := crypto.ParseKey(test.algorithm, test.format, test.data)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v; want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "very-secret") {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

func TestSeal(t *testing.T) {
	for name, size := range map[string]int{"A128GCM": 16, "A256GCM": 32} {
		k := must(crypto.ParseKey(name, crypto.FormatRaw, bytes.Repeat([]byte{7}, size)))
		other := must(crypto.ParseKey(name, crypto.FormatRaw, bytes.Repeat([]byte{8}, size)))
		sealed := must(k.Seal([]byte("text"), []byte("with")))
		if again := must(k.Seal([]byte("text"), []byte("with"))); bytes.Equal(sealed, again) {
			t.Error("the same nonce twice")
		}
		if text, ok, err := k.Open(sealed, []byte("with")); string(text) != "text" || !ok || err != nil {
			t.Errorf("%q, %v, %v", text, ok, err)
		}
		if _, ok, _ := k.Open(sealed, []byte("else")); ok {
			t.Error("what goes with it may be anything")
		}
		if _, ok, _ := other.Open(sealed, []byte("with")); ok {
			t.Error("any key opens it")
		}
		for i := range sealed {
			sealed[i] ^= 1
			if _, ok, _ := k.Open(sealed, []byte("with")); ok {
				t.Errorf("byte %d may be anything", i)
			}
			sealed[i] ^= 1
		}
		if _, ok, err := k.Open([]byte("short"), nil); ok || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
		if _, err := k.Sign(nil); err == nil {
			t.Error("it signs")
		}
		if _, err := k.Verify(nil, nil); err == nil {
			t.Error("it verifies")
		}
	}
}
