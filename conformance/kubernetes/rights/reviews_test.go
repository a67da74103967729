package rights_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

// TestWithoutARightToReview: where control may not review tokens, who shows one is
// refused, told why, and control's log names the right; who has a certificate is
// answered.
func TestWithoutARightToReview(t *testing.T) {
	b.Deployed(t)
	ns := b.Space(t, "reviewing", nil)
	account(t, ns, "reader", []rbacv1.PolicyRule{{APIGroups: []string{"penstock.dev"}, Resources: []string{"chainstatuses"}, Verbs: []string{"get"}}}, nil)
	t.Cleanup(func() {
		_ = b.Client.RbacV1().ClusterRoles().Delete(context.Background(), ns+"-reader", metav1.DeleteOptions{})
		_ = b.Client.RbacV1().ClusterRoleBindings().Delete(context.Background(), ns+"-reader", metav1.DeleteOptions{})
	})
	url := b.AdminURL(t) + "/chains"
	asks := func(want int, texts ...string) error {
		status, body, err := bed.Ask(admin.Client(nil), url, token(t, ns, "reader")) // a new one: nothing is known of it
		if err != nil || status != want {
			return fmt.Errorf("%d %s, %v; want %d", status, body, err, want)
		}
		return says(body, texts...)
	}
	answered := func(what string, want int, texts ...string) {
		t.Helper()
		bed.Eventually(t, what, 20*time.Second, func() error { return asks(want, texts...) })
	}
	n := 0
	for _, r := range rights(t) {
		if r.role != "ClusterRole/penstock-reviews" {
			continue
		}
		n++
		answered("with all rights", 200, "chains")
		t.Run(r.String(), func(t *testing.T) {
			took(t, r)
			since := metav1.Now()
			answered("without it", 503, "no right to create "+r.resource+"."+r.group, "penstock-reviews")
			bed.Eventually(t, "control's log names it", 20*time.Second, func() error {
				if err := asks(503); err != nil { // it says so once in ten seconds
					return err
				}
				leader, err := b.Leader(t.Context())
				if err != nil {
					return err
				}
				text, err := b.Client.CoreV1().Pods(bed.Namespace).GetLogs(leader.Name, &corev1.PodLogOptions{SinceTime: &since}).DoRaw(t.Context())
				if err != nil {
					return err
				}
				return says(string(text), "forbidden", r.resource+"."+r.group, "who asks cannot be known")
			})
		})
	}
	if n != 2 {
		t.Errorf("%d rights to review; want 2", n)
	}
	answered("the rights are back", 200, "chains")
}
