package oci

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutMode: a layout is handed on, to processes of other users too.
const layoutMode = 0o644

// WriteLayout adds an image to the OCI layout folder dir, made if it is
// missing, under ref, which must have a tag and no digest; an image that had
// the name loses it. module is the CNCF Wasm artifact's layer; manifest,
// schema and cases are optional layers. It returns the image's digest. One writer
// at a time; readers see the old or the new index.
func WriteLayout(dir string, ref Reference, module, manifest, schema []byte, cases ...CasesFile) (string, error) {
	if ref.Tag == "" || ref.Digest != "" {
		return "", fmt.Errorf("%w: %s: a layout needs a tag and no digest", ErrReference, ref)
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return "", err
	}
	put := func(mediaType string, data []byte) (ocispec.Descriptor, error) {
		d := describe(mediaType, data)
		return d, writeMode(filepath.Join(dir, "blobs", "sha256", d.Digest.Encoded()), data, layoutMode)
	}
	parts, err := artifact(module, manifest, schema, cases...)
	if err != nil {
		return "", err
	}
	for _, p := range parts.blobs {
		if _, err := put("", p); err != nil {
			return "", err
		}
	}
	d, err := put(ocispec.MediaTypeImageManifest, parts.manifest)
	if err != nil {
		return "", err
	}
	d.Annotations = map[string]string{ocispec.AnnotationRefName: ref.Name() + ":" + ref.Tag}
	return d.Digest.String(), addToIndex(dir, d)
}

type parts struct {
	manifest []byte
	blobs    [][]byte
}

// artifact makes the CNCF Wasm artifact: its image manifest and blobs. The
// same input gives the same bytes.
func artifact(module, manifest, schema []byte, cases ...CasesFile) (parts, error) {
	if err := CheckCases(cases); err != nil {
		return parts{}, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "wasm", "os": "wasip1", "layerDigests": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(module))},
	})
	if err != nil {
		return parts{}, err
	}
	p := parts{blobs: [][]byte{config, module}}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    describe(MediaTypeWasmConfig, config),
		Layers:    []ocispec.Descriptor{describe(MediaTypeWasm, module)},
	}
	if manifest != nil {
		m.Layers = append(m.Layers, describe(MediaTypeManifest, manifest))
		p.blobs = append(p.blobs, manifest)
	}
	if schema != nil {
		m.Layers = append(m.Layers, describe(MediaTypeConfigSchema, schema))
		p.blobs = append(p.blobs, schema)
	}
	for _, f := range cases {
		d := describe(MediaTypeCases, f.Text)
		d.Annotations = map[string]string{ocispec.AnnotationTitle: f.Name}
		m.Layers = append(m.Layers, d)
		p.blobs = append(p.blobs, f.Text)
	}
	p.manifest, err = json.Marshal(m)
	return p, err
}

// describe returns the descriptor of content.
func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func addToIndex(dir string, d ocispec.Descriptor) error {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	name := filepath.Join(dir, ocispec.ImageIndexFile)
	text, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(text, &index)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("layout %s: %w", dir, err)
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(old ocispec.Descriptor) bool {
		return old.Annotations[ocispec.AnnotationRefName] == d.Annotations[ocispec.AnnotationRefName]
	})
	index.Manifests = append(index.Manifests, d)
	if text, err = json.MarshalIndent(index, "", "  "); err != nil {
		return err
	}
	marker, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return errors.Join(writeMode(filepath.Join(dir, ocispec.ImageLayoutFile), marker, layoutMode), writeMode(name, text, layoutMode))
}
