package cluster

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// stores are all objects that are watched.
type stores struct {
	watcher *watcher
	kinds   []startable
	byKind  map[string]finder

	classes     *store[*gatewayv1.GatewayClass]
	gateways    *store[*gatewayv1.Gateway]
	sets        *store[*gatewayv1.ListenerSet]
	http        *store[*gatewayv1.HTTPRoute]
	grpc        *store[*gatewayv1.GRPCRoute]
	tcp         *store[*gatewayv1.TCPRoute]
	tls         *store[*gatewayv1.TLSRoute]
	udp         *store[*gatewayv1.UDPRoute]
	backendTLS  *store[*gatewayv1.BackendTLSPolicy]
	grants      *store[*gatewayv1beta1.ReferenceGrant]
	services    *store[*corev1.Service]
	slices      *store[*discoveryv1.EndpointSlice]
	namespaces  *store[*corev1.Namespace]
	accounts    *store[*corev1.ServiceAccount] // those of Gateways
	policies    *store[*api.PluginPolicy]
	plugins     *store[*api.Plugin]
	chains      *store[*api.PluginChain]
	parameters  *store[*api.ProxyParameters]
	purges      *store[*api.CachePurge]
	chainStatus *store[*api.ChainStatus]
	rollBacks   *rollBacks
	observe     func(*api.ChainStatus) // is told of each that comes or changes
	consumers   *store[*api.Consumer]
	secrets     *named[*corev1.Secret]
	credentials *labelled
	configMaps  *named[*corev1.ConfigMap]
}

// startable is a kind whose objects are all watched.
type startable struct {
	name   string
	start  func(context.Context)
	synced <-chan struct{}
}

func newStores(w *watcher, controller string, changed func(), altered func(config.Object)) *stores {
	s := &stores{watcher: w, byKind: map[string]finder{}, rollBacks: newRollBacks(controller), observe: func(*api.ChainStatus) {}}
	gateway, own := gatewayGV, api.GroupVersion
	core := corev1.SchemeGroupVersion
	s.classes = all(s, w, "GatewayClass", watched{gv: gateway, resource: "gatewayclasses", empty: list[gatewayv1.GatewayClassList]}, &gatewayv1.GatewayClass{}, changed)
	s.gateways = all(s, w, "Gateway", watched{gv: gateway, resource: "gateways", empty: list[gatewayv1.GatewayList]}, &gatewayv1.Gateway{}, changed)
	s.sets = all(s, w, "ListenerSet", watched{gv: gateway, resource: "listenersets", empty: list[gatewayv1.ListenerSetList]}, &gatewayv1.ListenerSet{}, changed)
	s.http = all(s, w, "HTTPRoute", watched{gv: gateway, resource: "httproutes", empty: list[gatewayv1.HTTPRouteList]}, &gatewayv1.HTTPRoute{}, changed)
	s.grpc = all(s, w, "GRPCRoute", watched{gv: gateway, resource: "grpcroutes", empty: list[gatewayv1.GRPCRouteList]}, &gatewayv1.GRPCRoute{}, changed)
	s.tcp = all(s, w, "TCPRoute", watched{gv: gateway, resource: "tcproutes", empty: list[gatewayv1.TCPRouteList]}, &gatewayv1.TCPRoute{}, changed)
	s.tls = all(s, w, "TLSRoute", watched{gv: gateway, resource: "tlsroutes", empty: list[gatewayv1.TLSRouteList]}, &gatewayv1.TLSRoute{}, changed)
	s.udp = all(s, w, "UDPRoute", watched{gv: gateway, resource: "udproutes", empty: list[gatewayv1.UDPRouteList]}, &gatewayv1.UDPRoute{}, changed)
	s.backendTLS = all(s, w, "BackendTLSPolicy", watched{gv: gateway, resource: "backendtlspolicies", empty: list[gatewayv1.BackendTLSPolicyList]}, &gatewayv1.BackendTLSPolicy{}, changed)
	s.grants = all(s, w, "ReferenceGrant", watched{gv: grantGV, resource: "referencegrants", empty: list[gatewayv1beta1.ReferenceGrantList]}, &gatewayv1beta1.ReferenceGrant{}, changed)
	s.services = all(s, w, "Service", watched{gv: core, resource: "services", empty: list[corev1.ServiceList]}, &corev1.Service{}, changed)
	s.slices = all(s, w, "EndpointSlice", watched{gv: discoveryv1.SchemeGroupVersion, resource: "endpointslices", empty: list[discoveryv1.EndpointSliceList]}, &discoveryv1.EndpointSlice{}, changed)
	s.slices.of = func(o *discoveryv1.EndpointSlice) string {
		return o.Namespace + "/" + o.Labels[discoveryv1.LabelServiceName]
	}
	s.slices.altered = func(o *discoveryv1.EndpointSlice) {
		altered(config.Object{Kind: "EndpointSlice", Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]})
	}
	s.http.altered = func(o *gatewayv1.HTTPRoute) { altered(naming("HTTPRoute", o)) }
	s.grpc.altered = func(o *gatewayv1.GRPCRoute) { altered(naming("GRPCRoute", o)) }
	s.services.altered = func(o *corev1.Service) { altered(naming("Service", o)) }
	s.namespaces = all(s, w, "Namespace", watched{gv: core, resource: "namespaces", empty: list[corev1.NamespaceList]}, &corev1.Namespace{}, changed)
	s.accounts = all(s, w, "ServiceAccount", watched{gv: core, resource: "serviceaccounts", empty: list[corev1.ServiceAccountList], options: func(o *metav1.ListOptions) { o.LabelSelector = gatewayv1.GatewayNameLabelKey }}, &corev1.ServiceAccount{}, changed)
	s.policies = all(s, w, "PluginPolicy", watched{gv: own, resource: "pluginpolicies", empty: list[api.PluginPolicyList]}, &api.PluginPolicy{}, changed)
	s.plugins = all(s, w, "Plugin", watched{gv: own, resource: "plugins", empty: list[api.PluginList]}, &api.Plugin{}, changed)
	s.chains = all(s, w, "PluginChain", watched{gv: own, resource: "pluginchains", empty: list[api.PluginChainList]}, &api.PluginChain{}, changed)
	s.parameters = all(s, w, "ProxyParameters", watched{gv: own, resource: "proxyparameters", empty: list[api.ProxyParametersList]}, &api.ProxyParameters{}, changed)
	s.purges = all(s, w, "CachePurge", watched{gv: own, resource: "cachepurges", empty: list[api.CachePurgeList]}, &api.CachePurge{}, changed)
	s.purges.altered = func(o *api.CachePurge) { altered(naming("CachePurge", o)) }
	s.consumers = all(s, w, "Consumer", watched{gv: own, resource: "consumers", empty: list[api.ConsumerList]}, &api.Consumer{}, changed)
	s.consumers.altered = func(o *api.Consumer) { altered(naming("Consumer", o)) }
	s.credentials = &labelled{w: w, changed: changed, altered: func(o *corev1.Secret) { altered(naming("Secret", o)) }, namespaces: map[string]*single[*corev1.Secret]{}}
	s.chainStatus = all(s, w, "ChainStatus", watched{gv: own, resource: "chainstatuses", empty: list[api.ChainStatusList]}, &api.ChainStatus{}, func() {
		if s.rollBacks.lookAll(s.chainStatus.list()) {
			changed()
		}
	})
	s.chainStatus.altered = func(c *api.ChainStatus) {
		now, _ := s.chainStatus.get(c.Namespace, c.Name)
		if s.rollBacks.look(key(c), now) {
			changed()
		}
		if now != nil {
			s.observe(now)
		}
	}
	s.chainStatus.told = s.chainStatus.altered
	s.secrets = &named[*corev1.Secret]{w: w, kind: watched{gv: core, resource: "secrets", empty: list[corev1.SecretList]}, example: &corev1.Secret{}, trim: trimmed[*corev1.Secret], changed: changed, objects: map[[2]string]*single[*corev1.Secret]{}}
	s.configMaps = &named[*corev1.ConfigMap]{w: w, kind: watched{gv: core, resource: "configmaps", empty: list[corev1.ConfigMapList]}, example: &corev1.ConfigMap{}, trim: trimmed[*corev1.ConfigMap], changed: changed, objects: map[[2]string]*single[*corev1.ConfigMap]{}}
	return s
}

func naming(kind string, o object) config.Object {
	return config.Object{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// changes are these objects as they are now.
func (s *stores) changes(list map[config.Object]bool) *translate.Changes {
	c := &translate.Changes{
		HTTPRoutes: map[string]*gatewayv1.HTTPRoute{}, GRPCRoutes: map[string]*gatewayv1.GRPCRoute{},
		Services: map[string]*corev1.Service{}, EndpointSlices: map[string][]*discoveryv1.EndpointSlice{},
		CachePurges: map[string]*api.CachePurge{}, Consumers: map[string]*api.Consumer{}, Credentials: map[string]*corev1.Secret{},
	}
	for o := range list {
		name := o.Namespace + "/" + o.Name
		switch o.Kind {
		case "HTTPRoute":
			c.HTTPRoutes[name], _ = s.http.get(o.Namespace, o.Name)
		case "GRPCRoute":
			c.GRPCRoutes[name], _ = s.grpc.get(o.Namespace, o.Name)
		case "Service":
			c.Services[name], _ = s.services.get(o.Namespace, o.Name)
		case "CachePurge":
			c.CachePurges[name], _ = s.purges.get(o.Namespace, o.Name)
		case "Consumer":
			c.Consumers[name], _ = s.consumers.get(o.Namespace, o.Name)
		case "Secret":
			c.Credentials[name] = s.credentials.get(o.Namespace, o.Name)
		case "EndpointSlice":
			c.EndpointSlices[name] = s.slices.grouped(name)
		}
	}
	return c
}

func list[L any, P interface {
	*L
	runtime.Object
}]() runtime.Object {
	return P(new(L))
}

// all makes a store for all objects of a kind.
func all[T object](s *stores, w *watcher, kind string, what watched, example T, changed func()) *store[T] {
	made := newStore(trimmed[T], changed)
	s.byKind[kind] = made
	s.kinds = append(s.kinds, startable{name: kind, synced: made.synced, start: func(ctx context.Context) { follow(ctx, w, what, example, made) }})
	return made
}

func (s *stores) start(ctx context.Context) {
	for _, k := range s.kinds {
		k.start(ctx)
	}
}

// find returns an object as it was last told, false if there is none.
func (s *stores) find(o config.Object) (object, bool) {
	f := s.byKind[o.Kind]
	if f == nil {
		return nil, false
	}
	return f.find(o)
}

// refer makes these the Secrets and ConfigMaps that are watched, and returns the
// channels of those that were not read yet.
func (s *stores) refer(ctx context.Context, references map[config.Object]bool) []<-chan struct{} {
	secrets, configMaps, credentials := map[[2]string]bool{}, map[[2]string]bool{}, map[string]bool{}
	for o := range references {
		switch id := [2]string{o.Namespace, o.Name}; {
		case o.Kind == "Secret" && o.Name == "":
			credentials[o.Namespace] = true
		case o.Kind == "Secret":
			secrets[id] = true
		default:
			configMaps[id] = true
		}
	}
	return slices.Concat(s.secrets.want(ctx, secrets), s.configMaps.want(ctx, configMaps), s.credentials.want(ctx, credentials))
}

// objects gathers what there is.
func (s *stores) objects() *translate.Objects {
	return &translate.Objects{
		GatewayClasses:  s.classes.list(),
		Gateways:        s.gateways.list(),
		ListenerSets:    s.sets.list(),
		HTTPRoutes:      s.http.list(),
		GRPCRoutes:      s.grpc.list(),
		TCPRoutes:       s.tcp.list(),
		TLSRoutes:       s.tls.list(),
		UDPRoutes:       s.udp.list(),
		ReferenceGrants: s.grants.list(),
		Services:        s.services.list(),
		EndpointSlices:  s.slices.list(),
		Secrets:         s.secrets.list(),
		ConfigMaps:      s.configMaps.list(),
		Namespaces:      s.namespaces.list(),
		Policies:        s.policies.list(),
		Plugins:         s.plugins.list(),
		Chains:          s.chains.list(),
		Parameters:      s.parameters.list(),
		BackendTLS:      s.backendTLS.list(),
		CachePurges:     s.purges.list(),
		Consumers:       s.consumers.list(),
		Credentials:     s.credentials.list(),
		RollBacks:       s.rollBacks.all(),
	}
}
