package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/remote"
)

const (
	firstPull = time.Second
	lastPull  = 5 * time.Minute
	// recheckEvery is how often registries are asked whether what runs may still be
	// pulled: a right that is gone closes a chain within 30 seconds.
	recheckEvery = 20 * time.Second
	pullsAtOnce  = 4
	chunk        = 256 << 10 // bytes of a module in one message
)

// Store finds images: core/oci's.
type Store interface {
	Get(ctx context.Context, req oci.Request) (*oci.Image, error)
	Recheck(ctx context.Context, req oci.Request, digest string) error
	Resolve(ctx context.Context, req oci.Request) (string, error)
}

// ImagesOptions of Images.
type ImagesOptions struct {
	Store Store
	// Dir is the folder of modules, made if it is missing; Quota bounds it in bytes,
	// but for what is configured.
	Dir   string
	Quota int64
	Log   *zap.Logger
	// TagInterval is how often registries are asked where tags point; 0: never.
	TagInterval time.Duration
}

// Images pulls and verifies the images of all filters, once for all proxies, and
// serves their bytes. Run must be running.
type Images struct {
	bytestream.UnimplementedByteStreamServer
	o       ImagesOptions
	changed func() // something is known that was not
	slots   chan struct{}

	mu      sync.Mutex
	ctx     context.Context // of Run; nil: not yet
	filters map[string]*filterImage
	sizes   map[string]int64 // of modules that may be served, by digest
}

// filterImage is a filter's image.
type filterImage struct {
	filter   *config.Filter
	cancel   context.CancelFunc
	kick     chan struct{}    // its credentials or trust are others now
	resource *remote.Resource // nil: nothing is known yet
	image    remote.Image
	digests  []string // that were found, the newest last
}

// keptDigests is how many digests of one filter are remembered.
const keptDigests = 4

// NewImages returns Images that know no filter.
func NewImages(o ImagesOptions) *Images {
	return &Images{o: o, changed: func() {}, slots: make(chan struct{}, pullsAtOnce), filters: map[string]*filterImage{}, sizes: map[string]int64{}}
}

// Run pulls until ctx is done.
func (i *Images) Run(ctx context.Context) {
	i.mu.Lock()
	i.ctx = ctx
	for _, f := range i.filters {
		i.start(f)
	}
	i.mu.Unlock()
	<-ctx.Done()
}

// configure makes these the filters whose images are wanted, by hash.
func (i *Images) configure(filters map[string]*config.Filter) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for hash, f := range i.filters {
		if filters[hash] == nil {
			if f.cancel != nil {
				f.cancel()
			}
			delete(i.filters, hash)
		}
	}
	for hash, f := range filters {
		if old := i.filters[hash]; old != nil {
			if old.filter != f {
				old.filter = f
				select {
				case old.kick <- struct{}{}:
				default:
				}
			}
			continue
		}
		one := &filterImage{filter: f, kick: make(chan struct{}, 1)}
		i.filters[hash] = one
		if i.ctx != nil {
			i.start(one)
		}
	}
}

// start looks after one filter's image. i.mu is held.
func (i *Images) start(f *filterImage) {
	ctx, cancel := context.WithCancel(i.ctx)
	f.cancel = cancel
	go i.follow(ctx, f)
}

// follow pulls an image until it is there, then watches its right and its tag.
func (i *Images) follow(ctx context.Context, f *filterImage) {
	tags := i.o.TagInterval
	wait := firstPull
	var asked time.Time // where the tag points
	for {
		i.mu.Lock()
		filter, before := f.filter, f.image
		i.mu.Unlock()
		image := i.look(ctx, filter, before, tags > 0 && time.Since(asked) >= tags)
		if ctx.Err() != nil {
			return
		}
		if tags > 0 && time.Since(asked) >= tags {
			asked = time.Now()
		}
		i.tell(f, image)
		next := recheckEvery
		if image.Reason != "" {
			next, wait = wait, min(2*wait, lastPull)
		} else {
			wait = firstPull
		}
		select {
		case <-ctx.Done():
			return
		case <-f.kick:
			wait = firstPull
		case <-time.After(next):
		}
	}
}

// look says what an image is now: what it was before, if nothing speaks against
// it. Its tag is looked up if follow says so.
func (i *Images) look(ctx context.Context, f *config.Filter, before remote.Image, follow bool) remote.Image {
	select {
	case i.slots <- struct{}{}:
	case <-ctx.Done():
		return before
	}
	defer func() { <-i.slots }()
	ctx, cancel := context.WithTimeout(ctx, oci.PullTimeout)
	defer cancel()
	req := oci.Request{Filter: f.Hash, Reference: f.Image, Namespace: f.Namespace, Credentials: f.PullSecrets, Trust: f.Trust}
	digest := before.Digest
	if before.Digest != "" && before.Reason == "" {
		if err := i.o.Store.Recheck(ctx, req, before.Digest); errors.Is(err, oci.ErrForbidden) {
			return refused(before, err)
		}
		if follow {
			if now, err := i.o.Store.Resolve(ctx, req); err == nil && now != "" {
				digest = now // a registry that does not answer changes nothing
				if now == before.Digest {
					before.Message = ""
				}
			}
		}
		if digest == before.Digest {
			return before
		}
	}
	image, err := i.o.Store.Get(ctx, req)
	if err != nil {
		if before.Digest != "" && before.Reason == "" && !errors.Is(err, oci.ErrForbidden) {
			return i.stays(f, before, digest, err)
		}
		return refused(before, err)
	}
	module, err := i.keep(image.Module)
	if err != nil {
		return refused(before, fmt.Errorf("%w: %w", oci.ErrUnavailable, err))
	}
	return remote.Image{
		Reference: f.Image, Digest: image.Digest, Module: module, Size: int64(len(image.Module)), Schema: image.Schema, Cases: image.Cases,
		ABI: image.Manifest.ABI, Capabilities: image.Manifest.Capabilities, Guard: image.Manifest.Guard,
		MultiConfig: image.Manifest.MultiConfig, Connections: image.Manifest.Connections,
	}
}

// stays is an image that goes on though its tag has moved to a digest that cannot be had;
// its message says so.
func (i *Images) stays(f *config.Filter, before remote.Image, digest string, err error) remote.Image {
	message := fmt.Sprintf("tag moved to %s: %s: %.1000s; the old one goes on", digest, refused(before, err).Reason, err)
	if message != before.Message {
		before.Message = message
		i.o.Log.Warn("the tag has moved to an image that cannot be had: the old one goes on", zap.Stringer("object", f.Owner), zap.String("plugin", f.ID()), zap.String("image", f.Image), zap.String("digest", digest), zap.Error(err))
	}
	return before
}

// refused is an image with the reason why it does not run.
func refused(before remote.Image, err error) remote.Image {
	before.Message = err.Error()
	switch {
	case errors.Is(err, oci.ErrForbidden):
		before.Reason = "PullForbidden"
	case errors.Is(err, oci.ErrSignature):
		before.Reason = "SignatureInvalid"
	case errors.Is(err, oci.ErrDigest):
		before.Reason = "DigestMismatch"
	case errors.Is(err, oci.ErrReference):
		before.Reason = "InvalidConfig"
	case errors.Is(err, oci.ErrImage):
		before.Reason = "InvalidModule"
	default:
		before.Reason = "ImageUnavailable"
	}
	return before
}

// tell makes an image known to proxies if it is another one.
func (i *Images) tell(f *filterImage, image remote.Image) {
	b, err := remote.Marshal(image)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	sum := sha256.Sum256(b)
	version := hex.EncodeToString(sum[:16])
	i.mu.Lock()
	known := f.resource != nil && f.resource.Version == version
	reason := f.image.Reason
	if !known {
		f.image = image
		f.resource = &remote.Resource{Name: f.filter.Hash, Version: version, Bytes: b}
		if d := image.Digest; d != "" && !slices.Contains(f.digests, d) {
			f.digests = append(f.digests, d)
			f.digests = f.digests[max(0, len(f.digests)-keptDigests):]
		}
		if image.Module != "" {
			i.sizes[image.Module] = image.Size
		}
	}
	i.mu.Unlock()
	if known {
		return
	}
	if image.Reason != "" && image.Reason != reason {
		i.o.Log.Warn("an image cannot be had", zap.Stringer("object", f.filter.Owner), zap.String("plugin", f.filter.ID()),
			zap.String("image", f.filter.Image), zap.String("reason", image.Reason), zap.String("error", image.Message))
	}
	i.changed()
}

// Resolved reports whether a filter's image had a digest, as this process found it.
func (i *Images) Resolved(filter, digest string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := i.filters[filter]
	return f != nil && slices.Contains(f.digests, digest)
}

// Digests returns the digests of the images that are known.
func (i *Images) Digests() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []string
	for _, f := range i.filters {
		if f.image.Digest != "" {
			all = append(all, f.image.Digest)
		}
	}
	return all
}

// resource returns what is known of a filter's image, nil if nothing is.
func (i *Images) resource(hash string) *remote.Resource {
	i.mu.Lock()
	defer i.mu.Unlock()
	if f := i.filters[hash]; f != nil {
		return f.resource
	}
	return nil
}

// keep writes a module to disk, and returns its digest.
func (i *Images) keep(module []byte) (string, error) {
	sum := sha256.Sum256(module)
	name := hex.EncodeToString(sum[:])
	path := filepath.Join(i.o.Dir, name)
	if info, err := os.Stat(path); err == nil && info.Size() == int64(len(module)) {
		return "sha256:" + name, nil
	}
	if err := os.MkdirAll(i.o.Dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(i.o.Dir, ".new-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(module)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", err
	}
	used := map[string]bool{"sha256:" + name: true}
	i.mu.Lock()
	for _, f := range i.filters {
		used[f.image.Module] = true
	}
	i.mu.Unlock()
	remote.PruneModules(i.o.Dir, i.o.Quota, used)
	return "sha256:" + name, nil
}

// Read sends a module's bytes, from an offset on (google.bytestream.ByteStream).
func (i *Images) Read(req *bytestream.ReadRequest, stream bytestream.ByteStream_ReadServer) error {
	i.mu.Lock()
	size, ok := i.sizes[req.ResourceName]
	i.mu.Unlock()
	if !ok {
		return status.Errorf(codes.NotFound, "no image has the module %.80q", req.ResourceName)
	}
	if req.ReadOffset < 0 || req.ReadOffset > size {
		return status.Errorf(codes.OutOfRange, "offset %d of %d bytes", req.ReadOffset, size)
	}
	f, err := os.Open(filepath.Join(i.o.Dir, strings.TrimPrefix(req.ResourceName, "sha256:")))
	if err != nil {
		return status.Error(codes.Unavailable, "the module is not on disk")
	}
	defer f.Close()
	from := io.NewSectionReader(f, req.ReadOffset, size-req.ReadOffset)
	b := make([]byte, chunk)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if err := stream.Send(&bytestream.ReadResponse{Data: b[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return status.Error(codes.Unavailable, "the module cannot be read")
		}
	}
}
