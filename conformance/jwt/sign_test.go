package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	crand "crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // registered with package crypto
	_ "crypto/sha512"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// sign returns a signature by the standard library (RFC 7518, 3; RFC 8037, 3.1), whatever
// the header of the message says.
func sign(a jose.SignatureAlgorithm, private any, message []byte) []byte {
	if k, ok := private.(ed25519.PrivateKey); ok {
		return ed25519.Sign(k, message)
	}
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[string(a[2:])]
	if secret, ok := private.([]byte); ok {
		h := hmac.New(hash.New, secret)
		h.Write(message)
		return h.Sum(nil)
	}
	h := hash.New()
	h.Write(message)
	sum := h.Sum(nil)
	switch k := private.(type) {
	case *rsa.PrivateKey:
		var signature []byte
		var err error
		if strings.HasPrefix(string(a), "PS") {
			signature, err = rsa.SignPSS(crand.Reader, k, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(crand.Reader, k, hash, sum)
		}
		if err != nil {
			panic(err)
		}
		return signature
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(crand.Reader, k, sum)
		if err != nil {
			panic(err)
		}
		n := (k.Curve.Params().BitSize + 7) / 8
		out := make([]byte, 2*n)
		r.FillBytes(out[:n])
		s.FillBytes(out[n:])
		return out
	}
	panic("BUG: no such key")
}
