package translate

import (
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

// egress checks a list of destinations.
func egress(list []api.Egress) ([]config.Egress, error) {
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
		out = append(out, c)
	}
	return out, nil
}

// egress returns what every policy lists: the same hostname, the ports of all.
func (n *namespacePolicy) egress() []config.Egress {
	if len(n.policies) == 0 {
		return nil
	}
	all, _ := egress(n.policies[0].Spec.Egress) // a broken policy closes its namespaces
	for _, p := range n.policies[1:] {
		other, _ := egress(p.Spec.Egress)
		var both []config.Egress
		for _, a := range all {
			for _, b := range other {
				if a.Hostname != b.Hostname {
					continue
				}
				c := config.Egress{Hostname: a.Hostname, Ports: slices.Clone(a.Ports)}
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

// calls notes which Services a filter that may call out can reach.
func (r *run) calls(f *config.Filter) {
	if f.Grant == config.GrantManifest || !slices.Contains(f.Capabilities, capabilityHTTPCall) {
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
