package testbed

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WaitReady waits until the Deployments of a namespace run what they should, and
// says what is in the way if they do not within limit.
func (t *Testbed) WaitReady(ctx context.Context, namespace string, limit time.Duration) error {
	return waitFor(ctx, "Deployments in "+namespace, limit, func() error {
		all, err := t.Client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(all.Items) == 0 {
			return fmt.Errorf("none")
		}
		for _, d := range all.Items {
			want := int32(1)
			if d.Spec.Replicas != nil {
				want = *d.Spec.Replicas
			}
			if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != want || d.Status.Replicas != want || d.Status.AvailableReplicas != want {
				return fmt.Errorf("%s: %d of %d are available: %s", d.Name, d.Status.AvailableReplicas, want, t.troubles(ctx, namespace))
			}
		}
		return nil
	})
}

// troubles gathers the warnings of a namespace.
func (t *Testbed) troubles(ctx context.Context, namespace string) (text string) {
	events, err := t.Client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	if err != nil {
		return err.Error()
	}
	for _, e := range events.Items {
		text += fmt.Sprintf("\n  %s %s: %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	return text
}

// KeepPodLogs copies the logs of a namespace's Pods to those of the testbed.
func (t *Testbed) KeepPodLogs(namespace string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pods, err := t.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.options.Log("Pod logs: %v", err)
		return
	}
	for _, p := range pods.Items {
		for _, c := range p.Spec.Containers {
			text, err := t.Client.CoreV1().Pods(namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: c.Name}).DoRaw(ctx)
			if err == nil {
				err = os.WriteFile(dir("log", p.Name+"."+c.Name+".log"), text, 0o644)
			}
			if err != nil {
				t.options.Log("Pod logs: %v", err)
			}
		}
	}
}
