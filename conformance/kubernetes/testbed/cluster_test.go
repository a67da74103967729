package testbed

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]
      terminationGracePeriodSeconds: 2
      containers:
        - name: web
          image: testbed:1
          args: [serve]
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
`

// names asks until n servers have answered under the address.
func (s *space) names(addr string, n int) {
	s.Helper()
	found := map[string]bool{}
	s.eventually(fmt.Sprintf("%d servers answer at %s", n, addr), func() error {
		body, err := get("http://" + addr)
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(body, " ")
		found[name] = true
		if len(found) < n {
			return fmt.Errorf("only %v", found)
		}
		return nil
	})
}

// address waits for a Service's load balancer address.
func (s *space) address(name string) (addr string) {
	s.Helper()
	s.eventually("load balancer address", func() error {
		service, err := bed.Client.CoreV1().Services(s.name).Get(s.Context(), name, metav1.GetOptions{})
		if err == nil && len(service.Status.LoadBalancer.Ingress) == 0 {
			return errors.New("none yet")
		}
		if err == nil {
			addr = service.Status.LoadBalancer.Ingress[0].IP
		}
		return err
	})
	return addr
}

func TestServiceOfADeployment(t *testing.T) {
	s := newSpace(t)
	s.apply(web)
	service, err := bed.Client.CoreV1().Services(s.name).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.names(service.Spec.ClusterIP, 2)
	addr := s.address("web")
	if !netip.MustParsePrefix(LoadBalancerPool).Contains(netip.MustParseAddr(addr)) {
		t.Errorf("address %s; want one of %s", addr, LoadBalancerPool)
	}
	s.names(addr, 2)
	nodes := map[string]bool{}
	for _, p := range s.pods("app=web") {
		nodes[p.Spec.NodeName] = true
		if body, err := get("http://" + p.Status.PodIP + ":8080"); err != nil || !strings.Contains(body, p.Name+" "+ControlAddress) {
			t.Errorf("Pod %s: %q, %v; want its name and our address", p.Name, body, err)
		}
		// From Pod to Service and to itself through the Service.
		for range 4 {
			if out, err := s.exec(p.Name, "", "tool", "get", "http://web"); err != nil || !strings.HasPrefix(out, "web-") {
				t.Errorf("from %s: %q, %v", p.Name, out, err)
			}
		}
	}
	if len(nodes) != 2 {
		t.Errorf("on nodes %v; want both", nodes)
	}

	// A rollout replaces both and never has nobody to answer.
	patch := []byte(`{"spec":{"template":{"metadata":{"labels":{"version":"2"}}}}}`)
	if _, err := bed.Client.AppsV1().Deployments(s.name).Patch(t.Context(), "web", types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.eventually("rollout", func() error {
		d, err := bed.Client.AppsV1().Deployments(s.name).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != 2 || d.Status.Replicas != 2 || d.Status.AvailableReplicas != 2 {
			return fmt.Errorf("%+v", d.Status)
		}
		return nil
	})
	s.names(addr, 2)
}

func TestDeletedPodIsReplaced(t *testing.T) {
	s := newSpace(t)
	s.apply(web)
	addr := s.address("web")
	s.names(addr, 2)
	victim := s.pods("app=web")[0]
	began := time.Now()
	if err := bed.Client.CoreV1().Pods(s.name).Delete(t.Context(), victim.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.eventually("another Pod", func() error {
		ready := 0
		for _, p := range s.pods("app=web") {
			if p.UID == victim.UID {
				return errors.New("the old one is there")
			}
			if condition(&p, corev1.PodReady) {
				ready++
			}
		}
		if ready != 2 {
			return fmt.Errorf("%d are ready", ready)
		}
		return nil
	})
	t.Logf("replaced in %v", time.Since(began))
	s.names(addr, 2)
}

func TestLoadBalancerAddressAskedFor(t *testing.T) {
	s := newSpace(t)
	service := func(name, addr string) {
		s.apply(fmt.Sprintf(`{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: NAMESPACE}, spec: {type: LoadBalancer, loadBalancerIP: %s, ports: [{port: 80}]}}`, name, addr))
	}
	const wanted = "172.20.255.222"
	service("first", wanted)
	if got := s.address("first"); got != wanted {
		t.Errorf("address %s; want %s", got, wanted)
	}
	service("second", wanted)
	service("outside", "192.0.2.7")
	service("after", "172.20.255.223")
	s.address("after")
	for _, name := range []string{"second", "outside"} {
		got, err := bed.Client.CoreV1().Services(s.name).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || len(got.Status.LoadBalancer.Ingress) != 0 {
			t.Errorf("%s has %v, %v; want none", name, got.Status.LoadBalancer, err)
		}
	}
	if err := bed.Client.CoreV1().Services(s.name).Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := s.address("second"); got != wanted {
		t.Errorf("once it is free: %s; want %s", got, wanted)
	}
}

func TestLocalTrafficKeepsTheClientsAddress(t *testing.T) {
	s := newSpace(t)
	s.apply(strings.NewReplacer("replicas: 2", "replicas: 1", "type: LoadBalancer", "type: LoadBalancer\n  externalTrafficPolicy: Local").Replace(web))
	addr := s.address("web")
	s.eventually("answer", func() error {
		body, err := get("http://" + addr)
		if err == nil && !strings.Contains(body, " "+ControlAddress+":") {
			return fmt.Errorf("%q; want our address in it", body)
		}
		return err
	})
}

// TestConnectionsStayOnTheirNode: whatever nodes come to an address later.
func TestConnectionsStayOnTheirNode(t *testing.T) {
	s := newSpace(t)
	s.apply(strings.NewReplacer("replicas: 2", "replicas: 1", "type: LoadBalancer", "type: LoadBalancer\n  externalTrafficPolicy: Local").Replace(web))
	addr := s.address("web")
	s.names(addr, 1)
	type client struct {
		net.Conn
		pod string
	}
	ask := func(c net.Conn) (pod string, err error) {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
			return "", err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		pod, _, _ = strings.Cut(string(body), " ")
		return pod, err
	}
	var clients []client
	for range 16 {
		c, err := net.Dial("tcp", net.JoinHostPort(addr, "80"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		pod, err := ask(c)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client{c, pod})
	}
	scale := func(n int) {
		if _, err := bed.Client.AppsV1().Deployments(s.name).Patch(t.Context(), "web", types.StrategicMergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	scale(2)
	s.names(addr, 2)
	for _, c := range clients {
		if pod, err := ask(c); err != nil || pod != c.pod {
			t.Errorf("a connection to %s leads to %q, %v", c.pod, pod, err)
		}
	}
}

func TestClusterDNS(t *testing.T) {
	s := newSpace(t)
	s.apply(web)
	s.apply(`{apiVersion: v1, kind: Service, metadata: {name: headless, namespace: NAMESPACE}, spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}}`)
	s.names(s.address("web"), 2)
	pods := s.pods("app=web")
	service, err := bed.Client.CoreV1().Services(s.name).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"web": {service.Spec.ClusterIP}, "web." + s.name + ".svc.cluster.local": {service.Spec.ClusterIP},
		"headless": {pods[0].Status.PodIP, pods[1].Status.PodIP},
	} {
		s.eventually("lookup of "+name, func() error {
			out, err := s.exec(pods[0].Name, "", "tool", "lookup", name)
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			for _, addr := range want {
				if !strings.Contains(out, addr) {
					return fmt.Errorf("%q; want %s in it", out, addr)
				}
			}
			return nil
		})
	}
	if out, err := s.exec(pods[0].Name, "", "tool", "lookup", "nobody."+s.name+".svc.cluster.local"); err == nil {
		t.Errorf("a Service that is not there: %q; want an error", out)
	}
}

// TestAddressesAreGivenOnce: of Services that come at the same time no two ever have
// the same address.
func TestAddressesAreGivenOnce(t *testing.T) {
	s := newSpace(t)
	watch, err := bed.Client.CoreV1().Services(s.name).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	const n = 30
	var made sync.WaitGroup
	for i := range n {
		made.Go(func() {
			o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s-%d", i)}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}}
			if _, err := bed.Client.CoreV1().Services(s.name).Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	made.Wait()
	owner := map[string]string{}
	for end := time.After(20 * time.Second); len(owner) < n; {
		select {
		case e := <-watch.ResultChan():
			o, ok := e.Object.(*corev1.Service)
			if !ok || len(o.Status.LoadBalancer.Ingress) == 0 {
				continue
			}
			addr := o.Status.LoadBalancer.Ingress[0].IP
			if owner[addr] != "" && owner[addr] != o.Name {
				t.Fatalf("%s is that of %s and of %s", addr, owner[addr], o.Name)
			}
			owner[addr] = o.Name
		case <-end:
			t.Fatalf("%d of %d Services have an address", len(owner), n)
		}
	}
}
