// Package trust_test shows on a real cluster what the owner of a namespace cannot reach
// with what he may write there (annotations.md, section 7).
package trust_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

var b *bed.Bed

const password = "right"

func TestMain(m *testing.M) {
	os.Exit(bed.Main(m, bed.Options{
		Replace: bed.LocalRegistry,
		Before:  map[string]string{bed.RegistryNamespace: bed.RegistryObjects(password)},
	}, func(made *bed.Bed) { b = made }))
}

// gateway is one with listeners; more are fields of its spec.
func gateway(name, more, listeners string) string {
	return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: %s, namespace: NAMESPACE}\nspec: {gatewayClassName: penstock, %slisteners: [%s]}\n---\n", name, more, listeners)
}

const plainListener = "{name: http, port: 80, protocol: HTTP}"

// pods is a Deployment of one Pod that says its name, and so the Deployment's.
func pods(name string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: testbed, args: [serve], readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}]
---
`, name)
}

// service leads to the Pods of a Deployment; an empty annotation is none.
func service(name, app, annotation string) string {
	meta := ""
	if annotation != "" {
		meta = "\n  annotations:\n    penstock.dev/plugins: |\n      " + strings.ReplaceAll(strings.TrimSpace(annotation), "\n", "\n      ")
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  namespace: NAMESPACE%s\nspec: {selector: {app: %s}, ports: [{name: http, port: 80, targetPort: 8080}]}\n---\n", name, meta, app)
}

// route has one rule; hostnames are as in a list of YAML.
func route(name, parent, hostnames, path, backend string) string {
	return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s, namespace: NAMESPACE}\nspec: {parentRefs: [%s], hostnames: [%s], rules: [{matches: [{path: {type: PathPrefix, value: %s}}], backendRefs: [%s]}]}\n---\n", name, parent, hostnames, path, backend)
}

// reply is what came for a request.
type reply struct {
	status int
	from   string // the Deployment
	header http.Header
}

// ask sends a request on a connection of its own, so that any proxy may have it.
func ask(address, hostname, path string, header ...string) (reply, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return reply{}, err
	}
	r.Host = hostname
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := (&http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	name, _, _ := strings.Cut(string(body), "-") // DEPLOYMENT-HASH-HASH
	return reply{response.StatusCode, name, response.Header}, err
}

// wants asks until the answer is as wanted from both proxies.
func wants(t *testing.T, what, address, hostname, path string, status int, from string, header ...string) {
	t.Helper()
	bed.Eventually(t, what, 30*time.Second, func() error {
		for range 6 {
			got, err := ask(address, hostname, path, header...)
			if err != nil || got.status != status || from != "" && got.from != from {
				return fmt.Errorf("got %d from %q, %v; want %d from %q", got.status, got.from, err, status, from)
			}
		}
		return nil
	})
}

// ours returns Penstock's Pods of a component.
func ours(t *testing.T, component string) []corev1.Pod {
	t.Helper()
	list, err := b.Client.CoreV1().Pods(bed.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=" + component})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("%d Pods, %v", len(list.Items), err)
	}
	return list.Items
}

// logs returns what a Pod has written.
func logs(ctx context.Context, p *corev1.Pod) (string, error) {
	text, err := b.Client.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
	return string(text), err
}

// metrics returns those of a Pod.
func metrics(p *corev1.Pod) (string, error) {
	r, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + p.Status.PodIP + ":9902/metrics")
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return string(text), err
}

// certificate is a Secret of type kubernetes.io/tls.
func certificate(t *testing.T, name, hostname string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{hostname}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt, text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: NAMESPACE}\ntype: kubernetes.io/tls\nstringData: {tls.crt: %q, tls.key: %q}\n---\n", name, crt, text)
}
