package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"
)

func TestParseReference(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	tests := map[string]struct {
		in   string
		want Reference
		bad  bool
	}{
		"tag":                 {in: "registry.example.com/shop/prices:1.4", want: Reference{"registry.example.com", "shop/prices", "1.4", ""}},
		"digest":              {in: "registry.example.com/p@sha256:" + hex, want: Reference{"registry.example.com", "p", "", "sha256:" + hex}},
		"tag and digest":      {in: "localhost:5000/p:1@sha256:" + hex, want: Reference{"localhost:5000", "p", "1", "sha256:" + hex}},
		"IPv6":                {in: "[::1]:5000/p:1", want: Reference{"[::1]:5000", "p", "1", ""}},
		"no registry":         {in: "shop/prices:1", bad: true},
		"neither":             {in: "registry.example.com/p", bad: true},
		"a scheme":            {in: "https://registry.example.com/p:1", bad: true},
		"upper case":          {in: "registry.example.com/P:1", bad: true},
		"another digest":      {in: "registry.example.com/p@md5:00", bad: true},
		"a short digest":      {in: "registry.example.com/p@sha256:00", bad: true},
		"climbing":            {in: "registry.example.com/../p:1", bad: true},
		"a space":             {in: "registry.example.com/p:1 ", bad: true},
		"empty":               {in: "", bad: true},
		"userinfo":            {in: "u:p@registry.example.com/p:1", bad: true},
		"a very long thing":   {in: "registry.example.com/" + strings.Repeat("a", 600) + ":1", bad: true},
		"a registry only":     {in: "registry.example.com", bad: true},
		"a tag with a slash":  {in: "registry.example.com/p:1/2", bad: true},
		"a line break at end": {in: "registry.example.com/p:1\n", bad: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseReference(test.in)
			if (err != nil) != test.bad || got != test.want {
				t.Errorf("got %+v, %v; want %+v, bad %v", got, err, test.want, test.bad)
			}
			if err == nil && got.String() != test.in {
				t.Errorf("got %q back; want %q", got, test.in)
			}
		})
	}
}

func FuzzParseReference(f *testing.F) {
	f.Add("registry.example.com/shop/prices:1.4")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		again, err := ParseReference(r.String())
		if err != nil || again != r || r.String() != s {
			t.Fatalf("%q -> %+v -> %+v, %v", s, r, again, err)
		}
	})
}

func store(t *testing.T, layouts ...string) *Store {
	t.Helper()
	s, err := New(Options{Dir: t.TempDir(), Layouts: layouts}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ref(t *testing.T, s string) Reference {
	t.Helper()
	r, err := ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLayoutKeepsImages(t *testing.T) {
	dir := t.TempDir()
	name := "penstock.dev/plugins/p:1"
	digest, err := WriteLayout(dir, ref(t, name), []byte("\x00asm"), []byte(`{"guard":true,"capabilities":["consumer"],"new":1}`), []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{name, "penstock.dev/plugins/p@" + digest, name + "@" + digest} {
		img, err := store(t, dir).Get(t.Context(), Request{Reference: n})
		if err != nil {
			t.Fatal(err)
		}
		if string(img.Module) != "\x00asm" || img.Digest != digest || !img.Manifest.Guard || string(img.Schema) != "{}" {
			t.Errorf("got %+v", img)
		}
	}
	if _, err := WriteLayout(dir, ref(t, name), []byte("second"), nil, nil); err != nil {
		t.Fatal(err)
	}
	img, err := store(t, dir).Get(t.Context(), Request{Reference: name})
	if err != nil || string(img.Module) != "second" {
		t.Errorf("got %v, %v; want the second module", img, err)
	}
}

func TestLayoutChecksDigests(t *testing.T) {
	dir := t.TempDir()
	name := "penstock.dev/plugins/p:1"
	if _, err := WriteLayout(dir, ref(t, name), []byte("module"), nil, nil); err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "blobs", "sha256", digest.FromString("module").Encoded())
	if err := os.WriteFile(blob, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store(t, dir).Get(t.Context(), Request{Reference: name}); !errors.Is(err, ErrDigest) {
		t.Errorf("got %v; want ErrDigest", err)
	}
}

func TestStoredBlobThatRottedIsMissing(t *testing.T) {
	s := store(t)
	if err := s.keep([]byte("module")); err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{Digest: digest.FromString("module")}
	if got, err := s.blob(d, 100); string(got) != "module" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	name, _ := blobFile(s.o.Dir, d)
	if err := os.WriteFile(name, []byte("modul3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.blob(d, 100); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v; want it to be missing", err)
	}
}

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zip(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpackReadsThreeLayouts(t *testing.T) {
	files := map[string]string{"./plugin.wasm": "module"}
	tests := map[string]struct {
		mediaType string
		layer     []byte
		want      error
	}{
		"CNCF Wasm artifact":           {MediaTypeWasm, []byte("module"), nil},
		"Solo":                         {MediaTypeSoloWasm, []byte("module"), nil},
		"OCI container image":          {ocispec.MediaTypeImageLayerGzip, zip(t, tarOf(t, files)), nil},
		"OCI, not compressed":          {ocispec.MediaTypeImageLayer, tarOf(t, files), nil},
		"Docker container image":       {mediaTypeDockerLayer, zip(t, tarOf(t, files)), nil},
		"a container without a plugin": {ocispec.MediaTypeImageLayer, tarOf(t, map[string]string{"bin/sh": "x"}), ErrImage},
		"no tar":                       {ocispec.MediaTypeImageLayer, []byte("junk"), ErrImage},
		"no gzip":                      {mediaTypeDockerLayer, []byte("junk"), ErrImage},
		"a gzip bomb":                  {mediaTypeDockerLayer, zip(t, make([]byte, MaxModuleBytes+1)), ErrImage},
		"documentation only":           {"application/vnd.module.wasm.doc.v1+markdown", []byte("#"), ErrImage},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			layers := []ocispec.Descriptor{
				{MediaType: "application/vnd.module.wasm.spec.v1+yaml"},
				{MediaType: test.mediaType, Digest: digest.FromBytes(test.layer), Size: int64(len(test.layer))},
			}
			raw, err := json.Marshal(ocispec.Manifest{Layers: layers})
			if err != nil {
				t.Fatal(err)
			}
			img, err := unpack(raw, func(ocispec.Descriptor, int64) ([]byte, error) { return test.layer, nil })
			if !errors.Is(err, test.want) || test.want == nil && string(img.Module) != "module" {
				t.Errorf("got %v, %v; want %v", img, err, test.want)
			}
		})
	}
}

// FuzzUnpack feeds bytes as image manifest and as layer: never a panic, never
// a module beyond the limit.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte(`{"layers":[{"mediaType":"application/wasm","digest":"sha256:00"}]}`), []byte("x"))
	f.Add([]byte(`{"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar"}]}`), []byte("x"))
	f.Fuzz(func(t *testing.T, manifest, layer []byte) {
		img, err := unpack(manifest, func(ocispec.Descriptor, int64) ([]byte, error) { return layer, nil })
		if err == nil && len(img.Module) > MaxModuleBytes {
			t.Fatal("too large")
		}
		_, _ = choose(manifest)
	})
}

func TestAdmit(t *testing.T) {
	tests := map[string]struct {
		address             string
		isRegistry, isLocal bool
		ok                  bool
	}{
		"a public address":                  {"192.0.2.1", false, false, true},
		"the registry in a private network": {"10.0.0.5", true, false, true},
		"a redirect into it":                {"10.0.0.5", false, false, false},
		"loopback":                          {"127.0.0.1", true, false, false},
		"loopback, listed":                  {"127.0.0.1", true, true, true},
		"link-local metadata":               {"169.254.169.254", true, false, false},
		"IPv6 loopback":                     {"::1", true, false, false},
		"IPv6 unique local":                 {"fd00::1", false, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := admit(netip.MustParseAddr(test.address), test.isRegistry, test.isLocal); (err == nil) != test.ok {
				t.Errorf("got %v; want ok %v", err, test.ok)
			}
		})
	}
}

func TestUnreachableRegistryIsUnavailable(t *testing.T) {
	s := store(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, Request{Reference: "registry.example.com/p:1"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v; want ErrUnavailable", err)
	}
	if _, err := s.Get(t.Context(), Request{Reference: "127.0.0.1:1/p:1"}); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "list the registry as local") {
		t.Errorf("got %v; want a hint that loopback must be listed", err)
	}
}
