package translate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// Objects is everything that a source knows. Each object has a namespace (if
// its kind has), a UID and a resourceVersion, and the defaults of its API.
type Objects struct {
	GatewayClasses  []*gatewayv1.GatewayClass
	Gateways        []*gatewayv1.Gateway
	ListenerSets    []*gatewayv1.ListenerSet
	HTTPRoutes      []*gatewayv1.HTTPRoute
	GRPCRoutes      []*gatewayv1.GRPCRoute
	TCPRoutes       []*gatewayv1.TCPRoute
	TLSRoutes       []*gatewayv1.TLSRoute
	UDPRoutes       []*gatewayv1.UDPRoute
	ReferenceGrants []*gatewayv1beta1.ReferenceGrant
	Services        []*corev1.Service
	EndpointSlices  []*discoveryv1.EndpointSlice
	Secrets         []*corev1.Secret
	// Credentials are the Secrets that carry the label of Consumers' credentials, of the
	// namespaces that Result.References says at least.
	Credentials []*corev1.Secret
	ConfigMaps  []*corev1.ConfigMap
	Namespaces  []*corev1.Namespace
	Policies    []*api.PluginPolicy
	Plugins     []*api.Plugin
	Chains      []*api.PluginChain
	Parameters  []*api.ProxyParameters
	BackendTLS  []*gatewayv1.BackendTLSPolicy
	CachePurges []*api.CachePurge
	Consumers   []*api.Consumer
	Unread      []Unread
	// RollBacks are the filters that were rolled back, by RollBack.Declaration.
	RollBacks map[string]*RollBack
}

// Problem is one thing wrong with an object.
type Problem struct {
	Object  config.Object
	Field   string // path in the object; empty: the whole
	Reason  string // a reason of Gateway API or of annotations.md, section 3
	Message string // what is wrong, and what would be right
	Warning bool   // it serves all the same
	File    string // filled in by a source of files
}

// String returns the problem as one line.
func (p Problem) String() string {
	s := p.Object.String()
	if p.Field != "" {
		s += ": " + p.Field
	}
	return fmt.Sprintf("%s: %s: %s", s, p.Reason, p.Message)
}

// Bundled is a plugin that travels with the binary: a catalogue entry.
type Bundled struct {
	Name  string
	Major string // "1"
	Image string
	Guard bool
	// Calls: its manifest asks to call out. It reaches what its namespace's policies list.
	Calls bool
	// Identifies: it says who has sent a request, by the capability consumer.
	Identifies bool
	// Limits of an entry that names none; nil: those of any plugin.
	Limits *api.Limits
}

// Options of a Translator.
type Options struct {
	ControllerName   string // of GatewayClasses that are ours
	InstallNamespace string // where references of PluginPolicies and Plugins resolve
	Bundled          []Bundled
	Parameters       *config.ProxyParameters
	// CheckEndpoints: an EndpointSlice may name only Pods of its namespace, unless
	// policy says allowExternalName. Not for a folder of files, which the operator
	// wrote (annotations.md, section 7.5).
	CheckEndpoints bool
	// Infrastructure gives each Gateway a Service, and its listeners ports of their
	// own behind it; nil: listeners bind their ports, as with files and host ports.
	Infrastructure *Infrastructure
	// GuardImage reports whether what is stored of an image says that it is a guard;
	// nil: nothing is stored.
	GuardImage func(image string) bool
	// Resolved reports whether this process has found an image's digest itself, by the
	// hash of its filter; nil: all digests that it is told are its own.
	Resolved func(filter, digest string) bool
	// Ran reports whether the part with this hash has been warm; nil: none has.
	Ran func(hash string) bool
	Now func() time.Time
}

// Translator remembers what it made last. One goroutine at a time uses it.
type Translator struct {
	o       Options
	last    *config.Config
	memo    memos
	history map[string]*history // by part
	// parameters are the last good ones of each Gateway.
	parameters map[string]*config.ProxyParameters
	kept       map[string]*keptPart           // by place
	certs      map[string]*config.Certificate // last good ones, by listener and Secret
	texts      map[string]parsed              // annotation text -> entries
	shares     map[string]*share              // by namespace
	ports      map[socketKey]uint16           // container ports
	nextPort   uint16                         // that is given next; 0: none was
	statuses   Statuses
	run        uint64 // counts translations
	inputs     inputs
	forms      forms
	restored   map[string]*restored       // by upstream
	behind     map[string]map[string]bool // its keys by namespace/name of the Service
	forbidden  forbidden
	consumers  consumers
	// barred is forbidden as the config has it; nil: nothing is.
	barred *config.Forbidden
	// standing is the last translation as Change goes on with it; nil: it cannot.
	standing *standing
}

// New returns a Translator that remembers nothing.
func New(o Options) *Translator {
	if o.Ran == nil {
		o.Ran = func(string) bool { return false }
	}
	if o.GuardImage == nil {
		o.GuardImage = func(string) bool { return false }
	}
	if o.Resolved == nil {
		o.Resolved = func(string, string) bool { return true }
	}
	return &Translator{
		o: o, history: map[string]*history{}, parameters: map[string]*config.ProxyParameters{}, texts: map[string]parsed{}, shares: map[string]*share{},
		restored: map[string]*restored{}, behind: map[string]map[string]bool{}, kept: map[string]*keptPart{}, consumers: newConsumers(),
	}
}

// Translate returns what the objects ask for, and what is wrong with them.
// Values that did not change keep their pointers.
func (t *Translator) Translate(o *Objects) *Result {
	made, again := t.translate(o)
	if again {
		made, _ = t.translate(o)
	}
	return made
}

func (t *Translator) translate(o *Objects) (_ *Result, again bool) {
	t.run++
	t.inputs.compare(o)
	r := newRun(t, o)
	r.forbid()
	c := &config.Config{Totals: map[string]*config.Totals{}, Forbidden: t.barred}
	n := 0
	if t.last != nil {
		n = len(t.last.Upstreams)
	}
	c.Upstreams, r.endpointSets = make(map[string]*config.Upstream, n), make(map[string]*config.EndpointSet, n)
	r.config = c
	r.candidates()
	r.policies()
	r.totals()
	r.gather()
	r.bind()
	r.attachAll()
	for _, g := range r.byName {
		if r.current, r.at = g.parameters, g; r.current != nil {
			r.identity = r.clientCertificate(g)
			c.Gateways = append(c.Gateways, r.serve(g))
		}
	}
	r.current, r.identity, r.at = t.o.Parameters, nil, nil
	r.purges()
	r.consumers()
	r.callable()
	r.unused()
	r.unattached()
	r.crowdedPolicies()
	r.survey()
	t.certs = r.certs
	t.forget(r)
	c.Endpoints = config.OverlayOf(r.endpointSets)
	if same(t.last, c) {
		c = t.last
	}
	t.last = c
	r.problems = tidied(r.problems)
	made := &Result{Config: c, Problems: r.problems, References: r.references, ChainParts: r.chainParts, Number: t.run}
	made.Services, made.ServiceAccounts = r.provide()
	made.Status = r.status()
	t.memo.turn()
	t.standing = stand(r)
	return made, t.turnShares()
}

// tidied orders problems, and leaves each one once.
func tidied(list []Problem) []Problem {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Object.String(), b.Object.String()), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(list, func(a, b Problem) bool { return a == b })
}

// same reports whether a config says what the last one did. Maps that are equal become
// those of the last one, so that whoever gets it need not look into them.
func same(last, c *config.Config) bool {
	if last == nil {
		return false
	}
	upstreams, endpoints, totals := takeOver(last.Upstreams, &c.Upstreams), c.Endpoints.Equal(last.Endpoints), takeOver(last.Totals, &c.Totals)
	if endpoints {
		c.Endpoints = last.Endpoints
	}
	consumers := c.Consumers.Equal(last.Consumers) && c.ConsumerGrants == last.ConsumerGrants
	return upstreams && endpoints && totals && consumers && last.Forbidden == c.Forbidden && slices.Equal(last.Purges, c.Purges) && slices.Equal(last.Gateways, c.Gateways)
}

func takeOver[T any](last map[string]*T, now *map[string]*T) bool {
	if !config.SameMap(last, *now) && !maps.Equal(last, *now) {
		return false
	}
	*now = last
	return true
}

// sorted returns the objects by namespace and name.
func sorted[T metav1.Object](list []T) []T {
	return slices.SortedStableFunc(slices.Values(list), func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}

// run is one translation.
type run struct {
	t        *Translator
	o        *Objects
	config   *config.Config
	problems []Problem

	classes map[string]*gatewayv1.GatewayClass // ours
	// identity is what the Gateway at hand shows to backends that ask for a
	// certificate; nil: nothing.
	identity *identity
	backends map[string]backendPolicy                 // nil: not looked for yet
	targets  map[string][]*gatewayv1.BackendTLSPolicy // by namespace/service
	// ancestors are the Gateways that lead to the Services of each.
	ancestors map[*gatewayv1.BackendTLSPolicy][]*gateway
	at        *gateway        // that is at hand
	badClass  map[string]bool // GatewayClasses with wrong parameters
	// oldParameters are Gateways whose last good parameters serve.
	oldParameters map[config.Object]bool
	secured       map[string]*config.UpstreamTLS // by policy and Gateway
	// current is the parameters of the Gateway at hand, found those of all.
	current         *config.ProxyParameters
	found           map[*gatewayv1.Gateway]*config.ProxyParameters
	proxyParameters map[string]*api.ProxyParameters // by namespace/name
	redis           map[string]*config.Redis        // by the object at which filters are declared
	services        map[string]*corev1.Service      // by namespace/name
	slices          map[string][]*discoveryv1.EndpointSlice
	secrets         map[string]*corev1.Secret
	credentials     map[string]*corev1.Secret
	configMaps      map[string]*corev1.ConfigMap
	labels          map[string]map[string]string // of namespaces
	chains          map[string]*api.PluginChain
	cachePurges     map[string]*api.CachePurge
	plugins         map[string]*api.Plugin
	namespaces      map[string]*namespacePolicy
	// policyParts is what a policy's overrides are, before and after; nil: nothing.
	policyParts map[*policy][2]*config.Part
	gateways    map[config.Object]*gateway // ours
	byName      []*gateway                 // the same, by namespace and name
	sets        map[config.Object]*listenerSet
	routesOfAll []*candidate
	children    map[config.Object]*children // by parent
	parents     map[config.Object]bool      // Gateways and ListenerSets, whosever
	chained     map[config.Object]*chained  // that have a chain
	// plain, simple, used and relied are of the route at hand, as in served.
	plain, simple bool
	used          []usedUpstream
	relied        []reliance
	// pinned are upstreams that more than HTTPRoutes and GRPCRoutes lead to.
	pinned map[string]bool
	made   map[string]madePart // by place
	// lookups counts what was looked for beside what inputs compares.
	lookups int
	telling bool // filters that are resolved say what declares them
	// changing: the run goes on from where it stands; beyond: it cannot.
	changing, beyond bool
	// shared: the map of upstreams is that of a config that was handed on, which nobody
	// may write to.
	shared bool
	// endpointSets are by upstream; of a run that goes on those that it looked at, nil:
	// there are none any more.
	endpointSets map[string]*config.EndpointSet
	parts        map[string]bool                // ids seen in this run
	known        map[string][]string            // guards; nil: not gathered yet
	callers      map[string]bool                // namespaces with plugins that may call out
	called       map[string]bool                // namespace/name of other Services that they may call
	certs        map[string]*config.Certificate // what serves, by listener and Secret
	chainParts   map[config.Object][]string     // hashes of the parts that a ChainStatus is about
	references   map[config.Object]bool         // Secrets and ConfigMaps that were looked for
}

func newRun(t *Translator, o *Objects) *run {
	r := &run{
		t: t, o: o,
		classes: map[string]*gatewayv1.GatewayClass{},
		found:   map[*gatewayv1.Gateway]*config.ProxyParameters{},
		redis:   map[string]*config.Redis{},

		proxyParameters: index(o.Parameters),
		services:        t.inputs.services.byName,
		secrets:         index(o.Secrets),
		credentials:     index(o.Credentials),
		configMaps:      index(o.ConfigMaps),
		chains:          index(o.Chains),
		cachePurges:     index(o.CachePurges),
		plugins:         map[string]*api.Plugin{},
		slices:          make(map[string][]*discoveryv1.EndpointSlice, len(o.EndpointSlices)),
		labels:          map[string]map[string]string{},
		namespaces:      map[string]*namespacePolicy{},
		policyParts:     map[*policy][2]*config.Part{},
		parents:         map[config.Object]bool{},
		children:        map[config.Object]*children{},
		ancestors:       map[*gatewayv1.BackendTLSPolicy][]*gateway{},
		badClass:        map[string]bool{},
		oldParameters:   map[config.Object]bool{},
		chained:         map[config.Object]*chained{},
		parts:           map[string]bool{},
		callers:         map[string]bool{},
		called:          map[string]bool{},
		certs:           map[string]*config.Certificate{},
		secured:         map[string]*config.UpstreamTLS{},
		references:      map[config.Object]bool{},
		chainParts:      map[config.Object][]string{},
		pinned:          map[string]bool{},
		made:            map[string]madePart{},
	}
	for _, c := range o.GatewayClasses {
		if string(c.Spec.ControllerName) == t.o.ControllerName {
			r.classes[c.Name] = c
		}
	}
	for _, s := range o.EndpointSlices {
		key := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
		r.slices[key] = append(r.slices[key], s)
	}
	for key, list := range r.slices {
		if len(list) > 1 {
			r.slices[key] = sorted(list)
		}
	}
	for _, n := range o.Namespaces {
		r.labels[n.Name] = n.Labels
	}
	for _, p := range o.Plugins {
		r.plugins[p.Name] = p
	}
	return r
}

func index[T metav1.Object](list []T) map[string]T {
	m := map[string]T{}
	for _, o := range list {
		m[o.GetNamespace()+"/"+o.GetName()] = o
	}
	return m
}

// namespaceLabels returns a namespace's labels; one that is not declared has
// its name's.
func (r *run) namespaceLabels(name string) map[string]string {
	if l, ok := r.labels[name]; ok {
		return l
	}
	return map[string]string{corev1.LabelMetadataName: name}
}

func (r *run) problem(o config.Object, field, reason, format string, args ...any) {
	r.problems = append(r.problems, Problem{Object: o, Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

func (r *run) warn(o config.Object, field, reason, format string, args ...any) {
	r.problems = append(r.problems, Problem{Object: o, Field: field, Reason: reason, Message: fmt.Sprintf(format, args...), Warning: true})
}

func object(kind string, o metav1.Object) config.Object {
	return config.Object{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// version identifies an object's content. A status is none of it, where the kind
// tells them apart: ours would have everything translated anew.
func version(o metav1.Object) string {
	g := o.GetGeneration()
	if g == 0 {
		return string(o.GetUID()) + "@" + o.GetResourceVersion()
	}
	v := string(o.GetUID()) + "#" + strconv.FormatInt(g, 10)
	for key := range o.GetAnnotations() {
		if strings.HasPrefix(key, api.Group+"/") {
			return v + ownAnnotations(o)
		}
	}
	return v
}

// ownAnnotations returns those that we read.
func ownAnnotations(o metav1.Object) (text string) {
	for _, key := range sortedNames(o.GetAnnotations()) {
		if strings.HasPrefix(key, api.Group+"/") {
			text += fmt.Sprintf(" %s=%q", key, o.GetAnnotations()[key])
		}
	}
	return text
}
