package dns

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestAnswers(t *testing.T) {
	yes, no, tcp, port, name, host := true, false, corev1.ProtocolTCP, int32(80), "http", "first"
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }
	client := fake.NewClientset(
		&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.5", ClusterIPs: []string{"10.96.0.5", "fd00::5"}, Ports: []corev1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80}},
		}},
		&corev1.Service{ObjectMeta: meta("headless"), Spec: corev1.ServiceSpec{ClusterIP: "None"}},
		&corev1.Service{ObjectMeta: meta("elsewhere"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "headless-1", Labels: map[string]string{discoveryv1.LabelServiceName: "headless"}},
			Ports:      []discoveryv1.EndpointPort{{Name: &name, Protocol: &tcp, Port: &port}},
			Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.244.1.2"}, Hostname: &host, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
				{Addresses: []string{"10.244.1.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
				{Addresses: []string{"10.244.1.4"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
			},
		},
	)
	s, err := New(client, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		stop()
		<-done
	}()
	tests := map[string]struct {
		name string
		kind uint16
		code int
		want []string // the records' data, in any order
	}{
		"ClusterIP":                {"web.ns.svc.cluster.local.", dns.TypeA, 0, []string{"10.96.0.5"}},
		"case does not matter":     {"Web.NS.svc.cluster.LOCAL.", dns.TypeA, 0, []string{"10.96.0.5"}},
		"IPv6":                     {"web.ns.svc.cluster.local.", dns.TypeAAAA, 0, []string{"fd00::5"}},
		"a type that is not there": {"web.ns.svc.cluster.local.", dns.TypeMX, 0, nil},
		"ready endpoints":          {"headless.ns.svc.cluster.local.", dns.TypeA, 0, []string{"10.244.1.2", "10.244.1.3"}},
		"an endpoint by hostname":  {"first.headless.ns.svc.cluster.local.", dns.TypeA, 0, []string{"10.244.1.2"}},
		"an endpoint by address":   {"10-244-1-3.headless.ns.svc.cluster.local.", dns.TypeA, 0, []string{"10.244.1.3"}},
		"port of a ClusterIP":      {"_http._tcp.web.ns.svc.cluster.local.", dns.TypeSRV, 0, []string{"0 1 80 web.ns.svc.cluster.local."}},
		"ports of endpoints": {"_http._tcp.headless.ns.svc.cluster.local.", dns.TypeSRV, 0, []string{
			"0 1 80 first.headless.ns.svc.cluster.local.", "0 1 80 10-244-1-3.headless.ns.svc.cluster.local.",
		}},
		"ExternalName":        {"elsewhere.ns.svc.cluster.local.", dns.TypeA, 0, []string{"example.com."}},
		"unknown Service":     {"nobody.ns.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, nil},
		"unknown port":        {"_x._tcp.web.ns.svc.cluster.local.", dns.TypeSRV, dns.RcodeNameError, nil},
		"another domain":      {"example.com.", dns.TypeA, dns.RcodeRefused, nil},
		"a name that is like": {"web.ns.svc.xcluster.local.", dns.TypeA, dns.RcodeRefused, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := new(dns.Msg)
			q.SetQuestion(test.name, test.kind)
			var m *dns.Msg
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if m, err = dns.Exchange(q, s.udp.LocalAddr().String()); err != nil || m.Rcode != dns.RcodeServerFailure {
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range m.Answer {
				got = append(got, r.String()[len(r.Header().String()):])
			}
			slices.Sort(got)
			slices.Sort(test.want)
			if m.Rcode != test.code || !slices.Equal(got, test.want) {
				t.Errorf("got %s, %q; want %s, %q", dns.RcodeToString[m.Rcode], got, dns.RcodeToString[test.code], test.want)
			}
		})
	}
}
