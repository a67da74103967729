package testbed

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// balancer gives Services of type LoadBalancer an address of the pool and routes
// it, and ClusterIPs, to the nodes, where kube-proxy takes over. It is what a
// bare-metal load balancer that announces addresses by BGP does.
type balancer struct {
	client   kubernetes.Interface
	factory  informers.SharedInformerFactory
	services corelisters.ServiceLister
	nodes    corelisters.NodeLister
	slices   discoverylisters.EndpointSliceLister
	changed  chan struct{}
	links    atomic.Bool // a node has a new link: all routes are to be made again

	pool  netip.Prefix
	owner map[netip.Addr]string // the Service that has the address
	// given is what was written, by UID: what a watch says may be older.
	given map[types.UID]netip.Addr
	// Nodes that have answered a Service's health check, by Service and node.
	healthy map[[2]string]bool
	waiting bool // for one that has not
	via     map[string][]netip.Addr
}

func newBalancer(client kubernetes.Interface) *balancer {
	f := informers.NewSharedInformerFactory(client, 0)
	b := &balancer{
		client: client, factory: f, changed: make(chan struct{}, 1), pool: netip.MustParsePrefix(LoadBalancerPool),
		services: f.Core().V1().Services().Lister(), nodes: f.Core().V1().Nodes().Lister(), slices: f.Discovery().V1().EndpointSlices().Lister(),
		owner: map[netip.Addr]string{}, given: map[types.UID]netip.Addr{}, via: map[string][]netip.Addr{}, healthy: map[[2]string]bool{},
	}
	wake := func(any) { b.wake() }
	for _, i := range []cache.SharedIndexInformer{f.Core().V1().Services().Informer(), f.Core().V1().Nodes().Informer(), f.Discovery().V1().EndpointSlices().Informer()} {
		_, _ = i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: wake})
	}
	return b
}

func (b *balancer) wake() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// relink has all routes made again: the kernel drops those of a link that is gone.
func (b *balancer) relink() {
	b.links.Store(true)
	b.wake()
}

// run works until ctx is done; an error of the API server or the kernel is tried
// again a second later.
func (b *balancer) run(ctx context.Context) error {
	b.factory.Start(ctx.Done())
	defer b.factory.Shutdown()
	b.factory.WaitForCacheSync(ctx.Done())
	for {
		again := (<-chan time.Time)(nil)
		b.waiting = false
		if err := b.sync(ctx); err != nil && ctx.Err() == nil {
			again = time.After(time.Second)
		} else if b.waiting {
			again = time.After(recheck)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.changed:
		case <-again:
		}
	}
}

func (b *balancer) sync(ctx context.Context) error {
	if b.links.Swap(false) {
		clear(b.via)
	}
	services, err := b.services.List(labels.Everything())
	if err != nil {
		return err
	}
	// The oldest first, so that the same address asked for twice is the first one's.
	slices.SortFunc(services, func(x, y *corev1.Service) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(key(x), key(y)))
	})
	all, err := b.readyNodes()
	if err != nil {
		return err
	}
	var failed error
	if err := b.route(netip.MustParsePrefix(ServiceNetwork), values(all)); err != nil {
		failed = err
	}
	held := map[netip.Addr]string{}
	for _, s := range services {
		if addr, ok := b.has(s); ok && b.wants(s, addr) && held[addr] == "" {
			held[addr] = key(s)
		}
	}
	maps.DeleteFunc(b.given, func(uid types.UID, _ netip.Addr) bool {
		return !slices.ContainsFunc(services, func(s *corev1.Service) bool { return s.UID == uid })
	})
	b.owner = held
	for _, s := range services {
		if err := b.one(ctx, s, all); err != nil {
			failed = err
		}
	}
	for to := range b.via { // addresses that nobody has any more
		p := netip.MustParsePrefix(to)
		if p.IsSingleIP() && b.owner[p.Addr()] == "" {
			if err := b.route(p, nil); err != nil {
				failed = err
			}
		}
	}
	return failed
}

// wants tells whether Service s may have addr.
func (b *balancer) wants(s *corev1.Service, addr netip.Addr) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.DeletionTimestamp == nil && b.pool.Contains(addr) &&
		(s.Spec.LoadBalancerIP == "" || s.Spec.LoadBalancerIP == addr.String())
}

// one gives s its address, or takes it away, and routes it.
func (b *balancer) one(ctx context.Context, s *corev1.Service, nodes map[string]netip.Addr) error {
	var want []corev1.LoadBalancerIngress
	addr, ok := b.choose(s)
	if ok {
		b.owner[addr] = key(s)
		mode := corev1.LoadBalancerIPModeVIP
		want = []corev1.LoadBalancerIngress{{IP: addr.String(), IPMode: &mode}}
		to := values(nodes)
		if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			var err error
			if to, err = b.local(ctx, s, nodes); err != nil {
				return err
			}
			if _, has := current(s); !has && len(to) == 0 && b.waiting {
				return nil // its address would lead nowhere
			}
		}
		if err := b.route(netip.PrefixFrom(addr, addr.BitLen()), to); err != nil {
			return err
		}
	}
	if equality.Semantic.DeepEqual(want, s.Status.LoadBalancer.Ingress) {
		return nil
	}
	if ok {
		b.given[s.UID] = addr
	} else {
		delete(b.given, s.UID)
	}
	s = s.DeepCopy()
	s.Status.LoadBalancer.Ingress = want
	_, err := b.client.CoreV1().Services(s.Namespace).UpdateStatus(ctx, s, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // the informer brings the news
	}
	return err
}

// has returns the address that s was given last.
func (b *balancer) has(s *corev1.Service) (netip.Addr, bool) {
	if addr, ok := b.given[s.UID]; ok {
		return addr, true
	}
	return current(s)
}

// choose returns the address that s has, or the free one that it asks for, or the
// first free one.
func (b *balancer) choose(s *corev1.Service) (netip.Addr, bool) {
	if addr, ok := b.has(s); ok && b.owner[addr] == key(s) {
		return addr, true
	}
	if asked := s.Spec.LoadBalancerIP; asked != "" {
		addr, err := netip.ParseAddr(asked)
		return addr, err == nil && b.wants(s, addr) && b.owner[addr] == ""
	}
	// The last hundred are left to those who ask for one.
	for addr, n := b.pool.Addr().Next(), 0; n < 150; addr, n = addr.Next(), n+1 {
		if b.wants(s, addr) && b.owner[addr] == "" {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// How often a node that is not healthy is asked, and how long for.
const (
	recheck     = 20 * time.Millisecond
	healthyWait = 200 * time.Millisecond
)

// local returns the nodes that have a serving endpoint of s, and whose kube-proxy
// says so: before that it drops what comes.
func (b *balancer) local(ctx context.Context, s *corev1.Service, nodes map[string]netip.Addr) ([]netip.Addr, error) {
	found, err := b.slices.EndpointSlices(s.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: s.Name}))
	if err != nil {
		return nil, err
	}
	at := map[string]netip.Addr{}
	for _, slice := range found {
		for _, e := range slice.Endpoints {
			if e.NodeName != nil && (e.Conditions.Serving == nil || *e.Conditions.Serving) {
				if addr, ok := nodes[*e.NodeName]; ok && b.checked(ctx, s, *e.NodeName, addr) {
					at[*e.NodeName] = addr
				}
			}
		}
	}
	for id := range b.healthy {
		if _, ok := at[id[1]]; !ok && id[0] == key(s) {
			delete(b.healthy, id)
		}
	}
	return values(at), nil
}

// checked asks a node's kube-proxy whether it has endpoints of s, until it has said
// so once.
func (b *balancer) checked(ctx context.Context, s *corev1.Service, node string, addr netip.Addr) bool {
	id := [2]string{key(s), node}
	if b.healthy[id] {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, healthyWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/healthz", addr, s.Spec.HealthCheckNodePort), nil)
	if err == nil {
		var r *http.Response
		if r, err = http.DefaultClient.Do(req); err == nil {
			r.Body.Close()
			b.healthy[id] = r.StatusCode == http.StatusOK
		}
	}
	b.waiting = b.waiting || !b.healthy[id]
	return b.healthy[id]
}

func (b *balancer) readyNodes() (map[string]netip.Addr, error) {
	nodes, err := b.nodes.List(labels.Everything())
	at := map[string]netip.Addr{}
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP && nodeReady(n) {
				at[n.Name] = addr
			}
		}
	}
	return at, err
}

// route changes the route to p only if it differs from the last one.
func (b *balancer) route(p netip.Prefix, nodes []netip.Addr) error {
	to := p.String()
	if old, ok := b.via[to]; ok && slices.Equal(old, nodes) {
		return nil
	}
	if err := routeVia(&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, nodes); err != nil {
		return err
	}
	via := maps.Clone(b.via)
	via[to] = nodes
	if err := pin(via); err != nil {
		return err
	}
	b.via = via
	return nil
}

func values(m map[string]netip.Addr) []netip.Addr {
	all := make([]netip.Addr, 0, len(m))
	for _, a := range m {
		all = append(all, a)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

func current(s *corev1.Service) (netip.Addr, bool) {
	if len(s.Status.LoadBalancer.Ingress) == 0 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(s.Status.LoadBalancer.Ingress[0].IP)
	return addr, err == nil
}

func key(s *corev1.Service) string { return fmt.Sprintf("%s/%s", s.Namespace, s.Name) }
