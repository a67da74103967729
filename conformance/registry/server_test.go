package registry

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"penstock.dev/penstock/conformance/harness"
)

// binary builds the registry once.
var binary = sync.OnceValues(func() (string, error) {
	name := filepath.Join(os.TempDir(), fmt.Sprintf("penstock-registry-%d", os.Getpid()))
	build := exec.Command("go", "build", "-o", name, "github.com/distribution/distribution/v3/cmd/registry")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return name, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if name, err := binary(); err == nil {
		_ = os.Remove(name)
	}
	os.Exit(code)
}

// registry is a running distribution registry on loopback.
type registry struct {
	port           int
	cmd            *exec.Cmd
	dir            string
	user, password string // of push; empty: anybody may
	t              *testing.T
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{t: t, port: harness.FreePort(t), dir: t.TempDir()}
	r.configure("")
	return r
}

// newPrivateRegistry admits the user "penstock" with the password "right" alone.
func newPrivateRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{t: t, port: harness.FreePort(t), dir: t.TempDir(), user: "penstock", password: "right"}
	r.setPassword(r.password)
	r.configure(fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", r.dir))
	return r
}

func (r *registry) configure(more string) {
	r.t.Helper()
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: true}}\nhttp: {addr: '127.0.0.1:%d', secret: x}\n%s", r.dir, r.port, more)
	if err := os.WriteFile(r.dir+"/registry.yml", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.stop)
	r.start()
}

// setPassword changes what the registry admits from now on.
func (r *registry) setPassword(password string) {
	r.t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.dir+"/htpasswd", fmt.Appendf(nil, "penstock:%s\n", hash), 0o600); err != nil {
		r.t.Fatal(err)
	}
	// The registry reads the file again when its time has changed.
	if err := os.Chtimes(r.dir+"/htpasswd", time.Time{}, time.Now().Add(time.Minute)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *registry) host() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

func (r *registry) start() {
	r.t.Helper()
	name, err := binary()
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(name, "serve", r.dir+"/registry.yml")
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

// repository returns a client that may push.
func (r *registry) repository(name string) *remote.Repository {
	r.t.Helper()
	repo, err := remote.NewRepository(r.host() + "/" + name)
	if err != nil {
		r.t.Fatal(err)
	}
	repo.PlainHTTP = true
	repo.Client = &auth.Client{Credential: auth.StaticCredential(r.host(), auth.Credential{Username: r.user, Password: r.password})}
	return repo
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
	d, err := oras.Copy(ctx, from, name, r.repository(repository), tag, oras.DefaultCopyOptions)
	if err != nil {
		r.t.Fatal(err)
	}
	return d.Digest.String()
}

// blobFile is where the registry keeps content with that digest.
func (r *registry) blobFile(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return fmt.Sprintf("%s/data/docker/registry/v2/blobs/sha256/%s/%s/data", r.dir, hex[:2], hex)
}
