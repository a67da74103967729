package translate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// pullSecrets reads the Secrets that an entry names for its image.
func (r *run) pullSecrets(at *place, e *api.Entry) ([]config.PullCredential, error) {
	var out []config.PullCredential
	for i, ref := range e.ImagePullSecrets {
		field := fmt.Sprintf("imagePullSecrets[%d]", i)
		secret := r.secret(at.namespace, ref.Name)
		if secret == nil {
			return nil, refuse("SecretMissing", "%s: there is no Secret %s in namespace %s", field, ref.Name, at.namespace)
		}
		key := corev1.DockerConfigJsonKey
		switch secret.Type {
		case corev1.SecretTypeDockerConfigJson:
		case corev1.SecretTypeDockercfg:
			key = corev1.DockerConfigKey
		default:
			return nil, refuse("SecretMissing", "%s: Secret %s is of type %s: want %s", field, ref.Name, secret.Type, corev1.SecretTypeDockerConfigJson)
		}
		text, ok := secret.Data[key]
		if !ok {
			return nil, refuse("SecretMissing", "%s: Secret %s has no key %s", field, ref.Name, key)
		}
		list, err := dockerConfig(text)
		if err != nil {
			return nil, refuse("SecretMissing", "%s: Secret %s: %v", field, ref.Name, err)
		}
		out = append(out, list...)
	}
	return out, nil
}

// maxDockerConfig bounds a Secret with registry credentials, in bytes.
const maxDockerConfig = 1 << 20

var errDockerConfig = errors.New("no registry credentials: want the JSON of a .dockerconfigjson or .dockercfg key")

// dockerConfig reads the credentials of a Secret of type
// kubernetes.io/dockerconfigjson, or of the older kubernetes.io/dockercfg. An
// error says what is wrong, never a part of the text.
func dockerConfig(text []byte) ([]config.PullCredential, error) {
	if len(text) > maxDockerConfig {
		return nil, fmt.Errorf("%w: more than %d KiB", errDockerConfig, maxDockerConfig>>10)
	}
	var whole struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if decode(text, &whole) != nil {
		return nil, errDockerConfig
	}
	entries := whole.Auths
	if entries == nil {
		if decode(text, &entries) != nil {
			return nil, errDockerConfig
		}
	}
	var out []config.PullCredential
	for where, raw := range entries {
		var e struct {
			Username      string `json:"username"`
			Password      string `json:"password"`
			Auth          string `json:"auth"`
			IdentityToken string `json:"identitytoken"`
		}
		if json.Unmarshal(raw, &e) != nil {
			return nil, fmt.Errorf("%w: the entry of one registry is malformed", errDockerConfig)
		}
		c := config.PullCredential{Registry: registryOf(where), Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken}
		if e.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(e.Auth)
			user, password, ok := strings.Cut(string(plain), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("%w: auth is not the base64 of user:password", errDockerConfig)
			}
			c.Username, c.Password = user, password
		}
		if c.Registry == "" {
			return nil, fmt.Errorf("%w: an entry names no registry", errDockerConfig)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b config.PullCredential) int { return strings.Compare(a.Registry, b.Registry) })
	return out, nil
}

// decode reads one JSON value and nothing after it.
func decode(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errDockerConfig
	}
	return nil
}

// dockerHub is how references and credentials name the same registry.
const dockerHub = "docker.io"

// registryOf reads "registry[:port][/path]" out of what people write there.
func registryOf(s string) string {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	for _, suffix := range []string{"/v1/", "/v2/", "/v1", "/v2", "/"} {
		s = strings.TrimSuffix(s, suffix)
	}
	host, path, _ := strings.Cut(s, "/")
	switch host {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		host = dockerHub
	}
	if path == "" {
		return host
	}
	return host + "/" + path
}

// checkKey says why a public key cannot verify signatures: it wants PEM with an
// ECDSA, RSA (2,048 bits or more) or Ed25519 key.
func checkKey(key string) error {
	block, rest := pem.Decode([]byte(key))
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		return errors.New("want one public key in PEM")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return errors.New("the key cannot be read: want a SubjectPublicKeyInfo")
	}
	switch k := public.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 {
			return nil
		}
		return errors.New("the RSA key has less than 2048 bits")
	}
	return errors.New("want an ECDSA, RSA or Ed25519 key")
}
