package testbed

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestControlPlaneIsReplaced(t *testing.T) {
	s := newSpaceAlone(t)
	s.apply(web)
	addr := s.address("web")
	s.names(addr, 2)
	for _, name := range []string{"kube-apiserver", "etcd"} {
		if err := bed.ControlPlane[name].Kill(); err != nil {
			t.Fatal(err)
		}
	}
	s.names(addr, 2)
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := bed.ControlPlane[name].Restart(); err != nil {
			t.Fatal(err)
		}
	}
	s.eventually("API server", func() error {
		_, err := bed.Client.CoreV1().Namespaces().Get(t.Context(), s.name, metav1.GetOptions{})
		return err
	})
	s.eventually("objects are taken", func() error { // at first it has no address for a Service
		return bed.ApplyText(t.Context(), strings.ReplaceAll(strings.ReplaceAll(web, "name: web", "name: more"), "NAMESPACE", s.name))
	})
	s.address("more")
}

func TestFrozenAPIServer(t *testing.T) {
	s := newSpaceAlone(t)
	api := bed.ControlPlane["kube-apiserver"]
	if err := api.Freeze(); err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		return bed.Client.CoreV1().RESTClient().Get().AbsPath("/readyz").Timeout(time.Second).Do(t.Context()).Error()
	}
	err := ask()
	if thawed := api.Thaw(); thawed != nil {
		t.Fatal(thawed)
	}
	if err == nil {
		t.Error("a frozen API server answers")
	}
	s.eventually("answer", ask)
}

func TestNodeIsSwitchedOffAndOn(t *testing.T) {
	s := newSpaceAlone(t)
	s.apply(web)
	addr := s.address("web")
	s.names(addr, 2)
	if err := bed.Nodes[1].Kill(); err != nil {
		t.Fatal(err)
	}
	ready := func(want corev1.ConditionStatus) {
		t.Helper()
		s.eventually(fmt.Sprintf("node-2 ready: %s", want), func() error {
			n, err := bed.Client.CoreV1().Nodes().Get(t.Context(), "node-2", metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, c := range n.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == want {
					return nil
				}
			}
			return fmt.Errorf("%+v", n.Status.Conditions)
		})
	}
	ready(corev1.ConditionUnknown)
	s.eventually("one node answers", func() error { // once kube-proxy knows too
		for range 10 {
			if _, err := get("http://" + addr); err != nil {
				return err
			}
		}
		return nil
	})
	if err := bed.Nodes[1].Restart(); err != nil {
		t.Fatal(err)
	}
	ready(corev1.ConditionTrue)
	s.names(addr, 2)
	restarted := false
	for _, p := range s.pods("app=web") {
		restarted = restarted || p.Spec.NodeName == "node-2" && p.Status.ContainerStatuses[0].RestartCount == 1
	}
	if !restarted {
		t.Error("the Pod of the node was not restarted")
	}
}
