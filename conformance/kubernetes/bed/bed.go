// Package bed is a testbed with Penstock in it, as k8s/manifests install it, for tests.
package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"penstock.dev/penstock/conformance/kubernetes/testbed"
)

// Namespace is where Penstock is installed.
const Namespace = "penstock-system"

// Bed is a cluster with Penstock in it.
type Bed struct {
	*testbed.Testbed
	// Root is the folder of the repository.
	Root    string
	Dynamic dynamic.Interface
}

// Options say what Main starts.
type Options struct {
	testbed.Options
	// Replace is what else is written in place of texts of the manifests; a text that
	// they do not have is an error.
	Replace map[string]string
	// Before are objects that are applied, and whose Deployments are awaited, before
	// Penstock is; by namespace.
	Before map[string]string
	// Objects are applied with the manifests.
	Objects string
	// Started is called before anything is installed; nil: nothing is.
	Started func(*testbed.Testbed) error
}

// Main runs a package's tests in a testbed and returns their exit code, which
// TestMain passes to os.Exit. started is called before the tests.
func Main(m *testing.M, o Options, started func(*Bed)) int {
	testbed.Enter()
	if len(os.Args) > 1 && slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.list") }) {
		return m.Run()
	}
	b, err := Start(context.Background(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer b.Stop()
	defer b.KeepPodLogs(Namespace)
	started(b)
	return m.Run()
}

// Start starts a testbed and installs Penstock. testbed.Enter must have returned.
func Start(ctx context.Context, o Options) (*Bed, error) {
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	if o.Images == nil {
		if o.Images, err = testbed.Images(root); err != nil {
			return nil, err
		}
	}
	if o.Backoff == 0 {
		o.Backoff = time.Second
	}
	if o.Log == nil {
		o.Log = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	}
	t, err := testbed.Start(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	b := &Bed{Testbed: t, Root: root}
	if o.Started != nil {
		err = o.Started(t)
	}
	if err == nil {
		b.Dynamic, err = dynamic.NewForConfig(t.Config)
	}
	if err == nil {
		err = b.install(ctx, o)
	}
	if err != nil {
		b.KeepPodLogs(Namespace)
		b.Stop()
		return nil, err
	}
	return b, nil
}

func (b *Bed) install(ctx context.Context, o Options) error {
	if err := b.Apply(ctx, filepath.Join(b.Root, "k8s", "api", "crds")); err != nil {
		return err
	}
	for namespace, text := range o.Before {
		if err := b.ApplyText(ctx, text); err != nil {
			return err
		}
		if err := b.WaitReady(ctx, namespace, time.Minute); err != nil {
			return err
		}
	}
	text, err := b.Manifests(o.Replace)
	if err != nil {
		return err
	}
	if err := b.ApplyText(ctx, text+"---\n"+o.Objects); err != nil {
		return err
	}
	return b.WaitReady(ctx, Namespace, time.Minute)
}

// Manifests returns the text of k8s/manifests with replacements in it.
func (b *Bed) Manifests(replace map[string]string) (string, error) {
	files, err := filepath.Glob(filepath.Join(b.Root, "k8s", "manifests", "*.yaml"))
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		all.WriteString("---\n")
		all.Write(text)
	}
	text := all.String()
	for old, made := range replace {
		if !strings.Contains(text, old) {
			return "", fmt.Errorf("k8s/manifests do not have %q", old)
		}
		text = strings.ReplaceAll(text, old, made)
	}
	return text, nil
}

// Eventually asks until there is no error; it fails the test with the last one
// after limit.
func Eventually(t testing.TB, what string, limit time.Duration, ask func() error) {
	t.Helper()
	if err := Wait(limit, ask); err != nil {
		t.Fatalf("%s: not in %v: %v", what, limit, err)
	}
}

// Wait asks until there is no error, for limit at most, and returns the last one.
func Wait(limit time.Duration, ask func() error) error {
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		err := ask()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// Put applies objects; the text NAMESPACE stands for the namespace.
func (b *Bed) Put(t testing.TB, namespace, text string) {
	t.Helper()
	if err := b.ApplyText(context.Background(), strings.ReplaceAll(text, "NAMESPACE", namespace)); err != nil {
		t.Fatal(err)
	}
}

// Remove deletes an object of our group by its kind's plural; namespace is empty for one of
// the cluster.
func (b *Bed) Remove(t testing.TB, plural, namespace, name string) {
	t.Helper()
	at := b.Dynamic.Resource(schema.GroupVersionResource{Group: "penstock.dev", Version: "v1alpha1", Resource: plural})
	err := at.Namespace(namespace).Delete(context.Background(), name, metav1.DeleteOptions{})
	if err != nil && !Gone(err) {
		t.Errorf("%s %s: %v", plural, name, err)
	}
}

// Space makes a namespace, which goes when the test ends.
func (b *Bed) Space(t testing.TB, name string, labels map[string]string) string {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := b.Client.CoreV1().Namespaces().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b.explain(t, name)
		}
		_ = b.Client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	return name
}

// explain logs the Events of a namespace.
func (b *Bed) explain(t testing.TB, namespace string) {
	events, err := b.Client.CoreV1().Events(namespace).List(context.Background(), metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		t.Log(err)
		return
	}
	for _, e := range events.Items {
		t.Logf("%s/%s: %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
}

// Events returns the reasons and messages of an object's warnings.
func (b *Bed) Events(namespace, kind, name string) (all []string) {
	events, err := b.Client.CoreV1().Events(namespace).List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name + ",involvedObject.kind=" + kind})
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range events.Items {
		all = append(all, e.Reason+": "+e.Message)
	}
	return all
}

var (
	gatewayResource = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}
	chainResource   = schema.GroupVersionResource{Group: "penstock.dev", Version: "v1alpha1", Resource: "chainstatuses"}
)

// Address returns a Gateway's address once it is programmed.
func (b *Bed) Address(t testing.TB, namespace, name string) (address string) {
	t.Helper()
	Eventually(t, "Gateway "+name+" is programmed", 30*time.Second, func() error {
		g, err := b.Dynamic.Resource(gatewayResource).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s, why := Condition(g, "Programmed"); s != "True" {
			return fmt.Errorf("Programmed is %s: %s", s, why)
		}
		list, _, _ := unstructured.NestedSlice(g.Object, "status", "addresses")
		if len(list) == 0 {
			return errors.New("no address")
		}
		address, _, _ = unstructured.NestedString(list[0].(map[string]any), "value")
		return nil
	})
	return address
}

// Condition returns the status of an object's condition, and its reason and message.
func Condition(o *unstructured.Unstructured, kind string) (status, why string) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	return condition(list, kind)
}

func condition(list []any, kind string) (status, why string) {
	for _, c := range list {
		if c, ok := c.(map[string]any); ok && c["type"] == kind {
			return fmt.Sprint(c["status"]), fmt.Sprintf("%v: %v", c["reason"], c["message"])
		}
	}
	return "", "not there"
}

// Deployed waits until Penstock's Deployments are what they should be.
func (b *Bed) Deployed(t testing.TB) {
	t.Helper()
	if err := b.WaitReady(t.Context(), Namespace, time.Minute); err != nil {
		t.Fatal(err)
	}
}

// Leader returns the Pod of control that leads.
func (b *Bed) Leader(ctx context.Context) (*corev1.Pod, error) {
	lease, err := b.Client.CoordinationV1().Leases(Namespace).Get(ctx, "penstock", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return nil, errors.New("nobody leads")
	}
	identity := *lease.Spec.HolderIdentity
	return b.Client.CoreV1().Pods(Namespace).Get(ctx, identity[:strings.LastIndex(identity, "-")], metav1.GetOptions{})
}

// Gone reports whether an error says that an object is not there.
func Gone(err error) bool { return apierrors.IsNotFound(err) }
