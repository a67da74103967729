package translate

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// A listener's tls.options: the oldest version of TLS, and the key exchanges.
const (
	optionMinVersion = api.Group + "/min-tls-version"
	optionCurves     = api.Group + "/tls-curves"
)

// tls returns how an HTTPS or TLS listener ends TLS. Without a certificate that can be
// used it refuses every handshake: its hostname must not fall to a listener that
// has fewer filters.
func (r *run) tls(l *listener) *config.TLS {
	made := &config.TLS{}
	switch {
	case l.TLS == nil || len(l.TLS.CertificateRefs) == 0:
		r.dangling(l, ".tls.certificateRefs", "InvalidCertificateRef", "missing: %s needs a Secret of type kubernetes.io/tls; connections for the listener are refused until it is named", l.Protocol)
	case l.TLS.Mode != nil && *l.TLS.Mode != gatewayv1.TLSModeTerminate:
		r.reject(l, ".tls.mode", "UnsupportedValue", "%q: HTTPS wants Terminate; connections for the listener are refused", *l.TLS.Mode)
	default:
		r.options(l.object, l.TLS.Options, l.field+".tls.options", made)
		auth, ok := r.clientAuth(l)
		if made.Clients = auth; ok {
			made.Certificates = r.certificates(l)
		}
	}
	made.Tickets = r.current.Tickets
	key := fmt.Sprintf("%v %v %p %s", made.MinVersion, made.Curves, made.Clients, digest(made.Tickets))
	for _, c := range made.Certificates {
		key += fmt.Sprintf(" %p", c)
	}
	return r.t.memo.tls.get(l.id(), key, func() *config.TLS { return made })
}

// options reads a listener's. A version that is wrong means the newest one: never
// an older one than was asked for.
func (r *run) options(o config.Object, options map[gatewayv1.AnnotationKey]gatewayv1.AnnotationValue, field string, to *config.TLS) {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		text := string(options[name])
		switch name {
		case optionMinVersion:
			var ok bool
			if to.MinVersion, ok = minVersion(text); !ok {
				r.problem(o, field, "UnsupportedValue", "%s: %.40q: want \"1.2\" or \"1.3\"; it is 1.3 until it is right", name, text)
			}
		case optionCurves:
			var bad string
			if to.Curves, bad = curves(text); bad != "" {
				r.problem(o, field, "UnsupportedValue", "%s: %.40q is unknown: want a list of %s; the default holds until it is right", name, bad, strings.Join(slices.Sorted(maps.Keys(config.Curves)), ", "))
			}
		default:
			r.problem(o, field, "UnsupportedValue", "%.80q is unknown and has no effect: want %s or %s", name, optionMinVersion, optionCurves)
		}
	}
}

// minVersion reads a version; one that is unknown is the newest.
func minVersion(text string) (v config.TLSVersion, ok bool) {
	switch text {
	case "1.2":
		return config.TLS12, true
	case "1.3":
		return config.TLS13, true
	}
	return config.TLS13, false
}

// curves reads a list with commas; bad is the first that is unknown.
func curves(text string) (list []config.Curve, bad string) {
	for _, name := range strings.Split(text, ",") {
		c, ok := config.Curves[strings.TrimSpace(name)]
		if !ok {
			return nil, cmpOr(name, "nothing")
		}
		list = append(list, c)
	}
	return list, ""
}

// badRef is a reference that leads to no certificate.
type badRef struct {
	field, reason, message string
	kept                   bool // the last good one serves
}

// certificates returns those that a listener names and tells what is wrong with
// them. The last good one stands for one that broke, or is gone.
func (r *run) certificates(l *listener) []*config.Certificate {
	var all []*config.Certificate
	var bad []badRef
	for i := range l.TLS.CertificateRefs {
		ref := &l.TLS.CertificateRefs[i]
		at := fmt.Sprintf(".tls.certificateRefs[%d]", i)
		namespace := cmpOr(value(ref.Namespace), l.object.Namespace)
		id := l.id() + " " + namespace + "/" + string(ref.Name)
		pair, b := r.reference(l.object, ref, namespace)
		switch {
		case b == nil:
			r.review(l.object, l.Listener, pair, l.field+at)
			r.certs[id] = pair.config
		case b.reason == "InvalidCertificateRef" && r.t.certs[id] != nil:
			b.kept = true
			r.certs[id] = r.t.certs[id]
		}
		if b != nil {
			b.field = at + b.field
			bad = append(bad, *b)
		}
		if c := r.certs[id]; c != nil && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	for _, b := range bad {
		then := "connections for the listener are refused until it is right"
		switch {
		case b.kept:
			then = "the last good certificate serves until it is right"
		case len(all) > 0:
			then = "the listener's other certificates serve"
		}
		r.dangling(l, b.field, b.reason, "%s; %s", b.message, then)
	}
	return all
}

// reference returns what a certificateRef of an object leads to.
func (r *run) reference(o config.Object, ref *gatewayv1.SecretObjectReference, namespace string) (*keyPair, *badRef) {
	if ref.Kind != nil && *ref.Kind != "Secret" || ref.Group != nil && *ref.Group != "" {
		return nil, &badRef{field: ".kind", reason: "InvalidCertificateRef", message: "want a Secret"}
	}
	if namespace != o.Namespace && !r.granted(o.Kind, o.Namespace, "Secret", namespace, string(ref.Name)) {
		return nil, &badRef{reason: "RefNotPermitted", message: fmt.Sprintf("a Secret of namespace %s needs a ReferenceGrant there, from %ss of %s", namespace, o.Kind, o.Namespace)}
	}
	secret := r.secret(namespace, string(ref.Name))
	if secret == nil {
		return nil, &badRef{reason: "InvalidCertificateRef", message: fmt.Sprintf("there is no Secret %s in namespace %s", ref.Name, namespace)}
	}
	pair := r.certificate(secret)
	if pair.err != nil {
		return nil, &badRef{reason: "InvalidCertificateRef", message: fmt.Sprintf("Secret %s/%s: %v", namespace, ref.Name, pair.err)}
	}
	return pair, nil
}

// review warns of a certificate that serves and that clients will not like.
func (r *run) review(o config.Object, l *gatewayv1.Listener, pair *keyPair, field string) {
	leaf, hostname, now := pair.leaf, strings.ToLower(value(l.Hostname)), r.t.o.Now()
	warn := func(format string, args ...any) {
		r.warn(o, field, "InvalidCertificateRef", "the certificate of %s "+format, append([]any{pair.config.Object}, args...)...)
	}
	switch {
	case now.After(leaf.NotAfter):
		warn("expired at %s: renew it", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		warn("is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	switch {
	case len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0:
		warn("names no hostname in its subjectAltName: clients refuse it")
	case hostname != "" && !named(leaf, hostname):
		warn("is not for %s: clients refuse it; it is for %.200s", hostname, strings.Join(pair.config.Names, ", "))
	}
}

// named reports whether a certificate is for a listener's hostname, or for one
// that is under it.
func named(leaf *x509.Certificate, hostname string) bool {
	if !strings.HasPrefix(hostname, "*") {
		return leaf.VerifyHostname(hostname) == nil
	}
	return slices.ContainsFunc(leaf.DNSNames, func(name string) bool {
		name = strings.ToLower(name)
		return name == hostname || covers(hostname, name)
	})
}
