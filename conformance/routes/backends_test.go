package routes

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// backend is the one Pod of a Deployment of the suite: its own program, as a process.
type backend struct {
	deployment *appsv1.Deployment
	port       int // where it has 3000; 3001 and 8443 follow

	mu  sync.Mutex
	log strings.Builder
}

// Write gathers what the process prints.
func (b *backend) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *backend) printed() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

// pod is named as those of a Deployment are: the suite cuts two parts off.
func (b *backend) pod() string { return b.deployment.Name + "-1-0" }

// startBackends runs a process for each Deployment that needs no files. The first one
// has the port that the suite writes into EndpointSlices itself.
func startBackends(t *testing.T, objects []client.Object) []*backend {
	t.Helper()
	var all []*backend
	for _, o := range objects {
		d, ok := o.(*appsv1.Deployment)
		if !ok || len(d.Spec.Template.Spec.Volumes) > 0 {
			continue
		}
		b := &backend{deployment: d, port: 3000 + 10*len(all)}
		all = append(all, b)
		c := exec.Command(os.Getenv(isolated))
		c.Env = []string{"POD_NAME=" + b.pod(), "NAMESPACE=" + d.Namespace, fmt.Sprintf("HTTP_PORT=%d", b.port), fmt.Sprintf("H2C_PORT=%d", b.port+1), fmt.Sprintf("HTTPS_PORT=%d", b.port+2)}
		for _, e := range d.Spec.Template.Spec.Containers[0].Env {
			if e.ValueFrom == nil {
				c.Env = append(c.Env, e.Name+"="+e.Value)
			}
		}
		c.Stdout, c.Stderr = b, b
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Kill()
			_ = c.Wait()
		})
	}
	for _, b := range all {
		b.wait(t)
	}
	return all
}

// wait returns once the process takes connections.
func (b *backend) wait(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v\n%s", b.pod(), err, b.printed())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// object is the backend as a Pod.
func (b *backend) object() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: b.pod(), Namespace: b.deployment.Namespace, Labels: b.deployment.Spec.Template.Labels},
		Spec:       corev1.PodSpec{NodeName: "node"},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "127.0.0.1", PodIPs: []corev1.PodIP{{IP: "127.0.0.1"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

// slices returns what a cluster would make of a Service that selects the backends.
func slices(s *corev1.Service, backends []*backend) (all []client.Object) {
	for _, b := range backends {
		if b.deployment.Namespace != s.Namespace || len(s.Spec.Selector) == 0 || !selects(s.Spec.Selector, b.deployment.Spec.Template.Labels) {
			continue
		}
		made := &discoveryv1.EndpointSlice{
			TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
			ObjectMeta:  metav1.ObjectMeta{Name: s.Name + "-" + b.pod(), Namespace: s.Namespace, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: s.Namespace, Name: b.pod()}}},
		}
		for _, p := range s.Spec.Ports {
			number := int32(b.port)
			switch p.TargetPort.IntValue() {
			case 3001:
				number++
			case 8443:
				number += 2
			}
			made.Ports = append(made.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &number})
		}
		all = append(all, made)
	}
	return all
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}
