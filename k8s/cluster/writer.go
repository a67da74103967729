package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

const (
	writers        = 4
	writeTimeout   = 10 * time.Second
	fieldManager   = "penstock"
	firstWriteWait = 20 * time.Millisecond
	lastWriteWait  = time.Minute
)

// resources are the plural names of what has a status that we write.
var resources = map[string]schema.GroupVersionResource{
	"GatewayClass":     gatewayGV.WithResource("gatewayclasses"),
	"Gateway":          gatewayGV.WithResource("gateways"),
	"ListenerSet":      gatewayGV.WithResource("listenersets"),
	"HTTPRoute":        gatewayGV.WithResource("httproutes"),
	"GRPCRoute":        gatewayGV.WithResource("grpcroutes"),
	"TCPRoute":         gatewayGV.WithResource("tcproutes"),
	"TLSRoute":         gatewayGV.WithResource("tlsroutes"),
	"UDPRoute":         gatewayGV.WithResource("udproutes"),
	"BackendTLSPolicy": gatewayGV.WithResource("backendtlspolicies"),
	"PluginPolicy":     api.GroupVersion.WithResource("pluginpolicies"),
	"Plugin":           api.GroupVersion.WithResource("plugins"),
	"PluginChain":      api.GroupVersion.WithResource("pluginchains"),
	"ProxyParameters":  api.GroupVersion.WithResource("proxyparameters"),
	"CachePurge":       api.GroupVersion.WithResource("cachepurges"),
	"Consumer":         api.GroupVersion.WithResource("consumers"),
	"ChainStatus":      api.GroupVersion.WithResource("chainstatuses"),
}

// writer writes what translate wants of the API server: statuses, and the
// Services and ServiceAccounts of Gateways. Only differences are written, and
// only while this process leads.
type writer struct {
	clients        *clients
	stores         *stores
	log            *zap.Logger
	controllerName string
	namespace      string
	identity       string
	events         *events
	now            func() time.Time
	leads          atomic.Bool
	queue          workqueue.TypedRateLimitingInterface[config.Object]
	writes         telemetry.Counters

	running func() []Proxy
	purged  func() ([]PurgingProxy, bool)
	paces   map[config.Object]*rate.Limiter // of ChainStatuses and CachePurges; guarded by mu

	mu     sync.Mutex
	wanted *translate.Result // nil: none yet
	// left are the filters that the last result which was announced says are rolled
	// back.
	left map[string]bool
	// unserved says why proxies do not serve it yet; empty: they do.
	unserved string
	seen     map[config.Object]written // what was compared last
	said     map[config.Object]string  // errors that were logged
	// due are the objects of which a result says something anew, and its number; of
	// that with the number whole all may be new, and that with compared was compared
	// as a whole.
	due             map[config.Object]uint64
	whole, compared uint64
}

// written is what an object was compared with.
type written struct {
	want     any
	unserved string
	// The resourceVersions of the object before and after it was made so.
	before, after string
}

func (w written) is(want any, unserved, version string) bool {
	return w.want == want && w.unserved == unserved && (version == w.before || version == w.after)
}

func newWriter(o Options, c *clients, s *stores) *writer {
	w := &writer{
		clients: c, stores: s, log: o.Log, controllerName: o.ControllerName, namespace: o.Namespace, identity: o.Identity, now: time.Now,
		running: o.Running, purged: o.Purged, paces: map[config.Object]*rate.Limiter{}, seen: map[config.Object]written{}, said: map[config.Object]string{}, due: map[config.Object]uint64{},
		writes: o.Metrics.Counters("penstock_kubernetes_writes_total", "Writes to the API server, by kind and result.", "kind", "result"),
		queue:  workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[config.Object](firstWriteWait, lastWriteWait)),
	}
	w.events = newEvents(w)
	return w
}

// announce takes down what a result says anew. To be called for each in turn, whether it
// is published or not.
func (w *writer) announce(r *translate.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Changed == nil {
		w.whole, w.left = r.Number, rolledBack(r)
		clear(w.due)
	}
	for _, o := range r.Changed {
		w.due[o] = r.Number
	}
}

// rolledBack returns the filters that are rolled back by what was announced.
func (w *writer) rolledBack() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left
}

// publish makes a result what is wanted; unserved says why it is not served yet,
// empty: it is. Any goroutine may call it.
func (w *writer) publish(r *translate.Result, unserved string) {
	w.mu.Lock()
	some := w.wanted != nil && w.unserved == unserved && w.compared >= w.whole
	w.wanted, w.unserved = r, unserved
	w.mu.Unlock()
	if some {
		w.compareDue()
	} else {
		w.compare()
	}
	if len(r.Changed) > 0 || !some {
		w.events.tell(r.Problems)
	}
}

// compareDue queues of the objects of which a published result said something anew
// those that are not known to be as wanted.
func (w *writer) compareDue() {
	if !w.leads.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for o, number := range w.due {
		if number > w.wanted.Number {
			continue
		}
		delete(w.due, o)
		if want := w.wanted.Status.Of(o); want != nil {
			w.compareOne(o, want)
		} else {
			w.drop(o)
		}
	}
}

// compareOne queues an object that is not known to be as wanted. w.mu is held.
func (w *writer) compareOne(o config.Object, want any) {
	current, ok := w.stores.find(o)
	if !ok && o.Kind != "ChainStatus" {
		return
	}
	version := ""
	if ok {
		version = current.GetResourceVersion()
	}
	if !w.seen[o].is(want, w.unservedOf(o), version) {
		w.queue.Add(o)
	}
}

// drop forgets an object. w.mu is held.
func (w *writer) drop(o config.Object) {
	delete(w.seen, o)
	delete(w.said, o)
	delete(w.paces, o)
}

// compare queues every object that is not known to be as wanted.
func (w *writer) compare() {
	if !w.leads.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wanted == nil {
		return
	}
	w.compared = w.wanted.Number
	for o, want := range w.wanted.Status.All() {
		w.compareOne(o, want)
	}
	for o := range w.seen {
		if w.wanted.Status.Of(o) == nil && !infrastructure(o) {
			w.drop(o)
		}
	}
	w.queueInfrastructure()
	w.queueStale()
}

// unservedOf is unserved for objects whose status says whether they are. w.mu is held.
func (w *writer) unservedOf(o config.Object) string {
	switch o.Kind {
	case "Gateway", "ListenerSet":
		return w.unserved
	}
	return ""
}

// run writes until ctx is done.
func (w *writer) run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { w.events.run(ctx) })
	for range writers {
		group.Go(func() {
			for {
				o, down := w.queue.Get()
				if down {
					return
				}
				w.one(ctx, o)
				w.queue.Done(o)
			}
		})
	}
	<-ctx.Done()
	w.queue.ShutDown()
	group.Wait()
}

// lead starts or stops writing.
func (w *writer) lead(leads bool) {
	w.leads.Store(leads)
	w.compare()
	w.mu.Lock()
	r := w.wanted
	w.mu.Unlock()
	if leads && r != nil {
		w.events.tell(r.Problems)
	}
}

// one brings one object to what is wanted.
func (w *writer) one(ctx context.Context, o config.Object) {
	if !w.leads.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var err error
	if o.Kind == "ChainStatus" {
		err = w.chain(ctx, o)
	} else if o.Kind == "CachePurge" {
		err = w.purge(ctx, o)
	} else if infrastructure(o) {
		err = w.provide(ctx, o)
	} else {
		err = w.status(ctx, o)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil, ending(err):
		w.queue.Forget(o)
		delete(w.said, o)
		return
	case apierrors.IsConflict(err): // the newer one is about to come
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return
	case w.said[o] != err.Error():
		w.said[o] = err.Error()
		w.log.Warn("not written: tried again", zap.Stringer("object", o), zap.Error(err))
	}
	w.queue.AddRateLimited(o)
}

// status writes an object's status if it differs.
func (w *writer) status(ctx context.Context, o config.Object) error {
	w.mu.Lock()
	var want any
	if w.wanted != nil {
		want = w.wanted.Status.Of(o)
	}
	unserved := w.unservedOf(o)
	w.mu.Unlock()
	if want == nil {
		return nil
	}
	current, ok := w.stores.find(o)
	if !ok {
		return nil // it is gone
	}
	made := current
	if next := w.merged(current, pending(want, unserved)); next != nil {
		var err error
		made, err = w.put(ctx, o, next)
		w.count(o.Kind, err)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	w.mu.Lock()
	w.seen[o] = written{want, unserved, current.GetResourceVersion(), made.GetResourceVersion()}
	w.mu.Unlock()
	return nil
}

func (w *writer) put(ctx context.Context, o config.Object, next object) (object, error) {
	r := resources[o.Kind]
	made := next.DeepCopyObject().(object)
	err := w.clients.byGV[r.GroupVersion()].Put().NamespaceIfScoped(o.Namespace, o.Namespace != "").Resource(r.Resource).
		Name(o.Name).SubResource("status").Param("fieldManager", fieldManager).Body(next).Do(ctx).Into(made)
	return made, err
}

// ending reports whether a write was refused since its namespace goes.
func ending(err error) bool { return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) }

func (w *writer) count(kind string, err error) {
	result := "ok"
	if err != nil {
		result = "error"
		var status apierrors.APIStatus
		if errors.As(err, &status) {
			result = string(status.Status().Reason)
		}
	}
	w.writes.With(kind, result).Inc()
}
