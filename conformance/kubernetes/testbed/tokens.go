package testbed

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// tokensAge is how long ago a token of ExpireTokens has expired.
const tokensAge = time.Hour

// ExpireTokens puts in the place of the tokens of Pods, in their volumes, the same ones
// as they would be had they expired: signed by the cluster's own key, so that the time
// alone is wrong. restore puts those back that were there.
func (t *Testbed) ExpireTokens(pods []corev1.Pod) (restore func() error, err error) {
	before := map[string][]byte{}
	restore = func() error {
		var failed error
		for file, text := range before {
			failed = errors.Join(failed, replace(file, text))
		}
		return failed
	}
	for _, p := range pods {
		files, err := filepath.Glob(dir("node", "*", string(p.UID), "volumes", "*", "..data", "token"))
		if err == nil && len(files) == 0 {
			err = fmt.Errorf("Pod %s has no token", p.Name)
		}
		for _, file := range files {
			var text []byte
			var old string
			if text, err = os.ReadFile(file); err == nil {
				old, err = expiredToken(string(text))
			}
			if err == nil {
				err = replace(file, []byte(old))
			}
			if err != nil {
				break
			}
			before[file] = text
		}
		if err != nil {
			return nil, errors.Join(err, restore())
		}
	}
	return restore, nil
}

// replace writes a file all at once.
func replace(file string, text []byte) error {
	fresh := file + ".new"
	if err := os.WriteFile(fresh, text, 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}

// expiredToken returns a token (RFC 7519, ES256) with all its times moved into the past.
func expiredToken(token string) (string, error) {
	parts := strings.Split(token, ".")
	claims, err := claimsOf(token)
	if err != nil {
		return "", err
	}
	until, _ := claims["exp"].(float64)
	shift := until - float64(time.Now().Add(-tokensAge).Unix())
	for _, name := range []string{"exp", "iat", "nbf"} {
		if at, ok := claims[name].(float64); ok {
			claims[name] = int64(at - shift)
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(text)
	key, err := readKey(dir("pki", "tokens.key"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// TokenExpires returns when a token expires.
func TokenExpires(token string) (time.Time, error) {
	claims, err := claimsOf(token)
	if err != nil {
		return time.Time{}, err
	}
	until, ok := claims["exp"].(float64)
	if !ok {
		return time.Time{}, errors.New("a token that never expires")
	}
	return time.Unix(int64(until), 0), nil
}

func claimsOf(token string) (claims map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("no token")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	return claims, json.Unmarshal(text, &claims)
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM", file)
	}
	return x509.ParseECPrivateKey(block.Bytes)
}
