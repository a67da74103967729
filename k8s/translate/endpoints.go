package translate

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"penstock.dev/penstock/core/config"
)

// endpoints gathers the addresses of a Service's port, each once; with podsOnly those
// of the namespace's Pods; forbidden ones are left out. A Pod that has addresses of both families is one endpoint,
// at the family that the Service names first, or else at the first that is listed.
func (t *Translator) endpoints(s *corev1.Service, list []*discoveryv1.EndpointSlice, port string, podsOnly bool) *config.EndpointSet {
	g := gathering{forbidden: t.forbidden, set: &config.EndpointSet{}, seen: map[netip.AddrPort]bool{}, pods: map[corev1.ObjectReference]int{}}
	if len(s.Spec.IPFamilies) > 0 {
		g.sixFirst = s.Spec.IPFamilies[0] == corev1.IPv6Protocol
		g.ordered = true
	}
	for _, slice := range list {
		number := portOf(slice, port)
		if slice.AddressType == discoveryv1.AddressTypeFQDN || number == 0 {
			continue
		}
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; !podsOnly || !foreign(slice, e) {
				g.add(e, number)
			}
		}
	}
	return g.set
}

// gathering is the endpoints of a port as they are found.
type gathering struct {
	forbidden
	set  *config.EndpointSet
	seen map[netip.AddrPort]bool
	pods map[corev1.ObjectReference]int // where in set a Pod's first address is
	// sixFirst: addresses of IPv6 go before those of IPv4, if they are ordered.
	sixFirst, ordered bool
}

func (g *gathering) add(e *discoveryv1.Endpoint, number uint16) {
	for _, text := range e.Addresses {
		address, err := netip.ParseAddr(text)
		at := netip.AddrPortFrom(address, number)
		if err != nil || g.seen[at] || g.forbidden[address.Unmap()] {
			continue
		}
		g.seen[at] = true
		c := endpoint(e, at)
		if e.TargetRef == nil || e.TargetRef.Kind != "Pod" {
			g.set.Endpoints = append(g.set.Endpoints, c)
			continue
		}
		pod := corev1.ObjectReference{Namespace: e.TargetRef.Namespace, Name: e.TargetRef.Name, UID: e.TargetRef.UID}
		i, known := g.pods[pod]
		if !known || g.set.Endpoints[i].Address.Addr().Is4() == address.Is4() {
			if !known {
				g.pods[pod] = len(g.set.Endpoints)
			}
			g.set.Endpoints = append(g.set.Endpoints, c)
		} else if g.ordered && address.Is4() != g.sixFirst {
			g.set.Endpoints[i] = c
		}
	}
}

func endpoint(e *discoveryv1.Endpoint, at netip.AddrPort) config.Endpoint {
	c := config.Endpoint{
		Address:     at,
		Ready:       e.Conditions.Ready == nil || *e.Conditions.Ready,
		Terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating,
	}
	c.Serving = c.Ready
	if e.Conditions.Serving != nil {
		c.Serving = *e.Conditions.Serving
	}
	c.Zone, c.Node = value(e.Zone), value(e.NodeName)
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			c.ForZones = append(c.ForZones, z.Name)
		}
		for _, n := range e.Hints.ForNodes {
			c.ForNodes = append(c.ForNodes, n.Name)
		}
	}
	return c
}

// portOf returns the number of a slice's port by the Service port's name.
func portOf(slice *discoveryv1.EndpointSlice, name string) uint16 {
	for _, p := range slice.Ports {
		if (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) && p.Port != nil && *p.Port > 0 && *p.Port < 1<<16 {
			return uint16(*p.Port)
		}
	}
	return 0
}
