package oci

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock/core/config"
)

// Media types and keys of cosign's two formats.
const (
	mediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	annotationSignature    = "dev.cosignproject.cosign/signature"
	mediaTypeBundle        = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadTypeInToto      = "application/vnd.in-toto+json"
)

// ErrSignature means that no signature of the image is what policy asks for.
var ErrSignature = errors.New("signature invalid")

// signature is one found signature, in either format.
type signature struct {
	// Bundle is a Sigstore bundle; empty: Payload and Sig are of simple signing.
	Bundle  []byte `json:"bundle,omitempty"`
	Payload []byte `json:"payload,omitempty"`
	Sig     []byte `json:"sig,omitempty"`
}

// verify reports why s does not say that one of the keys signed the image of
// that digest for one of the repositories.
func (s *signature) verify(keys []string, digest string, repositories []string) error {
	signed, sig, check := s.Payload, s.Sig, claimOfSimpleSigning
	if len(s.Bundle) > 0 {
		var err error
		if signed, sig, check, err = openBundle(s.Bundle); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(keys, func(key string) bool { return verifyWith(key, signed, sig) }) {
		return errors.New("made with none of the keys")
	}
	return check(signed, digest, repositories)
}

// verifyWith checks a signature with a public key in PEM: ECDSA or RSA PKCS #1
// v1.5 over SHA-256, or Ed25519.
func verifyWith(key string, signed, sig []byte) bool {
	block, _ := pem.Decode([]byte(key))
	if block == nil {
		return false
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return false
	}
	sum := sha256.Sum256(signed)
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, sum[:], sig)
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048 && rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(k, signed, sig)
	}
	return false
}

// claimOfSimpleSigning checks what a simple signing payload claims: this
// digest, under a name that counts.
func claimOfSimpleSigning(payload []byte, digest string, repositories []string) error {
	var p struct {
		Critical struct {
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	c := &p.Critical
	switch {
	case c.Type != "cosign container image signature" && c.Type != "atomic container signature":
		return fmt.Errorf("of type %.80q", c.Type)
	case c.Image.Digest != digest:
		return fmt.Errorf("for another image, %.80q", c.Image.Digest)
	case !slices.Contains(repositories, withoutTag(c.Identity.Reference)):
		return fmt.Errorf("for another repository, %.200q", c.Identity.Reference)
	}
	return nil
}

// withoutTag cuts tag and digest off a reference.
func withoutTag(s string) string {
	s, _, _ = strings.Cut(s, "@")
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') {
		s = s[:i]
	}
	return s
}

// claim checks what signed bytes say of an image.
type claim func(signed []byte, digest string, repositories []string) error

// openBundle returns what a Sigstore bundle v0.3 signs, its signature, and how
// to check what it says.
func openBundle(text []byte) (signed, sig []byte, check claim, err error) {
	var b struct {
		MediaType    string `json:"mediaType"`
		DSSEEnvelope *struct {
			Payload     []byte `json:"payload"`
			PayloadType string `json:"payloadType"`
			Signatures  []struct {
				Sig []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, nil, nil, fmt.Errorf("bundle: %w", err)
	}
	e := b.DSSEEnvelope
	switch {
	case b.MediaType != mediaTypeBundle:
		return nil, nil, nil, fmt.Errorf("bundle of media type %.80q", b.MediaType)
	case e == nil || len(e.Signatures) != 1:
		return nil, nil, nil, errors.New("a bundle without a DSSE envelope with one signature")
	case e.PayloadType != payloadTypeInToto:
		return nil, nil, nil, fmt.Errorf("payload of type %.80q", e.PayloadType)
	}
	// Pre-authentication encoding (DSSE protocol).
	pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload)
	payload := e.Payload
	return []byte(pae), e.Signatures[0].Sig, func(_ []byte, digest string, repositories []string) error {
		return claimOfInToto(payload, digest, repositories)
	}, nil
}

// claimOfInToto checks an in-toto statement: one of its subjects has this
// digest. Where the subject has a name that is a repository, it must count too;
// cosign leaves it empty.
func claimOfInToto(payload []byte, digest string, repositories []string) error {
	var s struct {
		Type    string `json:"_type"`
		Subject []struct {
			Name   string            `json:"name"`
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(payload, &s); err != nil {
		return fmt.Errorf("statement: %w", err)
	}
	if s.Type != "https://in-toto.io/Statement/v1" && s.Type != "https://in-toto.io/Statement/v0.1" || s.PredicateType != "https://sigstore.dev/cosign/sign/v1" {
		return fmt.Errorf("no signature but a statement of type %.80q", s.PredicateType)
	}
	for _, subject := range s.Subject {
		if "sha256:"+subject.Digest["sha256"] != digest {
			continue
		}
		if subject.Name != "" && !slices.Contains(repositories, withoutTag(subject.Name)) {
			return fmt.Errorf("for another repository, %.200q", subject.Name)
		}
		return nil
	}
	return errors.New("for another image")
}

// trusted reports whether every rule holds for an image with these signatures,
// which goes by these names.
func trusted(rules []config.Trust, signatures []signature, names []string, digest string) error {
	for _, rule := range rules {
		if len(rule.Keys) == 0 {
			continue
		}
		repositories := slices.Concat(names, rule.Repositories)
		why := errors.New("the image has none")
		ok := slices.ContainsFunc(signatures, func(s signature) bool {
			err := s.verify(rule.Keys, digest, repositories)
			if err != nil {
				why = err
			}
			return err == nil
		})
		if !ok {
			return fmt.Errorf("%w: %w", ErrSignature, why)
		}
	}
	return nil
}

// wanted reports whether any rule asks for a signature.
func wanted(rules []config.Trust) bool {
	return slices.ContainsFunc(rules, func(t config.Trust) bool { return len(t.Keys) > 0 })
}

// decodeSignature reads the annotation of a simple signature.
func decodeSignature(text string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(text)
}
