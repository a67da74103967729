package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr/funcr"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/translate"
)

const (
	// settle is how long changes must have ceased before they are translated
	// together, but for maxSettle at most.
	settle    = time.Millisecond
	maxSettle = 5 * time.Millisecond
	// renew is how often an unchanged cluster is translated again: what depends on
	// time are last good forms, in minutes and hours.
	renew = time.Minute
	// firstRead is how long a translation waits for Secrets and ConfigMaps that are
	// named for the first time; then they count as missing until they come.
	firstRead = 2 * time.Second
	// maxChanges is how many changed objects go without a whole translation.
	maxChanges = 1000
)

// Applied is told what became of a config that was handed on: nil once all that
// serve do serve it, an error that says why not. Any goroutine may call it, an
// error may be followed by nil.
type Applied func(error)

// Options of a Source.
type Options struct {
	// Kubeconfig names a file that says how the API server is reached; empty: as the
	// Pod that the process runs in does.
	Kubeconfig string
	Log        *zap.Logger
	Metrics    *telemetry.Metrics
	Translator *translate.Translator
	// ControllerName is that of the statuses that are ours.
	ControllerName string
	// Namespace is the install namespace: of Gateways' Services and of the Lease.
	Namespace string
	// Running returns what the proxies run, for ChainStatuses; Changed receives a
	// value when that may be something else.
	Running func() []Proxy
	Changed <-chan struct{}
	// Purged returns which purges the proxies have carried out, for CachePurges; Changed
	// tells of it too. found is false as long as there may be proxies that are not in the
	// list, since this process has only begun to serve them: until then no CachePurge is
	// completed.
	Purged func() (proxies []PurgingProxy, found bool)
	// RolledBack reports whether Running may say that a filter was rolled back.
	RolledBack func() bool
	// Lead is told when this process begins and ends to lead, and so to write.
	Lead func(bool)
	// Identity names this process among those that could write: its Pod.
	Identity string
}

// Source watches a cluster.
type Source struct {
	o       Options
	config  *rest.Config
	clients *clients
	stores  *stores
	writer  *writer

	changes chan struct{} // holds one: something changed

	mu       sync.Mutex
	problems []translate.Problem
	dirty    dirty
	result   *translate.Result // the latest; nil: none yet
	ran      map[string]bool   // parts that ran, by hash, as ChainStatuses said
}

// dirty is what has changed since the last translation.
type dirty struct {
	all bool // more than objects
	// objects are those that came, changed or went, of kinds that translate.Changes
	// has; of an EndpointSlice its Service's name is noted.
	objects map[config.Object]bool
}

// New returns a source that has read nothing. The error is for a configuration
// that no client can be made of.
func New(o Options) (*Source, error) {
	logr := funcr.New(func(_, text string) { o.Log.Debug(text) }, funcr.Options{})
	klog.SetLogger(logr) // client-go's; what matters is told by this package
	cfg, err := connect(o.Kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = rest.DefaultKubernetesUserAgent() // what an audit log knows us by
	c, err := newClients(cfg)
	if err != nil {
		return nil, err
	}
	s := &Source{o: o, config: cfg, clients: c, changes: make(chan struct{}, 1), ran: map[string]bool{}}
	w := &watcher{clients: c, log: o.Log}
	s.stores = newStores(w, o.ControllerName, s.changed, s.altered)
	s.writer = newWriter(o, c, s.stores)
	s.stores.observe = s.observe
	return s, nil
}

// changed notes that something changed, and all may be other than it was.
func (s *Source) changed() {
	s.mu.Lock()
	s.dirty.all = true
	s.mu.Unlock()
	s.wake()
}

// altered notes that one object changed.
func (s *Source) altered(o config.Object) {
	s.mu.Lock()
	if s.dirty.objects == nil {
		s.dirty.objects = map[config.Object]bool{}
	}
	s.dirty.objects[o] = true
	s.mu.Unlock()
	s.wake()
}

func (s *Source) wake() {
	select {
	case s.changes <- struct{}{}:
	default:
	}
}

// Problems returns what is wrong with the cluster's objects now. Any goroutine
// may call it.
func (s *Source) Problems() []translate.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problems
}

func (s *Source) tell(problems []translate.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = problems
}

// Run reads the cluster, hands the config to apply, and does so again whenever
// it changes, until ctx is done; that is the error. What apply does not want is
// logged, and the last good config serves. Statuses are written for a config
// once it was applied.
func (s *Source) Run(ctx context.Context, apply func(*config.Config, Applied) error) error {
	s.stores.start(ctx)
	defer s.stores.watcher.group.Wait()
	writes, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.writer.run(writes) })
	group.Go(func() {
		for {
			select {
			case <-writes.Done():
				return
			case <-s.o.Changed:
				s.rollBacks()
				s.writer.rerun()
				s.writer.repurge()
			}
		}
	})
	group.Go(func() {
		if err := elect(writes, s.config, s.o, s.lead); err != nil {
			s.o.Log.Error("no part in the election: nothing is written", zap.Error(err))
		}
	})
	defer group.Wait()
	defer stop()
	if err := s.stores.wait(ctx, s.o.Log); err != nil {
		return err
	}
	timer := time.NewTicker(renew)
	defer timer.Stop()
	var last *delivery
	var before *translate.Result
	for whole := true; ; {
		result := s.change(before, whole)
		if result == nil {
			result = s.translate(ctx)
		}
		if whole {
			s.observeAll(result)
		}
		s.mu.Lock()
		s.result = result
		s.mu.Unlock()
		before, whole = result, false
		s.writer.announce(result)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case last != nil && result.Config == last.config:
			last.update(result)
		default:
			last = &delivery{config: result.Config, result: result, publish: s.writer.publish}
			if err := apply(result.Config, last.applied); err != nil {
				s.o.Log.Error("config not applied as a whole", zap.Error(err))
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.changes:
			s.settle(ctx)
		case <-timer.C:
			whole = true
		}
	}
}

// lead begins or ends to be the process that writes.
func (s *Source) lead(leads bool) {
	if !leads {
		s.stores.rollBacks.forget()
	}
	s.writer.lead(leads)
	s.o.Lead(leads)
}

// rollBacks takes over what proxies say of filters that they rolled back: all are to.
func (s *Source) rollBacks() {
	if s.writer.leads.Load() && (s.o.RolledBack() || s.stores.rollBacks.some()) && s.stores.rollBacks.learn(s.o.Running(), s.writer.rolledBack()) {
		s.changed()
	}
}

// change takes what changed since the last translation, and does without a whole one
// if nothing else depends on it; else it returns nil.
func (s *Source) change(before *translate.Result, whole bool) *translate.Result {
	s.mu.Lock()
	d := s.dirty
	s.dirty = dirty{}
	s.mu.Unlock()
	if whole || d.all || len(d.objects) > maxChanges {
		return nil
	}
	result := s.o.Translator.Change(before, s.stores.changes(d.objects))
	if result != nil {
		s.tell(result.Problems)
	}
	return result
}

// delivery is a config that was handed on, with what is to be said of its objects.
type delivery struct {
	config  *config.Config
	publish func(r *translate.Result, unserved string)

	mu       sync.Mutex
	result   *translate.Result
	told     bool
	unserved string // why it is not served yet
}

// applied takes over what became of the config.
func (d *delivery) applied(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told, d.unserved = true, ""
	if err != nil {
		d.unserved = err.Error()
	}
	d.publish(d.result, d.unserved)
}

// update takes over another result with the same config.
func (d *delivery) update(r *translate.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.result = r
	if d.told {
		d.publish(r, d.unserved)
	}
}

// settle waits until changes come no more, but not long.
func (s *Source) settle(ctx context.Context) {
	limit, quiet := time.NewTimer(maxSettle), time.NewTimer(settle)
	defer limit.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-limit.C:
			return
		case <-quiet.C:
			return
		case <-s.changes:
			quiet.Reset(settle)
		}
	}
}

// translate translates what is there, again as long as it names what was not
// read yet.
func (s *Source) translate(ctx context.Context) *translate.Result {
	limit := time.NewTimer(firstRead)
	defer limit.Stop()
	for {
		result := s.o.Translator.Translate(s.stores.objects())
		fresh := s.stores.refer(ctx, result.References)
		for _, read := range fresh {
			select {
			case <-ctx.Done():
				return result
			case <-limit.C:
				s.o.Log.Warn("Secrets or ConfigMaps that are named cannot be read yet: they count as missing", zap.Int("objects", len(fresh)))
				fresh = nil
			case <-read:
				continue
			}
			break
		}
		if len(fresh) > 0 {
			continue
		}
		s.tell(result.Problems)
		return result
	}
}

// wait waits until every kind was read once.
func (s *stores) wait(ctx context.Context, log *zap.Logger) error {
	late := time.NewTicker(10 * time.Second)
	defer late.Stop()
	for _, k := range s.kinds {
		for read := false; !read; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-late.C:
				log.Warn("not read yet", zap.String("kind", k.name))
			case <-k.synced:
				read = true
			}
		}
	}
	return nil
}

// trimmed drops what nobody reads of an object that is kept.
func trimmed[T object](o T) {
	o.SetManagedFields(nil)
	if a := o.GetAnnotations(); a != nil {
		delete(a, corev1.LastAppliedConfigAnnotation)
	}
}
