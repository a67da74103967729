package bed

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Proxies returns the Pods of the proxies that are ready, and not on their way out.
func (b *Bed) Proxies(ctx context.Context) ([]corev1.Pod, error) {
	list, err := b.Client.CoreV1().Pods(Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=proxy"})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	}), nil
}

// Scale makes it n proxies, and waits until the Deployment has them. It may be called
// from a Cleanup.
func (b *Bed) Scale(t testing.TB, n int) {
	t.Helper()
	ctx := context.Background()
	text := fmt.Sprintf(`{"spec":{"replicas":%d}}`, n)
	if _, err := b.Client.AppsV1().Deployments(Namespace).Patch(ctx, "penstock-proxy", types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitReady(ctx, Namespace, time.Minute); err != nil {
		t.Fatal(err)
	}
}
