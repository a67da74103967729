package oci

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
)

func pemOf(t testing.TB, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

type signing func(message []byte) []byte

func ecdsaKey(t testing.TB) (string, signing) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf(t, &key.PublicKey), func(m []byte) []byte {
		sum := sha256.Sum256(m)
		sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
}

const (
	testName = "r.example/p"
	hex64    = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func payloadOf(name, digest, kind string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":%q},"optional":{}}`, name, digest, kind)
}

func statementOf(subject, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[%s],"predicateType":%q,"predicate":{}}`, subject, predicate)
}

func bundleOf(sign signing, statement []byte, mediaType string) []byte {
	pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len(payloadTypeInToto), payloadTypeInToto, len(statement), statement)
	return fmt.Appendf(nil, `{"mediaType":%q,"verificationMaterial":{"publicKey":{}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		mediaType, base64.StdEncoding.EncodeToString(statement), payloadTypeInToto, base64.StdEncoding.EncodeToString(sign([]byte(pae))))
}

func TestTrusted(t *testing.T) {
	ours, sign := ecdsaKey(t)
	theirs, signTheirs := ecdsaKey(t)
	digest, other := "sha256:"+hex64, "sha256:"+strings.Repeat("0", 64)
	const kind, predicate = "cosign container image signature", "https://sigstore.dev/cosign/sign/v1"
	simple := func(s signing, payload []byte) signature { return signature{Payload: payload, Sig: s(payload)} }
	bundle := func(s signing, subject, predicate, mediaType string) signature {
		return signature{Bundle: bundleOf(s, statementOf(subject, predicate), mediaType)}
	}
	subject := func(name, digest string) string {
		return fmt.Sprintf(`{"name":%q,"digest":{"sha256":%q}}`, name, strings.TrimPrefix(digest, "sha256:"))
	}
	good := simple(sign, payloadOf(testName, digest, kind))
	cut := good
	cut.Payload = append([]byte(" "), cut.Payload...)
	rule := config.Trust{Keys: []string{ours}}
	tests := map[string]struct {
		rules []config.Trust
		have  []signature
		want  string // "": trusted
	}{
		"no rule":                    {nil, nil, ""},
		"no signature":               {[]config.Trust{rule}, nil, "has none"},
		"simple signing":             {[]config.Trust{rule}, []signature{good}, ""},
		"with a tag in the claim":    {[]config.Trust{rule}, []signature{simple(sign, payloadOf(testName+":1", digest, kind))}, ""},
		"one of two keys":            {[]config.Trust{{Keys: []string{theirs, ours}}}, []signature{good}, ""},
		"every rule":                 {[]config.Trust{rule, {Keys: []string{theirs}}}, []signature{good}, "none of the keys"},
		"every rule, both signed":    {[]config.Trust{rule, {Keys: []string{theirs}}}, []signature{good, simple(signTheirs, payloadOf(testName, digest, kind))}, ""},
		"another key":                {[]config.Trust{rule}, []signature{simple(signTheirs, payloadOf(testName, digest, kind))}, "none of the keys"},
		"a bad one before":           {[]config.Trust{rule}, []signature{{Payload: []byte("x"), Sig: []byte("y")}, good}, ""},
		"a changed payload":          {[]config.Trust{rule}, []signature{cut}, "none of the keys"},
		"another image":              {[]config.Trust{rule}, []signature{simple(sign, payloadOf(testName, other, kind))}, "another image"},
		"another repository":         {[]config.Trust{rule}, []signature{simple(sign, payloadOf("r.example/q", digest, kind))}, "another repository"},
		"a repository that counts":   {[]config.Trust{{Keys: []string{ours}, Repositories: []string{"r.example/q"}}}, []signature{simple(sign, payloadOf("r.example/q", digest, kind))}, ""},
		"another type":               {[]config.Trust{rule}, []signature{simple(sign, payloadOf(testName, digest, "attestation"))}, "of type"},
		"no JSON":                    {[]config.Trust{rule}, []signature{simple(sign, []byte("x"))}, "payload"},
		"bundle":                     {[]config.Trust{rule}, []signature{bundle(sign, subject("", digest), predicate, mediaTypeBundle)}, ""},
		"bundle, named":              {[]config.Trust{rule}, []signature{bundle(sign, subject(testName, digest), predicate, mediaTypeBundle)}, ""},
		"bundle, another repository": {[]config.Trust{rule}, []signature{bundle(sign, subject("r.example/q", digest), predicate, mediaTypeBundle)}, "another repository"},
		"bundle, another image":      {[]config.Trust{rule}, []signature{bundle(sign, subject("", other), predicate, mediaTypeBundle)}, "another image"},
		"bundle, another predicate":  {[]config.Trust{rule}, []signature{bundle(sign, subject("", digest), "https://slsa.dev/provenance/v1", mediaTypeBundle)}, "no signature"},
		"bundle, another version":    {[]config.Trust{rule}, []signature{bundle(sign, subject("", digest), predicate, "application/vnd.dev.sigstore.bundle.v9+json")}, "media type"},
		"bundle, another key":        {[]config.Trust{rule}, []signature{bundle(signTheirs, subject("", digest), predicate, mediaTypeBundle)}, "none of the keys"},
		"an empty bundle":            {[]config.Trust{rule}, []signature{{Bundle: []byte("{}")}}, "media type"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := trusted(test.rules, test.have, []string{testName}, digest)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v; want it trusted", err)
			case test.want != "" && (!errors.Is(err, ErrSignature) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v; want ErrSignature with %q", err, test.want)
			}
		})
	}
}

func TestKindsOfKeys(t *testing.T) {
	message := []byte("message")
	sum := sha256.Sum256(message)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaSig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	ec, sign := ecdsaKey(t)
	for name, test := range map[string]struct {
		key string
		sig []byte
	}{"ECDSA": {ec, sign(message)}, "Ed25519": {pemOf(t, public), ed25519.Sign(private, message)}, "RSA": {pemOf(t, &key.PublicKey), rsaSig}} {
		if !verifyWith(test.key, message, test.sig) {
			t.Errorf("%s: a good signature is refused", name)
		}
		if verifyWith(test.key, []byte("massage"), test.sig) || verifyWith(test.key, message, nil) || verifyWith("", message, test.sig) {
			t.Errorf("%s: a bad signature is taken", name)
		}
	}
}

// FuzzSignature: whatever the bytes say, nothing is trusted that the key did
// not sign, and nothing that the key signed for another digest.
func FuzzSignature(f *testing.F) {
	key, sign := ecdsaKey(f)
	f.Add(payloadOf(testName, "sha256:"+hex64, "cosign container image signature"), false)
	f.Add(statementOf(`{"digest":{"sha256":"`+hex64+`"}}`, "https://sigstore.dev/cosign/sign/v1"), true)
	f.Fuzz(func(t *testing.T, b []byte, bundle bool) {
		s := signature{Payload: b, Sig: sign(b)}
		if bundle {
			s = signature{Bundle: bundleOf(sign, b, mediaTypeBundle)}
		}
		if err := s.verify([]string{key}, "sha256:"+hex64, []string{testName}); err == nil && !strings.Contains(string(b), hex64) {
			var any json.RawMessage
			if json.Unmarshal(b, &any) != nil || !strings.Contains(string(b), `\u`) { // JSON may write the digest another way
				t.Fatalf("trusted: %q", b)
			}
		}
		raw := signature{Bundle: b}
		if raw.verify([]string{key}, "sha256:"+hex64, []string{testName}) == nil {
			t.Fatalf("trusted: %q", b)
		}
	})
}
