// Package crypto is the cryptography that plugins can ask the host for:
// Envoy's foreign functions verify_signature, sign, compress and uncompress.
package crypto

import (
	"bytes"
	"compress/zlib"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // registered with package crypto
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds on what a guest may pass in.
const (
	maxText    = 1 << 20
	maxKey     = 16 << 10
	minRSABits = 1024
	maxRSABits = 4096
)

// ErrTooLarge is returned when a result would pass its limit.
var ErrTooLarge = errors.New("the result is too large")

var (
	errKey  = errors.New("the key cannot be read: want a SubjectPublicKeyInfo or PKCS #8, in DER or PEM")
	errKind = errors.New("want an RSA or ECDSA key")
	errBits = fmt.Errorf("an RSA key has %d to %d bits", minRSABits, maxRSABits)
	errBoth = errors.New("a key is given in DER and in PEM: want one")
	errSize = errors.New("the text or key is too large")
)

// Verify is Envoy's verify_signature. args is a VerifySignatureArguments:
// hash_function = 1, public_key = 2 (DER), signature = 3, text = 4,
// public_key_pem = 5; the result a VerifySignatureResult: result = 1,
// error = 2. ok is false if args is no such message. RSA is PKCS #1 v1.5.
func Verify(args []byte) (result []byte, ok bool) {
	f, ok := fields(args)
	if !ok {
		return nil, false
	}
	err := verify(string(f[1]), f[2], f[5], f[3], f[4])
	if err != nil {
		return appendError(nil, 2, err), true
	}
	return appendTrue(nil), true
}

// Sign is Envoy's sign. args is a SignArguments: hash_function = 1,
// private_key = 2 (DER), text = 3, private_key_pem = 4; the result a SignResult:
// result = 1, signature = 2, error = 3. ok is false if args is no such message.
func Sign(args []byte) (result []byte, ok bool) {
	f, ok := fields(args)
	if !ok {
		return nil, false
	}
	signature, err := sign(string(f[1]), f[2], f[4], f[3])
	if err != nil {
		return appendError(nil, 3, err), true
	}
	b := protowire.AppendTag(appendTrue(nil), 2, protowire.BytesType)
	return protowire.AppendBytes(b, signature), true
}

func verify(hash string, der, pemText, signature, text []byte) error {
	h, der, err := prepare(hash, der, pemText, text)
	if err != nil {
		return err
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return errKey
	}
	sum := h.New()
	sum.Write(text)
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return errBits
		}
		if rsa.VerifyPKCS1v15(key, h, sum.Sum(nil), signature) == nil {
			return nil
		}
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(key, sum.Sum(nil), signature) {
			return nil
		}
	default:
		return errKind
	}
	return errors.New("the signature does not match")
}

func sign(hash string, der, pemText, text []byte) ([]byte, error) {
	h, der, err := prepare(hash, der, pemText, text)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errKey
	}
	sum := h.New()
	sum.Write(text)
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, errBits
		}
		return rsa.SignPKCS1v15(rand.Reader, key, h, sum.Sum(nil))
	case *ecdsa.PrivateKey:
		return ecdsa.SignASN1(rand.Reader, key, sum.Sum(nil))
	}
	return nil, errKind
}

// prepare checks sizes, and returns the hash function and the key in DER.
func prepare(hash string, der, pemText, text []byte) (crypto.Hash, []byte, error) {
	if len(text) > maxText || len(der) > maxKey || len(pemText) > maxKey {
		return 0, nil, errSize
	}
	h, ok := map[string]crypto.Hash{
		"sha1": crypto.SHA1, "sha224": crypto.SHA224, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
	}[strings.ToLower(hash)]
	switch {
	case !ok:
		return 0, nil, fmt.Errorf("%.20q is no hash function: want sha1, sha224, sha256, sha384 or sha512", hash)
	case len(der) > 0 && len(pemText) > 0:
		return 0, nil, errBoth
	case len(pemText) > 0:
		block, _ := pem.Decode(pemText)
		if block == nil {
			return 0, nil, errKey
		}
		der = block.Bytes
	}
	return h, der, nil
}

func appendTrue(b []byte) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), 1)
}

func appendError(b []byte, field protowire.Number, err error) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), err.Error())
}

// fields returns the last value of each length-delimited field.
func fields(b []byte) (map[protowire.Number][]byte, bool) {
	f := map[protowire.Number][]byte{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, false
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return nil, false
		}
		if kind == protowire.BytesType {
			f[number], _ = protowire.ConsumeBytes(b)
		}
		b = b[n:]
	}
	return f, true
}

// Deflate returns data as a zlib stream (RFC 1950).
func Deflate(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Inflate reads a zlib stream of at most limit bytes; ErrTooLarge if there are
// more.
func Inflate(data []byte, limit int) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(out) > limit {
		return nil, ErrTooLarge
	}
	return out, nil
}
