package translate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/k8s/api"
)

// Infrastructure is where the proxies run, in a cluster that gives each Gateway a
// Service of its own.
type Infrastructure struct {
	Namespace string             // of the proxies' Pods, and of the Gateways' Services
	Selector  map[string]string  // the labels of the proxies' Pods
	Type      corev1.ServiceType // of the Services; empty: LoadBalancer
	// TrafficPolicy says whether Services of type LoadBalancer or NodePort reach the
	// proxies of other nodes too, and hide clients' addresses from them (Cluster),
	// or neither (Local); empty: as the API server has it, Cluster.
	TrafficPolicy corev1.ServiceExternalTrafficPolicy
}

// The labels of what is made for a Gateway.
const (
	labelGateway          = "gateway.networking.k8s.io/gateway-name"
	labelGatewayClass     = "gateway.networking.k8s.io/gateway-class-name"
	labelGatewayNamespace = api.Group + "/gateway-namespace"
	labelGatewayUID       = api.Group + "/gateway-uid"
)

// SetServices takes the type and the externalTrafficPolicy of Services as people
// write them.
func (i *Infrastructure) SetServices(kind, trafficPolicy string) error {
	switch t := corev1.ServiceType(kind); t {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort, corev1.ServiceTypeClusterIP:
		i.Type = t
	default:
		return fmt.Errorf("%q is no type for a Gateway's Service: want LoadBalancer, NodePort or ClusterIP", kind)
	}
	switch p := corev1.ServiceExternalTrafficPolicy(trafficPolicy); p {
	case corev1.ServiceExternalTrafficPolicyLocal, corev1.ServiceExternalTrafficPolicyCluster:
		i.TrafficPolicy = p
	default:
		return fmt.Errorf("%q is no externalTrafficPolicy: want Local or Cluster", trafficPolicy)
	}
	return nil
}

// The container ports that listeners get: below those that the kernel hands out.
const (
	firstPort = 20000
	lastPort  = 32767
)

// socketKey is what has a container port of its own. TCP and UDP of one number share
// it, since HTTP/3 is found by the number of TCP.
type socketKey struct {
	gateway types.UID
	port    gatewayv1.PortNumber
}

// serviceName is that of a Gateway's Service: readable, and no other Gateway's.
func serviceName(g *gatewayv1.Gateway) string {
	return shortened("gw-"+strings.ReplaceAll(g.Namespace+"-"+g.Name, ".", "-"), g.Namespace+"/"+g.Name, 63)
}

// shortened cuts a name and ends it in a hash of what it stands for.
func shortened(name, of string, most int) string {
	sum := sha256.Sum256([]byte(of))
	end := "-" + hex.EncodeToString(sum[:4])
	return strings.TrimRight(name[:min(len(name), most-len(end))], "-.") + end
}

// service returns the Service that a Gateway has now, nil if there is none.
func (r *run) service(g *gateway) *corev1.Service {
	i := r.t.o.Infrastructure
	if i == nil {
		return nil
	}
	s := r.services[i.Namespace+"/"+serviceName(g.Gateway)]
	if s == nil || s.Labels[labelGatewayUID] != string(g.UID) {
		return nil
	}
	return s
}

// bind gives the listeners of all Gateways container ports: those that they have
// in their Services, or had before, else the next free one. A port that was given
// back is not given away until all others were: proxies may still have connections
// on it.
func (r *run) bind() {
	if r.t.o.Infrastructure == nil {
		return
	}
	have := map[socketKey]uint16{}
	taken := map[uint16]bool{}
	keep := func(k socketKey, port uint16) {
		if have[k] == 0 && !taken[port] && port >= firstPort && port <= lastPort {
			have[k], taken[port] = port, true
		}
	}
	byAge := slices.SortedStableFunc(slices.Values(r.byName), func(a, b *gateway) int { return older(a, b) })
	want := map[socketKey]bool{}
	for _, g := range byAge {
		for _, l := range g.listeners() {
			if l.rejected == nil {
				want[socketKey{g.UID, l.Port}] = true
			}
		}
	}
	for _, g := range byAge {
		if s := r.service(g); s != nil {
			for _, p := range s.Spec.Ports {
				if k := (socketKey{g.UID, p.Port}); want[k] {
					keep(k, uint16(p.TargetPort.IntVal))
				}
			}
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(r.t.ports), func(a, b socketKey) int { return cmp.Compare(r.t.ports[a], r.t.ports[b]) }) {
		if want[k] {
			keep(k, r.t.ports[k])
		}
	}
	next := max(r.t.nextPort, firstPort)
	for port := range taken {
		if r.t.nextPort == 0 && port >= next {
			next = port + 1
		}
	}
	for _, g := range byAge {
		for _, l := range g.listeners() {
			if l.rejected != nil {
				continue
			}
			k := socketKey{g.UID, l.Port}
			for tries := 0; have[k] == 0 && tries <= lastPort-firstPort; tries++ {
				if next > lastPort {
					next = firstPort
				}
				keep(k, next)
				next++
			}
			if l.bind = have[k]; l.bind == 0 {
				r.reject(l, ".port", "PortUnavailable", "all container ports from %d to %d are in use", firstPort, lastPort)
			}
		}
	}
	r.t.ports, r.t.nextPort = have, next
}

// provide returns the Services and ServiceAccounts that the Gateways should have.
func (r *run) provide() (services []*corev1.Service, accounts []*corev1.ServiceAccount) {
	if r.t.o.Infrastructure == nil {
		return nil, nil
	}
	for _, g := range r.byName {
		if s := r.wantedService(g); len(s.Spec.Ports) > 0 {
			services = append(services, s)
		}
		accounts = append(accounts, r.wantedAccount(g))
	}
	return services, accounts
}

// metadata is what a Gateway's infrastructure is to carry. Keys of Gateway API and
// of ours are not its owner's to choose.
func (g *gateway) metadata(m *metav1.ObjectMeta) {
	reserved := func(key string) bool {
		group, _, _ := strings.Cut(key, "/")
		return group == gatewayv1.GroupName || group == api.Group || strings.HasSuffix(group, "."+api.Group)
	}
	m.Labels, m.Annotations = map[string]string{}, map[string]string{}
	if i := g.Spec.Infrastructure; i != nil {
		for key, v := range i.Labels {
			if !reserved(string(key)) {
				m.Labels[string(key)] = string(v)
			}
		}
		for key, v := range i.Annotations {
			if !reserved(string(key)) {
				m.Annotations[string(key)] = string(v)
			}
		}
	}
	m.Labels[labelGateway] = label(g.Name)
	m.Labels[labelGatewayClass] = label(string(g.Spec.GatewayClassName))
	m.Labels[labelGatewayNamespace] = g.Namespace
	m.Labels[labelGatewayUID] = string(g.UID)
	if len(m.Annotations) == 0 {
		m.Annotations = nil
	}
}

// label returns a name as the value of a label, which is shorter than some names.
func label(name string) string {
	if len(name) <= 63 {
		return name
	}
	return shortened(name, name, 63)
}

// wantedService is a Gateway's Service: its ports lead to container ports of their own.
func (r *run) wantedService(g *gateway) *corev1.Service {
	i, families := r.t.o.Infrastructure, corev1.IPFamilyPolicyPreferDualStack
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: i.Namespace, Name: serviceName(g.Gateway)},
		Spec:       corev1.ServiceSpec{Type: cmp.Or(i.Type, corev1.ServiceTypeLoadBalancer), Selector: i.Selector, IPFamilyPolicy: &families},
	}
	g.metadata(&s.ObjectMeta)
	if s.Spec.Type != corev1.ServiceTypeClusterIP {
		s.Spec.ExternalTrafficPolicy = i.TrafficPolicy
	}
	for _, a := range g.Spec.Addresses {
		if address, err := netip.ParseAddr(a.Value); err == nil && s.Spec.LoadBalancerIP == "" && s.Spec.Type == corev1.ServiceTypeLoadBalancer && isIPAddress(a.Type) {
			s.Spec.LoadBalancerIP = address.String()
		}
	}
	add := func(l *listener, protocol corev1.Protocol) {
		p := corev1.ServicePort{
			Name: fmt.Sprintf("%s-%d", strings.ToLower(string(protocol)), l.Port), Protocol: protocol, Port: l.Port,
			TargetPort: intstr.FromInt32(int32(l.bind)),
		}
		if !slices.Contains(s.Spec.Ports, p) {
			s.Spec.Ports = append(s.Spec.Ports, p)
		}
	}
	for _, l := range g.listeners() {
		switch {
		case l.bind == 0:
		case l.Protocol == gatewayv1.UDPProtocolType:
			add(l, corev1.ProtocolUDP)
		default:
			add(l, corev1.ProtocolTCP)
			if l.Protocol == gatewayv1.HTTPSProtocolType && g.parameters != nil && g.parameters.HTTP3 {
				add(l, corev1.ProtocolUDP)
			}
		}
	}
	slices.SortFunc(s.Spec.Ports, func(a, b corev1.ServicePort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return s
}

// wantedAccount is a Gateway's ServiceAccount, which carries its metadata; no Pod
// runs under it.
func (r *run) wantedAccount(g *gateway) *corev1.ServiceAccount {
	isController, token := true, false
	a := &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: g.Namespace, Name: shortened(g.Name+"-"+string(g.Spec.GatewayClassName), g.Namespace+"/"+g.Name, 253),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: gatewayv1.GroupVersion.String(), Kind: "Gateway", Name: g.Name, UID: g.UID, Controller: &isController}},
		},
		AutomountServiceAccountToken: &token,
	}
	g.metadata(&a.ObjectMeta)
	return a
}

func isIPAddress(t *gatewayv1.AddressType) bool {
	return t == nil || *t == gatewayv1.IPAddressType
}

// addresses returns what a Gateway can be reached at, by its Service.
func (r *run) addresses(g *gateway) []gatewayv1.GatewayStatusAddress {
	s := r.service(g)
	if s == nil {
		return nil
	}
	var all []gatewayv1.GatewayStatusAddress
	add := func(t gatewayv1.AddressType, v string) {
		if v != "" && v != corev1.ClusterIPNone && !slices.ContainsFunc(all, func(a gatewayv1.GatewayStatusAddress) bool { return a.Value == v }) && len(all) < 16 {
			all = append(all, gatewayv1.GatewayStatusAddress{Type: &t, Value: v})
		}
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		add(gatewayv1.IPAddressType, i.IP)
		add(gatewayv1.HostnameAddressType, i.Hostname)
	}
	for _, ip := range s.Spec.ExternalIPs {
		add(gatewayv1.IPAddressType, ip)
	}
	if s.Spec.Type == corev1.ServiceTypeClusterIP {
		for _, ip := range s.Spec.ClusterIPs {
			add(gatewayv1.IPAddressType, ip)
		}
		add(gatewayv1.IPAddressType, s.Spec.ClusterIP)
	}
	return all
}

// addressFault says what of spec.addresses is wrong: what no Gateway of ours can
// have, and what this one has not got; nil: nothing.
func (r *run) addressFault(g *gateway, have []gatewayv1.GatewayStatusAddress) (unsupported, missing *verdict) {
	for i, a := range g.Spec.Addresses {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		kind := gatewayv1.IPAddressType
		if a.Type != nil {
			kind = *a.Type
		}
		if kind != gatewayv1.IPAddressType && kind != gatewayv1.HostnameAddressType {
			return &verdict{string(gatewayv1.GatewayReasonUnsupportedAddress), fmt.Sprintf("%s.type: %q: want IPAddress or Hostname", field, kind)}, nil
		}
		got := slices.ContainsFunc(have, func(b gatewayv1.GatewayStatusAddress) bool {
			return *b.Type == kind && (a.Value == "" || sameAddress(a.Value, b.Value))
		})
		if !got && a.Value != "" && missing == nil {
			missing = &verdict{string(gatewayv1.GatewayReasonAddressNotUsable), fmt.Sprintf("%s.value: the Gateway's Service has not got %s: it may be another's, or none that is given out here", field, a.Value)}
		}
	}
	if missing == nil && len(have) == 0 && r.t.o.Infrastructure != nil {
		missing = &verdict{string(gatewayv1.GatewayReasonAddressNotAssigned), fmt.Sprintf("Service %s of namespace %s has no address yet", serviceName(g.Gateway), r.t.o.Infrastructure.Namespace)}
	}
	return nil, missing
}

// sameAddress compares two texts of an address.
func sameAddress(a, b string) bool {
	x, err := netip.ParseAddr(a)
	y, otherErr := netip.ParseAddr(b)
	if err != nil || otherErr != nil {
		return strings.EqualFold(a, b)
	}
	return x == y
}

// warnMetadata tells of metadata that is left out.
func (r *run) warnMetadata(g *gateway) {
	i := g.Spec.Infrastructure
	if i == nil || r.t.o.Infrastructure == nil {
		return
	}
	var m metav1.ObjectMeta
	g.metadata(&m)
	tell := func(field, key string) {
		r.warn(g.object, "spec.infrastructure."+field, "UnsupportedValue", "%q is for the controller: it is left out", key)
	}
	for _, key := range slices.Sorted(maps.Keys(i.Labels)) {
		if m.Labels[string(key)] != string(i.Labels[key]) {
			tell("labels", string(key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(i.Annotations)) {
		if _, ok := m.Annotations[string(key)]; !ok {
			tell("annotations", string(key))
		}
	}
}
