package trust_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// consumer is a Consumer with one Secret, and that with a label; empty: without.
func consumer(name, label, key string) string {
	labels := ""
	if label != "" {
		labels = ", labels: {penstock.dev/credential: " + label + "}"
	}
	return fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: Consumer\nmetadata: {name: %[1]s, namespace: NAMESPACE}\nspec: {groups: [buyers], credentials: [{name: %[1]s-key}]}\n---\n"+
		"apiVersion: v1\nkind: Secret\nmetadata: {name: %[1]s-key, namespace: NAMESPACE%[2]s}\nstringData: {key: %[3]s}\n---\n", name, labels, key)
}

// live waits until all of several requests get that status, and returns how long it took.
func live(t *testing.T, what, address, key string, status int) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		n := 0
		for range 6 { // of two proxies
			if got, err := ask(address, "a.example", "/shop", "X-API-Key", key); err == nil && got.status == status {
				n++
			}
		}
		took := time.Since(begin)
		if n == 6 {
			t.Logf("%s: after %v", what, took.Round(time.Millisecond))
			return took
		}
		if took > 20*time.Second {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// consumerSays is a condition of a Consumer, as "True Reason" with its message.
func consumerSays(ctx context.Context, namespace, name, kind string) (string, error) {
	o, err := b.Dynamic.Resource(schema.GroupVersionResource{Group: "penstock.dev", Version: "v1alpha1", Resource: "consumers"}).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	status, why := bed.Condition(o, kind)
	return status + " " + why, nil
}

// TestConsumers: a Consumer's key is live on all proxies soon after it was made, and no
// more once it is gone; one whose Secret lacks the label is never read, and told.
func TestConsumers(t *testing.T) {
	ns := b.Space(t, "consumers", nil)
	b.Put(t, ns, pods("web")+gateway("edge", "", plainListener)+service("shop", "web", "- {use: key-auth, config: {consumers: {}}}")+route("shop", "{name: edge}", "", "/shop", "{name: shop, port: 80}")+consumer("first", "key-auth", "first-"+hush))
	if err := b.WaitReady(t.Context(), ns, time.Minute); err != nil {
		t.Fatal(err)
	}
	address := b.Address(t, ns, "edge")
	wants(t, "the first key", address, "a.example", "/shop", 200, "", "X-API-Key", "first-"+hush)
	wants(t, "no key", address, "a.example", "/shop", 401, "")

	b.Put(t, ns, consumer("second", "key-auth", "second-"+hush))
	took := []time.Duration{live(t, "another Consumer", address, "second-"+hush, 200)}
	b.Put(t, ns, consumer("second", "key-auth", "third-"+hush))
	took = append(took, live(t, "another key", address, "third-"+hush, 200), live(t, "the key before", address, "second-"+hush, 401))
	b.Remove(t, "consumers", ns, "second")
	took = append(took, live(t, "the Consumer is gone", address, "third-"+hush, 401))
	if slices.Sort(took); took[len(took)/2] > time.Second { // a busy machine may keep one longer
		t.Errorf("changes were live after %v; want a second", took)
	}

	b.Put(t, ns, consumer("third", "", "fourth-"+hush)+consumer("fourth", "oauth", "fifth-"+hush)+consumer("fifth", "key-auth", "first-"+hush))
	for name, want := range map[string]struct{ reason, says string }{
		"third":  {"SecretMissing", "there is no Secret third-key with the label penstock.dev/credential"},
		"fourth": {"InvalidCredential", "want key-auth, basic-auth, jwt or mtls-auth"},
		"fifth":  {"CredentialTaken", "Consumer first is older and has the same credential"},
		"first":  {"ResolvedRefs", ""},
	} {
		bed.Eventually(t, name+" is told", 20*time.Second, func() error {
			got, err := consumerSays(t.Context(), ns, name, "ResolvedRefs")
			if err != nil || !strings.Contains(got, want.reason) || !strings.Contains(got, want.says) || strings.Contains(got, hush) {
				return fmt.Errorf("%s, %v; want %s %s", got, err, want.reason, want.says)
			}
			return nil
		})
	}
	for _, key := range []string{"fourth-" + hush, "fifth-" + hush} {
		wants(t, "a key without a label, or with another", address, "a.example", "/shop", 401, "", "X-API-Key", key)
	}
	// The label comes, and goes again.
	b.Put(t, ns, consumer("third", "key-auth", "fourth-"+hush))
	live(t, "the label", address, "fourth-"+hush, 200)
	b.Put(t, ns, consumer("third", "", "fourth-"+hush))
	live(t, "the label is gone", address, "fourth-"+hush, 401)
	nothingShown(t, ns)
}
