package rights_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// TestProxiesHaveNoRights: no token is in a proxy's Pod, and one that somebody made
// for its account reads nothing.
func TestProxiesHaveNoRights(t *testing.T) {
	pods, err := b.Client.CoreV1().Pods(bed.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=proxy"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d Pods, %v", len(pods.Items), err)
	}
	for _, p := range pods.Items {
		for _, v := range p.Spec.Volumes {
			if v.Projected != nil {
				t.Errorf("%s has the projected volume %s", p.Name, v.Name)
			}
		}
	}
	client := as(t, bed.Namespace, "penstock-proxy")
	for _, r := range append(rights(t), right{group: "*", resource: "*", verb: "*"}, right{resource: "secrets", verb: "get"}, right{resource: "pods", verb: "list"}) {
		resource, sub, _ := strings.Cut(r.resource, "/")
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: bed.Namespace, Group: r.group, Resource: resource, Subresource: sub, Verb: r.verb, Name: r.name,
		}}}
		answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil || answer.Status.Allowed {
			t.Errorf("%s: allowed %v, %v; want it refused", r, answer.Status.Allowed, err)
		}
	}
	if _, err := client.CoreV1().Secrets(bed.Namespace).Get(t.Context(), "penstock-proxy", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("its own Secret: %v; want forbidden", err)
	}
}

// TestPodsAreRestricted: both kinds of Pods are what the restricted level of Pod
// security asks for, which their namespace enforces, and write to volumes alone.
func TestPodsAreRestricted(t *testing.T) {
	ns, err := b.Client.CoreV1().Namespaces().Get(t.Context(), bed.Namespace, metav1.GetOptions{})
	if err != nil || ns.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Errorf("labels %v, %v", ns.Labels, err)
	}
	pods, err := b.Client.CoreV1().Pods(bed.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=penstock"})
	if err != nil || len(pods.Items) < 4 {
		t.Fatalf("%d Pods, %v", len(pods.Items), err)
	}
	for _, p := range pods.Items {
		for _, c := range p.Spec.Containers {
			if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
				t.Errorf("%s/%s can write to its root file system", p.Name, c.Name)
			}
		}
	}
	// The namespace does refuse what is less.
	pod := pods.Items[0].DeepCopy()
	pod.ObjectMeta = metav1.ObjectMeta{Name: "loose", Namespace: bed.Namespace}
	pod.Spec.NodeName, pod.Spec.SecurityContext = "", nil
	if _, err := b.Client.CoreV1().Pods(bed.Namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); !apierrors.IsForbidden(err) {
		t.Errorf("a Pod that runs as anybody: %v; want forbidden", err)
	}
}

// TestSecretsOfSingleNamespaces: where control may read Secrets of single namespaces
// alone, a Gateway elsewhere that names one says so, and all else goes on.
func TestSecretsOfSingleNamespaces(t *testing.T) {
	b.Deployed(t)
	binding, err := b.Client.RbacV1().ClusterRoleBindings().Get(t.Context(), "penstock-secrets", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Client.RbacV1().ClusterRoleBindings().Delete(t.Context(), binding.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	open, shut := b.Space(t, "open", nil), b.Space(t, "shut", nil)
	t.Cleanup(func() {
		binding.ResourceVersion = ""
		if _, err := b.Client.RbacV1().ClusterRoleBindings().Create(context.Background(), binding, metav1.CreateOptions{}); err != nil {
			t.Log(err)
		}
	})
	allow := func(ns string) {
		t.Helper()
		if _, err := b.Client.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "penstock-secrets"}, RoleRef: binding.RoleRef, Subjects: binding.Subjects}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	allow(open)
	client := as(t, bed.Namespace, "penstock-control")
	for ns, want := range map[string]bool{open: true, shut: false, "kube-system": false, bed.Namespace: false} {
		_, err := client.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
		if got := err == nil; got != want || !got && !apierrors.IsForbidden(err) {
			t.Errorf("Secrets of %s: %v; want them read: %v", ns, err, want)
		}
	}
	for _, ns := range []string{open, shut} {
		b.Put(t, ns, certificate(t, "cert", ns+".example")+"---\n"+gateway("edge", httpsListener)+"---\n"+gateway("plain", "{name: http, port: 80, protocol: HTTP}"))
	}
	listener := func(ns string) (string, string) {
		o, err := b.Dynamic.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}).Namespace(ns).Get(t.Context(), "edge", metav1.GetOptions{})
		if err != nil {
			return "", err.Error()
		}
		list, _, _ := unstructured.NestedSlice(o.Object, "status", "listeners")
		if len(list) == 0 {
			return "", "no listener"
		}
		return bed.Condition(&unstructured.Unstructured{Object: map[string]any{"status": list[0]}}, "ResolvedRefs")
	}
	bed.Eventually(t, "the Gateway says so", 20*time.Second, func() error {
		if status, why := listener(shut); status != "False" || !strings.Contains(why, "InvalidCertificateRef") {
			return fmt.Errorf("ResolvedRefs is %s: %s", status, why)
		}
		return nil
	})
	served := func(ns string) error {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: 3 * time.Second}, "tcp", b.Address(t, ns, "edge")+":443", &tls.Config{InsecureSkipVerify: true, ServerName: ns + ".example"})
		if err != nil {
			return err
		}
		defer c.Close()
		if got := c.ConnectionState().PeerCertificates[0].DNSNames; len(got) != 1 || got[0] != ns+".example" {
			return fmt.Errorf("certificate of %v", got)
		}
		return nil
	}
	bed.Eventually(t, "the other Gateway serves", 20*time.Second, func() error { return served(open) })
	for _, ns := range []string{open, shut} {
		b.Address(t, ns, "plain")
	}
	// A change elsewhere does not wait for the Secret that cannot be read.
	began := time.Now()
	b.Put(t, open, gateway("late", "{name: http, port: 80, protocol: HTTP}"))
	b.Address(t, open, "late")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("another Gateway was programmed after %v", took)
	}
	allow(shut)
	bed.Eventually(t, "with the right it serves", 40*time.Second, func() error {
		if status, why := listener(shut); status != "True" {
			return fmt.Errorf("ResolvedRefs is %s: %s", status, why)
		}
		return served(shut)
	})
}
