package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"penstock.dev/penstock/core/config"
)

type corePort = corev1.ServicePort

// upstream adds a Service's port to the config and returns its name. Its
// parameters are those of the first Gateway that leads to it. gRPC has HTTP/2 spoken
// where other requests to the same port may have HTTP/1.1.
func (r *run) upstream(s *corev1.Service, p *corev1.ServicePort, gRPC bool) string {
	name := fmt.Sprintf("%s/%s:%d", s.Namespace, s.Name, p.Port)
	var tls *config.UpstreamTLS
	asked := gRPC
	gRPC = gRPC && appProtocol(p) != "kubernetes.io/h2c" && appProtocol(p) != "grpc"
	if gRPC {
		name += "/h2c"
	}
	if p.Protocol == corev1.ProtocolUDP { // a Service may have the number twice
		name += "/udp"
	} else if tls = r.upstreamTLS(s, p); tls != nil && r.identity != nil { // no other Gateway's requests go under its name
		name += "@" + r.identity.gateway
	}
	secured := tls != nil || r.targets[s.Namespace+"/"+s.Name] != nil
	r.plain, r.simple = r.plain && !secured, r.simple && !secured
	r.used = append(r.used, usedUpstream{name, s.Namespace + "/" + s.Name, s, p, asked})
	if r.config.Upstreams[name] != nil {
		return name
	}
	r.writable()
	mark := len(r.problems)
	o := object("Service", s)
	protocol := r.protocol(o, s, p, tls != nil)
	if gRPC {
		protocol = config.ProtocolH2C
	}
	r.config.Upstreams[name] = r.t.memo.upstreams.get(name, fmt.Sprintf("%p %s %p", r.current, protocol, tls), func() *config.Upstream {
		return &config.Upstream{Name: name, Protocol: protocol, TLS: tls, Parameters: r.current}
	})
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		r.problem(o, "spec.type", "NotSupported", "ExternalName is not supported yet: write EndpointSlices")
	}
	list := r.slices[s.Namespace+"/"+s.Name]
	podsOnly := r.t.o.CheckEndpoints && !r.of(s.Namespace).allowsExternal()
	r.endpointSets[name] = r.t.memo.endpoints.get(name, r.t.endpointsKey(s, list, p.Name, podsOnly), func() *config.EndpointSet { return r.t.endpoints(s, list, p.Name, podsOnly) })
	for _, slice := range list {
		r.checkSlice(slice)
		if podsOnly {
			r.checkTargets(slice)
		}
	}
	r.checkForbidden(s, list)
	r.t.remember(name, &restored{
		upstream: r.config.Upstreams[name], endpoints: r.endpointSets[name], slices: list,
		service: s, port: p.Name, podsOnly: podsOnly, epoch: r.t.inputs.epoch, problems: slices.Clone(r.problems[mark:]),
	})
	return name
}

// endpointsKey is what the endpoints of a Service's port depend on.
func (t *Translator) endpointsKey(s *corev1.Service, list []*discoveryv1.EndpointSlice, port string, podsOnly bool) string {
	key := fmt.Sprint(port, " ", podsOnly, s.Spec.IPFamilies)
	for _, slice := range list {
		key += " " + version(slice)
	}
	if hits := t.forbidden.in(list); len(hits) > 0 {
		key += fmt.Sprint(hits)
	}
	return key
}

// protocol returns how a Service's port is spoken to, by its appProtocol
// (Gateway API, GEP-1911): HTTP/1.1 unless it says that HTTP/2 is known there.
func (r *run) protocol(o config.Object, s *corev1.Service, p *corev1.ServicePort, secured bool) string {
	switch {
	case p.Protocol == corev1.ProtocolUDP:
		return config.ProtocolUDP
	case p.AppProtocol == nil:
		return config.ProtocolHTTP
	}
	field := "spec.ports"
	for i := range s.Spec.Ports {
		if &s.Spec.Ports[i] == p {
			field = fmt.Sprintf("spec.ports[%d].appProtocol", i)
		}
	}
	switch name := appProtocol(p); name {
	case "", "http", "kubernetes.io/ws":
	case "kubernetes.io/h2c", "grpc": // gRPC has no other version
		return config.ProtocolH2C
	case "https", "kubernetes.io/wss":
		if !secured {
			r.warn(o, field, "NotSupported", "%q asks for TLS, and does not say who vouches for the Service: it is spoken to with HTTP/1.1 in plain text until a BackendTLSPolicy names it", name)
		}
	default:
		r.warn(o, field, "UnsupportedProtocol", "%q is not known, so it is spoken to with HTTP/1.1: want kubernetes.io/h2c, grpc, kubernetes.io/ws or http", name)
	}
	return config.ProtocolHTTP
}

// appProtocol returns a port's in lower case, as names of IANA's registry are the
// same in any (RFC 6335, 5.1); empty for none.
func appProtocol(p *corePort) string { return strings.ToLower(value(p.AppProtocol)) }

// allowsExternal reports whether every policy of the namespace, and there is one,
// admits endpoints that are not its Pods.
func (n *namespacePolicy) allowsExternal() bool {
	return len(n.policies) > 0 && !slices.ContainsFunc(n.policies, func(p *policy) bool { return !p.Spec.AllowExternalName })
}

// foreign reports whether an endpoint is none of the namespace's Pods.
func foreign(slice *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint) bool {
	ref := e.TargetRef
	return ref == nil || ref.Kind != "Pod" || ref.Namespace != "" && ref.Namespace != slice.Namespace
}

// checkTargets tells of endpoints that are left out.
func (r *run) checkTargets(slice *discoveryv1.EndpointSlice) {
	for i := range slice.Endpoints {
		if foreign(slice, &slice.Endpoints[i]) {
			r.problem(object("EndpointSlice", slice), fmt.Sprintf("endpoints[%d].targetRef", i), "RefusedByPolicy",
				"it names no Pod of namespace %s, so that it is left out: let every PluginPolicy that selects the namespace say allowExternalName: true", slice.Namespace)
			return // one line for a slice
		}
	}
}

func (r *run) checkSlice(slice *discoveryv1.EndpointSlice) {
	o := object("EndpointSlice", slice)
	if slice.AddressType == discoveryv1.AddressTypeFQDN {
		r.problem(o, "addressType", "NotSupported", "FQDN is not supported: want IPv4 or IPv6")
		return
	}
	for i := range slice.Endpoints {
		for j, text := range slice.Endpoints[i].Addresses {
			if _, err := netip.ParseAddr(text); err != nil {
				r.problem(o, fmt.Sprintf("endpoints[%d].addresses[%d]", i, j), "Invalid", "%q is no IP address", text)
			}
		}
	}
}
