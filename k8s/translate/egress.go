package translate

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// The capabilities to call out, to use Redis, and to say who sends a request
// (annotations.md, section 3).
const (
	capabilityHTTPCall = "http-call"
	capabilityRedis    = "redis"
	capabilityConsumer = "consumer"
)

// hostnameForm is a DNS name, or all names below one.
var hostnameForm = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// configMapForm is the name of a ConfigMap.
var configMapForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// egress checks a list of destinations.
func (r *run) egress(list []api.Egress) ([]config.Egress, error) {
	var out []config.Egress
	for i, e := range list {
		if !hostnameForm.MatchString(e.Hostname) || len(e.Hostname) > 253 {
			return nil, fmt.Errorf("egress[%d].hostname: %.80q: want a DNS name in lower case, or *.domain", i, e.Hostname)
		}
		c := config.Egress{Hostname: e.Hostname}
		for j, port := range e.Ports {
			if port < 1 || port > 65535 {
				return nil, fmt.Errorf("egress[%d].ports[%d]: %d: want 1 to 65535", i, j, port)
			}
			c.Ports = append(c.Ports, uint16(port))
		}
		if e.CACertificate != "" && (!configMapForm.MatchString(e.CACertificate) || len(e.CACertificate) > 253) {
			return nil, fmt.Errorf("egress[%d].caCertificate: %.80q: want a ConfigMap's name", i, e.CACertificate)
		}
		c.CA = r.vouchers(e.CACertificate)
		out = append(out, c)
	}
	return out, nil
}

// vouchers returns the authorities that a ConfigMap of the install namespace holds, nil
// if none is named.
func (r *run) vouchers(name string) *config.Authorities {
	if name == "" {
		return nil
	}
	roots, _, why := r.authority("ConfigMap", r.t.o.InstallNamespace, name)
	return &config.Authorities{Hash: digest([]any{roots, why}), Roots: roots, Fault: why}
}

// tellVouchers tells of authorities that cannot be read.
func (r *run) tellVouchers(o config.Object, list []config.Egress) {
	for i, e := range list {
		if e.CA != nil && e.CA.Fault != "" {
			r.problem(o, fmt.Sprintf("spec.egress[%d].caCertificate", i), "InvalidCACertificateRef", "%s; calls to %s over TLS fail until it is right", e.CA.Fault, e.Hostname)
		}
	}
}

// egress returns what every policy lists: the same hostname, the ports of all, the
// authorities of any. Where two name others, none is trusted.
func (n *namespacePolicy) egress() []config.Egress {
	if len(n.policies) == 0 {
		return nil
	}
	all := n.policies[0].egress // a broken policy closes its namespaces
	for _, p := range n.policies[1:] {
		var both []config.Egress
		for _, a := range all {
			for _, b := range p.egress {
				if a.Hostname != b.Hostname {
					continue
				}
				c := config.Egress{Hostname: a.Hostname, Ports: slices.Clone(a.Ports), CA: cmp.Or(a.CA, b.CA)}
				if a.CA != nil && b.CA != nil && a.CA.Hash != b.CA.Hash {
					const why = "two policies name different authorities for it"
					c.CA = &config.Authorities{Hash: digest(why), Fault: why}
				}
				if len(a.Ports) == 0 {
					c.Ports = b.Ports
				} else if len(b.Ports) > 0 {
					c.Ports = slices.DeleteFunc(c.Ports, func(port uint16) bool { return !slices.Contains(b.Ports, port) })
					if len(c.Ports) == 0 {
						continue
					}
				}
				both = append(both, c)
			}
		}
		all = both
	}
	return all
}

// bundledCalls reports whether a filter is a bundled plugin that calls out.
func (t *Translator) bundledCalls(f *config.Filter) bool {
	return f.Grant == config.GrantManifest && slices.ContainsFunc(t.o.Bundled, func(b Bundled) bool { return b.Calls && "bundled/"+b.Name == f.Plugin })
}

// calls notes which Services a filter that may call out can reach.
func (r *run) calls(f *config.Filter) {
	if !slices.Contains(f.Capabilities, capabilityHTTPCall) && !r.t.bundledCalls(f) {
		return
	}
	r.lookups++
	r.callers[f.Namespace] = true
	for _, e := range f.Egress {
		if parts := strings.Split(e.Hostname, "."); len(parts) == 2 || len(parts) > 2 && parts[2] == "svc" {
			r.called[parts[1]+"/"+parts[0]] = true
		}
	}
}

// callable adds the Services that plugins may call to the config, but for those that
// lead to the API server or to us: no name of theirs leads there (section 7.5).
func (r *run) callable() {
	for _, s := range sorted(r.o.Services) {
		if !r.callers[s.Namespace] && !r.called[s.Namespace+"/"+s.Name] || s.Spec.Type == corev1.ServiceTypeExternalName || r.t.o.CheckEndpoints && r.ownService(s.Namespace+"/"+s.Name) {
			continue
		}
		for i := range s.Spec.Ports {
			if p := &s.Spec.Ports[i]; p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
				r.pinned[r.upstream(s, p, false)] = true
			}
		}
	}
}
