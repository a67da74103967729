package translate

import (
	corev1 "k8s.io/api/core/v1"

	"penstock.dev/penstock/core/config"
)

// Statuses are what is said of each object.
type Statuses = config.Overlay[config.Object, any]

// Result is what a set of objects asks for, and what is to be said of each.
type Result struct {
	// Config is the pointer of the translation before if nothing in it changed.
	Config   *config.Config
	Problems []Problem
	// Status is what we say of each object that is ours, or hangs on one that is: a
	// pointer to a GatewayClassStatus, GatewayStatus, ListenerSetStatus, RouteStatus
	// or PolicyStatus of Gateway API, or to an api.ObjectStatus, or of a CachePurge to an
	// api.CachePurgeStatus without what proxies say, or of a ChainStatus to the wanted
	// object, with our entry alone. There are only our own entries, with
	// observedGeneration and without times: whoever writes it puts them among those
	// of other controllers, and waits until the data plane serves Config, which is
	// why what Config serves counts as Programmed here. A route or policy whose list
	// is empty has nothing of ours to say any more. The pointer is that of the
	// translation before if nothing in it changed.
	Status Statuses
	// Changed are the objects of which Status may say something else, or nothing any
	// more, than that of the result before; nil: any.
	Changed []config.Object
	// Number tells the results of a Translator apart; it rises.
	Number uint64
	// Services and ServiceAccounts are those that the Gateways should have
	// (decision D15), in a stable order; none without Options.Infrastructure.
	Services        []*corev1.Service
	ServiceAccounts []*corev1.ServiceAccount
	// ChainParts are the hashes of the parts that a ChainStatus of Status is about.
	ChainParts map[config.Object][]string
	// References are the Secrets and ConfigMaps that the objects name, there or
	// not: a source that watches single ones watches these. A Secret without a name is all
	// those of its namespace that carry the label of Consumers' credentials.
	References map[config.Object]bool
}

// secret returns a Secret that another object names, nil if there is none.
func (r *run) secret(namespace, name string) *corev1.Secret {
	r.lookups++
	r.references[config.Object{Kind: "Secret", Namespace: namespace, Name: name}] = true
	return r.secrets[namespace+"/"+name]
}

// configMap returns a ConfigMap that another object names, nil if there is none.
func (r *run) configMap(namespace, name string) *corev1.ConfigMap {
	r.lookups++
	r.references[config.Object{Kind: "ConfigMap", Namespace: namespace, Name: name}] = true
	return r.configMaps[namespace+"/"+name]
}
