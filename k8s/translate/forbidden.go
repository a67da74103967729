package translate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"penstock.dev/penstock/core/config"
)

// apiServer is the Service that every cluster has for its API server.
const apiServer = "default/kubernetes"

const labelName = "app.kubernetes.io/name"

// forbidden are the addresses that no Service, plugin or registry may lead to: those of
// the API server and of our own Pods, and of the Services that stand before them
// (annotations.md, section 7.5). A namespace's owner can write them into an
// EndpointSlice. Nothing is forbidden to a folder of files. A load balancer's address is
// not among them: what it leads to is there for everybody.
type forbidden map[netip.Addr]bool

// forbid gathers them, and has the upstreams looked at again that it makes a difference
// to.
func (r *run) forbid() {
	if !r.t.o.CheckEndpoints {
		return
	}
	now := forbidden{}
	note := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil {
			now[a.Unmap()] = true
		}
	}
	for name, list := range r.slices {
		if !r.ownService(name) {
			continue
		}
		for _, slice := range list {
			for i := range slice.Endpoints {
				for _, text := range slice.Endpoints[i].Addresses {
					note(text)
				}
			}
		}
	}
	for name, s := range r.services {
		if !r.ownService(name) {
			continue
		}
		note(s.Spec.ClusterIP) // "None" is no address
		for _, text := range s.Spec.ClusterIPs {
			note(text)
		}
	}
	if r.t.barred != nil && maps.Equal(now, r.t.forbidden) {
		return
	}
	differ := forbidden{}
	for _, set := range []forbidden{now, r.t.forbidden} {
		for a := range set {
			if now[a] != r.t.forbidden[a] {
				differ[a] = true
			}
		}
	}
	for name, k := range r.t.restored {
		if len(differ.in(k.slices)) > 0 {
			r.t.unremember(name)
		}
	}
	r.t.forbidden = now
	r.t.barred = &config.Forbidden{Addresses: slices.SortedFunc(maps.Keys(now), netip.Addr.Compare)}
}

// ownService reports whether a Service leads to the API server or to our own Pods.
func (r *run) ownService(name string) bool {
	if name == apiServer {
		return true
	}
	s := r.services[name]
	if s == nil || s.Namespace != r.t.o.InstallNamespace {
		return false
	}
	ours := "penstock"
	if i := r.t.o.Infrastructure; i != nil {
		ours = cmp.Or(i.Selector[labelName], ours)
	}
	return s.Labels[labelGatewayUID] != "" || s.Spec.Selector[labelName] == ours
}

// in returns the forbidden addresses that slices name, in order.
func (f forbidden) in(list []*discoveryv1.EndpointSlice) (hits []netip.Addr) {
	if len(f) == 0 {
		return nil
	}
	for _, slice := range list {
		for i := range slice.Endpoints {
			for _, text := range slice.Endpoints[i].Addresses {
				if a, err := netip.ParseAddr(text); err == nil && f[a.Unmap()] {
					hits = append(hits, a)
				}
			}
		}
	}
	slices.SortFunc(hits, netip.Addr.Compare)
	return slices.Compact(hits)
}

// checkForbidden tells of addresses that are left out.
func (r *run) checkForbidden(s *corev1.Service, list []*discoveryv1.EndpointSlice) {
	for _, slice := range list {
		if hits := r.t.forbidden.in([]*discoveryv1.EndpointSlice{slice}); len(hits) > 0 {
			r.problem(object("EndpointSlice", slice), "endpoints", "RefusedByPolicy",
				"%s: the API server and Penstock's own Pods are left out of Service %s: no Service may lead to them", fmt.Sprint(hits), s.Name)
		}
	}
}
