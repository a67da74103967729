package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
)

// Bounds on the signatures of one image.
const (
	maxSignatures     = 32
	maxSignatureBytes = 256 << 10
)

// Verify reports whether the image of that digest is signed as req.Trust asks:
// by what is stored of its signatures, else by what the registry has. Errors
// wrap ErrSignature, ErrForbidden or ErrUnavailable.
func (s *Store) Verify(ctx context.Context, req Request, digest string) error {
	if !wanted(req.Trust) {
		return nil
	}
	r, err := ParseReference(req.Reference)
	if err != nil {
		return err
	}
	stored := s.storedSignatures(r, digest)
	if trusted(req.Trust, stored, s.names(r), digest) == nil {
		return nil
	}
	found, err := s.fetchSignatures(ctx, req, r, digest)
	if err != nil {
		return fmt.Errorf("look for signatures: %w", err)
	}
	if len(found) > 0 {
		if err := s.storeSignatures(r, digest, found); err != nil {
			return fmt.Errorf("image store: %w", err)
		}
	}
	return trusted(req.Trust, found, s.names(r), digest)
}

func (s *Store) signatureFile(r Reference, digest string) string {
	return filepath.Join(s.o.Dir, "signatures", hashed(digest, r.Name()))
}

func (s *Store) storedSignatures(r Reference, digest string) []signature {
	text, err := os.ReadFile(s.signatureFile(r, digest))
	var list []signature
	if err != nil || json.Unmarshal(text, &list) != nil {
		return nil
	}
	return list
}

func (s *Store) storeSignatures(r Reference, digest string, list []signature) error {
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return writeFile(s.signatureFile(r, digest), text)
}

// fetchSignatures asks the registry for the signatures of a digest in both formats.
func (s *Store) fetchSignatures(ctx context.Context, req Request, r Reference, digest string) ([]signature, error) {
	ctx, cancel := context.WithTimeout(ctx, PullTimeout)
	defer cancel()
	var found []signature
	err := s.try(req, r, func(repo *remote.Repository) error {
		var err error
		found, err = s.signaturesOf(ctx, repo, digest)
		return err
	})
	return found, err
}

func (s *Store) signaturesOf(ctx context.Context, repo *remote.Repository, digest string) ([]signature, error) {
	var found []signature
	add := func(m *ocispec.Manifest) error {
		for _, l := range m.Layers {
			if len(found) >= maxSignatures {
				return nil
			}
			sig := signature{}
			switch l.MediaType {
			case mediaTypeSimpleSigning:
				b, err := decodeSignature(l.Annotations[annotationSignature])
				if err != nil || len(b) == 0 {
					continue
				}
				sig.Sig = b
			case mediaTypeBundle:
			default:
				continue
			}
			content, err := s.fetch(ctx, repo, l, maxSignatureBytes)
			if err != nil {
				return err
			}
			if l.MediaType == mediaTypeBundle {
				sig.Bundle = content
			} else {
				sig.Payload = content
			}
			found = append(found, sig)
		}
		return nil
	}
	tag := strings.Replace(digest, ":", "-", 1) + ".sig"
	switch d, err := repo.Resolve(ctx, tag); {
	case errors.Is(err, errdef.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if err := s.eachManifest(ctx, repo, []ocispec.Descriptor{d}, add); err != nil {
			return nil, err
		}
	}
	var referrers []ocispec.Descriptor
	image, err := repo.Resolve(ctx, digest)
	if err != nil {
		return nil, err
	}
	err = repo.Referrers(ctx, image, "", func(list []ocispec.Descriptor) error {
		for _, d := range list {
			if (d.ArtifactType == mediaTypeBundle || d.ArtifactType == "") && len(referrers) < maxSignatures {
				referrers = append(referrers, d)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return nil, err
	}
	return found, s.eachManifest(ctx, repo, referrers, add)
}

// eachManifest reads manifests that signatures hang on.
func (s *Store) eachManifest(ctx context.Context, repo *remote.Repository, list []ocispec.Descriptor, f func(*ocispec.Manifest) error) error {
	for _, d := range list {
		if !isManifest(d.MediaType) {
			continue
		}
		raw, err := s.fetch(ctx, repo, d, MaxManifestBytes)
		if err != nil {
			return err
		}
		var m ocispec.Manifest
		if json.Unmarshal(raw, &m) != nil {
			continue // it signs nothing
		}
		if err := f(&m); err != nil {
			return err
		}
	}
	return nil
}
