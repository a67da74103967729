package oci

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"
)

// DefaultQuota bounds the content store.
const DefaultQuota = 4 << 30

// young content is never dropped: what pulled it may not run yet.
const young = 2 * PullTimeout

// disk keeps count of the content store.
type disk struct {
	mu   sync.Mutex
	size int64 // bytes of all blobs
}

func (s *Store) blobs() string { return filepath.Join(s.o.Dir, "blobs", "sha256") }

// content lists the blobs, the longest unused first.
func (s *Store) content() []fs.FileInfo {
	entries, err := os.ReadDir(s.blobs())
	if err != nil {
		return nil
	}
	var all []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b fs.FileInfo) int { return cmp.Compare(a.ModTime().UnixNano(), b.ModTime().UnixNano()) })
	return all
}

func (s *Store) sizeOnDisk() (sum int64) {
	for _, f := range s.content() {
		sum += f.Size()
	}
	return sum
}

// keep writes content under its digest, whole or not at all, and makes room for
// it first. ErrUnavailable: the quota is full of what runs.
func (s *Store) keep(data []byte) error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if n := int64(len(data)); s.disk.size+n > s.o.Quota {
		s.makeRoom(n)
		if s.disk.size+n > s.o.Quota {
			return fmt.Errorf("%w: the image store holds %d MiB that are in use or new, and its quota is %d MiB: raise --image-quota", ErrUnavailable, s.disk.size>>20, s.o.Quota>>20)
		}
	}
	sum := sha256.Sum256(data)
	name := filepath.Join(s.blobs(), hex.EncodeToString(sum[:]))
	if info, err := os.Stat(name); err == nil {
		s.disk.size -= info.Size()
	}
	if err := writeFile(name, data); err != nil {
		s.disk.size = s.sizeOnDisk()
		return fmt.Errorf("image store: %w", err)
	}
	s.disk.size += int64(len(data))
	return nil
}

// makeRoom drops what is unused longest until n bytes more leave a tenth of the
// quota free.
func (s *Store) makeRoom(n int64) {
	running := map[string]bool{}
	if s.o.InUse != nil {
		for _, d := range s.o.InUse() {
			s.reach(d, running, 0)
		}
	}
	all := s.content()
	s.disk.size = 0
	for _, f := range all {
		s.disk.size += f.Size()
	}
	dropped := 0
	for _, f := range all {
		if s.disk.size+n <= s.o.Quota-s.o.Quota/10 {
			break
		}
		if running[f.Name()] || time.Since(f.ModTime()) < young {
			continue
		}
		if os.Remove(filepath.Join(s.blobs(), f.Name())) == nil {
			s.disk.size -= f.Size()
			dropped++
		}
	}
	s.log.Info("image store: made room", zap.Int("dropped", dropped), zap.Int64("bytes", s.disk.size))
}

// reach adds the names of the files that make up an image.
func (s *Store) reach(digest string, files map[string]bool, depth int) {
	d := ocispec.Descriptor{Digest: digestOf(digest)}
	if d.Digest.Validate() != nil || files[d.Digest.Encoded()] {
		return
	}
	files[d.Digest.Encoded()] = true
	raw, err := s.blob(d, MaxManifestBytes)
	if err != nil || depth > 1 {
		return
	}
	var m struct {
		Config    ocispec.Descriptor   `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if json.Unmarshal(raw, &m) != nil {
		return
	}
	for _, part := range append(m.Layers, m.Config) {
		if part.Digest.Validate() == nil {
			files[part.Digest.Encoded()] = true
		}
	}
	for _, one := range m.Manifests {
		s.reach(one.Digest.String(), files, depth+1)
	}
}

// used notes that a blob was read.
func (s *Store) used(name string) {
	now := time.Now()
	_ = os.Chtimes(name, now, now)
}
