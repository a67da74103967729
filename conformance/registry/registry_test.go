// Package registry pulls plugin images from a real registry: CNCF distribution.
package registry

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"

	"penstock.dev/penstock/conformance/harness"
)

// registry is a running distribution registry on loopback.
type registry struct {
	port   int
	cmd    *exec.Cmd
	config string
	binary string
	t      *testing.T
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	dir := t.TempDir()
	r := &registry{t: t, port: harness.FreePort(t), config: filepath.Join(dir, "registry.yml"), binary: filepath.Join(dir, "registry")}
	build := exec.Command("go", "build", "-o", r.binary, "github.com/distribution/distribution/v3/cmd/registry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := fmt.Sprintf("version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: true}}\nhttp: {addr: '127.0.0.1:%d', secret: x}\n", dir, r.port)
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	r.start()
	return r
}

func (r *registry) host() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

func (r *registry) start() {
	r.t.Helper()
	r.cmd = exec.Command(r.binary, "serve", r.config)
	r.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for range 200 {
		if response, err := http.Get("http://" + r.host() + "/v2/"); err == nil {
			response.Body.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatal("the registry does not answer")
}

func (r *registry) stop() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait()
	r.cmd = nil
}

// push copies an image from an OCI layout and returns its digest.
func (r *registry) push(layout, name, repository, tag string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	from, err := oci.NewFromFS(ctx, os.DirFS(layout))
	if err != nil {
		r.t.Fatal(err)
	}
	to, err := remote.NewRepository(r.host() + "/" + repository)
	if err != nil {
		r.t.Fatal(err)
	}
	to.PlainHTTP = true
	d, err := oras.Copy(ctx, from, name, to, tag, oras.DefaultCopyOptions)
	if err != nil {
		r.t.Fatal(err)
	}
	return d.Digest.String()
}

func annotation(image string) string {
	return "- image: " + image + "\n  config: {response: {headers: {set: {X-From: registry}}}}"
}

func TestRegistry(t *testing.T) {
	r := newRegistry(t)
	digest := r.push(harness.BundledPlugins(t), "penstock.dev/plugins/transform:1", "plugins/transform", "1")
	upstream := harness.Upstream(t, harness.Echo)
	byTag, byDigest := r.host()+"/plugins/transform:1", r.host()+"/plugins/transform@"+digest
	files := map[string]string{
		"gateway.yaml": harness.GatewayFor(r.port),
		"tag.yaml":     harness.Service("tag", annotation(byTag), upstream),
		"digest.yaml":  harness.Service("digest", annotation(byDigest), upstream),
		"wrong.yaml":   harness.Service("wrong", annotation(r.host()+"/plugins/transform@sha256:"+strings.Repeat("0", 64)), upstream),
		"missing.yaml": harness.Service("missing", annotation(r.host()+"/plugins/none:1"), upstream),
		"plain.yaml":   harness.Service("plain", "", upstream),
	}
	state := t.TempDir()
	p := harness.Start(t, harness.Options{Files: files, State: state, LocalRegistry: r.host()})
	serves := func(p *harness.Proxy, name string, status int) {
		t.Helper()
		p.Eventually(fmt.Sprintf("%s answers %d", name, status), func() bool {
			response, err := http.Get(p.URL + "/" + name)
			if err != nil {
				return false
			}
			response.Body.Close()
			return response.StatusCode == status && (status != 200 || name == "plain" || response.Header.Get("X-From") == "registry")
		})
	}
	serves(p, "tag", 200)
	serves(p, "digest", 200)
	serves(p, "wrong", 503)
	serves(p, "missing", 503)
	serves(p, "plain", 200)
	if got := p.Chain("Service/default/tag").Filters[0].Digest; got != digest {
		t.Errorf("got digest %s; want %s", got, digest)
	}
	for _, name := range []string{"wrong", "missing"} {
		if c := p.Chain("Service/default/" + name); c.Reason != "ImageUnavailable" {
			t.Errorf("%s: got reason %q; want ImageUnavailable", name, c.Reason)
		}
	}
	p.Stop()

	r.stop()
	again := harness.Start(t, harness.Options{Files: files, State: state, LocalRegistry: r.host()})
	serves(again, "tag", 200)
	serves(again, "digest", 200)
	serves(again, "missing", 503)

	// What could not be pulled is tried again once the registry is back.
	r.start()
	r.push(harness.BundledPlugins(t), "penstock.dev/plugins/transform:1", "plugins/none", "1")
	serves(again, "missing", 200)
}
