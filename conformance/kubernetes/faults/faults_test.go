// Package faults_test injects faults into a cluster that serves traffic, and has
// every failed request explained.
package faults_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
	"penstock.dev/penstock/conformance/kubernetes/testbed"
)

var (
	b   *bed.Bed
	api front
)

func TestMain(m *testing.M) {
	o := bed.Options{Before: map[string]string{bed.RegistryNamespace: bed.RegistryObjects(password)}, Replace: map[string]string{
		// Control reaches the API server through us.
		"        args: [control, ": "        env: [{name: KUBERNETES_SERVICE_HOST, value: \"" + testbed.ControlAddress + "\"}, {name: KUBERNETES_SERVICE_PORT, value: \"" + testbed.FrontPort + "\"}]\n" +
			"        args: [control, --local-registry, \"" + bed.Registry + "\", ",
	}}
	o.Started = func(t *testbed.Testbed) error { return t.Front(api.answer) }
	o.NodeGrace = time.Minute // nodes are silent as long as the API server is frozen
	os.Exit(bed.Main(m, o, func(made *bed.Bed) { b = made }))
}

// fault is something that happens and is over when do returns.
type fault struct {
	name string
	do   func(w *world, r *rand.Rand)
}

// between returns a time of low to high seconds.
func between(r *rand.Rand, low, high float64) time.Duration {
	return time.Duration((low + r.Float64()*(high-low)) * float64(time.Second))
}

// down stops a process of the control plane for a while, dead or frozen.
func down(name string, freeze bool, low, high float64) func(*world, *rand.Rand) {
	return func(w *world, r *rand.Rand) {
		p := b.ControlPlane[name]
		stop, again := p.Kill, p.Restart
		if freeze {
			stop, again = p.Freeze, p.Thaw
		}
		if err := stop(); err != nil {
			w.Fatal(err)
		}
		time.Sleep(between(r, low, high))
		if err := again(); err != nil {
			w.Fatal(err)
		}
	}
}

func mode(m int32, low, high float64) func(*world, *rand.Rand) {
	return func(w *world, r *rand.Rand) {
		api.mode.Store(m)
		time.Sleep(between(r, low, high))
		api.mode.Store(pass)
	}
}

// proxyGoes kills or freezes one proxy.
func proxyGoes(freeze bool) func(*world, *rand.Rand) {
	return func(w *world, r *rand.Rand) {
		all := w.proxies()
		p := all[r.IntN(len(all))]
		h := harm{from: time.Now(), proxy: p.Status.PodIP}
		if freeze {
			w.signal(p.Name, "penstock", syscall.SIGSTOP)
			time.Sleep(between(r, 2, 5))
			w.signal(p.Name, "penstock", syscall.SIGCONT)
		} else {
			w.signal(p.Name, "penstock", syscall.SIGKILL)
			w.restarted(&p)
		}
		h.to = time.Now().Add(time.Second)
		w.harms = append(w.harms, h)
	}
}

// backendGoes kills or freezes one of b's Pods.
func backendGoes(freeze bool) func(*world, *rand.Rand) {
	return func(w *world, r *rand.Rand) {
		all := w.pods(namespace, "app=b")
		p := all[r.IntN(len(all))]
		h := harm{from: time.Now(), service: "b"}
		if freeze {
			w.signal(p.Name, "tool", syscall.SIGSTOP)
			time.Sleep(between(r, 1, 4))
			w.signal(p.Name, "tool", syscall.SIGCONT)
		} else {
			w.signal(p.Name, "tool", syscall.SIGKILL)
			w.restarted(&p)
		}
		h.to = time.Now().Add(2 * time.Second)
		w.harms = append(w.harms, h)
	}
}

// leaderGoes kills or freezes who leads.
func leaderGoes(freeze bool, low, high float64) func(*world, *rand.Rand) {
	return func(w *world, r *rand.Rand) {
		p, err := b.Leader(w.Context())
		if err != nil {
			w.Logf("nobody leads: %v", err)
			return
		}
		if !freeze {
			w.signal(p.Name, "penstock", syscall.SIGKILL)
			return
		}
		w.signal(p.Name, "penstock", syscall.SIGSTOP)
		time.Sleep(between(r, low, high))
		w.signal(p.Name, "penstock", syscall.SIGCONT)
	}
}

// faults are all there are; the short form goes through them once.
var faults = []fault{
	{"a backend is killed", backendGoes(false)},
	{"a backend is frozen", backendGoes(true)},
	{"a proxy is killed", proxyGoes(false)},
	{"a proxy is frozen", proxyGoes(true)},
	{"the leading control is killed", leaderGoes(false, 0, 0)},
	{"the leading control is frozen", leaderGoes(true, 2, 25)},
	{"the API server is killed", down("kube-apiserver", false, 1, 15)},
	{"the API server is frozen", down("kube-apiserver", true, 2, 20)},
	{"etcd is killed", down("etcd", false, 1, 8)},
	{"etcd is frozen", down("etcd", true, 1, 8)},
	{"the API server answers 429", mode(tooMany, 3, 15)},
	{"the API server has forgotten (410)", mode(gone, 3, 15)},
	{"the API server is slow", mode(slow, 3, 15)},
	{"the API server is silent", mode(silent, 3, 15)},
	{expiredTokens, tokensExpire},
	{"the registry is killed", func(w *world, r *rand.Rand) {
		w.signal(w.pods(bed.RegistryNamespace, "app=registry")[0].Name, "registry", syscall.SIGKILL)
		time.Sleep(between(r, 1, 3))
	}},
	{"the proxies are rolled", func(w *world, _ *rand.Rand) { w.roll(bed.Namespace, "penstock-proxy") }},
	{"control is rolled", func(w *world, _ *rand.Rand) { w.roll(bed.Namespace, "penstock-control") }},
	{"a Service's Pods are rolled", func(w *world, _ *rand.Rand) { w.roll(namespace, "a") }},
	{"a Service gets more Pods, and loses them", func(w *world, _ *rand.Rand) {
		w.scale(namespace, "a", 4)
		w.ready(namespace)
		w.scale(namespace, "a", 2)
		w.ready(namespace)
	}},
	{"a plugin's config changes", func(w *world, r *rand.Rand) { w.put(w.plugin(strconv.Itoa(r.IntN(1000)))) }},
	{"a certificate changes", func(w *world, _ *rand.Rand) { w.put(certificate()) }},
	{"a proxy starts while control is away", fromDisk},
}

const expiredTokens = "control's tokens have expired"

// expiredSettles is how soon after control has valid tokens again it must take part: the
// Lease of who led may have to end first (15 s), and proxies to find who leads then (10 s).
const expiredSettles = 30 * time.Second

// tokensExpire has both controls find nothing but an expired token for a while; what
// they watch has to be asked for anew.
func tokensExpire(w *world, r *rand.Rand) {
	restore, err := b.ExpireTokens(w.pods(bed.Namespace, "app.kubernetes.io/component=control"))
	if err != nil {
		w.Fatal(err)
	}
	before := api.refused.Load()
	api.mode.Store(expired)
	api.cut()
	time.Sleep(between(r, 5, 15))
	if err := restore(); err != nil {
		w.Fatal(err)
	}
	api.mode.Store(pass)
	if n := api.refused.Load() - before; n == 0 {
		w.Error("the API server was never asked with an expired token")
	} else {
		w.Logf("%d requests with an expired token", n)
	}
}

// fromDisk has no control at all, and a proxy begin again with what is on its disk.
func fromDisk(w *world, r *rand.Rand) {
	w.scale(bed.Namespace, "penstock-control", 0)
	_ = bed.Wait(30*time.Second, func() error {
		list, err := b.Client.CoreV1().Pods(bed.Namespace).List(w.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=control"})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%d are there", len(list.Items))
		}
		return err
	})
	all := w.proxies()
	p := all[r.IntN(len(all))]
	h := harm{from: time.Now(), proxy: p.Status.PodIP}
	w.signal(p.Name, "penstock", syscall.SIGKILL)
	w.restarted(&p)
	w.Logf("ready from disk %v after it was killed", time.Since(h.from).Round(100*time.Millisecond))
	h.to = time.Now().Add(time.Second)
	w.harms = append(w.harms, h)
	w.scale(bed.Namespace, "penstock-control", 2)
	w.ready(bed.Namespace)
}

// entry is what became of one fault.
type entry struct {
	name         string
	at, took     time.Duration
	settled      time.Duration
	requests     int64 // of control to the API server, meanwhile
	asked        int64
	failed, open int // requests; open: nothing explains them
}

func TestFaults(t *testing.T) {
	seed, limit := uint64(1), time.Duration(0)
	if s := os.Getenv("PENSTOCK_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getenv("PENSTOCK_LONG") != "" {
		limit = 20 * time.Minute
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	list := selected(r, limit > 0)
	w := newWorld(t)
	w.settled()
	began := time.Now()
	var entries []entry
	for i := 0; i < len(list) || limit > 0 && time.Since(began) < limit; i++ {
		f := faults[r.IntN(len(faults))]
		if i < len(list) {
			f = list[i]
		}
		e := entry{name: f.name, at: time.Since(began), requests: -api.requests.Load(), asked: -w.traffic.asked.Load()}
		start := time.Now()
		f.do(w, r)
		e.took = time.Since(start)
		e.settled = w.settled()
		e.requests += api.requests.Load()
		e.asked += w.traffic.asked.Load()
		entries = append(entries, e)
		w.published()
		t.Logf("%8v %s: %v, settled after %v, %d requests of control", e.at.Round(time.Second), e.name, e.took.Round(time.Millisecond), e.settled.Round(time.Millisecond), e.requests)
		if e.name == expiredTokens && e.settled > expiredSettles {
			t.Errorf("%s: control took part again after %v; want %v at most", e.name, e.settled, expiredSettles)
		}
		if perSecond := float64(e.requests) / (e.took + e.settled + time.Second).Seconds(); perSecond > 100 {
			t.Errorf("%s: %.0f requests a second of control: a storm", e.name, perSecond)
		}
	}
	time.Sleep(2 * time.Second)
	close(w.traffic.stop)
	w.traffic.group.Wait()
	judge(w, began, entries)
	if limit > 0 && !t.Failed() {
		report(t, seed, time.Since(began), w, entries)
	}
}

// selected returns what is done: everything once, in an order of the seed; in short
// runs only the quick ones.
func selected(r *rand.Rand, long bool) []fault {
	list := slices.Clone(faults)
	if one := os.Getenv("PENSTOCK_FAULT"); one != "" {
		return slices.DeleteFunc(list, func(f fault) bool { return !strings.Contains(f.name, one) })
	}
	if !long {
		list = slices.DeleteFunc(list, func(f fault) bool {
			return !slices.Contains([]string{"a backend is killed", "a proxy is killed", "the leading control is killed", "the API server is killed", "the API server answers 429",
				"the registry is killed", "the proxies are rolled", "a Service's Pods are rolled", "a plugin's config changes", "a certificate changes"}, f.name)
		})
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// judge has every failure explained.
func judge(w *world, began time.Time, entries []entry) {
	w.traffic.mu.Lock()
	defer w.traffic.mu.Unlock()
	for _, f := range w.traffic.failures {
		at := len(entries) - 1
		for at > 0 && entries[at].at > f.began.Sub(began) {
			at--
		}
		entries[at].failed++
		if !slices.ContainsFunc(w.harms, func(h harm) bool { return h.explains(f) }) {
			entries[at].open++
			w.Errorf("during %q: %s", entries[at].name, f)
		}
	}
	w.Logf("%d requests, %d failed; the slowest took %v", w.traffic.asked.Load(), len(w.traffic.failures), w.traffic.slowest.Round(time.Millisecond))
}

// report writes conformance/reports/faults.md.
func report(t *testing.T, seed uint64, took time.Duration, w *world, entries []entry) {
	var s strings.Builder
	fmt.Fprintf(&s, "# Faults\n\nWritten by `make soak` (conformance/kubernetes/faults). Seed %d, %v: eight clients ask two Services through a\nload balancer's address, two proxies and two controls, over HTTP and HTTPS, while one fault comes after the other. Settled: how long\nafter the fault a changed route reached clients. A failed request is explained by a fault of its own Service's Pods, or, if it\nhad no answer at all, by the proxy that its connection led to having been killed or frozen.\n\n%d requests, %d failed, none without a fault that explains it.\n\n| fault | times | requests | failed | settled, at most | requests of control a second, at most |\n| --- | --- | --- | --- | --- | --- |\n",
		seed, took.Round(time.Second), w.traffic.asked.Load(), len(w.traffic.failures))
	for _, f := range faults {
		times, failed, asked, settled, rate := 0, 0, int64(0), time.Duration(0), 0.0
		for _, e := range entries {
			if e.name == f.name {
				times++
				failed += e.failed
				asked += e.asked
				settled = max(settled, e.settled)
				rate = max(rate, float64(e.requests)/(e.took+e.settled+time.Second).Seconds())
			}
		}
		fmt.Fprintf(&s, "| %s | %d | %d | %d | %.1f s | %.1f |\n", f.name, times, asked, failed, settled.Seconds(), rate)
	}
	if err := os.WriteFile(filepath.Join(b.Root, "conformance", "reports", "faults.md"), []byte(s.String()), 0o644); err != nil {
		t.Error(err)
	}
}

// TestRest: when nothing changes, nothing but the Lease is written.
func TestRest(t *testing.T) {
	limit := 15 * time.Second
	if os.Getenv("PENSTOCK_LONG") != "" {
		limit = time.Minute
	}
	bed.Eventually(t, "the end of what was there before", time.Minute, func() error { // it is written about until then
		_, err := b.Client.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("namespace %s is there", namespace))
	})
	b.Space(t, "rest", nil)
	b.Put(t, "rest", certificate()+strings.Replace(gateway, "name: faults", "name: rest", 1)+service("a", "[{use: transform, config: {response: {headers: {set: {X-From: a}}}}}]")+service("b", "[{use: nobody-has-it}]")+route(0))
	b.Address(t, "rest", "edge")
	time.Sleep(12 * time.Second) // ChainStatuses are written once in ten
	audit, err := b.Audit()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(limit)
	requests, err := audit.Next()
	if err != nil {
		t.Fatal(err)
	}
	leases := 0
	for _, r := range requests {
		switch {
		case r.Write() && r.ObjectRef.Resource == "leases":
			leases++
		case r.Write():
			t.Errorf("%s %s %s/%s", r.Verb, r.ObjectRef.Resource, r.ObjectRef.Namespace, r.ObjectRef.Name)
		}
	}
	if leases == 0 {
		t.Error("no write of the Lease either")
	}
	t.Logf("%v: %d requests, %d of them writes of the Lease", limit, len(requests), leases)
}
