// Package dns answers for a cluster's Services under cluster.local: A, AAAA and
// SRV records of Services, headless ones and their named Pods, as in Kubernetes'
// DNS specification 1.1.0. It forwards nothing.
package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	domain = "cluster.local."
	ttl    = 5 // seconds, as the specification proposes
)

// Server answers over UDP and TCP.
type Server struct {
	factory  informers.SharedInformerFactory
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	synced   []cache.InformerSynced
	udp      net.PacketConn
	tcp      net.Listener
}

// New listens on addr. Nothing is answered until Run.
func New(client kubernetes.Interface, addr string) (*Server, error) {
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		_ = udp.Close()
		return nil, err
	}
	f := informers.NewSharedInformerFactory(client, 0)
	return &Server{
		factory: f, udp: udp, tcp: tcp,
		services: f.Core().V1().Services().Lister(), slices: f.Discovery().V1().EndpointSlices().Lister(),
		synced: []cache.InformerSynced{f.Core().V1().Services().Informer().HasSynced, f.Discovery().V1().EndpointSlices().Informer().HasSynced},
	}, nil
}

// Run answers until ctx is done.
func (s *Server) Run(ctx context.Context) error {
	s.factory.Start(ctx.Done())
	defer s.factory.Shutdown()
	servers := []*dns.Server{{PacketConn: s.udp, Handler: s}, {Listener: s.tcp, Handler: s}}
	failed := make(chan error, len(servers))
	for _, d := range servers {
		go func() { failed <- d.ActivateAndServe() }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		failed <- err
	}
	_ = s.udp.Close()
	_ = s.tcp.Close()
	for range servers {
		<-failed
	}
	return err
}

// ServeDNS answers one query.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	switch {
	case len(q.Question) != 1:
		m.Rcode = dns.RcodeFormatError
	case !dns.IsSubDomain(domain, q.Question[0].Name):
		m.Rcode = dns.RcodeRefused
	default:
		for _, synced := range s.synced {
			if !synced() {
				m.Rcode = dns.RcodeServerFailure
			}
		}
		if m.Rcode == dns.RcodeSuccess {
			m.Answer, m.Extra, m.Rcode = s.answer(q.Question[0])
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{&dns.SOA{
			Hdr: dns.RR_Header{Name: domain, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
			Ns:  "ns.dns." + domain, Mbox: "hostmaster." + domain, Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
		}}
	}
	if w.LocalAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m)
}

// answer finds the records for NAME.NAMESPACE.svc, POD.NAME.NAMESPACE.svc and
// _PORT._PROTOCOL.NAME.NAMESPACE.svc.
func (s *Server) answer(q dns.Question) (answer, extra []dns.RR, code int) {
	parts := strings.Split(strings.TrimSuffix(strings.ToLower(q.Name), "."+domain), ".")
	n := len(parts)
	if n < 3 || parts[n-1] != "svc" {
		return nil, nil, dns.RcodeNameError
	}
	namespace, name, rest := parts[n-2], parts[n-3], parts[:n-3]
	service, err := s.services.Services(namespace).Get(name)
	if err != nil {
		return nil, nil, dns.RcodeNameError
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		target := dns.Fqdn(service.Spec.ExternalName)
		return []dns.RR{&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: target}}, nil, dns.RcodeSuccess
	}
	found, err := s.endpoints(service)
	if err != nil {
		return nil, nil, dns.RcodeServerFailure
	}
	switch {
	case len(rest) == 0:
		return addresses(q, found), nil, dns.RcodeSuccess
	case len(rest) == 1:
		found = named(found, rest[0])
		if len(found) == 0 {
			return nil, nil, dns.RcodeNameError
		}
		return addresses(q, found), nil, dns.RcodeSuccess
	case len(rest) == 2 && strings.HasPrefix(rest[0], "_") && strings.HasPrefix(rest[1], "_"):
		return srv(q, fmt.Sprintf("%s.%s.svc.%s", name, namespace, domain), rest[0][1:], rest[1][1:], found)
	}
	return nil, nil, dns.RcodeNameError
}

// endpoint is one address with the ports that it is known by.
type endpoint struct {
	hostname string // empty: the Service's own name
	addr     netip.Addr
	ports    []port
}

type port struct {
	name, protocol string
	number         uint16
}

// endpoints returns the ClusterIPs of a Service, or what is behind it if it is
// headless.
func (s *Server) endpoints(service *corev1.Service) ([]endpoint, error) {
	if service.Spec.ClusterIP != corev1.ClusterIPNone {
		var ports []port
		for _, p := range service.Spec.Ports {
			ports = append(ports, port{p.Name, strings.ToLower(string(p.Protocol)), uint16(p.Port)})
		}
		var all []endpoint
		for _, ip := range service.Spec.ClusterIPs {
			if addr, err := netip.ParseAddr(ip); err == nil {
				all = append(all, endpoint{addr: addr, ports: ports})
			}
		}
		return all, nil
	}
	slices, err := s.slices.EndpointSlices(service.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name}))
	if err != nil {
		return nil, err
	}
	var all []endpoint
	for _, slice := range slices {
		var ports []port
		for _, p := range slice.Ports {
			if p.Name != nil && p.Port != nil && p.Protocol != nil {
				ports = append(ports, port{*p.Name, strings.ToLower(string(*p.Protocol)), uint16(*p.Port)})
			}
		}
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready && !service.Spec.PublishNotReadyAddresses {
				continue
			}
			for _, ip := range e.Addresses {
				addr, err := netip.ParseAddr(ip)
				if err != nil {
					continue
				}
				hostname := strings.NewReplacer(".", "-", ":", "-").Replace(ip)
				if e.Hostname != nil {
					hostname = *e.Hostname
				}
				all = append(all, endpoint{hostname: hostname, addr: addr, ports: ports})
			}
		}
	}
	return all, nil
}

func named(all []endpoint, hostname string) (found []endpoint) {
	for _, e := range all {
		if e.hostname == hostname {
			found = append(found, e)
		}
	}
	return found
}

func addresses(q dns.Question, all []endpoint) (records []dns.RR) {
	for _, e := range all {
		if r := address(q.Name, e.addr); q.Qtype == r.Header().Rrtype {
			records = append(records, r)
		}
	}
	return records
}

func srv(q dns.Question, service, name, protocol string, all []endpoint) (answer, extra []dns.RR, code int) {
	code = dns.RcodeNameError
	said := map[string]bool{} // a target with addresses of both families is one
	for _, e := range all {
		for _, p := range e.ports {
			if p.name != name || p.protocol != protocol {
				continue
			}
			code = dns.RcodeSuccess
			if q.Qtype != dns.TypeSRV {
				continue
			}
			target := service
			if e.hostname != "" {
				target = e.hostname + "." + service
			}
			if at := fmt.Sprint(target, p.number); !said[at] {
				said[at] = true
				answer = append(answer, &dns.SRV{Hdr: header(q.Name, dns.TypeSRV), Weight: 1, Port: p.number, Target: target})
			}
			extra = append(extra, address(target, e.addr))
		}
	}
	return answer, extra, code
}

func address(name string, addr netip.Addr) dns.RR {
	if addr.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA), A: addr.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: addr.AsSlice()}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}
