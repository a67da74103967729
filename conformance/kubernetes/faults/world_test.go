package faults_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"penstock.dev/penstock/conformance/kubernetes/bed"
	"penstock.dev/penstock/conformance/kubernetes/testbed"
)

const password = "right"

// backend is a Service with Pods that go on for a while when they are asked to end,
// as servers should.
func backend(name string) string {
	return strings.ReplaceAll(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: BACKEND, namespace: NAMESPACE}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: BACKEND}}
  template:
    metadata: {labels: {app: BACKEND}}
    spec:
      terminationGracePeriodSeconds: 10
      containers: [{name: web, image: testbed, args: [serve, --drain, 5s], readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}]
---
`, "BACKEND", name)
}

func service(name, annotation string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: NAMESPACE, annotations: {penstock.dev/plugins: %q}}\nspec: {selector: {app: %s}, ports: [{name: http, port: 80, targetPort: 8080}]}\n---\n", name, annotation, name)
}

// route leads to both Services, and says which turn it is of.
func route(turn int) string {
	rule := func(name string) string {
		return fmt.Sprintf("  - matches: [{path: {type: PathPrefix, value: /%s}}]\n    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Turn, value: \"%d\"}]}}]\n    backendRefs: [{name: %s, port: 80}]\n", name, turn, name)
	}
	return "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: NAMESPACE}\nspec:\n  parentRefs: [{name: edge}]\n  rules:\n" + rule("a") + rule("b")
}

const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: NAMESPACE}
spec:
  gatewayClassName: penstock
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}
---
apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: faults}
spec:
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
  images: [{prefix: "` + bed.Registry + `/shop", unsigned: true, allowTags: true}]
---
`

// certificate is a Secret with a new one.
func certificate() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "a.example"}, DNSNames: []string{"a.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: cert, namespace: NAMESPACE}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: %q\n  tls.key: %q\n---\n",
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
}

// world is what faults happen to.
type world struct {
	*testing.T
	traffic *traffic
	image   string
	turn    int
	port    int // that published asks for
	harms   []harm
}

const namespace = "faults"

func newWorld(t *testing.T) *world {
	w := &world{T: t}
	b.Space(t, namespace, nil)
	layout := t.TempDir()
	b.Variant(t, "transform", layout, "test.example/plugins/transform:1")
	w.image = bed.Registry + "/shop/transform@" + b.Push(t, layout, "test.example/plugins/transform:1", "shop/transform", "1", password)
	b.Put(t, namespace, gateway+certificate()+bed.PullSecret("login", password)+"---\n"+backend("a")+backend("b")+w.plugin("0")+service("b", "[]")+route(0))
	if err := b.WaitReady(t.Context(), namespace, time.Minute); err != nil {
		t.Fatal(err)
	}
	address := b.Address(t, namespace, "edge")
	for _, url := range []string{"http://" + address + "/a", "http://" + address + "/b"} {
		bed.Eventually(t, url, 30*time.Second, func() error {
			for range 10 { // both proxies
				response, err := http.Get(url)
				if err != nil {
					return err
				}
				response.Body.Close()
				if response.StatusCode != 200 {
					return fmt.Errorf("%s", response.Status)
				}
				http.DefaultClient.CloseIdleConnections()
			}
			return nil
		})
	}
	w.traffic = &traffic{address: address, stop: make(chan struct{})}
	for i := range uint64(8) {
		w.traffic.group.Go(func() { w.traffic.client(i) })
	}
	return w
}

func (w *world) plugin(from string) string {
	return service("a", fmt.Sprintf("[{image: %q, imagePullSecrets: [{name: login}], config: {response: {headers: {set: {X-From: %q}}}}}]", w.image, from))
}

// put applies objects, for as long as the API server needs to come back.
func (w *world) put(text string) {
	w.Helper()
	if err := bed.Wait(time.Minute, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return b.ApplyText(ctx, strings.ReplaceAll(text, "NAMESPACE", namespace))
	}); err != nil {
		w.Fatal(err)
	}
}

// pods returns the Pods of an app that are not going.
func (w *world) pods(namespace, selector string) (all []corev1.Pod) {
	w.Helper()
	err := bed.Wait(time.Minute, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		list, err := b.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		all = nil
		for _, p := range list.Items {
			if p.DeletionTimestamp == nil && p.Status.PodIP != "" {
				all = append(all, p)
			}
		}
		if err == nil && len(all) == 0 {
			err = fmt.Errorf("no Pod %s", selector)
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

func (w *world) proxies() []corev1.Pod {
	return w.pods(bed.Namespace, "app.kubernetes.io/component=proxy")
}

func (w *world) ready(namespace string) {
	w.Helper()
	if err := bed.Wait(90*time.Second, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return b.WaitReady(ctx, namespace, 5*time.Second)
	}); err != nil {
		w.Fatal(err)
	}
}

// restarted waits until a Pod's container runs anew and is ready, and its endpoint
// is known again.
func (w *world) restarted(old *corev1.Pod) {
	w.Helper()
	if err := bed.Wait(time.Minute, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		p, err := b.Client.CoreV1().Pods(old.Namespace).Get(ctx, old.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := p.Status.ContainerStatuses; len(c) == 0 || !c[0].Ready || c[0].RestartCount <= old.Status.ContainerStatuses[0].RestartCount {
			return fmt.Errorf("%+v", c)
		}
		return nil
	}); err != nil {
		w.Errorf("Pod %s does not come back: %v", old.Name, err)
	}
	time.Sleep(time.Second)
}

// roll has a Deployment's Pods replaced.
func (w *world) roll(namespace, name string) {
	w.Helper()
	w.patch(namespace, name, fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"rolled":"%d"}}}}}`, time.Now().UnixNano()))
	w.ready(namespace)
}

func (w *world) scale(namespace, name string, replicas int) {
	w.Helper()
	w.patch(namespace, name, fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas))
}

func (w *world) patch(namespace, name, text string) {
	w.Helper()
	if err := bed.Wait(time.Minute, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := b.Client.AppsV1().Deployments(namespace).Patch(ctx, name, types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{})
		return err
	}); err != nil {
		w.Fatal(err)
	}
}

// signal sends a signal to the program of a Pod's container, which is known by its
// hostname in the environment.
func (w *world) signal(pod, program string, s syscall.Signal) {
	w.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		w.Fatal(err)
	}
	found := 0
	for _, d := range dirs {
		env, err := os.ReadFile(d + "/environ")
		if err != nil || !strings.Contains("\x00"+string(env), "\x00HOSTNAME="+pod+"\x00") {
			continue
		}
		line, err := os.ReadFile(d + "/cmdline")
		if err != nil || filepath.Base(strings.SplitN(string(line), "\x00", 2)[0]) != program {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		if syscall.Kill(pid, s) == nil {
			found++
		}
	}
	if found == 0 {
		w.Errorf("no process %s of Pod %s", program, pod)
	}
}

// settled has control take part again: a change of a route reaches clients. It
// returns how long that took.
func (w *world) settled() time.Duration {
	w.Helper()
	w.turn++
	w.put(route(w.turn))
	began, want := time.Now(), strconv.Itoa(w.turn)
	if err := bed.Wait(time.Minute, func() error {
		if got := w.traffic.turn.Load(); got == nil || *got != want {
			return fmt.Errorf("turn %v", got)
		}
		return nil
	}); err != nil {
		w.Errorf("a changed route does not reach clients: %v", err)
	}
	return time.Since(began)
}

// published has the cluster's own controllers take part again. After the API server was
// away each asks for its kinds at a time of its own, up to a minute later: a Deployment's
// Pods may be replaced while the EndpointSlice goes on naming those that are gone, and
// then nobody can serve the Service. The second change is carried out only once what was
// written for the first one is known to the controller.
func (w *world) published() {
	w.Helper()
	for range 2 {
		w.port++
		want := int32(8000 + w.port)
		w.put(fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: published, namespace: NAMESPACE}\nspec: {selector: {app: b}, ports: [{name: http, port: 80, targetPort: %d}]}\n", want))
		if err := bed.Wait(90*time.Second, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			list, err := b.Client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=published"})
			if err != nil {
				return err
			}
			for _, s := range list.Items {
				if len(s.Ports) == 1 && *s.Ports[0].Port == want && len(s.Endpoints) > 0 {
					return nil
				}
			}
			return fmt.Errorf("%d EndpointSlices, none with port %d", len(list.Items), want)
		}); err != nil {
			w.Fatal(err)
		}
	}
}

// front is what control's requests to the API server meet.
type front struct {
	requests atomic.Int64
	refused  atomic.Int64 // with an expired token
	mode     atomic.Int32

	mu   sync.Mutex
	open map[*http.Request]context.CancelFunc // what is under way: watches
}

// cut ends all that is under way, as broken connections would.
func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, stop := range f.open {
		stop()
	}
}

// watch has cut reach a request.
func (f *front) watch(r *http.Request) {
	ctx, stop := context.WithCancel(r.Context())
	*r = *r.WithContext(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = map[*http.Request]context.CancelFunc{}
	}
	f.open[r] = stop
	context.AfterFunc(ctx, func() { // when it ends, too
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.open, r)
	})
}

const (
	pass int32 = iota
	tooMany
	gone
	slow
	silent
	expired
)

func (f *front) answer(rw http.ResponseWriter, r *http.Request) bool {
	f.requests.Add(1)
	f.watch(r)
	status := func(code int, reason string) bool {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(code)
		_, _ = fmt.Fprintf(rw, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"a fault"}`, reason, code)
		return true
	}
	switch f.mode.Load() {
	case tooMany:
		rw.Header().Set("Retry-After", "1")
		return status(http.StatusTooManyRequests, "TooManyRequests")
	case gone:
		if r.URL.Query().Get("watch") != "" {
			return status(http.StatusGone, "Expired")
		}
	case slow:
		time.Sleep(2 * time.Second)
	case silent:
		<-r.Context().Done()
		return true
	case expired: // what a process has in memory yet
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if until, err := testbed.TokenExpires(token); err != nil || until.After(time.Now()) {
			return status(http.StatusUnauthorized, "Unauthorized")
		}
		f.refused.Add(1) // by the API server
	}
	return false
}
