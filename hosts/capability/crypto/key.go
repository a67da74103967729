package crypto

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Format is how a key is written.
type Format uint8

// The formats. PEM holds a public key (SubjectPublicKeyInfo or PKCS #1), a certificate, or
// a private key (PKCS #8, PKCS #1 or SEC 1).
const (
	FormatRaw Format = iota // a secret's bytes
	FormatJWK               // RFC 7517, a key and no set
	FormatPEM
)

// Bounds on RSA keys here: RFC 7518 (3.3) asks for the first.
const (
	leastRSABits = 2048
	mostRSABits  = 8192
)

// Why a key cannot be used.
var (
	errNoSign = errors.New("the key cannot sign: it is no private key and no secret")
	errNoSeal = errors.New("the key is not for A128GCM or A256GCM")
	errNoSig  = errors.New("the key is not for signatures")
)

// algorithm is one of RFC 7518 (3.1, 5.1) or RFC 8037.
type algorithm struct {
	hash   crypto.Hash
	pss    bool
	curve  elliptic.Curve
	secret int // bytes: at least for HMAC, exactly for AES
	aes    bool
}

func algorithms(name string) (algorithm, bool) {
	hashes := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}
	switch name {
	case "EdDSA":
		return algorithm{}, true
	case "A128GCM":
		return algorithm{secret: 16, aes: true}, true
	case "A256GCM":
		return algorithm{secret: 32, aes: true}, true
	}
	if len(name) != 5 {
		return algorithm{}, false
	}
	a := algorithm{hash: hashes[name[2:]]}
	switch name[:2] {
	case "HS":
		a.secret = a.hash.Size()
	case "PS":
		a.pss = true
	case "ES":
		a.curve = map[crypto.Hash]elliptic.Curve{crypto.SHA256: elliptic.P256(), crypto.SHA384: elliptic.P384(), crypto.SHA512: elliptic.P521()}[a.hash]
	case "RS":
	default:
		return algorithm{}, false
	}
	return a, a.hash != 0
}

// Key is a key for one algorithm alone. It is immutable.
type Key struct {
	a       algorithm
	public  any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey; nil: secret
	private crypto.Signer
	secret  []byte
	aead    cipher.AEAD
}

// ParseKey reads a key for an algorithm: RS256, RS384, RS512, PS256 and so on, ES256,
// ES384, ES512 (of RFC 7518), EdDSA (RFC 8037, Ed25519), HS256, HS384, HS512, A128GCM,
// A256GCM. A key of another kind, curve or size, or that says itself that it is for
// something else, is refused: what a token says of its algorithm cannot change what its
// key is for. Errors hold nothing of the key.
func ParseKey(name string, format Format, data []byte) (*Key, error) {
	a, ok := algorithms(name)
	if !ok {
		return nil, fmt.Errorf("algorithm %.20q: want RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512, A128GCM or A256GCM", name)
	}
	if len(data) > maxKey {
		return nil, errSize
	}
	var material any
	var err error
	switch format {
	case FormatRaw:
		material = bytes.Clone(data)
	case FormatJWK:
		material, err = parseJWK(name, a, data)
	case FormatPEM:
		material, err = parsePEM(data)
	default:
		err = errors.New("the format is neither raw, JWK nor PEM")
	}
	if err != nil {
		return nil, err
	}
	k := &Key{a: a}
	if err := k.take(name, material); err != nil {
		return nil, err
	}
	return k, nil
}

// take checks that the material is what the algorithm needs.
func (k *Key) take(name string, material any) error {
	if secret, ok := material.([]byte); ok || k.a.secret > 0 {
		if !ok {
			return fmt.Errorf("%s needs a secret, not a public or private key", name)
		}
		return k.takeSecret(name, secret)
	}
	if signer, ok := material.(crypto.Signer); ok {
		k.private, material = signer, signer.Public()
	}
	k.public = material
	fits := false
	switch p := material.(type) {
	case *rsa.PublicKey:
		if fits = k.a.curve == nil && k.a.hash != 0; fits {
			if bits := p.N.BitLen(); bits < leastRSABits || bits > mostRSABits {
				return fmt.Errorf("an RSA key for %s has %d to %d bits, this one %d", name, leastRSABits, mostRSABits, bits)
			}
		}
	case *ecdsa.PublicKey:
		fits = k.a.curve != nil && p.Curve == k.a.curve
	case ed25519.PublicKey:
		fits = k.a.hash == 0
	}
	if !fits {
		return fmt.Errorf("the key is of another kind or curve than %s needs", name)
	}
	return nil
}

func (k *Key) takeSecret(name string, secret []byte) error {
	if k.a.secret == 0 {
		return fmt.Errorf("%s needs a public or private key, not a secret", name)
	}
	if len(secret) < k.a.secret || k.a.aes && len(secret) > k.a.secret {
		return fmt.Errorf("a secret for %s has %d bytes, or more if it is for HS: this one %d", name, k.a.secret, len(secret))
	}
	k.secret = secret
	if !k.a.aes {
		return nil
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return err
	}
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	return err
}

// parseJWK reads one key. What it says it is for must be what it is used for.
func parseJWK(name string, a algorithm, data []byte) (any, error) {
	var said struct {
		Operations []string `json:"key_ops"`
	}
	var j jose.JSONWebKey
	err := errors.Join(json.Unmarshal(data, &said), j.UnmarshalJSON(data))
	if _, secret := j.Key.([]byte); err != nil || !secret && !j.Valid() {
		return nil, errors.New("the JWK cannot be read, or its numbers are no key")
	}
	if j.Algorithm != "" && j.Algorithm != name {
		return nil, fmt.Errorf("the JWK is for %.20q, not for %s", j.Algorithm, name)
	}
	use, operations := "sig", []string{"verify", "sign"}
	if a.aes {
		use, operations = "enc", []string{"encrypt", "decrypt"}
	}
	if j.Use != "" && j.Use != use || len(said.Operations) > 0 && !slices.ContainsFunc(said.Operations, func(o string) bool { return slices.Contains(operations, o) }) {
		return nil, fmt.Errorf("the JWK's use or key_ops are not for %s", name)
	}
	return j.Key, nil
}

// parsePEM reads the first block.
func parsePEM(text []byte) (any, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("there is no PEM block")
	}
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKIXPublicKey,
		x509.ParsePKCS8PrivateKey,
		func(b []byte) (any, error) { c, err := x509.ParseCertificate(b); return publicOf(c), err },
		func(b []byte) (any, error) { return x509.ParsePKCS1PublicKey(b) },
		func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
		func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) },
	} {
		if key, err := parse(block.Bytes); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("the PEM block is no public key, certificate or private key")
}

func publicOf(c *x509.Certificate) any {
	if c == nil {
		return nil
	}
	return c.PublicKey
}

// Verify reports whether signature is that of message, in the form of JWS (RFC 7515):
// that of ECDSA is two numbers side by side (RFC 7518, 3.4). An error: the key is not for
// signatures.
func (k *Key) Verify(signature, message []byte) (bool, error) {
	if k.a.aes {
		return false, errNoSig
	}
	if k.secret != nil {
		return hmac.Equal(k.mac(message), signature), nil
	}
	if p, ok := k.public.(ed25519.PublicKey); ok {
		return ed25519.Verify(p, message, signature), nil
	}
	sum := k.sum(message)
	switch p := k.public.(type) {
	case *rsa.PublicKey:
		if k.a.pss {
			return rsa.VerifyPSS(p, k.a.hash, sum, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil, nil
		}
		return rsa.VerifyPKCS1v15(p, k.a.hash, sum, signature) == nil, nil
	case *ecdsa.PublicKey:
		n := (k.a.curve.Params().BitSize + 7) / 8
		if len(signature) != 2*n {
			return false, nil
		}
		r, s := new(big.Int).SetBytes(signature[:n]), new(big.Int).SetBytes(signature[n:])
		return ecdsa.Verify(p, sum, r, s), nil
	}
	return false, errNoSig
}

// Sign returns the signature of message, in the form of JWS.
func (k *Key) Sign(message []byte) ([]byte, error) {
	switch {
	case k.a.aes:
		return nil, errNoSig
	case k.secret != nil:
		return k.mac(message), nil
	case k.private == nil:
		return nil, errNoSign
	}
	switch p := k.private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(p, message), nil
	case *rsa.PrivateKey:
		if k.a.pss {
			return rsa.SignPSS(rand.Reader, p, k.a.hash, k.sum(message), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, p, k.a.hash, k.sum(message))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, p, k.sum(message))
		if err != nil {
			return nil, err
		}
		n := (k.a.curve.Params().BitSize + 7) / 8
		out := make([]byte, 2*n)
		r.FillBytes(out[:n])
		s.FillBytes(out[n:])
		return out, nil
	}
	return nil, errNoSign
}

func (k *Key) sum(message []byte) []byte {
	h := k.a.hash.New()
	h.Write(message)
	return h.Sum(nil)
}

func (k *Key) mac(message []byte) []byte {
	h := hmac.New(k.a.hash.New, k.secret)
	h.Write(message)
	return h.Sum(nil)
}

// Seal encrypts and authenticates text, and authenticates what goes with it; the result
// is a nonce and what Open reads.
func (k *Key) Seal(text, with []byte) ([]byte, error) {
	if k.aead == nil {
		return nil, errNoSeal
	}
	return k.aead.Seal(nil, nil, text, with), nil
}

// Open returns the text that Seal was given; ok is false if anything was changed, or
// another key was used.
func (k *Key) Open(sealed, with []byte) (text []byte, ok bool, err error) {
	if k.aead == nil {
		return nil, false, errNoSeal
	}
	text, err = k.aead.Open(nil, nil, sealed, with)
	return text, err == nil, nil
}

// Microseconds that operations take, roughly: what they cost a guest.
const (
	microsOfEC256 = 80
	microsOfEC384 = 600
	microsOfEC521 = 1200
	microsOfHMAC  = 1
)

// VerifyMicros and SignMicros are what an operation costs, roughly, in microseconds of a
// processor, whatever the length of its message.
func (k *Key) VerifyMicros() int64 {
	switch p := k.public.(type) {
	case *rsa.PublicKey:
		n := int64(p.N.BitLen())
		return n * n / 100_000
	case *ecdsa.PublicKey:
		return microsOf(k.a.curve)
	case ed25519.PublicKey:
		return microsOfEC256
	}
	return microsOfHMAC
}

// SignMicros is as VerifyMicros.
func (k *Key) SignMicros() int64 {
	if p, ok := k.public.(*rsa.PublicKey); ok {
		n := int64(p.N.BitLen())
		return n * n * n / 7_000_000
	}
	return k.VerifyMicros()
}

func microsOf(c elliptic.Curve) int64 {
	switch c.Params().BitSize {
	case 256:
		return microsOfEC256
	case 384:
		return microsOfEC384
	}
	return microsOfEC521
}

// Hash returns the digest of data by sha1, sha256, sha384 or sha512; ok is false for
// another name.
func Hash(name string, data []byte) (sum []byte, ok bool) {
	f, ok := map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}[name]
	if !ok {
		return nil, false
	}
	h := f.New()
	h.Write(data)
	return h.Sum(nil), true
}
