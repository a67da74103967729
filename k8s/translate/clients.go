package translate

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// The fields that tell the upstream of a client's certificate.
const (
	forwardXFCC = "X-Forwarded-Client-Cert"
	forwardCert = "Client-Cert"
)

// maxNames bounds the names that a certificate is compared with.
const maxNames = 64

// clients reads what ProxyParameters say of clients' certificates.
func (a *applied) clients(p *config.ProxyParameters, c *api.ParameterClients) {
	const field = "spec.tls.clientCertificates"
	if c.Optional != nil {
		p.ClientsOptional = *c.Optional
	}
	if c.SubjectAltNames != nil {
		if len(c.SubjectAltNames) > maxNames {
			a.wrong(field+".subjectAltNames", "%d entries, at most %d", len(c.SubjectAltNames), maxNames)
			return
		}
		p.ClientNames = []config.SubjectAltName{}
		for i, n := range c.SubjectAltNames {
			name, why := subjectAltName(n.Hostname, n.URI)
			if why != "" {
				a.wrong(fmt.Sprintf("%s.subjectAltNames[%d]", field, i), "%s", why)
				continue
			}
			p.ClientNames = append(p.ClientNames, name)
		}
	}
	if c.Forward != nil {
		p.ForwardXFCC, p.ForwardClientCert = slices.Contains(c.Forward, forwardXFCC), slices.Contains(c.Forward, forwardCert)
		for i, f := range c.Forward {
			if f != forwardXFCC && f != forwardCert {
				a.wrong(fmt.Sprintf("%s.forward[%d]", field, i), "%.40q: want %s or %s", f, forwardXFCC, forwardCert)
			}
		}
	}
}

// Bounds on the keys of session tickets and of session persistence.
const (
	maxKeys  = 8
	leastKey = 32 // bytes
)

// keys reads those that a Secret holds, the last name first.
func (a *applied) keys(field, namespace, name string) [][]byte {
	secret := a.secret(namespace, name)
	switch {
	case secret == nil:
		a.wrong(field, "there is no Secret %.253s in namespace %s", name, namespace)
		return nil
	case len(secret.Data) == 0 || len(secret.Data) > maxKeys:
		a.wrong(field, "it has %d values: want 1 to %d", len(secret.Data), maxKeys)
		return nil
	}
	var all [][]byte
	for _, key := range slices.Backward(slices.Sorted(maps.Keys(secret.Data))) {
		if len(secret.Data[key]) < leastKey {
			a.wrong(field, "%.63s has %d bytes: want %d at least, at random", key, len(secret.Data[key]), leastKey)
			return nil
		}
		all = append(all, secret.Data[key])
	}
	return all
}

// subjectAltName reads a hostname or a URI; why says what is wrong with them.
func subjectAltName(hostname, uri string) (name config.SubjectAltName, why string) {
	switch {
	case (hostname == "") == (uri == ""):
		return name, "want one of hostname and uri"
	case hostname != "":
		if !wildcard(hostname) {
			return name, fmt.Sprintf("hostname: %.80q is no hostname", hostname)
		}
		return config.SubjectAltName{DNS: strings.ToLower(hostname)}, ""
	}
	if u, err := url.Parse(uri); err != nil || u.Scheme == "" || len(uri) > 2048 {
		return name, fmt.Sprintf("uri: %.80q is no absolute URI, as spiffe://domain/path", uri)
	}
	return config.SubjectAltName{URI: uri}, ""
}

// frontend returns what a Gateway says of the clients of a port, nil for nothing,
// and where.
func frontend(g *gatewayv1.Gateway, port gatewayv1.PortNumber) (v *gatewayv1.FrontendTLSValidation, field string) {
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil {
		return nil, ""
	}
	front := g.Spec.TLS.Frontend
	v, field = front.Default.Validation, "spec.tls.frontend.default.validation"
	for i := range front.PerPort {
		if front.PerPort[i].Port == port {
			v, field = front.PerPort[i].TLS.Validation, fmt.Sprintf("spec.tls.frontend.perPort[%d].tls.validation", i)
		}
	}
	return v, field
}

// clientAuth returns what a listener asks of its clients, nil for nothing. ok is
// false if it may let nobody in: what would judge them is missing or wrong.
func (r *run) clientAuth(l *listener) (auth *config.ClientAuth, ok bool) {
	g := l.gateway
	v, field := frontend(g.Gateway, l.Port)
	if v == nil {
		return nil, true
	}
	made := &config.ClientAuth{Optional: r.current.ClientsOptional, Names: r.current.ClientNames}
	switch v.Mode {
	case "", gatewayv1.AllowValidOnly:
	case gatewayv1.AllowInsecureFallback:
		made.Unchecked = true
	default:
		text := fmt.Sprintf("%.40q: want %s or %s; connections are refused until it is right", v.Mode, gatewayv1.AllowValidOnly, gatewayv1.AllowInsecureFallback)
		r.problem(g.object, field+".mode", "UnsupportedValue", "%s", text)
		l.rejected = &verdict{"UnsupportedValue", text}
		return nil, false
	}
	wrong := func(at, reason, format string, args ...any) {
		text := fmt.Sprintf(format, args...) + "; connections are refused until it is right"
		r.problem(g.object, at, reason, "%s", text)
		if l.refs == nil {
			l.refs = &verdict{reason, at + ": " + text}
		}
	}
	good := true
	for i := range v.CACertificateRefs {
		ref := &v.CACertificateRefs[i]
		at := fmt.Sprintf("%s.caCertificateRefs[%d]", field, i)
		namespace := cmpOr(value(ref.Namespace), g.Namespace)
		switch {
		case ref.Group != "" || ref.Kind != "ConfigMap" && ref.Kind != "Secret":
			wrong(at, "InvalidCACertificateKind", "want a ConfigMap or a Secret")
			good = false
			continue
		case namespace != g.Namespace && !r.granted("Gateway", g.Namespace, string(ref.Kind), namespace, string(ref.Name)):
			wrong(at, "RefNotPermitted", "a %s of namespace %s needs a ReferenceGrant there, from Gateways of %s", ref.Kind, namespace, g.Namespace)
			good = false
			continue
		}
		roots, lists, why := r.authority(string(ref.Kind), namespace, string(ref.Name))
		if why != "" {
			wrong(at, "InvalidCACertificateRef", "%s", why)
			good = false
			continue
		}
		made.Roots, made.Revoked = append(made.Roots, roots...), append(made.Revoked, lists...)
	}
	if good && len(made.Roots) == 0 {
		wrong(field+".caCertificateRefs", "InvalidCACertificateRef", "missing: who vouches for clients?")
	}
	if len(made.Roots) == 0 {
		l.rejected = &verdict{string(gatewayv1.ListenerReasonNoValidCACertificate), l.refs.message}
	}
	if !good || len(made.Roots) == 0 {
		return nil, false
	}
	return r.t.memo.clients.get(l.id(), digest([]any{made, made.Roots, made.Revoked}), func() *config.ClientAuth { return made }), true
}

// The keys of an object with authorities.
const (
	keyCA  = "ca.crt"
	keyCRL = "ca.crl"
)

// authority reads certificates and, if there are any, revocation lists.
func (r *run) authority(kind, namespace, name string) (roots, lists [][]byte, why string) {
	var ca, crl []byte
	found := false
	if kind == "Secret" {
		if s := r.secret(namespace, name); s != nil {
			ca, crl, found = s.Data[keyCA], s.Data[keyCRL], true
		}
	} else if m := r.configMap(namespace, name); m != nil {
		ca, crl, found = []byte(m.Data[keyCA]), []byte(m.Data[keyCRL]), true
	}
	at := fmt.Sprintf("%s %s/%s", kind, namespace, name)
	if !found {
		return nil, nil, fmt.Sprintf("there is no %s", at)
	}
	for block, rest := pem.Decode(ca); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, nil, fmt.Sprintf("%s: %s holds a %.40q: want certificates only", at, keyCA, block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, nil, fmt.Sprintf("%s: %s: certificate %d cannot be read: %v", at, keyCA, len(roots)+1, err)
		}
		roots = append(roots, block.Bytes)
	}
	if len(roots) == 0 {
		return nil, nil, fmt.Sprintf("%s: %s holds no certificate in PEM", at, keyCA)
	}
	for block, rest := pem.Decode(crl); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseRevocationList(block.Bytes); block.Type != "X509 CRL" || err != nil {
			return nil, nil, fmt.Sprintf("%s: %s: list %d cannot be read: want X509 CRL in PEM", at, keyCRL, len(lists)+1)
		}
		lists = append(lists, block.Bytes)
	}
	if len(crl) > 0 && len(lists) == 0 {
		return nil, nil, fmt.Sprintf("%s: %s holds no revocation list in PEM", at, keyCRL)
	}
	return roots, lists, ""
}
