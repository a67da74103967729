package registry

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"

	"penstock.dev/penstock/conformance/harness"
)

const mediaTypeWasm = "application/wasm"

// pushLayer pushes an image with one layer.
func (r *registry) pushLayer(repository, mediaType string, content []byte) ocispec.Descriptor {
	r.t.Helper()
	ctx := context.Background()
	repo := r.repository(repository)
	layer := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	if err := repo.Push(ctx, layer, bytes.NewReader(content)); err != nil {
		r.t.Fatal(err)
	}
	d, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, mediaTypeWasm, oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := repo.Tag(ctx, d, "1"); err != nil {
		r.t.Fatal(err)
	}
	return layer
}

func zipped(t *testing.T, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.CopyN(w, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestBadImages: whatever is wrong with an image or its registry breaks the
// Services that name it, and no other.
func TestBadImages(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	module, err := os.ReadFile(harness.BundledModule(t, "transform"))
	if err != nil {
		t.Fatal(err)
	}
	tampered := r.pushLayer("plugins/tampered", mediaTypeWasm, module)
	changed := bytes.Clone(module)
	changed[len(changed)-1] ^= 1
	if err := os.WriteFile(r.blobFile(tampered.Digest.String()), changed, 0o600); err != nil {
		t.Fatal(err)
	}
	r.pushLayer("plugins/longer", mediaTypeWasm, []byte("\x00asm"))
	if err := os.WriteFile(r.blobFile(digest.FromString("\x00asm").String()), append([]byte("\x00asm"), module...), 0o600); err != nil {
		t.Fatal(err)
	}
	r.pushLayer("plugins/oversized", mediaTypeWasm, make([]byte, 65<<20))
	r.pushLayer("plugins/bomb", ocispec.MediaTypeImageLayerGzip, zipped(t, 1<<30))
	r.pushLayer("plugins/text", mediaTypeWasm, []byte("this is no module"))
	for i, name := range []string{"good", "private", "loopback"} { // a custom section more: other bytes, the same plugin
		r.pushLayer("plugins/"+name, mediaTypeWasm, append(bytes.Clone(module), 0, 2, 1, byte('a'+i)))
	}

	// A registry that points its clients elsewhere.
	var reached atomic.Int64
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(secret.Close)
	target, err := url.Parse("http://" + r.host())
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(target)
	pointing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case strings.Contains(q.URL.Path, "/blobs/") && strings.Contains(q.URL.Path, "/private/"):
			http.Redirect(w, q, "http://10.255.255.1/blob", http.StatusTemporaryRedirect)
		case strings.Contains(q.URL.Path, "/blobs/"):
			http.Redirect(w, q, secret.URL+"/blob", http.StatusTemporaryRedirect)
		case strings.Contains(q.URL.Path, "/realm/"):
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+secret.URL+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			pass.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(pointing.Close)
	pointer := strings.TrimPrefix(pointing.URL, "http://")

	upstream := harness.Upstream(t, harness.Echo)
	gateway := strings.Replace(harness.GatewayFor(r.port), "  capabilities:", "    - {prefix: \""+pointer+"/plugins\", unsigned: true, allowTags: true}\n  capabilities:", 1)
	files := map[string]string{"gateway.yaml": gateway, "plain.yaml": harness.Service("plain", "", upstream)}
	images := map[string]string{
		"tampered": r.host() + "/plugins/tampered:1", "longer": r.host() + "/plugins/longer:1", "oversized": r.host() + "/plugins/oversized:1",
		"bomb": r.host() + "/plugins/bomb:1", "text": r.host() + "/plugins/text:1", "good": r.host() + "/plugins/good:1",
		"private": pointer + "/plugins/private:1", "loopback": pointer + "/plugins/loopback:1", "realm": pointer + "/plugins/realm:1",
	}
	for name, image := range images {
		files[name+".yaml"] = harness.Service(name, annotation(image), upstream)
	}
	p := harness.Start(t, harness.Options{Files: files, LocalRegistry: r.host(), Args: []string{"--local-registry", pointer}})
	for name, reason := range map[string]string{
		"tampered": "DigestMismatch", "longer": "ImageUnavailable", "oversized": "InvalidModule", "bomb": "InvalidModule", "text": "InvalidModule",
		"private": "ImageUnavailable", "loopback": "ImageUnavailable", "realm": "ImageUnavailable",
	} {
		state(t, p, name, 503, reason)
		f := p.Chain("Service/default/" + name).Filters[0]
		if f.Message == "" {
			t.Errorf("%s: no message", name)
		}
		t.Logf("%s: %s: %s", name, f.Reason, f.Message)
	}
	state(t, p, "plain", 200, "")
	state(t, p, "good", 200, "")
	if n := reached.Load(); n != 0 {
		t.Errorf("a server on loopback was reached %d times", n)
	}
}
