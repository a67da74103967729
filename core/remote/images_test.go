package remote

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
)

// modules is a server that breaks off after so many bytes.
type modules struct {
	bytestream.UnimplementedByteStreamServer
	body []byte

	mu      sync.Mutex
	cut     int // 0: it does not
	offsets []int64
}

func (m *modules) Read(req *bytestream.ReadRequest, stream bytestream.ByteStream_ReadServer) error {
	m.mu.Lock()
	cut := m.cut
	m.offsets = append(m.offsets, req.ReadOffset)
	m.mu.Unlock()
	sent := 0
	for part := range slices.Chunk(m.body[min(int(req.ReadOffset), len(m.body)):], 1000) {
		if cut > 0 && sent >= cut {
			return status.Error(codes.Unavailable, "cut")
		}
		if err := stream.Send(&bytestream.ReadResponse{Data: part}); err != nil {
			return err
		}
		sent += len(part)
	}
	return nil
}

func (m *modules) asked() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.offsets)
}

func serve(t *testing.T, m *modules) *Images {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	bytestream.RegisterByteStreamServer(s, m)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		<-done
	})
	i := newImages(t.TempDir(), 1<<30)
	i.connect(conn, nil)
	return i
}

func TestModuleIsResumed(t *testing.T) {
	body := bytes.Repeat([]byte("module"), 2000) // 12,000 bytes
	m := &modules{body: body, cut: 4000}
	i := serve(t, m)
	image := &Image{Module: digestOf(body), Size: int64(len(body))}
	for range 2 {
		if _, err := i.module(t.Context(), image); !errors.Is(err, oci.ErrUnavailable) {
			t.Fatalf("cut: got %v", err)
		}
	}
	m.mu.Lock()
	m.cut = 0
	m.mu.Unlock()
	got, err := i.module(t.Context(), image)
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if got := m.asked(); !slices.Equal(got, []int64{0, 4000, 8000}) {
		t.Errorf("asked from %v; want each from where the one before ended", got)
	}
	if _, err := i.module(t.Context(), image); err != nil || len(m.asked()) != 3 {
		t.Errorf("from disk: %v, asked %d times", err, len(m.asked()))
	}
}

// TestWrongModules: what is not what was named is kept nowhere, and the next attempt
// begins anew.
func TestWrongModules(t *testing.T) {
	right := bytes.Repeat([]byte("right"), 1000)
	tests := map[string]struct {
		sent []byte
		part string // what an earlier attempt left
		want error
	}{
		"other bytes":                    {bytes.Repeat([]byte("wrong"), 1000), "", oci.ErrDigest},
		"fewer":                          {right[:4000], "", oci.ErrDigest},
		"more":                           {append(slices.Clone(right), 'x'), "", oci.ErrDigest},
		"behind another's part":          {right, strings.Repeat("x", 1000), oci.ErrDigest},
		"behind a part that is too long": {right, strings.Repeat("x", 6000), nil},
		"behind its own part":            {right, string(right[:1234]), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := &modules{body: test.sent}
			i := serve(t, m)
			image := &Image{Module: digestOf(right), Size: int64(len(right))}
			path := filepath.Join(i.dir, strings.TrimPrefix(image.Module, "sha256:"))
			if test.part != "" {
				if err := os.WriteFile(path+".part", []byte(test.part), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := i.module(t.Context(), image); !errors.Is(err, test.want) {
				t.Fatalf("got %v; want %v", err, test.want)
			}
			if _, err := os.Stat(path); (err == nil) != (test.want == nil) {
				t.Errorf("on disk: %v", err)
			}
			m.body = right
			if got, err := i.module(t.Context(), image); err != nil || !bytes.Equal(got, right) {
				t.Errorf("the next attempt: %d bytes, %v", len(got), err)
			}
		})
	}
	i := newImages(t.TempDir(), 0)
	for _, name := range []string{"", "sha256:", "sha256:../../etc/passwd", "sha512:" + strings.Repeat("0", 64), "sha256:" + strings.Repeat("0", 63)} {
		if _, err := i.module(context.Background(), &Image{Module: name, Size: 1}); !errors.Is(err, oci.ErrDigest) {
			t.Errorf("module %q: got %v", name, err)
		}
	}
}

func TestDamagedModuleIsFetchedAgain(t *testing.T) {
	body := []byte("a module")
	m := &modules{body: body}
	i := serve(t, m)
	image := &Image{Module: digestOf(body), Size: int64(len(body))}
	if err := os.WriteFile(filepath.Join(i.dir, strings.TrimPrefix(image.Module, "sha256:")), []byte("a noduel"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := i.module(t.Context(), image); err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestPrune: what is used stays, of the rest what was used last, within the quota.
func TestPrune(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 50 {
		dir := t.TempDir()
		sizes, used := map[string]int64{}, map[string]bool{}
		var order []string // by time, oldest first
		for i := range r.IntN(12) {
			name := strings.Repeat(string(rune('a'+i)), 8)
			if r.IntN(4) == 0 {
				name += ".part"
			}
			size := int64(r.IntN(100))
			if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
				t.Fatal(err)
			}
			at := time.Unix(int64(1000+i), 0)
			if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
				t.Fatal(err)
			}
			sizes[name], order = size, append(order, name)
			if r.IntN(3) == 0 {
				used["sha256:"+strings.TrimSuffix(name, ".part")] = true
			}
		}
		quota := int64(r.IntN(600))
		want := maps.Clone(sizes)
		var total int64
		for _, n := range sizes {
			total += n
		}
		for _, name := range order {
			if total > quota && !used["sha256:"+strings.TrimSuffix(name, ".part")] {
				total -= sizes[name]
				delete(want, name)
			}
		}
		PruneModules(dir, quota, used)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Fatalf("quota %d, used %v, sizes %v: left %v; want %v", quota, used, sizes, got, slices.Sorted(maps.Keys(want)))
		}
	}
	PruneModules(filepath.Join(t.TempDir(), "none"), 0, nil) // no folder is no fault
}

// TestNobodyWaitsForAFilterThatIsGone: and control is not asked for it again.
func TestNobodyWaitsForAFilterThatIsGone(t *testing.T) {
	i := newImages(t.TempDir(), 1<<30)
	var sent []*discovery.DeltaDiscoveryRequest
	i.send = func(m *discovery.DeltaDiscoveryRequest) { sent = append(sent, m) }
	failed := make(chan error, 1)
	go func() {
		_, err := i.image(context.Background(), "gone")
		failed <- err
	}()
	for asked := false; !asked; time.Sleep(time.Millisecond) {
		i.mu.Lock()
		asked = i.waiting["gone"] != nil
		i.mu.Unlock()
	}
	i.keepOnly(map[string]*config.Filter{"other": {}})
	if err := <-failed; !errors.Is(err, oci.ErrUnavailable) || !strings.Contains(err.Error(), "no longer configured") {
		t.Errorf("got %v", err)
	}
	if len(i.waiting) != 0 || len(sent) != 2 || !slices.Equal(sent[1].ResourceNamesUnsubscribe, []string{"gone"}) {
		t.Errorf("%d wait; sent %v", len(i.waiting), sent)
	}
}

// TestWhatATagNamedBefore: a filter whose tag has moved may go back to what it ran, as
// long as it may run at all.
func TestWhatATagNamedBefore(t *testing.T) {
	bodies := [][]byte{[]byte("first"), []byte("second"), []byte("third")}
	i := newImages(t.TempDir(), 1<<30)
	digest := func(n int) string { return digestOf([]byte{byte(n)}) }
	learn := func(n int, reason string) {
		t.Helper()
		b, err := Marshal(Image{Reference: "r.example/x:1", Digest: digest(n), Module: digestOf(bodies[n]), Size: int64(len(bodies[n])), Reason: reason})
		if err == nil {
			err = i.learn([]*Resource{{Name: "f", Version: string(rune('a' + n)), Bytes: b}}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(i.dir, strings.TrimPrefix(digestOf(bodies[n]), "sha256:")), bodies[n], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	get := func(n int) error {
		image, err := i.Get(t.Context(), oci.Request{Filter: "f@" + digest(n), Reference: "r.example/x:1@" + digest(n)})
		if err == nil && (!bytes.Equal(image.Module, bodies[n]) || image.Digest != digest(n)) {
			t.Errorf("got %s, %q; want image %d", image.Digest, image.Module, n)
		}
		return err
	}
	learn(0, "")
	learn(1, "")
	if err := errors.Join(get(0), get(1)); err != nil {
		t.Error(err)
	}
	learn(2, "")
	if err := get(0); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("got %v; want the one before alone", err)
	}
	if err := get(1); err != nil {
		t.Error(err)
	}
	learn(2, "PullForbidden")
	if err := get(1); !errors.Is(err, oci.ErrForbidden) {
		t.Errorf("got %v; want that it may not be pulled", err)
	}
	i.keepOnly(nil)
	if i.previous("f") != nil {
		t.Error("it is kept though nobody has the filter")
	}
}
