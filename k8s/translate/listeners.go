package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
)

// verdict is a condition that does not hold.
type verdict struct{ reason, message string }

// listener is one of a Gateway's: its own, or one of a ListenerSet.
type listener struct {
	*gatewayv1.Listener
	gateway *gateway
	set     *listenerSet  // nil: the Gateway's own
	object  config.Object // who declares it
	field   string        // where
	section string        // its name among all of the Gateway
	kinds   []string      // of routes that it takes
	from    *namespaces   // where they may be
	bind    uint16        // config.Listener.BindPort

	rejected *verdict // why it is not accepted
	conflict bool     // for which rejected is the reason
	refs     *verdict // the first reference that leads nowhere
	served   bool     // what it leads to can be reached
	routes   []attachedRoute
	grpc     int  // of routes are GRPCRoutes; counted by standing
	crowded  bool // routes are left out for others of another kind
}

// id names the listener among all.
func (l *listener) id() string { return l.object.String() + "/" + string(l.Name) }

// reject tells why a listener is not accepted.
func (r *run) reject(l *listener, field, reason, format string, args ...any) {
	r.problem(l.object, l.field+field, reason, format, args...)
	if l.rejected == nil {
		l.rejected = &verdict{reason, fmt.Sprintf(format, args...)}
	}
}

// dangling tells of a reference of a listener that leads nowhere.
func (r *run) dangling(l *listener, field, reason, format string, args ...any) {
	r.problem(l.object, l.field+field, reason, format, args...)
	if l.refs == nil {
		l.refs = &verdict{reason, fmt.Sprintf(format, args...)}
	}
}

// namespaces is where the objects are that may attach to something.
type namespaces struct {
	own      string // "": none
	all      bool
	selector labels.Selector
	answers  map[string]bool
}

// fromNamespaces reads a choice that the API makes for routes and for ListenerSets.
func fromNamespaces(from *gatewayv1.FromNamespaces, selector *metav1.LabelSelector, fallback gatewayv1.FromNamespaces, own string) *namespaces {
	choice := fallback
	if from != nil {
		choice = *from
	}
	switch choice {
	case gatewayv1.NamespacesFromAll:
		return &namespaces{all: true}
	case gatewayv1.NamespacesFromSame:
		return &namespaces{own: own}
	case gatewayv1.NamespacesFromSelector:
		if s, err := metav1.LabelSelectorAsSelector(selector); err == nil {
			return &namespaces{selector: s, answers: map[string]bool{}}
		}
	}
	return &namespaces{}
}

// allows reports whether objects of a namespace may attach.
func (n *namespaces) allows(r *run, namespace string) bool {
	if n.selector == nil {
		return n.all || n.own != "" && n.own == namespace
	}
	answer, known := n.answers[namespace]
	if !known {
		answer = n.selector.Matches(labels.Set(r.namespaceLabels(namespace)))
		n.answers[namespace] = answer
	}
	return answer
}

// protocolKinds returns the kinds of routes that a listener's protocol is for.
func protocolKinds(l *gatewayv1.Listener) []string {
	switch l.Protocol {
	case gatewayv1.HTTPProtocolType, gatewayv1.HTTPSProtocolType:
		return []string{"HTTPRoute", "GRPCRoute"}
	case gatewayv1.TCPProtocolType:
		return []string{"TCPRoute"}
	case gatewayv1.UDPProtocolType:
		return []string{"UDPRoute"}
	case gatewayv1.TLSProtocolType:
		if passthrough(l) {
			return []string{"TLSRoute"}
		}
		return []string{"TCPRoute", "TLSRoute"}
	}
	return nil
}

// newListener reads one that stands at field of object.
func (r *run) newListener(l *gatewayv1.Listener, g *gateway, set *listenerSet, i int) *listener {
	made := &listener{Listener: l, gateway: g, set: set, object: g.object, field: fmt.Sprintf("spec.listeners[%d]", i), section: string(l.Name)}
	if set != nil {
		made.object = set.object
		made.section = set.object.Namespace + "/" + set.object.Name + "/" + string(l.Name)
	}
	made.kinds = protocolKinds(l)
	var routes gatewayv1.RouteNamespaces
	if l.AllowedRoutes != nil {
		if l.AllowedRoutes.Namespaces != nil {
			routes = *l.AllowedRoutes.Namespaces
		}
		if len(l.AllowedRoutes.Kinds) > 0 {
			r.allowedKinds(made)
		}
	}
	made.from = fromNamespaces(routes.From, routes.Selector, gatewayv1.NamespacesFromSame, made.object.Namespace)
	r.validate(made)
	return made
}

// allowedKinds leaves of a listener's kinds those that allowedRoutes names.
func (r *run) allowedKinds(l *listener) {
	able := l.kinds
	l.kinds = nil
	for i, k := range l.AllowedRoutes.Kinds {
		switch {
		case k.Group != nil && *k.Group != gatewayv1.GroupName || !slices.Contains(able, string(k.Kind)):
			if able != nil { // else its protocol is the fault
				r.dangling(l, fmt.Sprintf(".allowedRoutes.kinds[%d]", i), "InvalidRouteKinds", "%s: this listener takes %s", k.Kind, strings.Join(able, ", "))
			}
		case !slices.Contains(l.kinds, string(k.Kind)):
			l.kinds = append(l.kinds, string(k.Kind))
		}
	}
}

// validate looks at what a listener says of itself.
func (r *run) validate(l *listener) {
	isTLS := l.Protocol == gatewayv1.TLSProtocolType
	switch {
	case protocolKinds(l.Listener) == nil:
		r.reject(l, ".protocol", "UnsupportedProtocol", "%q is unknown: want HTTP, HTTPS, TCP, TLS or UDP", l.Protocol)
	case l.Protocol == gatewayv1.HTTPProtocolType && l.TLS != nil:
		r.reject(l, ".tls", "Invalid", "protocol HTTP is plain text: write HTTPS, or remove it")
	case rawProtocol(l.Protocol) && !isTLS && l.TLS != nil:
		r.reject(l, ".tls", "Invalid", "protocol %s has no TLS: write TLS, or remove it", l.Protocol)
	case rawProtocol(l.Protocol) && !isTLS && value(l.Hostname) != "":
		r.reject(l, ".hostname", "Invalid", "protocol %s knows no hostnames: remove it", l.Protocol)
	case isTLS && l.TLS == nil:
		r.reject(l, ".tls", "Invalid", "missing: protocol TLS needs tls.mode, Terminate with certificateRefs, or Passthrough")
	case l.Port < 1 || l.Port > 65535:
		r.reject(l, ".port", "Invalid", "%d is not in 1..65535", l.Port)
	case value(l.Hostname) != "" && !wildcard(value(l.Hostname)):
		r.reject(l, ".hostname", "Invalid", "%q is no hostname", *l.Hostname)
	case isTLS && passthrough(l.Listener) && len(l.TLS.CertificateRefs) > 0:
		r.warn(l.object, l.field+".tls.certificateRefs", "Invalid", "with mode Passthrough the upstream has the certificate: they have no effect")
	}
}

// group is what the listeners of a port must have in common: TLS and HTTPS are told
// apart by the name that a client asks for.
func group(p gatewayv1.ProtocolType) gatewayv1.ProtocolType {
	if p == gatewayv1.HTTPSProtocolType {
		return gatewayv1.TLSProtocolType
	}
	return p
}

// claims are the ports and hostnames that listeners have: of a Gateway behind a
// Service of its own, else of all Gateways.
type claims struct {
	ports map[claimed]*listener // the first
	names map[claimed]*listener
}

// claimed is a port of TCP or of UDP, and in claims.names a hostname on it.
type claimed struct {
	port     gatewayv1.PortNumber
	udp      bool
	hostname string
}

func newClaims() *claims {
	return &claims{ports: map[claimed]*listener{}, names: map[claimed]*listener{}}
}

func (l *listener) claims() (port, name claimed) {
	port = claimed{port: l.Port, udp: l.Protocol == gatewayv1.UDPProtocolType}
	name = port
	name.hostname = strings.ToLower(value(l.Hostname))
	return port, name
}

// add gives a listener what it asks for.
func (c *claims) add(l *listener) {
	port, name := l.claims()
	if c.ports[port] == nil {
		c.ports[port] = l
	}
	c.names[name] = l
}

// rival returns the listener that has what another one asks for, nil for none.
func (c *claims) rival(l *listener) (other *listener, reason string) {
	port, name := l.claims()
	if other = c.ports[port]; other != nil {
		if reason = indistinct(l, other); reason == "ProtocolConflict" {
			return other, reason
		}
	}
	if other = c.names[name]; other != nil {
		return other, indistinct(l, other)
	}
	return nil, ""
}

// indistinct says why traffic for one of two listeners may be meant for the other;
// empty: it cannot.
func indistinct(a, b *listener) (reason string) {
	aPort, aName := a.claims()
	bPort, bName := b.claims()
	switch {
	case aPort != bPort:
		return ""
	case group(a.Protocol) != group(b.Protocol) || a.Protocol == gatewayv1.TCPProtocolType || aPort.udp:
		return "ProtocolConflict"
	case aName == bName:
		return "HostnameConflict"
	}
	return ""
}

// settle rejects the listeners of one object that want what others had before, and
// of the rest those that are not distinct, all of them (Gateway API,
// ListenerSetSpec.listeners and GatewaySpec.listeners); the others have what they want.
func (r *run) settle(list []*listener, taken *claims) {
	for _, l := range list {
		if l.rejected != nil {
			continue
		}
		if other, reason := taken.rival(l); other != nil {
			r.contest(l, other, reason)
		}
	}
	rivals := map[*listener]*listener{}
	for i, l := range list {
		for _, other := range list[:i] {
			if l.rejected != nil || other.rejected != nil {
				continue
			}
			if other.Name == l.Name {
				r.reject(l, ".name", "Invalid", "%q is the name of %s too", l.Name, other.field)
			} else if indistinct(l, other) != "" {
				rivals[l] = cmp.Or(rivals[l], other)
				rivals[other] = cmp.Or(rivals[other], l)
			}
		}
	}
	for _, l := range list {
		if other := rivals[l]; other != nil && l.rejected == nil {
			r.contest(l, other, indistinct(l, other))
		}
		if l.rejected == nil {
			taken.add(l)
		}
	}
}

// contest rejects a listener that wants what another one wants too.
func (r *run) contest(l, other *listener, reason string) {
	l.conflict = true
	r.reject(l, "", reason, "%s has port %d, with %s: use another port or hostname", l.names(other), l.Port, spoken(other))
}

// names returns how l's object may be told of another listener: nothing of other
// namespaces but of its own Gateway.
func (l *listener) names(other *listener) string {
	switch {
	case other.object == l.object:
		return fmt.Sprintf("listener %q", other.Name)
	case other.object.Namespace == l.object.Namespace || other.object == l.gateway.object:
		return fmt.Sprintf("listener %q of %s", other.Name, other.object)
	}
	return "another " + other.object.Kind
}

// spoken describes what a listener is for.
func spoken(l *listener) string {
	if h := value(l.Hostname); h != "" {
		return fmt.Sprintf("%s for %s", l.Protocol, h)
	}
	return string(l.Protocol)
}
