package translate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// identity is the certificate that a Gateway shows to backends.
type identity struct {
	gateway string // namespace/name
	pair    *config.Certificate
	fault   string // why there is none; empty: there is
}

// clientCertificate returns what a Gateway shows to backends that ask for a
// certificate, nil for nothing.
func (r *run) clientCertificate(g *gateway) *identity {
	if g.Spec.TLS == nil || g.Spec.TLS.Backend == nil || g.Spec.TLS.Backend.ClientCertificateRef == nil {
		return nil
	}
	const field = "spec.tls.backend.clientCertificateRef"
	ref := g.Spec.TLS.Backend.ClientCertificateRef
	made := &identity{gateway: g.Namespace + "/" + g.Name}
	pair, bad := r.reference(g.object, ref, cmpOr(value(ref.Namespace), g.Namespace))
	if bad != nil {
		reason := bad.reason
		if reason == "InvalidCertificateRef" {
			reason = "InvalidClientCertificateRef"
		}
		g.refs = &verdict{reason, field + bad.field + ": " + bad.message}
		r.problem(g.object, field+bad.field, reason, "%s; nothing is sent to Services with a BackendTLSPolicy until it is right", bad.message)
		made.fault = bad.message
		return made
	}
	made.pair = pair.config
	return made
}

// backendPolicy is a BackendTLSPolicy as it holds for a Service's port.
type backendPolicy struct {
	policy *gatewayv1.BackendTLSPolicy
	target int
}

// backendPolicies finds the policies once: by namespace/service, the port's name
// behind it where the policy names one.
func (r *run) backendPolicies() map[string]backendPolicy {
	if r.backends != nil {
		return r.backends
	}
	r.backends = map[string]backendPolicy{}
	r.targets = map[string][]*gatewayv1.BackendTLSPolicy{}
	for _, p := range slices.SortedStableFunc(slices.Values(r.o.BackendTLS), older) {
		o := object("BackendTLSPolicy", p)
		for i := range p.Spec.TargetRefs {
			t := &p.Spec.TargetRefs[i]
			field := fmt.Sprintf("spec.targetRefs[%d]", i)
			if t.Group != "" || t.Kind != "Service" {
				r.problem(o, field+".kind", "InvalidKind", "%.40q of group %.40q: want a Service; it has no effect", t.Kind, t.Group)
				continue
			}
			service := p.Namespace + "/" + string(t.Name)
			if !slices.Contains(r.targets[service], p) {
				r.targets[service] = append(r.targets[service], p)
			}
			key := service + " " + value(t.SectionName)
			if first, taken := r.backends[key]; taken {
				r.problem(o, field, "Conflicted", "%s is older, or first by name, and holds for the same Service and port", object("BackendTLSPolicy", first.policy))
				continue
			}
			r.backends[key] = backendPolicy{p, i}
		}
	}
	return r.backends
}

// upstreamTLS returns how connections to a Service's port are encrypted, nil for
// plain text. A policy that is wrong, or cannot be read, lets nothing through.
func (r *run) upstreamTLS(s *corev1.Service, p *corev1.ServicePort) *config.UpstreamTLS {
	all := r.backendPolicies()
	r.ancestor(s)
	found, ok := all[s.Namespace+"/"+s.Name+" "+p.Name]
	if !ok {
		found, ok = all[s.Namespace+"/"+s.Name+" "]
	}
	if u, named := r.unreadBackend(s.Namespace, s.Name); u != nil && (named || !ok) {
		fault := fmt.Sprintf("%s cannot be read", u)
		r.problem(object("Service", s), "", "InvalidBackendTLSPolicy", "%s, and may ask for TLS: requests to the Service are answered 500 until it is right", fault)
		return r.t.memo.backendTLS.get("unread "+fault, "", func() *config.UpstreamTLS { return &config.UpstreamTLS{Fault: fault} })
	}
	if !ok {
		return nil
	}
	id := object("BackendTLSPolicy", found.policy).String()
	if r.identity != nil {
		id += "@" + r.identity.gateway
	}
	if done := r.secured[id]; done != nil {
		return done
	}
	made := &config.UpstreamTLS{}
	r.readPolicy(found.policy, made)
	if i := r.identity; i != nil {
		made.Certificate, made.Fault = i.pair, cmp.Or(made.Fault, i.fault)
	}
	r.secured[id] = r.t.memo.backendTLS.get(id, digest([]any{made, made.Roots}), func() *config.UpstreamTLS { return made })
	return r.secured[id]
}

// ancestor notes that the Gateway at hand leads to a Service, for the status of its
// policies.
func (r *run) ancestor(s *corev1.Service) {
	if r.at == nil {
		return
	}
	for _, p := range r.targets[s.Namespace+"/"+s.Name] {
		if !slices.Contains(r.ancestors[p], r.at) {
			r.ancestors[p] = append(r.ancestors[p], r.at)
		}
	}
}

// readPolicy fills to; what is wrong is told, and becomes its Fault.
func (r *run) readPolicy(p *gatewayv1.BackendTLSPolicy, to *config.UpstreamTLS) {
	o := object("BackendTLSPolicy", p)
	wrong := func(field, reason, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		r.problem(o, field, reason, "%s; requests to the Service are answered 500 until it is right", text)
		to.Fault = cmp.Or(to.Fault, text)
	}
	v := &p.Spec.Validation
	if !wildcard(string(v.Hostname)) || strings.HasPrefix(string(v.Hostname), "*") {
		wrong("spec.validation.hostname", "Invalid", "%.80q is no hostname", v.Hostname)
	}
	to.ServerName = strings.ToLower(string(v.Hostname))
	for i, n := range v.SubjectAltNames {
		field := fmt.Sprintf("spec.validation.subjectAltNames[%d]", i)
		isURI := n.Type == gatewayv1.URISubjectAltNameType
		if !isURI && n.Type != gatewayv1.HostnameSubjectAltNameType || isURI == (n.Hostname != "") {
			wrong(field, "Invalid", "type %.40q: want Hostname with hostname, or URI with uri", n.Type)
			continue
		}
		name, why := subjectAltName(string(n.Hostname), string(n.URI))
		if why != "" {
			wrong(field, "Invalid", "%s", why)
			continue
		}
		to.Names = append(to.Names, name)
	}
	switch known := v.WellKnownCACertificates; {
	case (known != nil && *known != "") == (len(v.CACertificateRefs) > 0):
		wrong("spec.validation", "Invalid", "want one of caCertificateRefs and wellKnownCACertificates")
	case known != nil && *known != "" && *known != gatewayv1.WellKnownCACertificatesSystem:
		wrong("spec.validation.wellKnownCACertificates", "Invalid", "%.40q: want System", *known)
	}
	for i, ref := range v.CACertificateRefs {
		field := fmt.Sprintf("spec.validation.caCertificateRefs[%d]", i)
		if ref.Group != "" || ref.Kind != "ConfigMap" && ref.Kind != "Secret" {
			wrong(field, "InvalidKind", "%.40q of group %.40q: want a ConfigMap or a Secret", ref.Kind, ref.Group)
			continue
		}
		roots, _, why := r.authority(string(ref.Kind), p.Namespace, string(ref.Name))
		if why != "" {
			wrong(field, "InvalidCACertificateRef", "%s", why)
		}
		to.Roots = append(to.Roots, roots...)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Spec.Options)) {
		var ok bool
		if name != optionMinVersion {
			r.problem(o, "spec.options", "UnsupportedValue", "%.80q is unknown and has no effect: want %s", name, optionMinVersion)
		} else if to.MinVersion, ok = minVersion(string(p.Spec.Options[name])); !ok {
			wrong("spec.options", "UnsupportedValue", "%s: %.40q: want \"1.2\" or \"1.3\"", name, p.Spec.Options[name])
		}
	}
}

// unused tells of policies for Services that are there and do not have the port.
func (r *run) unused() {
	for key, b := range r.backendPolicies() {
		service, section, _ := strings.Cut(key, " ")
		s := r.services[service]
		o, field := object("BackendTLSPolicy", b.policy), fmt.Sprintf("spec.targetRefs[%d]", b.target)
		switch {
		case s == nil:
			r.problem(o, field+".name", "TargetNotFound", "there is no Service %s", service)
		case section != "" && !slices.ContainsFunc(s.Spec.Ports, func(p corePort) bool { return p.Name == section }):
			r.problem(o, field+".sectionName", "TargetNotFound", "Service %s has no port called %.63q", service, section)
		}
	}
}
