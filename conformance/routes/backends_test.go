package routes

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
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
	datagrams  bool

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

// startBackends runs a process for each Deployment, with the files of Secrets and
// ConfigMaps among the objects. The first one of all has the port that the suite writes
// into EndpointSlices itself; before is how many there are already.
func startBackends(t *testing.T, objects []client.Object, before int) []*backend {
	t.Helper()
	var all []*backend
	for _, o := range objects {
		d, ok := o.(*appsv1.Deployment)
		if !ok {
			continue
		}
		b := &backend{deployment: d, port: 3000 + 10*(before+len(all))}
		all = append(all, b)
		if d.Name == "coredns" {
			b.serveDNS(t)
			continue
		}
		c := exec.Command(os.Getenv(isolated))
		c.Env = []string{"POD_NAME=" + b.pod(), "NAMESPACE=" + d.Namespace}
		for name, port := range map[string]int{"HTTP_PORT": 0, "TCP_PORT": 0, "UDP_PORT": 0, "H2C_PORT": 1, "HTTPS_PORT": 2, "TLS_PORT": 2} {
			c.Env = append(c.Env, fmt.Sprintf("%s=%d", name, b.port+port))
		}
		mounts := b.files(t, objects)
		for _, e := range d.Spec.Template.Spec.Containers[0].Env {
			if e.ValueFrom == nil {
				c.Env = append(c.Env, e.Name+"="+mounts.Replace(e.Value))
			}
			b.datagrams = b.datagrams || e.Name == "UDP_ECHO_SERVER"
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
		if !b.datagrams {
			b.wait(t)
		}
	}
	return all
}

// files writes the volumes of a Deployment, and returns what replaces their paths.
func (b *backend) files(t *testing.T, objects []client.Object) *strings.Replacer {
	t.Helper()
	var pairs []string
	for _, v := range b.deployment.Spec.Template.Spec.Volumes {
		data, items := map[string][]byte{}, []corev1.KeyToPath(nil)
		for _, o := range objects {
			switch x := o.(type) {
			case *corev1.Secret:
				if v.Secret != nil && x.Name == v.Secret.SecretName && x.Namespace == b.deployment.Namespace {
					items = v.Secret.Items
					maps.Copy(data, x.Data)
					for k, text := range x.StringData {
						data[k] = []byte(text)
					}
				}
			case *corev1.ConfigMap:
				if v.ConfigMap != nil && x.Name == v.ConfigMap.Name && x.Namespace == b.deployment.Namespace {
					items = v.ConfigMap.Items
					for k, text := range x.Data {
						data[k] = []byte(text)
					}
				}
			}
		}
		dir := t.TempDir()
		for _, i := range items {
			if err := os.WriteFile(filepath.Join(dir, i.Path), data[i.Key], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range b.deployment.Spec.Template.Spec.Containers[0].VolumeMounts {
			if m.Name == v.Name {
				pairs = append(pairs, strings.TrimSuffix(m.MountPath, "/")+"/", dir+"/")
			}
		}
	}
	return strings.NewReplacer(pairs...)
}

// serveDNS is what the suite's DNS server is asked for: an answer.
func (b *backend) serveDNS(t *testing.T) {
	t.Helper()
	b.datagrams = true
	c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", b.port))
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: c, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
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

// slicesOf returns what a cluster would make of a Service that selects the backends.
func slicesOf(s *corev1.Service, backends []*backend) (all []client.Object) {
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
			made.Ports = append(made.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &number, Protocol: &p.Protocol})
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
