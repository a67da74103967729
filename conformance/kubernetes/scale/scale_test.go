// Package scale measures how soon a change is live, and what a fleet costs, with
// many objects present. It writes conformance/reports/scale.md.
package scale

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
	"penstock.dev/penstock/conformance/kubernetes/testbed"
)

// enabled is set by make scale: how many routes there are at most.
const enabled = "PENSTOCK_SCALE"

const (
	namespace = "crowd"
	services  = 5000
	// parallel is how many writes are under way while the crowd is made.
	parallel = 16
)

func TestMain(m *testing.M) {
	if os.Getenv(enabled) != "" {
		testbed.Enter()
	}
	os.Exit(m.Run())
}

// bench is a running fleet with a crowd of objects.
type bench struct {
	*testing.T
	bed     *bed.Bed
	client  client.Client
	root    string
	pods    []string // addresses of two backends
	names   []string // and their names
	proxies []string // "address:port" of the Gateway's listener at each proxy
	version atomic.Int64
	serves  map[int]int64 // version of a route that is live; not there: 0
	out     strings.Builder
}

func TestScale(t *testing.T) {
	most, err := strconv.Atoi(os.Getenv(enabled))
	if err != nil {
		t.Skip("make scale runs it")
	}
	b := start(t)
	b.crowdServices()
	routes := 0
	b.line("| what | HTTPRoutes | p50 | p99 | most |")
	b.line("| --- | ---: | ---: | ---: | ---: |")
	for _, n := range []int{10, 1000, 10_000} {
		if n > most {
			break
		}
		b.crowdRoutes(routes, n)
		routes = n
		b.row("a route's change", n, b.measure(200, func() time.Duration { return b.changeRoute(rand.IntN(n)) }))
		b.row("an endpoint's change", n, b.measure(200, func() time.Duration { return b.changeEndpoint(rand.IntN(min(n, services))) }))
	}
	b.busy(routes, 0.1)
	b.busy(routes, 1)
	b.memory(routes)
	b.starts(routes)
	b.rest()
	b.alone(routes)
	b.report(routes)
}

func start(t *testing.T) *bench {
	made, err := bed.Start(t.Context(), bed.Options{Options: testbed.Options{Log: t.Logf}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Stop)
	scheme := apiruntime.NewScheme()
	for _, add := range []func(*apiruntime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme, gatewayv1.Install} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	config := rest.CopyConfig(made.Config)
	config.QPS = -1
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, bed: made, client: c, root: made.Root, serves: map[int]int64{}}
	if err := made.ApplyText(t.Context(), `
apiVersion: v1
kind: Namespace
metadata: {name: crowd}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: crowd}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.k8s.io/gateway-api/echo-basic
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: crowd}
spec:
  gatewayClassName: penstock
  listeners: [{name: http, port: 80, protocol: HTTP}]
`); err != nil {
		t.Fatal(err)
	}
	if err := made.WaitReady(t.Context(), namespace, time.Minute); err != nil {
		t.Fatal(err)
	}
	b.find()
	return b
}

// find looks for the backends and the proxies.
func (b *bench) find() {
	b.Helper()
	var pods corev1.PodList
	b.check(b.client.List(b.Context(), &pods, client.InNamespace(namespace)))
	for i := range pods.Items {
		b.pods, b.names = append(b.pods, pods.Items[i].Status.PodIP), append(b.names, pods.Items[i].Name)
	}
	var port int32
	for end := time.Now().Add(20 * time.Second); port == 0; time.Sleep(50 * time.Millisecond) {
		var list corev1.ServiceList
		b.check(b.client.List(b.Context(), &list, client.InNamespace("penstock-system"), client.MatchingLabels{gatewayv1.GatewayNameLabelKey: "gw"}))
		if len(list.Items) == 1 {
			port = list.Items[0].Spec.Ports[0].TargetPort.IntVal
		}
		if time.Now().After(end) {
			b.Fatal("the Gateway has no Service")
		}
	}
	b.check(b.client.List(b.Context(), &pods, client.InNamespace("penstock-system"), client.MatchingLabels{"app.kubernetes.io/component": "proxy"}))
	for i := range pods.Items {
		b.proxies = append(b.proxies, net.JoinHostPort(pods.Items[i].Status.PodIP, strconv.Itoa(int(port))))
	}
}

func (b *bench) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// each runs f for 0 to n-1, some at a time.
func (b *bench) each(from, n int, f func(i int) error) {
	b.Helper()
	var group sync.WaitGroup
	var next atomic.Int64
	next.Store(int64(from))
	for range parallel {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

func (b *bench) crowdServices() {
	began := time.Now()
	b.each(0, services, func(i int) error {
		name := fmt.Sprintf("s%d", i)
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 80}}}}
		if err := b.client.Create(b.Context(), s); err != nil {
			return err
		}
		return b.client.Create(b.Context(), b.slice(i, 0))
	})
	b.Logf("%d Services after %s", services, time.Since(began).Round(time.Second))
}

func (b *bench) slice(i, pod int) *discoveryv1.EndpointSlice {
	port, name, ready := int32(3000), "", true
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("s%d", i), Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("s%d", i), discoveryv1.LabelManagedBy: "scale", corev1.IsHeadlessService: ""}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{b.pods[pod]}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: b.names[pod]},
		}},
	}
}

func (b *bench) crowdRoutes(from, n int) {
	began := time.Now()
	b.each(from, n, func(i int) error { return b.client.Create(b.Context(), route(i, 0)) })
	b.live(n-1, 0, 2*time.Minute)
	b.Logf("%d HTTPRoutes live after %s", n, time.Since(began).Round(100*time.Millisecond))
}

func route(i int, version int64) *gatewayv1.HTTPRoute {
	port, prefix, path := gatewayv1.PortNumber(80), gatewayv1.PathMatchPathPrefix, fmt.Sprintf("/v%d", version)
	return &gatewayv1.HTTPRoute{
		TypeMeta:   metav1.TypeMeta{APIVersion: gatewayv1.GroupVersion.String(), Kind: "HTTPRoute"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("r%d", i)},
		Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: "gw"}}},
			Hostnames:       []gatewayv1.Hostname{gatewayv1.Hostname(hostname(i))},
			Rules: []gatewayv1.HTTPRouteRule{{
				Matches:     []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: &prefix, Value: &path}}},
				BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(fmt.Sprintf("s%d", i%services)), Port: &port}}}},
			}},
		},
	}
}

func hostname(i int) string { return fmt.Sprintf("h%d.example", i) }

// asker keeps connections to the proxies.
var asker = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 5 * time.Second}

// ask returns the status that a proxy answers, and the Pod that it is from.
func ask(proxy, host, path string) (status int, pod string, err error) {
	req, err := http.NewRequest("GET", "http://"+proxy+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = host
	r, err := asker.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	var body struct{ Pod string }
	_ = json.NewDecoder(r.Body).Decode(&body) // an error has none
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode, body.Pod, nil
}

// live waits until every proxy serves a version of a route.
func (b *bench) live(i int, version int64, limit time.Duration) {
	b.Helper()
	b.until(limit, func(proxy string) bool {
		status, _, err := ask(proxy, hostname(i), fmt.Sprintf("/v%d", version))
		return err == nil && status == 200
	})
}

func (b *bench) until(limit time.Duration, ok func(proxy string) bool) {
	b.Helper()
	end := time.Now().Add(limit)
	for _, p := range b.proxies {
		for !ok(p) {
			if time.Now().After(end) {
				b.Fatalf("not live at %s within %s", p, limit)
			}
			time.Sleep(500 * time.Microsecond)
		}
	}
}

// changeRoute returns how long it takes from the beginning of a write until both
// proxies serve it.
func (b *bench) changeRoute(i int) time.Duration {
	b.Helper()
	version := b.version.Add(1)
	began := time.Now()
	b.check(b.client.Patch(b.Context(), route(i, 0), moveRoute(version)))
	b.live(i, version, 10*time.Second)
	took := time.Since(began)
	b.serves[i] = version
	return took
}

// changeEndpoint is changeRoute for the endpoint of the Service behind a route.
func (b *bench) changeEndpoint(i int) time.Duration {
	b.Helper()
	path := fmt.Sprintf("/v%d", b.serves[i])
	_, now, err := ask(b.proxies[0], hostname(i), path)
	b.check(err)
	to := 1 - slices.Index(b.names, now)
	began := time.Now()
	b.check(b.client.Patch(b.Context(), b.slice(i, 0), b.moveEndpoint(to)))
	b.until(10*time.Second, func(proxy string) bool {
		_, pod, err := ask(proxy, hostname(i), path)
		return err == nil && pod == b.names[to]
	})
	return time.Since(began)
}

// moveRoute has a route serve another version.
func moveRoute(version int64) client.Patch {
	return client.RawPatch(types.JSONPatchType, fmt.Appendf(nil, `[{"op":"replace","path":"/spec/rules/0/matches/0/path/value","value":"/v%d"}]`, version))
}

// moveEndpoint has a Service lead to another Pod.
func (b *bench) moveEndpoint(to int) client.Patch {
	return client.RawPatch(types.JSONPatchType, fmt.Appendf(nil, `[{"op":"replace","path":"/endpoints/0/addresses/0","value":%q},{"op":"replace","path":"/endpoints/0/targetRef/name","value":%q}]`, b.pods[to], b.names[to]))
}

// settle waits until control has written what it has to say of the crowd.
func (b *bench) settle() {
	b.Helper()
	var pods corev1.PodList
	b.check(b.client.List(b.Context(), &pods, client.InNamespace("penstock-system"), client.MatchingLabels{"app.kubernetes.io/component": "control"}))
	for last, quiet := -1.0, 0; quiet < 4; time.Sleep(500 * time.Millisecond) {
		now := 0.0
		for i := range pods.Items {
			now += metric(b.T, "http://"+pods.Items[i].Status.PodIP+":9902/metrics", "penstock_kubernetes_writes_total")
		}
		if quiet++; now != last {
			last, quiet = now, 0
		}
	}
}

func (b *bench) measure(n int, one func() time.Duration) []time.Duration {
	b.settle()
	var all []time.Duration
	for range n {
		all = append(all, one())
	}
	slices.Sort(all)
	return all
}

func at(all []time.Duration, percent int) time.Duration {
	return all[min(len(all)-1, len(all)*percent/100)]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func (b *bench) row(what string, routes int, all []time.Duration) {
	b.line("| %s | %d | %s | %s | %s |", what, routes, ms(at(all, 50)), ms(at(all, 99)), ms(all[len(all)-1]))
}

func (b *bench) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.Log(text)
	b.out.WriteString(text + "\n")
}

// profile writes profiles and metrics of all of Penstock's processes into the folder
// that PENSTOCK_PROFILE names, if it does.
func (b *bench) profile(name string) {
	dir := os.Getenv("PENSTOCK_PROFILE")
	if dir == "" {
		return
	}
	var group sync.WaitGroup
	for _, role := range []string{"control", "proxy"} {
		out, _ := exec.Command("pgrep", "-f", "^/bin/penstock "+role).Output() // none: nothing is written
		for i, pid := range strings.Fields(string(out)) {
			group.Go(func() {
				for _, what := range []string{"debug/pprof/profile?seconds=5", "debug/pprof/heap", "debug/pprof/goroutine?debug=1", "metrics"} {
					kind, _, _ := strings.Cut(filepath.Base(what), "?")
					file := filepath.Join(dir, fmt.Sprintf("%s-%s-%d.%s", name, role, i, kind))
					if text, err := exec.Command("nsenter", "-t", pid, "-n", "curl", "-s", "-o", file, "http://127.0.0.1:9901/"+what).CombinedOutput(); err != nil {
						b.Logf("%v %s", err, text)
					}
				}
			})
		}
	}
	group.Wait()
}

// memory reads what the processes take.
func (b *bench) memory(routes int) {
	time.Sleep(10 * time.Second)
	b.profile("memory")
	b.line("")
	b.line("| resident memory, %d HTTPRoutes, %d Services | MiB |", routes, services)
	b.line("| --- | ---: |")
	var pods corev1.PodList
	b.check(b.client.List(b.Context(), &pods, client.InNamespace("penstock-system")))
	for i := range pods.Items {
		p := &pods.Items[i]
		b.line("| %s | %.0f |", p.Labels["app.kubernetes.io/component"], metric(b.T, "http://"+p.Status.PodIP+":9902/metrics", "process_resident_memory_bytes")/(1<<20))
	}
}

// metric sums the samples of a name.
func metric(t *testing.T, url, name string) (sum float64) {
	t.Helper()
	r, err := asker.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	for s := bufio.NewScanner(r.Body); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) == 2 && (f[0] == name || strings.HasPrefix(f[0], name+"{")) {
			v, err := strconv.ParseFloat(f[1], 64)
			if err == nil {
				sum += v
			}
		}
	}
	return sum
}

// starts measures a proxy from its start until it is ready, from control and from
// disk.
func (b *bench) starts(routes int) {
	dir := b.TempDir()
	certs := filepath.Join(dir, "tls")
	b.check(os.MkdirAll(certs, 0o700))
	var secret corev1.Secret
	b.check(b.client.Get(b.Context(), types.NamespacedName{Namespace: "penstock-system", Name: "penstock-proxy"}, &secret))
	for name, data := range secret.Data {
		b.check(os.WriteFile(filepath.Join(certs, name), data, 0o600))
	}
	var pods corev1.PodList
	b.check(b.client.List(b.Context(), &pods, client.InNamespace("penstock-system"), client.MatchingLabels{"app.kubernetes.io/component": "control"}))
	leader := ""
	for i := range pods.Items {
		address := net.JoinHostPort(pods.Items[i].Status.PodIP, "9443")
		if c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(b.Context(), "tcp", address); err == nil { //nolint:gosec // it is only looked for
			c.Close()
			leader = address
		} else if strings.Contains(err.Error(), "certificate") {
			leader = address
		}
	}
	if leader == "" {
		b.Fatal("no control process serves proxies")
	}
	state := filepath.Join(dir, "state")
	b.line("")
	b.line("| a proxy's start until it is ready, %d HTTPRoutes | |", routes)
	b.line("| --- | ---: |")
	b.line("| from control | %s |", ms(b.startProxy(leader, certs, state)))
	b.line("| from disk, without control | %s |", ms(b.startProxy("127.0.0.1:1", certs, state)))
}

func (b *bench) startProxy(control, certs, state string) time.Duration {
	b.Helper()
	const health = "127.0.0.1:19902"
	cmd := exec.Command(filepath.Join(b.root, "bin", "penstock"), "proxy", "--control", control, "--tls", certs, "--state", state,
		"--health", health, "--admin", "127.0.0.1:19901", "--access-log", "off", "--bind", "127.0.0.1")
	log, err := os.Create(filepath.Join(b.root, "bin", "testbed", "scale-proxy.log"))
	b.check(err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	b.check(cmd.Start())
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	for time.Since(began) < time.Minute {
		if r, err := asker.Get("http://" + health + "/readyz"); err == nil {
			r.Body.Close()
			if r.StatusCode == 200 {
				took := time.Since(began)
				time.Sleep(3 * time.Second) // it writes what it has to disk
				return took
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	b.Fatal("the proxy is not ready")
	return 0
}

// rest counts writes while nothing changes.
func (b *bench) rest() {
	writes := func() (sum float64) {
		text, err := b.bed.Client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(b.Context())
		b.check(err)
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "apiserver_request_total{") && !strings.Contains(line, `resource="leases"`) && !strings.Contains(line, `resource="nodes"`) &&
				(strings.Contains(line, `verb="PUT"`) || strings.Contains(line, `verb="POST"`) || strings.Contains(line, `verb="PATCH"`) || strings.Contains(line, `verb="APPLY"`) || strings.Contains(line, `verb="DELETE"`)) &&
				!strings.Contains(line, `subresource="token"`) && !strings.Contains(line, "reviews") {
				f := strings.Fields(line)
				v, err := strconv.ParseFloat(f[len(f)-1], 64)
				b.check(err)
				sum += v
			}
		}
		return sum
	}
	time.Sleep(20 * time.Second)
	before := writes()
	time.Sleep(time.Minute)
	b.line("")
	b.line("Writes to the API server within a minute of rest, but for Leases and the nodes' own: %.0f.", writes()-before)
}

func (b *bench) report(routes int) {
	text := fmt.Sprintf(`# Scale

`+"`PENSTOCK_SCALE=%d make scale`"+`: etcd, API server, two nodes, two control processes and two proxies in the testbed, all on
one machine with %d processors (%s/%s). A change is timed from the beginning of its write to
the API server until both proxies serve it, by asking them. %d Services are present.

%s`, routes, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, services, b.out.String())
	b.check(os.WriteFile(filepath.Join(b.root, "conformance", "reports", "scale.md"), []byte(text), 0o644))
}
