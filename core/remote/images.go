package remote

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

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
)

// answerWait is how long a filter waits for control to say what its image is.
const answerWait = 30 * time.Second

// Images finds plugin images by asking control, which resolved, pulled and
// verified them; modules are kept on disk by digest. All methods may be called
// by several goroutines at once.
type Images struct {
	dir   string // of modules; empty: they are kept nowhere
	quota int64

	mu      sync.Mutex
	known   map[string]*Resource // by filter hash
	parsed  map[string]*Image
	before  map[string]*Image        // what a tag named before it moved: filters may go back
	waiting map[string]chan struct{} // by filter hash; closed when it is known
	send    func(*discovery.DeltaDiscoveryRequest)
	bytes   bytestream.ByteStreamClient
	fetches map[string]*fetch // by module digest
	told    chan struct{}     // holds one
}

// Told receives a value when control has said something new of images.
func (i *Images) Told() <-chan struct{} { return i.told }

// fetch is a module on its way.
type fetch struct {
	done chan struct{}
	err  error
}

func newImages(dir string, quota int64) *Images {
	return &Images{dir: dir, quota: quota, known: map[string]*Resource{}, parsed: map[string]*Image{}, before: map[string]*Image{}, waiting: map[string]chan struct{}{}, fetches: map[string]*fetch{}, told: make(chan struct{}, 1)}
}

// connect says where control is now, and asks anew for what is wanted.
func (i *Images) connect(conn *grpc.ClientConn, send func(*discovery.DeltaDiscoveryRequest)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.send, i.bytes = send, bytestream.NewByteStreamClient(conn)
	m := &discovery.DeltaDiscoveryRequest{TypeUrl: TypeImage, InitialResourceVersions: map[string]string{}}
	for name, r := range i.known {
		m.ResourceNamesSubscribe = append(m.ResourceNamesSubscribe, name)
		m.InitialResourceVersions[name] = r.Version
	}
	for name := range i.waiting {
		m.ResourceNamesSubscribe = append(m.ResourceNamesSubscribe, name)
	}
	if len(m.ResourceNamesSubscribe) > 0 {
		send(m)
	}
}

func (i *Images) disconnect() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.send, i.bytes = nil, nil
}

// learn takes over what control says of images.
func (i *Images) learn(list []*Resource, gone []string) error {
	var fault error
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range list {
		var image Image
		if err := Unmarshal(r.Bytes, &image); err != nil {
			fault = errors.Join(fault, fmt.Errorf("image of filter %s: %w", r.Name, err))
			continue
		}
		if old := i.parsed[r.Name]; old != nil && old.Reason == "" && old.Digest != image.Digest {
			i.before[r.Name] = old
		}
		i.known[r.Name], i.parsed[r.Name] = r, &image
		if c := i.waiting[r.Name]; c != nil {
			close(c)
			delete(i.waiting, r.Name)
		}
	}
	for _, name := range gone {
		delete(i.known, name)
		delete(i.parsed, name)
		delete(i.before, name)
	}
	select {
	case i.told <- struct{}{}:
	default:
	}
	return fault
}

// keepOnly forgets the images of filters that are no more.
func (i *Images) keepOnly(filters map[string]*config.Filter) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var gone []string
	for name := range i.known {
		if filters[name] == nil {
			delete(i.known, name)
			delete(i.parsed, name)
			delete(i.before, name)
			gone = append(gone, name)
		}
	}
	for name, c := range i.waiting {
		if filters[name] == nil {
			close(c)
			delete(i.waiting, name)
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 && i.send != nil {
		i.send(&discovery.DeltaDiscoveryRequest{TypeUrl: TypeImage, ResourceNamesUnsubscribe: gone})
	}
}

// resources returns what is known, to be kept on disk.
func (i *Images) resources() map[string]*Resource {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := make(map[string]*Resource, len(i.known))
	for name, r := range i.known {
		all[name] = r
	}
	return all
}

// image returns what control says of a filter's image; it asks, and waits, if
// that is not known.
func (i *Images) image(ctx context.Context, filter string) (*Image, error) {
	filter, _, _ = strings.Cut(filter, "@") // a tag that has moved: the filter's other form
	i.mu.Lock()
	if m := i.parsed[filter]; m != nil {
		i.mu.Unlock()
		return m, nil
	}
	c := i.waiting[filter]
	if c == nil {
		c = make(chan struct{})
		i.waiting[filter] = c
		if i.send != nil {
			i.send(&discovery.DeltaDiscoveryRequest{TypeUrl: TypeImage, ResourceNamesSubscribe: []string{filter}})
		}
	}
	i.mu.Unlock()
	timer := time.NewTimer(answerWait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, fmt.Errorf("%w: control has not said what it is", oci.ErrUnavailable)
	case <-c:
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if m := i.parsed[filter]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("%w: the filter is no longer configured", oci.ErrUnavailable)
}

// previous returns what a filter's tag named before it moved; nil: nothing.
func (i *Images) previous(filter string) *Image {
	filter, _, _ = strings.Cut(filter, "@")
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.before[filter]
}

// Get returns the image of a filter. Errors are those of core/oci, with what
// control says.
func (i *Images) Get(ctx context.Context, req oci.Request) (*oci.Image, error) {
	reference, err := oci.ParseReference(req.Reference)
	if err != nil {
		return nil, err
	}
	m, err := i.image(ctx, req.Filter)
	if err != nil {
		return nil, err
	}
	if err := m.fault(); err != nil {
		return nil, err
	}
	if reference.Digest != "" && reference.Digest != m.Digest {
		old := i.previous(req.Filter)
		if old == nil || old.Digest != reference.Digest {
			return nil, fmt.Errorf("%w: control now has %s", oci.ErrUnavailable, m.Digest)
		}
		m = old // the same right, under the same rules: others would be another filter's
	}
	module, err := i.module(ctx, m)
	if err != nil {
		return nil, err
	}
	return &oci.Image{
		Reference: reference, Digest: m.Digest, Module: module, Schema: m.Schema, Cases: m.Cases,
		Manifest: oci.Manifest{ABI: m.ABI, Capabilities: m.Capabilities, Guard: m.Guard, MultiConfig: m.MultiConfig, Connections: m.Connections},
	}, nil
}

// Recheck reports whether a filter may still run its image: what control said last.
func (i *Images) Recheck(_ context.Context, req oci.Request, _ string) error {
	filter, _, _ := strings.Cut(req.Filter, "@")
	i.mu.Lock()
	m := i.parsed[filter]
	i.mu.Unlock()
	if m == nil || m.Reason == "ImageUnavailable" { // a registry that is down is no refusal
		return nil
	}
	return m.fault()
}

// Resolve returns the digest that a filter's image has now.
func (i *Images) Resolve(ctx context.Context, req oci.Request) (string, error) {
	m, err := i.image(ctx, req.Filter)
	if err != nil {
		return "", err
	}
	return m.Digest, m.fault()
}

// module returns the bytes of an image's module, from disk or from control.
func (i *Images) module(ctx context.Context, m *Image) ([]byte, error) {
	name, ok := strings.CutPrefix(m.Module, "sha256:")
	if sum, err := hex.DecodeString(name); !ok || err != nil || len(sum) != sha256.Size || m.Size < 0 || m.Size > oci.MaxModuleBytes {
		return nil, fmt.Errorf("%w: module %.80q of %d bytes", oci.ErrDigest, m.Module, m.Size)
	}
	path := filepath.Join(i.dir, name)
	for range 2 {
		if b, err := os.ReadFile(path); err == nil && digestOf(b) == m.Module {
			now := time.Now()
			_ = os.Chtimes(path, now, now) // the oldest go first
			return b, nil
		}
		if err := i.fetch(ctx, m, path); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: module %s", oci.ErrDigest, m.Module)
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fetch brings a module from control to disk; one at a time does for all that
// want it.
func (i *Images) fetch(ctx context.Context, m *Image, path string) error {
	i.mu.Lock()
	f, client := i.fetches[m.Module], i.bytes
	if f == nil {
		if client == nil {
			i.mu.Unlock()
			return fmt.Errorf("%w: control is not connected", oci.ErrUnavailable)
		}
		f = &fetch{done: make(chan struct{})}
		i.fetches[m.Module] = f
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), oci.PullTimeout)
			defer cancel()
			f.err = i.download(ctx, client, m, path)
			i.mu.Lock()
			delete(i.fetches, m.Module)
			i.mu.Unlock()
			close(f.done)
		}()
	}
	i.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
		return f.err
	}
}

// download reads a module into a file, from where an earlier attempt ended.
func (i *Images) download(ctx context.Context, client bytestream.ByteStreamClient, m *Image, path string) error {
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		return err
	}
	part, err := os.OpenFile(path+".part", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer part.Close()
	at, err := part.Seek(0, io.SeekEnd)
	if err == nil && at >= m.Size {
		at, err = 0, part.Truncate(0)
	}
	if err != nil {
		return err
	}
	stream, err := client.Read(ctx, &bytestream.ReadRequest{ResourceName: m.Module, ReadOffset: at})
	if err != nil {
		return fmt.Errorf("%w: %w", oci.ErrUnavailable, err)
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", oci.ErrUnavailable, err)
		}
		if at += int64(len(r.Data)); at > m.Size {
			_ = part.Truncate(0)
			return fmt.Errorf("%w: module %s is longer than %d bytes", oci.ErrDigest, m.Module, m.Size)
		}
		if _, err := part.WriteAt(r.Data, at-int64(len(r.Data))); err != nil {
			return err
		}
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(part, 0, at)); err != nil {
		return err
	}
	if at != m.Size || "sha256:"+hex.EncodeToString(sum.Sum(nil)) != m.Module {
		_ = part.Truncate(0)
		return fmt.Errorf("%w: module %s", oci.ErrDigest, m.Module)
	}
	if err := os.Rename(path+".part", path); err != nil {
		return err
	}
	i.prune()
	return nil
}

// prune removes the modules that were used longest ago, beyond the quota.
func (i *Images) prune() {
	i.mu.Lock()
	used := map[string]bool{}
	for _, list := range []map[string]*Image{i.parsed, i.before} {
		for _, m := range list {
			used[m.Module] = true
		}
	}
	i.mu.Unlock()
	PruneModules(i.dir, i.quota, used)
}

// PruneModules removes modules from a folder, those that were used longest ago
// first, until it holds quota bytes at most, or nothing but what is in use, by
// digest.
func PruneModules(dir string, quota int64, used map[string]bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	type file struct {
		name string
		size int64
		used time.Time
	}
	var total int64
	var files []file
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		total += info.Size()
		if !used["sha256:"+strings.TrimSuffix(e.Name(), ".part")] {
			files = append(files, file{e.Name(), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return a.used.Compare(b.used) })
	for _, f := range files {
		if total <= quota {
			return
		}
		if os.Remove(filepath.Join(dir, f.name)) == nil {
			total -= f.size
		}
	}
}
