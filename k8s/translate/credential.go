package translate

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// Bounds of credentials, in bytes.
const (
	minAPIKey   = 8 // below, it is a mistake
	maxAPIKey   = 1 << 10
	maxLogin    = 255 // a username, a password, what a token's key is looked up by
	maxBcrypt   = 14  // its cost
	minRSABits  = 2048
	maxRSABits  = 8192
	maxArgonKiB = 64 << 10
	maxArgonRun = 8 // its passes, and its lanes
)

// credentialTypes reads Secrets by the value of their label.
var credentialTypes = map[string]func(fields) (lookup, how string, data []byte, err error){
	api.CredentialKeyAuth:   apiKey,
	api.CredentialBasicAuth: login,
	api.CredentialJWT:       tokenKey,
	api.CredentialMTLSAuth:  certificateName,
}

// fields are the keys of a Secret that have not been read yet.
type fields map[string][]byte

// credential reads a Secret of a Consumer. No error holds a value of it.
func credential(s *corev1.Secret) (config.Credential, error) {
	kind := s.Labels[api.LabelCredential]
	read := credentialTypes[kind]
	if read == nil {
		return config.Credential{}, fmt.Errorf("its label %s is %.40q: want key-auth, basic-auth, jwt or mtls-auth", api.LabelCredential, kind)
	}
	all := make(fields, len(s.Data))
	maps.Copy(all, s.Data)
	lookup, how, data, err := read(all)
	if err != nil {
		return config.Credential{}, err
	}
	if left := slices.Sorted(maps.Keys(all)); len(left) > 0 {
		return config.Credential{}, fmt.Errorf("key %.60q is unknown for %s: remove it", left[0], kind)
	}
	made := config.Credential{Type: kind, ID: config.CredentialID(kind, []byte(lookup))}
	if how != "" {
		made.Data = append([]byte(how+"\x00"), data...)
	}
	return made, nil
}

// take returns the value of a key and takes it out; empty: it is missing.
func (f fields) take(key string) string {
	value := f[key]
	delete(f, key)
	return string(value)
}

// printable reports whether all bytes are visible ASCII, or of those in also.
func printable(s, also string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return (c <= ' ' || c >= 0x7f) && !strings.ContainsRune(also, c) })
}

func apiKey(f fields) (lookup, how string, data []byte, err error) {
	key := f.take("key")
	switch {
	case key == "":
		return "", "", nil, errors.New("it has no key: want the API key in key")
	case len(key) < minAPIKey || len(key) > maxAPIKey:
		return "", "", nil, fmt.Errorf("key has %d bytes: want %d to %d", len(key), minAPIKey, maxAPIKey)
	case !printable(key, ""):
		return "", "", nil, errors.New("key holds a space, a line break at its end perhaps, or another character that no request shows: want visible ASCII characters")
	}
	return key, "", nil, nil
}

func login(f fields) (lookup, how string, data []byte, err error) {
	name, password, hash := f.take("username"), f.take("password"), f.take("passwordHash")
	control := func(s string) bool { return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) }
	switch {
	case name == "" || len(name) > maxLogin || control(name) || strings.Contains(name, ":"):
		return "", "", nil, fmt.Errorf("username: want 1 to %d bytes without a colon and without control characters (RFC 7617)", maxLogin)
	case (password == "") == (hash == ""):
		return "", "", nil, errors.New("want one of password and passwordHash")
	case hash != "":
		if err := passwordHash(hash); err != nil {
			return "", "", nil, fmt.Errorf("passwordHash: %w", err)
		}
		return name, "hash", []byte(hash), nil
	case len(password) > maxLogin || control(password):
		return "", "", nil, fmt.Errorf("password: want 1 to %d bytes without control characters, as a line break at its end (RFC 7617)", maxLogin)
	}
	return name, "password", []byte(password), nil
}

var (
	bcryptForm = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)
	argonForm  = regexp.MustCompile(`^\$argon2id\$v=19\$m=([1-9][0-9]{0,8}),t=([1-9][0-9]{0,8}),p=([1-9][0-9]{0,8})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$`)
)

// passwordHash says what is wrong with a hash. What one costs to check is bounded: every
// request that names its user pays for it.
func passwordHash(hash string) error {
	if m := bcryptForm.FindStringSubmatch(hash); m != nil {
		if cost, _ := strconv.Atoi(m[1]); cost < 4 || cost > maxBcrypt {
			return fmt.Errorf("bcrypt's cost is %s: want 04 to %d", m[1], maxBcrypt)
		}
		return nil
	}
	m := argonForm.FindStringSubmatch(hash)
	if m == nil {
		return errors.New("want bcrypt ($2a$, $2b$, $2y$) or Argon2id ($argon2id$v=19$m=..,t=..,p=..$salt$hash)")
	}
	memory, _ := strconv.Atoi(m[1])
	passes, _ := strconv.Atoi(m[2])
	lanes, _ := strconv.Atoi(m[3])
	if memory < 8*lanes || memory > maxArgonKiB || passes > maxArgonRun || lanes > maxArgonRun {
		return fmt.Errorf("Argon2id: want m of 8 times p to %d (KiB), t and p of at most %d", maxArgonKiB, maxArgonRun)
	}
	for _, text := range m[4:] {
		if _, err := base64.RawStdEncoding.Strict().DecodeString(text); err != nil {
			return errors.New("Argon2id: salt and hash: want base64 without padding")
		}
	}
	return nil
}

// algorithms of tokens (RFC 7518, 3.1; RFC 8037).
var algorithms = []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func tokenKey(f fields) (lookup, how string, data []byte, err error) {
	key, algorithm, secret, public := f.take("key"), f.take("algorithm"), f.take("secret"), f.take("publicKey")
	switch {
	case key == "" || len(key) > maxLogin || !printable(key, " "):
		return "", "", nil, fmt.Errorf("key: want the issuer or the key id that tokens name, 1 to %d visible characters", maxLogin)
	case !slices.Contains(algorithms, algorithm):
		return "", "", nil, fmt.Errorf("algorithm: want one of %s", strings.Join(algorithms, ", "))
	case strings.HasPrefix(algorithm, "HS"):
		if public != "" {
			return "", "", nil, fmt.Errorf("publicKey: %s is checked by secret alone: remove it", algorithm)
		}
		if bits, _ := strconv.Atoi(algorithm[2:]); len(secret) < bits/8 || len(secret) > 1024 { // RFC 7518, 3.2
			return "", "", nil, fmt.Errorf("secret has %d bytes: %s wants %d to 1024", len(secret), algorithm, bits/8)
		}
		return key, algorithm, []byte(secret), nil
	case secret != "":
		return "", "", nil, fmt.Errorf("secret: %s is checked by publicKey alone: remove it", algorithm)
	}
	der, err := publicKey(algorithm, public)
	if err != nil {
		return "", "", nil, fmt.Errorf("publicKey: %w", err)
	}
	return key, algorithm, der, nil
}

// publicKey returns the DER of a public key in PEM that the algorithm can be checked by.
func publicKey(algorithm, text string) ([]byte, error) {
	if len(text) > config.MaxCredentialData {
		return nil, fmt.Errorf("%d bytes, at most %d", len(text), config.MaxCredentialData)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("want one PEM block of type PUBLIC KEY")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("its block holds no public key (RFC 5280, SubjectPublicKeyInfo)")
	}
	curves := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}
	fits := false
	switch key := key.(type) {
	case *rsa.PublicKey:
		fits = algorithm[0] != 'E'
		if bits := key.N.BitLen(); fits && (bits < minRSABits || bits > maxRSABits) {
			return nil, fmt.Errorf("RSA of %d bits: want %d to %d", bits, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey:
		fits = key.Curve == curves[algorithm]
	case ed25519.PublicKey:
		fits = algorithm == "EdDSA"
	}
	if !fits {
		return nil, fmt.Errorf("it is of another kind than %s has", algorithm)
	}
	return block.Bytes, nil
}
