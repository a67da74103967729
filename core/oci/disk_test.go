package oci

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"
)

// keepImage stores an image with one layer of n bytes and returns its digest.
func keepImage(t *testing.T, s *Store, n int) (string, error) {
	t.Helper()
	layer := make([]byte, n)
	_, _ = rand.Read(layer)
	if err := s.keep(layer); err != nil {
		return "", err
	}
	raw, err := json.Marshal(ocispec.Manifest{Layers: []ocispec.Descriptor{{MediaType: MediaTypeWasm, Digest: digest.FromBytes(layer), Size: int64(n)}}})
	if err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(raw).String(), s.keep(raw)
}

func TestQuotaNeverDropsWhatRuns(t *testing.T) {
	var running []string
	s, err := New(Options{Dir: t.TempDir(), Quota: 100_000, InUse: func() []string { return running }}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	makeOld := func() {
		for _, f := range s.content() {
			then := f.ModTime().Add(-time.Hour)
			if err := os.Chtimes(filepath.Join(s.blobs(), f.Name()), then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	var all []string
	for range 3 {
		d, err := keepImage(t, s, 30_000)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	if _, err := keepImage(t, s, 30_000); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "quota") {
		t.Errorf("got %v; want new content kept, and the quota named", err)
	}
	makeOld()
	running = all[:1] // the oldest
	if _, err := keepImage(t, s, 30_000); err != nil {
		t.Fatal(err)
	}
	if _, err := s.stored(all[0]); err != nil {
		t.Errorf("what runs was dropped: %v", err)
	}
	if _, err := s.stored(all[1]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v; want the next oldest dropped", err)
	}
	if s.disk.size != s.sizeOnDisk() || s.disk.size > s.o.Quota {
		t.Errorf("counts %d bytes; has %d", s.disk.size, s.sizeOnDisk())
	}
}

func TestACrashWhileWritingLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Options{Dir: dir}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	d, err := keepImage(t, s, 1000)
	if err != nil {
		t.Fatal(err)
	}
	half, young := filepath.Join(s.blobs(), ".new-123"), filepath.Join(s.blobs(), ".new-456")
	for _, name := range []string{half, young} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if old := time.Now().Add(-2 * leftOver); os.Chtimes(half, old, old) != nil {
		t.Fatal("no times")
	}
	again, err := New(Options{Dir: dir}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v; want the half file gone", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("what another process may be writing is gone: %v", err)
	}
	if _, err := again.stored(d); err != nil {
		t.Error(err)
	}
}

func TestEqualPullsAreShared(t *testing.T) {
	var fs flights
	var runs, cancelled atomic.Int64
	release := make(chan struct{})
	pull := func(ctx context.Context) (*Image, error) {
		runs.Add(1)
		select {
		case <-release:
			return &Image{Digest: "d"}, nil
		case <-ctx.Done():
			cancelled.Add(1)
			return nil, ctx.Err()
		}
	}
	var group sync.WaitGroup
	impatient, leave := context.WithCancel(t.Context())
	group.Go(func() {
		if _, err := fs.do(impatient, "k", pull); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v; want Canceled", err)
		}
	})
	for range 8 {
		group.Go(func() {
			if img, err := fs.do(t.Context(), "k", pull); err != nil || img.Digest != "d" {
				t.Errorf("got %v, %v", img, err)
			}
		})
	}
	waiting := func(n int) bool {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		return fs.all["k"] != nil && fs.all["k"].waiting == n
	}
	for !waiting(9) {
		time.Sleep(time.Millisecond)
	}
	leave()
	for !waiting(8) {
		time.Sleep(time.Millisecond)
	}
	close(release)
	group.Wait()
	if runs.Load() != 1 || cancelled.Load() != 0 || len(fs.all) != 0 {
		t.Errorf("ran %d times, %d cancelled, %d left; want one", runs.Load(), cancelled.Load(), len(fs.all))
	}

	release = make(chan struct{})
	alone, leave := context.WithCancel(t.Context())
	group.Go(func() { _, _ = fs.do(alone, "k", pull) })
	for !waiting(1) {
		time.Sleep(time.Millisecond)
	}
	leave()
	group.Wait()
	for cancelled.Load() != 1 {
		time.Sleep(time.Millisecond)
	}
}

func TestMirrors(t *testing.T) {
	own, mirror := newTokenRegistry(t), newTokenRegistry(t)
	s := own.store(t, mirror.host())
	s.o.Mirrors = []Mirror{{Of: "registry.example/nothing", At: "127.0.0.1:1"}, {Of: own.host() + "/team", At: mirror.host() + "/team"}}
	q := own.request("shop", "pass")
	q.Credentials = append(q.Credentials, mirror.request("", "pass").Credentials...)
	if _, err := s.Get(t.Context(), q); err != nil || mirror.asked == 0 || own.asked != 0 {
		t.Errorf("got %v, own asked %d times, mirror %d; want the mirror asked", err, own.asked, mirror.asked)
	}
	mirror.Close()
	s.age(time.Hour)
	if err := s.Recheck(t.Context(), q, own.digest); err != nil || own.asked == 0 {
		t.Errorf("got %v, own asked %d times; want the registry itself asked when the mirror is down", err, own.asked)
	}
	// The mirror's password is not shown to the registry.
	q.Credentials = mirror.request("", "pass").Credentials
	if err := s.Recheck(t.Context(), q, own.digest); !errors.Is(err, ErrForbidden) {
		t.Errorf("got %v; want ErrForbidden", err)
	}
	if got := s.names(ref(t, own.host()+"/team/p:1")); len(got) != 2 || got[0] != mirror.host()+"/team/p" {
		t.Errorf("got %v; want both names", got)
	}
}

func TestOwnAuthority(t *testing.T) {
	r := newTokenRegistry(t)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		q.Header.Set("Authorization", "Bearer for-user-pass")
		r.ServeHTTP(w, q)
	}))
	defer secure.Close()
	host := strings.TrimPrefix(secure.URL, "https://")
	s, err := New(Options{Dir: t.TempDir(), Dial: unguarded}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	q := Request{Reference: host + "/team/p:1", Namespace: "shop"}
	if _, err := s.Get(t.Context(), q); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v; want the certificate refused", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	s.o.CAs = map[string]*x509.CertPool{"another.example": pool}
	if _, err := s.Get(t.Context(), q); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v; want another registry's authority not to count", err)
	}
	s.o.CAs[host] = pool
	if _, err := s.Get(t.Context(), q); err != nil {
		t.Error(err)
	}
}

// unguarded dials loopback, which a registry over TLS may not be on otherwise.
func unguarded(ctx context.Context, network, address string, _ func(netip.Addr) error) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}
