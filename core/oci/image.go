package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types that this package reads beside those of the OCI image spec.
const (
	MediaTypeWasm         = "application/wasm"
	MediaTypeWasmConfig   = "application/vnd.wasm.config.v0+json"
	MediaTypeSoloWasm     = "application/vnd.module.wasm.content.layer.v1+wasm"
	MediaTypeManifest     = "application/vnd.penstock.manifest.v1+json"
	MediaTypeConfigSchema = "application/vnd.penstock.config-schema.v1+json"
	MediaTypeCases        = "application/vnd.penstock.cases.v1+yaml" // one file of cases; there may be several

	mediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeDockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// Sizes in bytes beyond which an image is refused.
const (
	MaxModuleBytes   = 64 << 20 // the module, and its layer before and after decompression
	MaxManifestBytes = 1 << 20  // an image manifest or index
	MaxMetaBytes     = 256 << 10
	// MaxCasesBytes bounds all files of cases together, MaxCasesFiles their number.
	MaxCasesBytes = 256 << 10
	MaxCasesFiles = 16
)

// What an image can be refused for.
var (
	// ErrUnavailable: the registry cannot be asked, or does not have it; trying again may help.
	ErrUnavailable = errors.New("image unavailable")
	// ErrMissing: the registry was asked and does not have it; an ErrUnavailable too.
	ErrMissing = errors.New("not in the registry")
	// ErrNotTaken: the registry cannot be asked, or does not take an image.
	ErrNotTaken = errors.New("the registry does not take the image")
	// ErrForbidden: the registry refuses the pull.
	ErrForbidden = errors.New("pull forbidden")
	// ErrDigest: bytes differ from their digest.
	ErrDigest = errors.New("digest mismatch")
	// ErrImage: an image that holds no plugin in one of the three layouts, or exceeds a size.
	ErrImage = errors.New("not a plugin image")
)

// Manifest is what an image says about its plugin: the layer of media type
// MediaTypeManifest. Keys it does not know are ignored.
type Manifest struct {
	ABI          string   `json:"abi,omitempty"` // "proxy-wasm" or "http-wasm"; narrows what the exports tell
	Capabilities []string `json:"capabilities,omitempty"`
	Guard        bool     `json:"guard,omitempty"`
	MultiConfig  bool     `json:"multiConfig,omitempty"`
	// Connections: its callbacks for raw connections do what the plugin is for, so
	// that it may stand in the chain of a TCPRoute or TLSRoute.
	Connections bool `json:"connections,omitempty"`
	// Cost is what its author has measured; nil: nothing.
	Cost *Cost `json:"cost,omitempty"`
}

// Cost is what a plugin costs, on the machine of whoever measured it.
type Cost struct {
	MicrosecondsPerRequest float64 `json:"microsecondsPerRequest"`
	InstanceKiB            int64   `json:"instanceKiB"`
}

// ParseCost reads a cost; both numbers are above 0.
func ParseCost(text []byte) (c Cost, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || !(c.MicrosecondsPerRequest > 0) || c.InstanceKiB <= 0 {
		return Cost{}, errors.New("cost: want microsecondsPerRequest and instanceKiB, both above 0")
	}
	return c, nil
}

// WithCost adds a cost to the text of a manifest, which may be nil.
func WithCost(manifest []byte, c Cost) ([]byte, error) {
	all := map[string]json.RawMessage{}
	if manifest != nil {
		if err := json.Unmarshal(manifest, &all); err != nil {
			return nil, fmt.Errorf("plugin manifest: %w", err)
		}
	}
	var err error
	if all["cost"], err = json.Marshal(c); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// ParseManifest reads a manifest as an author writes it: an unknown field is an error.
func ParseManifest(text []byte) (m Manifest, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
			err = fmt.Errorf("unknown field %s (one of abi, capabilities, guard, multiConfig, connections)", name)
		}
		return Manifest{}, fmt.Errorf("plugin manifest: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Manifest{}, errors.New("plugin manifest: something follows the object")
	}
	return m, nil
}

// Image is a plugin image with its bytes.
type Image struct {
	Reference Reference
	Digest    string // of the image manifest, "sha256:<hex>"
	Module    []byte // the Wasm module, not yet checked to be one
	Manifest  Manifest
	Schema    []byte // JSON Schema of the config, nil if the image has none
	Cases     []CasesFile
}

// CasesFile is a file of a plugin's test cases, not yet read.
type CasesFile struct {
	Name string // its base name, "cases.yaml"; for people
	Text []byte
}

// CheckCases says whether an image may have these files of cases.
func CheckCases(files []CasesFile) error {
	if len(files) > MaxCasesFiles {
		return fmt.Errorf("%d files of cases: an image has at most %d", len(files), MaxCasesFiles)
	}
	bytes := 0
	for _, f := range files {
		bytes += len(f.Text)
	}
	if bytes > MaxCasesBytes {
		return fmt.Errorf("files of cases of %d bytes: an image has at most %d", bytes, MaxCasesBytes)
	}
	return nil
}

// blobs reads content by descriptor; what it returns has the descriptor's digest.
type blobs func(d ocispec.Descriptor, limit int64) ([]byte, error)

// unpack reads the plugin out of the image manifest in raw.
func unpack(raw []byte, fetch blobs) (*Image, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%w: image manifest: %w", ErrImage, err)
	}
	layer, open, err := moduleLayer(&m)
	if err != nil {
		return nil, err
	}
	data, err := fetch(layer, MaxModuleBytes)
	if err != nil {
		return nil, err
	}
	img := &Image{}
	if img.Module, err = open(data); err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		switch l.MediaType {
		case MediaTypeManifest:
			text, err := fetch(l, MaxMetaBytes)
			if err != nil {
				return nil, err
			}
			if err := json.Unmarshal(text, &img.Manifest); err != nil {
				return nil, fmt.Errorf("%w: manifest layer: %w", ErrImage, err)
			}
		case MediaTypeConfigSchema:
			if img.Schema, err = fetch(l, MaxMetaBytes); err != nil {
				return nil, err
			}
		case MediaTypeCases:
			if err := img.addCases(l, fetch); err != nil {
				return nil, err
			}
		}
	}
	return img, nil
}

// addCases reads a file of cases.
func (i *Image) addCases(l ocispec.Descriptor, fetch blobs) error {
	if len(i.Cases) == MaxCasesFiles { // before one more is fetched
		return fmt.Errorf("%w: more than %d files of cases", ErrImage, MaxCasesFiles)
	}
	text, err := fetch(l, MaxCasesBytes)
	if err != nil {
		return err
	}
	name := path.Base("/" + l.Annotations[ocispec.AnnotationTitle])
	if len(name) > 100 || !isPrintable(name) || name == "/" {
		name = fmt.Sprintf("cases %d", len(i.Cases)+1)
	}
	i.Cases = append(i.Cases, CasesFile{name, text})
	if err := CheckCases(i.Cases); err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	return nil
}

// isPrintable reports whether s is visible ASCII.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// moduleLayer chooses the layer that holds the module, and how to open it: a
// Wasm layer is the module; of file system layers it is the last one.
func moduleLayer(m *ocispec.Manifest) (ocispec.Descriptor, func([]byte) ([]byte, error), error) {
	plain := func(b []byte) ([]byte, error) { return b, nil }
	for _, l := range m.Layers {
		if l.MediaType == MediaTypeWasm || l.MediaType == MediaTypeSoloWasm {
			return l, plain, nil
		}
	}
	for _, l := range slices.Backward(m.Layers) {
		switch l.MediaType {
		case ocispec.MediaTypeImageLayerGzip, mediaTypeDockerLayer:
			return l, fromTarGzip, nil
		case ocispec.MediaTypeImageLayer:
			return l, fromTar, nil
		}
	}
	return ocispec.Descriptor{}, nil, fmt.Errorf("%w: no Wasm layer and no file system layer", ErrImage)
}

func fromTarGzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: layer: %w", ErrImage, err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, MaxModuleBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: layer: %w", ErrImage, err)
	}
	if len(plain) > MaxModuleBytes {
		return nil, fmt.Errorf("%w: layer exceeds %d MiB when decompressed", ErrImage, MaxModuleBytes>>20)
	}
	return fromTar(plain)
}

func fromTar(b []byte) ([]byte, error) {
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: layer holds no plugin.wasm", ErrImage)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: layer: %w", ErrImage, err)
		}
		if path.Clean("/"+h.Name) == "/plugin.wasm" && h.Typeflag == tar.TypeReg {
			return io.ReadAll(io.LimitReader(r, MaxModuleBytes))
		}
	}
}

// choose returns the manifest of an index to use: the one for Wasm, else the first image.
func choose(raw []byte) (ocispec.Descriptor, error) {
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%w: index: %w", ErrImage, err)
	}
	var found *ocispec.Descriptor
	for i, d := range index.Manifests {
		if !isManifest(d.MediaType) {
			continue
		}
		wasm := d.Platform != nil && (d.Platform.Architecture == "wasm" || d.Platform.OS == "wasi" || d.Platform.OS == "wasip1")
		if wasm || found == nil && (d.Platform == nil || d.Platform.OS != "unknown") {
			found = &index.Manifests[i]
		}
		if wasm {
			break
		}
	}
	if found == nil {
		return ocispec.Descriptor{}, fmt.Errorf("%w: the index lists no image", ErrImage)
	}
	return *found, nil
}

func isManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == mediaTypeDockerManifest
}

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == mediaTypeDockerList
}
