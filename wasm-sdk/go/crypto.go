//go:build wasip1

package sdk

import (
	"encoding/binary"
	"errors"
	"math"
)

// KeyFormat is how a key is written.
type KeyFormat uint8

// The formats. KeyPEM holds a public key, a certificate or a private key.
const (
	KeyRaw KeyFormat = iota // a secret's bytes
	KeyJWK                  // RFC 7517, a key and no set
	KeyPEM
)

// Key is a key that the proxy holds, for one algorithm alone.
type Key uint32

// NewKey has the proxy read a key for an algorithm: RS256, RS384, RS512, PS256, PS384,
// PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512, A128GCM or A256GCM (RFC 7518,
// RFC 8037). A key that is not for it is refused, with the proxy's word on why; what a
// token says of its algorithm cannot change that. A filter may hold 512 keys on an
// instance. It needs the capability crypto: without it, and elsewhere than in Penstock, it
// fails with ErrHost.
func NewKey(algorithm string, format KeyFormat, key []byte) (Key, error) {
	arguments = appendText(arguments[:0], algorithm)
	arguments = append(append(arguments, byte(format)), key...)
	b, err := CallForeign("penstock.crypto_key", arguments)
	if err != nil {
		return 0, err
	}
	if len(b) < 4 {
		return 0, ErrResultMismatch
	}
	if k := binary.LittleEndian.Uint32(b); k != 0 {
		return Key(k), nil
	}
	return 0, errors.New(string(b[4:]))
}

// Delete has the proxy forget the key.
func (k Key) Delete() {
	arguments = k.append(arguments[:0])
	_, _ = CallForeign("penstock.crypto_key_delete", arguments)
}

func (k Key) append(dst []byte) []byte { return binary.LittleEndian.AppendUint32(dst, uint32(k)) }

// Verify reports whether a signature, in the form of JWS (RFC 7515), is that of message.
func (k Key) Verify(signature, message []byte) (bool, error) {
	if len(signature) > math.MaxUint16 {
		return false, ErrBadArgument
	}
	arguments = append(appendText(k.append(arguments[:0]), string(signature)), message...)
	b, err := CallForeign("penstock.crypto_verify", arguments)
	return len(b) == 1 && b[0] == 1, err
}

// Sign returns the signature of message in the form of JWS, valid until the next call of a
// function of this package.
func (k Key) Sign(message []byte) ([]byte, error) {
	arguments = append(k.append(arguments[:0]), message...)
	return CallForeign("penstock.crypto_sign", arguments)
}

// Seal encrypts text so that Open alone can read it and nobody can change it; with, which
// may be empty, is not in the result and has to be the same for Open. The key is for
// A128GCM or A256GCM. The result is valid until the next call of a function of this
// package.
func (k Key) Seal(text, with []byte) ([]byte, error) {
	if len(with) > math.MaxUint16 {
		return nil, ErrBadArgument
	}
	arguments = append(appendText(k.append(arguments[:0]), string(with)), text...)
	return CallForeign("penstock.crypto_seal", arguments)
}

// Open returns the text that Seal was given; ok is false if the key is another one or
// anything was changed. text is valid until the next call of a function of this package.
func (k Key) Open(sealed, with []byte) (text []byte, ok bool, err error) {
	if len(with) > math.MaxUint16 {
		return nil, false, ErrBadArgument
	}
	arguments = append(appendText(k.append(arguments[:0]), string(with)), sealed...)
	b, err := CallForeign("penstock.crypto_open", arguments)
	if err != nil || len(b) == 0 || b[0] != 1 {
		return nil, false, err
	}
	return b[1:], true, nil
}

// Hash returns a digest: sha1, sha256, sha384 or sha512. It is valid until the next call
// of a function of this package. It needs the capability crypto.
func Hash(name string, data []byte) ([]byte, error) {
	arguments = append(appendText(arguments[:0], name), data...)
	return CallForeign("penstock.crypto_hash", arguments)
}

// CheckPassword compares a password with its hash: bcrypt, or argon2id in the PHC string
// format. now: the answer is there. Else answered is called once, as that of HTTPCall is.
// It needs the capability crypto. It fails with ErrParse for a hash that cannot be read,
// and with ErrInternal if too many passwords wait.
func CheckPassword(hash, password string, answered func(right bool, err error)) (right, now bool, err error) {
	arguments = append(appendText(arguments[:0], hash), password...)
	b, now, err := callLater("penstock.crypto_password", arguments, func(b []byte, err error) { answered(len(b) == 1 && b[0] == 1, err) })
	return len(b) == 1 && b[0] == 1, now, err
}
