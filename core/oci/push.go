package oci

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"penstock.dev/penstock/core/config"
)

// DockerCredential returns what `docker login`, or another tool that keeps its logins
// where Docker does, has stored for a registry: none if there is nothing.
func DockerCredential(ctx context.Context, registry string) ([]config.PullCredential, error) {
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("logins of registries: %w", err)
	}
	c, err := store.Get(ctx, credentials.ServerAddressFromRegistry(registry))
	if err != nil {
		return nil, fmt.Errorf("logins of registries: %w", err)
	}
	if c.Username == "" && c.RefreshToken == "" {
		return nil, nil
	}
	return []config.PullCredential{{Registry: registry, Username: c.Username, Password: c.Password, IdentityToken: c.RefreshToken}}, nil
}

// Push puts an image into its registry under ref, which must have a tag and no digest.
// The parts are those of WriteLayout, and the same ones give the same digest, which is
// returned. What is there already is not sent again. Of req only Credentials count. Errors
// wrap ErrReference, ErrForbidden or ErrNotTaken.
func (s *Store) Push(ctx context.Context, req Request, ref Reference, module, manifest, schema []byte, cases ...CasesFile) (string, error) {
	if ref.Tag == "" || ref.Digest != "" {
		return "", fmt.Errorf("%w: %s: an image is pushed under a tag, and without a digest", ErrReference, ref)
	}
	p, err := artifact(module, manifest, schema, cases...)
	if err != nil {
		return "", err
	}
	d := describe(ocispec.MediaTypeImageManifest, p.manifest)
	err = s.own(req, ref, ErrNotTaken, func(repo *remote.Repository) error {
		for _, b := range p.blobs {
			if err := pushBlob(ctx, repo, "application/octet-stream", b); err != nil {
				return err
			}
		}
		return repo.Manifests().PushReference(ctx, d, bytes.NewReader(p.manifest), ref.Tag)
	})
	return d.Digest.String(), err
}

func pushBlob(ctx context.Context, repo *remote.Repository, mediaType string, b []byte) error {
	d := describe(mediaType, b)
	there, err := repo.Blobs().Exists(ctx, d)
	if err != nil || there {
		return err
	}
	return repo.Blobs().Push(ctx, d, bytes.NewReader(b))
}

// Sign signs the image of a digest as cosign does (simple signing), and puts the
// signature beside those that it has. key is ECDSA, RSA or Ed25519.
func (s *Store) Sign(ctx context.Context, req Request, ref Reference, imageDigest string, key crypto.Signer) error {
	payload, err := signingPayload(ref, imageDigest)
	if err != nil {
		return err
	}
	sig, err := signWith(key, payload)
	if err != nil {
		return err
	}
	layer := describe(mediaTypeSimpleSigning, payload)
	layer.Annotations = map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)}
	tag := strings.Replace(imageDigest, ":", "-", 1) + ".sig"
	return s.own(req, ref, ErrUnavailable, func(repo *remote.Repository) error {
		if _, err := repo.Resolve(ctx, imageDigest); err != nil {
			return err
		}
		layers, err := s.signatureLayers(ctx, repo, tag)
		if err != nil {
			return err
		}
		if err := pushBlob(ctx, repo, mediaTypeSimpleSigning, payload); err != nil {
			return err
		}
		image := []byte(`{}`)
		if err := pushBlob(ctx, repo, ocispec.MediaTypeImageConfig, image); err != nil {
			return err
		}
		text, err := json.Marshal(ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: describe(ocispec.MediaTypeImageConfig, image),
			Layers: append(layers, layer),
		})
		if err != nil {
			return err
		}
		d := describe(ocispec.MediaTypeImageManifest, text)
		return repo.Manifests().PushReference(ctx, d, bytes.NewReader(text), tag)
	})
}

// signatureLayers are the signatures that an image has under its tag for them.
func (s *Store) signatureLayers(ctx context.Context, repo *remote.Repository, tag string) ([]ocispec.Descriptor, error) {
	d, err := repo.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var layers []ocispec.Descriptor
	err = s.eachManifest(ctx, repo, []ocispec.Descriptor{d}, func(m *ocispec.Manifest) error {
		layers = m.Layers
		return nil
	})
	if len(layers) >= maxSignatures {
		return nil, fmt.Errorf("%d signatures are there: no more are read", len(layers))
	}
	return layers, err
}

// signingPayload is what simple signing signs.
func signingPayload(ref Reference, imageDigest string) ([]byte, error) {
	type m = map[string]any
	return json.Marshal(m{"critical": m{
		"identity": m{"docker-reference": ref.Name()}, "image": m{"docker-manifest-digest": imageDigest}, "type": "cosign container image signature",
	}, "optional": nil})
}

func signWith(key crypto.Signer, payload []byte) ([]byte, error) {
	sum := sha256.Sum256(payload)
	switch key.Public().(type) {
	case ed25519.PublicKey:
		return key.Sign(rand.Reader, payload, crypto.Hash(0))
	case *ecdsa.PublicKey, *rsa.PublicKey:
		return key.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	return nil, fmt.Errorf("a key of type %T: want ECDSA, RSA or Ed25519", key.Public())
}
