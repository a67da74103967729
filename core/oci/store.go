package oci

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
)

// PullTimeout bounds one pull from a registry.
const PullTimeout = 2 * time.Minute

// Options of a Store.
type Options struct {
	// Dir holds the content store; made with mode 0700 if it is missing.
	Dir string
	// Layouts are OCI layout folders, the bundled one first; a missing one is
	// an error when an image is looked for.
	Layouts []string
	// LocalRegistries are "host:port" that may be asked over plain HTTP and may
	// be on loopback.
	LocalRegistries []string
	// Mirrors are asked before the registries that they stand for.
	Mirrors []Mirror
	// CAs are the authorities that vouch for a registry, "host[:port]", instead
	// of the system's.
	CAs map[string]*x509.CertPool
	// Quota bounds the content store, in bytes; 0: DefaultQuota.
	Quota int64
	// InUse returns the digests of the images that run: they are never dropped.
	// nil: none are.
	InUse func() []string
	// Dial opens a connection to a registry; nil: net.Dialer.
	Dial Dialer
}

// Mirror is another place of the repositories under a prefix.
type Mirror struct {
	Of string // "registry[:port][/path]"
	At string // "registry[:port][/path]"
}

// Request is what a filter asks for.
type Request struct {
	// Filter is the hash of the filter that asks: a source that knows filters by it
	// needs no more.
	Filter      string
	Reference   string                  // ParseReference
	Namespace   string                  // whose pull right is asked for and recorded
	Credentials []config.PullCredential // each goes to the registry that it names only
	Trust       []config.Trust          // what must hold of the image's signature
}

// Store finds images. All methods may be called by several goroutines at once.
type Store struct {
	o   Options
	log *zap.Logger

	mu     sync.Mutex
	rights map[string]right
	guards map[string]bool // by digest

	flights flights
	disk    disk
	// forbidden is written by Forbid; read for each connection.
	forbidden atomic.Pointer[config.Forbidden]
}

// New opens the content store.
func New(o Options, log *zap.Logger) (*Store, error) {
	for _, name := range []string{"blobs/sha256", "tags", "rights", "signatures"} {
		dir := filepath.Join(o.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
		sweep(dir)
	}
	if o.Quota == 0 {
		o.Quota = DefaultQuota
	}
	s := &Store{o: o, log: log, rights: map[string]right{}}
	s.disk.size = s.sizeOnDisk()
	return s, nil
}

// leftOver is the age at which a file is known to be of a process that died: a
// younger one may be what another process writes.
const leftOver = 10 * time.Minute

// sweep removes what a process that died was writing.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, ".new-*"))
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > leftOver {
			_ = os.Remove(name)
		}
	}
}

// Get returns the image that req names: from the layouts in their order, from
// the content store if the reference has a digest, else from its registry. Where
// it does not come from a layout, the registry is asked whether the namespace
// may pull it, also if the bytes are stored. When the registry cannot be
// reached, its last answer counts for 24 hours, and a tag is what it was last.
// Errors wrap ErrReference, ErrUnavailable, ErrForbidden, ErrDigest,
// ErrSignature or ErrImage.
func (s *Store) Get(ctx context.Context, req Request) (*Image, error) {
	r, err := ParseReference(req.Reference)
	if err != nil {
		return nil, err
	}
	img, err := s.get(ctx, req, r)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", req.Reference, err)
	}
	img.Reference = r
	return img, nil
}

func (s *Store) get(ctx context.Context, req Request, r Reference) (*Image, error) {
	for _, dir := range s.o.Layouts {
		img, err := fromLayout(dir, r)
		if err == nil && wanted(req.Trust) {
			return nil, fmt.Errorf("%w: an image of the layout folder %s carries none", ErrSignature, dir)
		}
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return img, err
		}
	}
	img, err := s.fromRegistry(ctx, req, r)
	if err != nil {
		return nil, err
	}
	return img, s.Verify(ctx, req, img.Digest)
}

// fromRegistry returns a stored image that the namespace may pull, or pulls it.
func (s *Store) fromRegistry(ctx context.Context, req Request, r Reference) (*Image, error) {
	if r.Digest != "" {
		if img, err := s.stored(r.Digest); err == nil {
			return img, s.admitted(ctx, req, r, rightLasts)
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	img, err := s.flights.do(ctx, req.Right()+" "+r.String(), func(ctx context.Context) (*Image, error) {
		ctx, cancel := context.WithTimeout(ctx, PullTimeout)
		defer cancel()
		return s.pull(ctx, req, r)
	})
	if !errors.Is(err, ErrUnavailable) || r.Digest != "" {
		return img, err
	}
	last, tagErr := os.ReadFile(s.tagFile(r))
	if tagErr != nil {
		return nil, err
	}
	img, storeErr := s.stored(string(last))
	if storeErr != nil {
		return nil, err
	}
	if err := s.admitted(ctx, req, r, rightLasts); err != nil {
		return nil, err
	}
	s.log.Warn("registry unreachable, serving the digest that the tag had last",
		zap.String("image", r.String()), zap.String("digest", img.Digest), zap.Error(err))
	return img, nil
}

// stored returns the image whose manifest has this digest; os.ErrNotExist if
// any part of it is not in the content store.
func (s *Store) stored(digest string) (*Image, error) {
	raw, err := s.blob(ocispec.Descriptor{Digest: digestOf(digest)}, MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	if d, err := choose(raw); err == nil { // an index
		img, err := s.stored(d.Digest.String())
		if err == nil {
			img.Digest = digest
		}
		return img, err
	}
	img, err := unpack(raw, s.blob)
	if err != nil {
		return nil, err
	}
	img.Digest = digest
	return img, nil
}

// blob reads content by digest. A file that does not have its digest is
// removed, and counts as missing.
func (s *Store) blob(d ocispec.Descriptor, limit int64) ([]byte, error) {
	name, err := blobFile(s.o.Dir, d)
	if err != nil {
		return nil, err
	}
	data, err := readBlob(name, d, limit)
	if errors.Is(err, ErrDigest) {
		_ = os.Remove(name)
		return nil, os.ErrNotExist
	}
	if err == nil {
		s.used(name)
	}
	return data, err
}

// tagFile records the digest that a tag had.
func (s *Store) tagFile(r Reference) string {
	sum := sha256.Sum256([]byte(r.Name() + ":" + r.Tag))
	return filepath.Join(s.o.Dir, "tags", hex.EncodeToString(sum[:]))
}

// writeFile writes a file as a whole, for this user alone.
func writeFile(name string, data []byte) error { return writeMode(name, data, 0o600) }

func writeMode(name string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func blobFile(dir string, d ocispec.Descriptor) (string, error) {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != "sha256" {
		return "", fmt.Errorf("%w: digest %.80q is not sha256", ErrImage, d.Digest)
	}
	return filepath.Join(dir, "blobs", "sha256", d.Digest.Encoded()), nil
}

// readBlob reads a file that must have d's digest and at most limit bytes.
func readBlob(name string, d ocispec.Descriptor, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	return data, check(data, d, limit)
}

func check(data []byte, d ocispec.Descriptor, limit int64) error {
	if int64(len(data)) > limit {
		return fmt.Errorf("%w: content %s exceeds %d KiB", ErrImage, d.Digest, limit>>10)
	}
	if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != d.Digest.Encoded() {
		return fmt.Errorf("%w: content is not %s", ErrDigest, d.Digest)
	}
	return nil
}

// findInLayout looks an image up in an OCI layout folder, by digest or by the
// annotation org.opencontainers.image.ref.name, which holds the whole name.
// os.ErrNotExist: it is not there.
func findInLayout(dir string, r Reference) (ocispec.Descriptor, error) {
	text, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%w: layout %s: %w", ErrImage, dir, err)
	}
	for _, d := range index.Manifests {
		named := r.Tag == "" || d.Annotations[ocispec.AnnotationRefName] == r.Name()+":"+r.Tag
		if named && (r.Digest == "" || d.Digest.String() == r.Digest) {
			return d, nil
		}
	}
	return ocispec.Descriptor{}, os.ErrNotExist
}

// fromLayout reads an image from an OCI layout folder; errors as findInLayout's.
func fromLayout(dir string, r Reference) (*Image, error) {
	found, err := findInLayout(dir, r)
	if err != nil {
		return nil, err
	}
	read := func(d ocispec.Descriptor, limit int64) ([]byte, error) {
		name, err := blobFile(dir, d)
		if err != nil {
			return nil, err
		}
		return readBlob(name, d, limit)
	}
	raw, err := read(found, MaxManifestBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: layout %s: %w", ErrImage, dir, err)
	}
	img, err := unpack(raw, read)
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", dir, err)
	}
	img.Digest = found.Digest.String()
	return img, nil
}
