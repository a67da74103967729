package life_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// fewTraps is how often a proxy may be asked for what fails without counting as one
// that has found it (annotations.md, section 5: 10).
const fewTraps = 8

// fleet is the proxies, asked one by one.
type fleet struct {
	*life
	port int // of the Gateway, in their Pods
}

func newFleet(l *life) *fleet {
	l.Helper()
	list, err := b.Client.CoreV1().Services(bed.Namespace).List(l.Context(), metav1.ListOptions{LabelSelector: "penstock.dev/gateway-namespace=" + l.namespace})
	if err != nil || len(list.Items) != 1 {
		l.Fatalf("%d Services of the Gateway, %v", len(list.Items), err)
	}
	return &fleet{l, list.Items[0].Spec.Ports[0].TargetPort.IntValue()}
}

// pods are the proxies that are ready.
func (f *fleet) pods() []corev1.Pod {
	f.Helper()
	all, err := b.Proxies(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	return all
}

// ask asks one proxy.
func (f *fleet) ask(p *corev1.Pod) (status int, from string) {
	f.Helper()
	c := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := c.Get("http://" + net.JoinHostPort(p.Status.PodIP, strconv.Itoa(f.port)) + "/shop")
	if err != nil {
		f.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode, response.Header.Get("X-From")
}

// answers has every proxy answer so, always.
func (f *fleet) answers(what string, proxies int, from string) {
	f.Helper()
	all := f.pods()
	if len(all) != proxies {
		f.Fatalf("%s: %d proxies; want %d", what, len(all), proxies)
	}
	for i := range all {
		for range 5 {
			if status, got := f.ask(&all[i]); status != 200 || got != from {
				f.Errorf("%s: proxy %s answers %d from %q; want 200 from %q", what, all[i].Name, status, got, from)
			}
		}
	}
}

// failOnOne has the first proxy alone find that what runs fails, and waits until all
// have gone back.
func (f *fleet) failOnOne(from string) {
	f.Helper()
	all := f.pods()
	for i := range all { // one trap each
		bed.Eventually(f.T, "the failing form runs on "+all[i].Name, 40*time.Second, func() error {
			if status, got := f.ask(&all[i]); status != 500 {
				return fmt.Errorf("%d from %q", status, got)
			}
			return nil
		})
	}
	for range 30 {
		f.ask(&all[0])
	}
	began := time.Now()
	for i := range all {
		for traps := 1; ; traps++ {
			status, got := f.ask(&all[i])
			if status == 200 && got == from {
				break
			}
			if i > 0 && traps >= fewTraps || time.Since(began) > 20*time.Second {
				f.Fatalf("proxy %s answers %d from %q after %v; want 200 from %q", all[i].Name, status, got, time.Since(began), from)
			}
			time.Sleep(400 * time.Millisecond)
		}
	}
	f.Logf("all have gone back %v after one found it", time.Since(began).Round(time.Millisecond))
}

// scale makes it so many proxies.
func (f *fleet) scale(n int) {
	f.Helper()
	b.Scale(f.T, n)
	f.ready(n)
}

func (f *fleet) ready(n int) {
	f.Helper()
	if err := b.WaitReady(context.Background(), bed.Namespace, time.Minute); err != nil {
		f.Fatal(err)
	}
	bed.Eventually(f.T, fmt.Sprintf("%d proxies", n), time.Minute, func() error {
		if got := len(f.pods()); got != n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

// renew has one proxy be another, with an empty disk.
func (f *fleet) renew() {
	f.Helper()
	all := f.pods()
	if err := b.Client.CoreV1().Pods(bed.Namespace).Delete(context.Background(), all[len(all)-1].Name, metav1.DeleteOptions{}); err != nil {
		f.Fatal(err)
	}
	bed.Eventually(f.T, "another proxy", time.Minute, func() error {
		now := f.pods()
		if len(now) != len(all) || slices.ContainsFunc(now, func(p corev1.Pod) bool { return p.Name == all[len(all)-1].Name }) {
			return fmt.Errorf("%d proxies", len(now))
		}
		return nil
	})
}

// rests has nothing written of chains while nothing changes.
func (f *fleet) rests() {
	f.Helper()
	time.Sleep(11 * time.Second) // what waits for its turn is written by then
	audit, err := b.Audit()
	if err != nil {
		f.Fatal(err)
	}
	time.Sleep(11 * time.Second)
	requests, err := audit.Next()
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range requests {
		if r.Write() && r.ObjectRef.Resource != "leases" {
			f.Errorf("at rest: %s %s %s/%s", r.Verb, r.ObjectRef.Resource, r.ObjectRef.Namespace, r.ObjectRef.Name)
		}
	}
}

// TestRollBackOnAllProxies: what one proxy finds to fail none runs: not those that never
// saw it fail, not those that start later, not under a control that leads later, nor
// under two that know nothing but what is recorded.
func TestRollBackOnAllProxies(t *testing.T) {
	layout := t.TempDir()
	b.Variant(t, "transform", layout, "test.example/plugins/transform:1")
	b.Guest(t, "registry/guests/crash", layout, "test.example/plugins/crash:1")
	transform := b.Push(t, layout, "test.example/plugins/transform:1", "back/transform", "1", password)
	crash := b.Push(t, layout, "test.example/plugins/crash:1", "back/transform", "2", password)

	l := &life{T: t, namespace: b.Space(t, "back", nil)}
	put := func(text string) { t.Helper(); b.Put(t, l.namespace, text) }
	entry := func(image, from string) string {
		return fmt.Sprintf("- image: %s/back/transform%s\n  name: x\n  imagePullSecrets: [{name: login}]\n  config: {response: {headers: {set: {X-From: %s}}}}", bed.Registry, image, from)
	}
	first, second, third := entry("@"+transform, "one"), entry("@"+crash, "two"), entry("@"+transform, "three")
	put(strings.Replace(policy(bed.Registry+"/back"), "name: life", "name: back", 1) + "---\n" + shop + "---\n" + bed.PullSecret("login", password) + "---\n" + service(first))
	l.address = b.Address(t, l.namespace, "edge")
	if err := b.WaitReady(t.Context(), l.namespace, time.Minute); err != nil {
		t.Fatal(err)
	}
	running := want{annotation: first, accepted: "True Accepted", programmed: "True Programmed", degraded: "False AsConfigured", state: "Ready", digest: transform, proxies: "2/2", status: 200, from: "one"}
	l.becomes("it runs", running)
	f := newFleet(l)

	put(service(second))
	f.failOnOne("one")
	back := running
	back.annotation, back.programmed, back.degraded, back.state, back.reason = second, "False RolledBack", "True RolledBack", "RolledBack", "RolledBack"
	l.becomes("rolled back", back)
	l.event("RolledBack")

	f.scale(3)
	t.Cleanup(func() { f.scale(2) })
	f.answers("a third proxy", 3, "one")
	back.proxies = "3/3"
	l.becomes("a third proxy", back)

	anotherLeads(t, func() { f.answers("nobody leads", 3, "one") })
	f.renew()
	f.answers("a proxy under another leader", 3, "one")
	l.becomes("under another leader", back)

	text := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"rolled":"%d"}}}}}`, time.Now().UnixNano())
	if _, err := b.Client.AppsV1().Deployments(bed.Namespace).Patch(t.Context(), "penstock-control", types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.ready(3)
	for range 20 { // proxies look for who leads
		f.answers("control is rolled", 3, "one")
		time.Sleep(500 * time.Millisecond)
	}
	f.renew()
	f.answers("a proxy under controls that never saw what ran before", 3, "one")
	l.becomes("control is rolled", back)
	f.rests()

	mended := running
	mended.annotation, mended.from, mended.proxies = third, "three", "3/3"
	put(service(third))
	l.becomes("another annotation", mended)
	f.answers("another annotation", 3, "three")
}

// TestRollBackOfATag: a tag that moves to what fails.
func TestRollBackOfATag(t *testing.T) {
	layout := t.TempDir()
	b.Variant(t, "transform", layout, "test.example/plugins/transform:1")
	b.Guest(t, "registry/guests/crash", layout, "test.example/plugins/crash:1")
	transform := b.Push(t, layout, "test.example/plugins/transform:1", "tagged/transform", "1", password)
	l := &life{T: t, namespace: b.Space(t, "tagged", nil)}
	text := fmt.Sprintf("- image: %s/tagged/transform:1\n  imagePullSecrets: [{name: login}]\n  config: {response: {headers: {set: {X-From: one}}}}", bed.Registry)
	b.Put(t, l.namespace, strings.Replace(policy(bed.Registry+"/tagged"), "name: life", "name: tagged", 1)+"---\n"+shop+"---\n"+bed.PullSecret("login", password)+"---\n"+service(text))
	l.address = b.Address(t, l.namespace, "edge")
	if err := b.WaitReady(t.Context(), l.namespace, time.Minute); err != nil {
		t.Fatal(err)
	}
	running := want{annotation: text, accepted: "True Accepted", programmed: "True Programmed", degraded: "False AsConfigured", state: "Ready", digest: transform, proxies: "2/2", status: 200, from: "one"}
	l.becomes("it runs", running)
	f := newFleet(l)

	b.Push(t, layout, "test.example/plugins/crash:1", "tagged/transform", "1", password)
	f.failOnOne("one")
	back := running
	back.programmed, back.degraded, back.state, back.reason = "False RolledBack", "True RolledBack", "RolledBack", "RolledBack"
	l.becomes("rolled back", back)
	f.renew()
	f.answers("a proxy that never had the digest before", 2, "one")
	l.becomes("a proxy that never had the digest before", back)

	// The tag moves on: it is tried, and is over.
	b.Variant(t, "transform", layout, "test.example/plugins/transform:2")
	running.digest = b.Push(t, layout, "test.example/plugins/transform:2", "tagged/transform", "1", password)
	bed.Eventually(t, "the tag is followed", time.Minute, func() error { // it is asked for each 20 seconds
		c, err := b.Chain(t.Context(), l.namespace, "service-shop")
		if err == nil && (len(c.Filters) != 1 || c.Filters[0].Digest != running.digest) {
			err = fmt.Errorf("%s", c)
		}
		return err
	})
	l.becomes("the tag moves on", running)
}
