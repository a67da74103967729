package translate

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// parameters returns a Gateway's: the defaults, what its class' ProxyParameters
// set, then what its own do. If one of them is missing or wrong as a whole the
// last good ones serve; ok is false if there are none.
func (r *run) parameters(g *gatewayv1.Gateway) (p *config.ProxyParameters, ok bool) {
	if known, done := r.found[g]; done {
		return known, known != nil
	}
	o := object("Gateway", g)
	class := r.classes[string(g.Spec.GatewayClassName)]
	joined := *r.t.o.Parameters
	good, asked := true, false
	if class.Spec.ParametersRef != nil {
		asked = true
		good = r.applyClass(&joined, class)
	}
	if i := g.Spec.Infrastructure; i != nil && i.ParametersRef != nil {
		asked = true
		ref := i.ParametersRef
		good = r.apply(&joined, o, "spec.infrastructure.parametersRef", string(ref.Group), string(ref.Kind), g.Namespace, ref.Name) && good
	}
	id := o.String()
	switch {
	case !asked:
		p = r.t.o.Parameters
		delete(r.t.parameters, id)
	case good:
		password := ""
		if joined.Redis != nil {
			password = joined.Redis.Password
		}
		p = r.t.memo.parameters.get(id, digest([]any{joined, password, joined.Tickets, joined.SessionKeys}), func() *config.ProxyParameters { return &joined })
		r.t.parameters[id] = p
	default:
		r.t.memo.parameters.keep(id)
		if p = r.t.parameters[id]; p != nil {
			r.oldParameters[o] = true
			r.warn(o, "", "InvalidParameters", "its ProxyParameters are missing or wrong: the last good ones serve until they are right")
		} else {
			r.problem(o, "", "InvalidParameters", "its ProxyParameters are missing or wrong: it is not served until they are right")
		}
	}
	r.found[g] = p
	return p, p != nil
}

// applyClass puts what a class' parameters say into p.
func (r *run) applyClass(p *config.ProxyParameters, c *gatewayv1.GatewayClass) bool {
	ref, at := c.Spec.ParametersRef, object("GatewayClass", c)
	switch {
	case ref == nil:
		return true
	case value(ref.Namespace) == "":
		r.problem(at, "spec.parametersRef.namespace", "InvalidParameters", "missing: ProxyParameters have a namespace")
		return false
	}
	return r.apply(p, at, "spec.parametersRef", string(ref.Group), string(ref.Kind), value(ref.Namespace), ref.Name)
}

// apply puts what a reference's object says into p.
func (r *run) apply(p *config.ProxyParameters, at config.Object, field, group, kind, namespace, name string) bool {
	if group != api.Group || kind != "ProxyParameters" {
		r.problem(at, field, "InvalidParameters", "%s of %q: want ProxyParameters of %s", kind, group, api.Group)
		return false
	}
	o := r.proxyParameters[namespace+"/"+name]
	if o == nil {
		r.problem(at, field, "InvalidParameters", "there is no ProxyParameters %s in namespace %s", name, namespace)
		return false
	}
	return r.applyObject(p, o)
}

// applyObject puts what o says into p, and tells what is wrong with it.
func (r *run) applyObject(p *config.ProxyParameters, o *api.ProxyParameters) bool {
	a := &applied{run: r, object: object("ProxyParameters", o), ok: true}
	s := &o.Spec
	a.later(s)
	if s.TrustedProxies != nil {
		p.TrustedProxies = a.prefixes("spec.trustedProxies", s.TrustedProxies)
	}
	if s.ProxyProtocol != nil {
		p.ProxyProtocol = a.prefixes("spec.proxyProtocol.sources", s.ProxyProtocol.Sources)
		p.ProxyProtocolTo = a.proxied(o.Namespace, s.ProxyProtocol.Upstreams)
	}
	if t := s.Timeouts; t != nil {
		a.duration("spec.timeouts.header", t.Header, &p.HeaderTimeout, 100*time.Millisecond, 5*time.Minute)
		a.duration("spec.timeouts.idle", t.Idle, &p.IdleTimeout, time.Second, time.Hour)
		a.duration("spec.timeouts.tunnel", t.Tunnel, &p.TunnelTimeout, time.Second, 7*24*time.Hour)
		a.duration("spec.timeouts.tcpIdle", t.TCPIdle, &p.TCPIdleTimeout, time.Second, 7*24*time.Hour)
		a.duration("spec.timeouts.udpIdle", t.UDPIdle, &p.UDPIdleTimeout, time.Second, time.Hour)
		a.duration("spec.timeouts.connect", t.Connect, &p.ConnectTimeout, 10*time.Millisecond, time.Minute)
		a.duration("spec.timeouts.response", t.Response, &p.ResponseTimeout, 100*time.Millisecond, time.Hour)
	}
	if l := s.Limits; l != nil {
		a.size("spec.limits.requestLine", l.RequestLine, &p.RequestLineBytes, 1<<10, 64<<10)
		a.size("spec.limits.headers", l.Headers, &p.HeaderBytes, 4<<10, 1<<20)
		a.count("spec.limits.headerFields", l.HeaderFields, &p.HeaderFields, 10, 1000)
		a.count("spec.limits.connections", l.Connections, &p.MaxConnections, 1, 65_535)
		a.count("spec.limits.connectionsPerClient", l.PerClient, &p.MaxPerClient, 0, 65_535)
		a.count("spec.limits.minBytesPerSecond", l.MinRate, &p.MinBytesPerSecond, 0, 1_000_000)
		a.count("spec.limits.flows", l.Flows, &p.MaxFlows, 1, 1_000_000)
		a.count("spec.limits.flowsPerClient", l.FlowsPerClient, &p.MaxFlowsPerClient, 0, 1_000_000)
		a.count("spec.limits.idleConnections", l.IdleConnections, &p.MaxIdle, 0, 65_535)
		a.count("spec.limits.pending", l.Pending, &p.MaxPending, 0, 65_535)
	}
	if f := s.Forwarded; f != nil {
		if f.Headers != nil {
			p.Forwarded = *f.Headers
		}
		if f.Via != nil {
			if p.Via = *f.Via; !pseudonym(p.Via) {
				a.wrong("spec.forwarded.via", "%.40q: want a name of letters, digits, - . _ (RFC 9110, 7.6.3), or \"\" for none", p.Via)
			}
		}
	}
	if s.TLS != nil && s.TLS.ClientCertificates != nil {
		a.clients(p, s.TLS.ClientCertificates)
	}
	if s.TLS != nil && s.TLS.SessionTickets != nil && s.TLS.SessionTickets.SecretRef != nil {
		p.Tickets = a.keys("spec.tls.sessionTickets.secretRef", o.Namespace, s.TLS.SessionTickets.SecretRef.Name)
	}
	if x := s.SessionPersistence; x != nil && x.SecretRef != nil {
		p.SessionKeys = a.keys("spec.sessionPersistence.secretRef", o.Namespace, x.SecretRef.Name)
	}
	if h := s.HTTP3; h != nil && h.Enabled != nil {
		p.HTTP3 = *h.Enabled
	}
	if s.Redis != nil {
		p.Redis = a.redis(o, s.Redis)
	}
	return a.ok
}

// applied is the reading of one object.
type applied struct {
	*run
	object config.Object
	ok     bool
}

func (a *applied) wrong(field, format string, args ...any) {
	a.ok = false
	a.problem(a.object, field, "InvalidParameters", format, args...)
}

// later refuses what is part of the kind and not there yet.
func (a *applied) later(s *api.ProxyParametersSpec) {
	for _, f := range []struct {
		field string
		value json.RawMessage
		fix   string
	}{
		{"trustedHops", s.TrustedHops, "name the proxies in trustedProxies"},
		{"accessLog", s.AccessLog, "use the flag --access-log"}, {"admin", s.Admin, "use the flag --admin"}, {"health", s.Health, "use the flag --health"},
	} {
		if f.value != nil {
			a.ok = false
			a.problem(a.object, "spec."+f.field, "NotSupported", "not supported yet: %s", f.fix)
		}
	}
}

func (a *applied) duration(field, text string, to *time.Duration, low, high time.Duration) {
	if text == "" {
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < low || d > high {
		a.wrong(field, "%.40q: want a duration from %v to %v", text, low, high)
		return
	}
	*to = d
}

func (a *applied) size(field, text string, to *int, low, high int64) {
	if text == "" {
		return
	}
	n, ok := annotation.Bytes(text)
	if !ok || n < low || n > high {
		a.wrong(field, "%.40q: want a size from %dKi to %dKi", text, low>>10, high>>10)
		return
	}
	*to = int(n)
}

func (a *applied) count(field string, n *int64, to *int, low, high int64) {
	if n == nil {
		return
	}
	if *n < low || *n > high {
		a.wrong(field, "%d is not in %d..%d", *n, low, high)
		return
	}
	*to = int(*n)
}

// maxPrefixes bounds the trusted proxies: each connection is compared with them.
const maxPrefixes = 256

func (a *applied) prefixes(field string, list []string) []netip.Prefix {
	if len(list) > maxPrefixes {
		a.wrong(field, "%d entries, at most %d", len(list), maxPrefixes)
		return nil
	}
	all := []netip.Prefix{}
	for i, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			one, err := netip.ParseAddr(text)
			if err != nil || one.Zone() != "" {
				a.wrong(fmt.Sprintf("%s[%d]", field, i), "%.60q: want an address, or a prefix as 10.0.0.0/8", text)
				continue
			}
			p = netip.PrefixFrom(one, one.BitLen())
		}
		if p != p.Masked() {
			a.wrong(fmt.Sprintf("%s[%d]", field, i), "%s has bits beyond its length: want %s", text, p.Masked())
			continue
		}
		if p.Addr().Is4In6() {
			a.wrong(fmt.Sprintf("%s[%d]", field, i), "%s: want the IPv4 form", text)
			continue
		}
		all = append(all, p)
	}
	return all
}

// proxied reads the Services whose connections begin with a PROXY protocol header.
func (a *applied) proxied(namespace string, list []api.ProxyProtocolUpstream) map[string]uint8 {
	const field = "spec.proxyProtocol.upstreams"
	if len(list) > maxPrefixes {
		a.wrong(field, "%d entries, at most %d", len(list), maxPrefixes)
		return nil
	}
	all := map[string]uint8{}
	for i, u := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		space, name, ok := strings.Cut(u.Service, "/")
		if !ok {
			space, name = namespace, u.Service
		}
		if len(validation.IsDNS1123Label(space)) > 0 || len(validation.IsDNS1123Label(name)) > 0 {
			a.wrong(at+".service", "%.80q: want the name of a Service, or namespace/name", u.Service)
			continue
		}
		if u.Version < 0 || u.Version > 2 {
			a.wrong(at+".version", "%d is neither 1 nor 2", u.Version)
			continue
		}
		key := space + "/" + name
		if all[key] != 0 {
			a.wrong(at+".service", "%s is there twice", key)
		}
		if all[key] = uint8(u.Version); u.Version == 0 {
			all[key] = 2
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// pseudonym allows what may stand in Via; nothing is none.
func pseudonym(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._", rune(c)) {
			return false
		}
	}
	return len(s) <= 64
}

// redis reads the server; its Secret and ConfigMap are of the object's namespace.
func (a *applied) redis(o *api.ProxyParameters, s *api.ParameterRedis) *config.Redis {
	c := &config.Redis{Name: o.Namespace + "/" + o.Name, Address: s.Address, Database: int(s.Database), Username: s.Username, Timeout: time.Second, Connections: 4}
	hostname, port, err := net.SplitHostPort(s.Address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || number == 0 || !address(hostname) {
		a.wrong("spec.redis.address", "%.100q: want hostname:port", s.Address)
	}
	if s.Database < 0 || s.Database > 65_535 {
		a.wrong("spec.redis.database", "%d is not in 0..65535", s.Database)
	}
	if len(s.Username) > 256 {
		a.wrong("spec.redis.username", "%d bytes, at most 256", len(s.Username))
	}
	a.duration("spec.redis.timeout", s.Timeout, &c.Timeout, time.Millisecond, 30*time.Second)
	a.count("spec.redis.connections", s.Connections, &c.Connections, 1, 64)
	if ref := s.PasswordSecretRef; ref != nil {
		secret := a.secrets[o.Namespace+"/"+ref.Name]
		switch {
		case secret == nil || secret.Data[ref.Key] == nil:
			a.wrong("spec.redis.passwordSecretRef", "there is no Secret %s with the key %s in namespace %s", ref.Name, ref.Key, o.Namespace)
		case len(secret.Data[ref.Key]) == 0 || len(secret.Data[ref.Key]) > 4<<10:
			a.wrong("spec.redis.passwordSecretRef", "the value is empty or longer than 4 KiB")
		default:
			c.Password = string(secret.Data[ref.Key])
		}
	}
	if s.Username != "" && s.PasswordSecretRef == nil {
		a.wrong("spec.redis.username", "a user needs a password: set passwordSecretRef")
	}
	if s.TLS != nil {
		c.TLS, c.ServerName = true, cmpOr(s.TLS.ServerName, hostname)
		c.CA = a.authorities(o.Namespace, s.TLS.CA)
	}
	return c
}

// address allows a DNS name or an IP address.
func address(hostname string) bool {
	if _, err := netip.ParseAddr(hostname); err == nil {
		return true
	}
	return len(validation.IsDNS1123Subdomain(hostname)) == 0
}

// authorities reads certificates in PEM.
func (a *applied) authorities(namespace string, from *api.ConfigSource) string {
	const field = "spec.redis.tls.ca"
	if from == nil {
		return ""
	}
	var text string
	found := false
	switch {
	case (from.SecretKeyRef == nil) == (from.ConfigMapKeyRef == nil):
		a.wrong(field, "want one of configMapKeyRef and secretKeyRef")
		return ""
	case from.SecretKeyRef != nil:
		if s := a.secrets[namespace+"/"+from.SecretKeyRef.Name]; s != nil {
			var b []byte
			b, found = s.Data[from.SecretKeyRef.Key]
			text = string(b)
		}
	default:
		if m := a.configMaps[namespace+"/"+from.ConfigMapKeyRef.Name]; m != nil {
			text, found = m.Data[from.ConfigMapKeyRef.Key]
		}
	}
	switch {
	case !found:
		a.wrong(field, "there is no such key in namespace %s", namespace)
	case len(text) > maxSourceBytes || !x509.NewCertPool().AppendCertsFromPEM([]byte(text)):
		a.wrong(field, "the value holds no certificate in PEM, or is too long")
	}
	return text
}

// redisOf is the Redis of a filter that may use one: that of the first Gateway,
// by namespace and name, that leads to the object that the filter is declared at.
func (r *run) redisOf(at *place, f *config.Filter) *config.Redis {
	if f.Grant != config.GrantManifest && !slices.Contains(f.Capabilities, capabilityRedis) {
		return nil
	}
	var now *config.Redis
	if r.current != nil {
		now = r.current.Redis
	}
	key := at.object.String()
	first, known := r.redis[key]
	if !known {
		r.redis[key] = now
		return now
	}
	if differ := (first == nil) != (now == nil) || first != nil && *first != *now; differ && f.Grant != config.GrantManifest {
		r.warn(at.object, "", "InvalidParameters", "Gateways that lead to it have ProxyParameters with different spec.redis: its plugins use that of the first Gateway by namespace and name")
	}
	return first
}
