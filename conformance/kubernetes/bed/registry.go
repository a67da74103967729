package bed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RegistryNamespace is where RegistryObjects are.
const RegistryNamespace = "registry"

// Registry is the registry's name and port for control.
const Registry = "registry.registry.svc.cluster.local:5000"

// LocalRegistry lets control use the registry, which speaks HTTP: for Options.Replace.
var LocalRegistry = map[string]string{`args: [control, `: `args: [control, --local-registry, "` + Registry + `", `}

const registryUser = "penstock"

// RegistryObjects is a distribution registry that admits one user with a password.
func RegistryObjects(password string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: registry}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: registry, namespace: registry}
data:
  registry.yml: |
    version: 0.1
    log: {level: error, accesslog: {disabled: true}}
    storage: {filesystem: {rootdirectory: /data}, delete: {enabled: true}}
    http: {addr: ':5000', secret: x}
    auth: {htpasswd: {realm: test, path: /auth/htpasswd}}
---
apiVersion: v1
kind: Secret
metadata: {name: registry, namespace: registry}
stringData: {htpasswd: %q}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: registry, namespace: registry}
spec:
  selector: {matchLabels: {app: registry}}
  template:
    metadata: {labels: {app: registry}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: registry
        image: registry
        args: [serve, /config/registry.yml]
        env: [{name: OTEL_TRACES_EXPORTER, value: none}]
        readinessProbe: {tcpSocket: {port: 5000}, periodSeconds: 1}
        volumeMounts:
        - {name: config, mountPath: /config}
        - {name: auth, mountPath: /auth}
        - {name: data, mountPath: /data}
      volumes:
      - {name: config, configMap: {name: registry}}
      - {name: auth, secret: {secretName: registry}}
      - {name: data, emptyDir: {}}
---
apiVersion: v1
kind: Service
metadata: {name: registry, namespace: registry}
spec:
  selector: {app: registry}
  ports: [{port: 5000}]
`, htpasswd(password))
}

func htpasswd(password string) string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return fmt.Sprintf("%s:%s\n", registryUser, hash)
}

// SetPassword changes whom the registry admits, and waits until it does.
func (b *Bed) SetPassword(t testing.TB, password string) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "registry", Namespace: RegistryNamespace}, StringData: map[string]string{"htpasswd": htpasswd(password)}}
	if _, err := b.Client.CoreV1().Secrets(RegistryNamespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the registry knows its password", 30*time.Second, func() error {
		_, err := b.registry(http.MethodGet, "", password, "", nil)
		return err
	})
}

// PullSecret is a Secret of a namespace with a login for the registry.
func PullSecret(name, password string) string {
	text, err := json.Marshal(map[string]any{"auths": map[string]any{Registry: map[string]any{"username": registryUser, "password": password}}})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: NAMESPACE, labels: {penstock.dev/plugin-secret: \"true\"}}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: %q}\n", name, text)
}

// registry asks the registry for a path below /v2/.
func (b *Bed) registry(method, path, password, mediaType string, body []byte) (*http.Response, error) {
	s, err := b.Client.CoreV1().Services(RegistryNamespace).Get(context.Background(), "registry", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	url := path
	if !strings.HasPrefix(path, "http") {
		url = "http://" + s.Spec.ClusterIP + ":5000/v2/" + path
	}
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(registryUser, password)
	if mediaType != "" {
		r.Header.Set("Content-Type", mediaType)
	}
	response, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return nil, err
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	response.Body.Close()
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %.200s", method, url, response.Status, text)
	}
	return response, nil
}

// descriptor of OCI.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

// Push copies the image that a layout has under a name to the registry and returns
// its digest.
func (b *Bed) Push(t testing.TB, layout, name, repository, tag, password string) string {
	t.Helper()
	digest, err := b.push(layout, name, repository, tag, password)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func (b *Bed) push(layout, name, repository, tag, password string) (string, error) {
	blob := func(digest string) ([]byte, error) {
		return os.ReadFile(filepath.Join(layout, "blobs", strings.Replace(digest, ":", "/", 1)))
	}
	var index struct{ Manifests []descriptor }
	text, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return "", err
	}
	for _, d := range index.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] != name {
			continue
		}
		manifest, err := blob(d.Digest)
		if err != nil {
			return "", err
		}
		var parts struct {
			Config descriptor
			Layers []descriptor
		}
		if err := json.Unmarshal(manifest, &parts); err != nil {
			return "", err
		}
		for _, part := range append(parts.Layers, parts.Config) {
			content, err := blob(part.Digest)
			if err != nil {
				return "", err
			}
			r, err := b.registry(http.MethodPost, repository+"/blobs/uploads/", password, "", nil)
			if err != nil {
				return "", err
			}
			at := r.Header.Get("Location")
			if _, err := b.registry(http.MethodPut, at+"&digest="+part.Digest, password, "application/octet-stream", content); err != nil {
				return "", err
			}
		}
		_, err = b.registry(http.MethodPut, repository+"/manifests/"+tag, password, d.MediaType, manifest)
		return d.Digest, err
	}
	return "", fmt.Errorf("%s has no image %s", layout, name)
}

// Variant puts a bundled plugin into a layout under a name, with a custom section
// more, which holds the name: the same plugin with a digest of its own, which the
// bundled layout does not have, so that it needs a right to pull.
func (b *Bed) Variant(t testing.TB, plugin, layout, name string) {
	t.Helper()
	module, err := os.ReadFile(filepath.Join(b.Root, "build", plugin+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "variant.wasm")
	if err := os.WriteFile(out, slices.Concat(module, []byte{0, byte(2 + len(name)), 1, 'x'}, []byte(name)), 0o600); err != nil {
		t.Fatal(err)
	}
	b.pack(t, layout, name, out)
}

func (b *Bed) pack(t testing.TB, layout, name, module string) {
	t.Helper()
	if text, err := exec.Command(filepath.Join(b.Root, "bin", "penstock"), "image", "pack", "--layout", layout, "--name", name, module).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// Guest builds a guest of the conformance module and puts it into a layout under a
// name.
func (b *Bed) Guest(t testing.TB, dir, layout, name string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest.wasm")
	c := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out, "./"+dir)
	c.Dir = filepath.Join(b.Root, "conformance")
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-buildvcs=false")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	b.pack(t, layout, name, out)
}
