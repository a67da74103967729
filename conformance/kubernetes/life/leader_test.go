package life_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// anotherLeads kills the leading control's Pod, and waits until another one leads; each
// time it looks it calls meanwhile.
func anotherLeads(t *testing.T, meanwhile func()) {
	t.Helper()
	leader, err := b.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := int64(0)
	if err := b.Client.CoreV1().Pods(bed.Namespace).Delete(t.Context(), leader.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	bed.Eventually(t, "another control leads", time.Minute, func() error {
		meanwhile()
		now, err := b.Leader(t.Context())
		if err == nil && now.Name == leader.Name {
			err = fmt.Errorf("%s leads yet", now.Name)
		}
		return err
	})
}

// TestAnotherLeaderKnowsWhatRan: the last good form of a text that is wrong serves on
// when another control begins to lead, and what fails goes back to what ran before.
func TestAnotherLeaderKnowsWhatRan(t *testing.T) {
	layout := t.TempDir()
	b.Variant(t, "transform", layout, "test.example/plugins/transform:1")
	b.Guest(t, "registry/guests/crash", layout, "test.example/plugins/crash:1")
	transform := b.Push(t, layout, "test.example/plugins/transform:1", "known/transform", "1", password)
	crash := b.Push(t, layout, "test.example/plugins/crash:1", "known/transform", "2", password)
	l := &life{T: t, namespace: b.Space(t, "known", nil)}
	entry := func(digest string) string {
		return fmt.Sprintf("- image: %s/known/transform@%s\n  imagePullSecrets: [{name: login}]\n  config: {response: {headers: {set: {X-From: one}}}}", bed.Registry, digest)
	}
	b.Put(t, l.namespace, strings.Replace(policy(bed.Registry+"/known"), "name: life", "name: known", 1)+"---\n"+shop+"---\n"+bed.PullSecret("login", password)+"---\n"+service(entry(transform)))
	l.address = b.Address(t, l.namespace, "edge")
	if err := b.WaitReady(t.Context(), l.namespace, time.Minute); err != nil {
		t.Fatal(err)
	}
	running := want{annotation: entry(transform), accepted: "True Accepted", programmed: "True Programmed", degraded: "False AsConfigured", state: "Ready", digest: transform, proxies: "2/2", status: 200, from: "one"}
	l.becomes("it runs", running)
	f := newFleet(l)
	time.Sleep(time.Second) // the other control reads that, too

	kept := running
	kept.accepted, kept.programmed, kept.degraded, kept.proxies, kept.annotation = "False UnknownPlugin", "False UnknownPlugin", "True LastGood", "0/2", "- use: nobody-has-it"
	b.Put(t, l.namespace, service(kept.annotation))
	l.becomes("the plugin is unknown", kept)
	anotherLeads(t, func() { f.answers("nobody leads", 2, "one") })
	for range 30 { // proxies find who leads
		f.answers("another leads", 2, "one")
		time.Sleep(500 * time.Millisecond)
	}
	l.becomes("another leads", kept)

	b.Put(t, l.namespace, service(entry(crash)))
	bed.Eventually(t, "the failing form runs", 30*time.Second, func() error {
		all := f.pods()
		if status, _ := f.ask(&all[0]); status != 500 {
			return fmt.Errorf("%d", status)
		}
		return nil
	})
	f.failOnOne("one")
	back := running
	back.annotation, back.programmed, back.degraded, back.state, back.reason = entry(crash), "False RolledBack", "True RolledBack", "RolledBack", "RolledBack"
	l.becomes("rolled back", back)
}
