package plugin

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
)

// Back-off between attempts whose cause can pass, and how long a runtime may
// take to drain before it is closed all the same.
const (
	firstRetry   = time.Second
	lastRetry    = 5 * time.Minute
	drainTimeout = 5 * time.Minute
	// parallelLoads bounds compiles and starts at one time.
	parallelLoads = 2
	// Pulls at one time, of all and of one namespace: a registry that drips holds
	// up its own namespace.
	parallelPulls  = 8
	namespacePulls = 2
)

// Running is a started filter.
type Running interface {
	filter.Filter
	// Close ends it once its streams are done, or when ctx is; the memory of
	// its instances is returned before it returns.
	Close(ctx context.Context)
}

// ABI is one way to talk to a guest. Implemented by the packages of hosts/.
type ABI interface {
	// Name as image manifests say it: "proxy-wasm".
	Name() string
	// Detect reports whether the module's exports are this ABI's.
	Detect(m *sandbox.Module) bool
	// Start makes the filter runtime with a first, trial instance. It takes m over,
	// also when it fails.
	Start(ctx context.Context, m *sandbox.Module, f *config.Filter, image config.Loaded) (Running, error)
}

// Fault is an error that knows its reason (annotations.md, section 3).
type Fault struct {
	Reason string
	Err    error
}

// Error returns the cause.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Images finds plugin images.
type Images interface {
	Get(ctx context.Context, req oci.Request) (*oci.Image, error)
	// Recheck reports whether a namespace may still pull an image.
	Recheck(ctx context.Context, req oci.Request, digest string) error
	// Resolve returns the digest that an image has now.
	Resolve(ctx context.Context, req oci.Request) (string, error)
}

// Options of a Manager.
type Options struct {
	Images Images
	// Told receives a value when a right has changed: Images knows each filter's by
	// its hash, and costs nothing to ask. nil: rights are asked for now and then, once
	// for all filters that share one.
	Told    <-chan struct{}
	Engine  *sandbox.Engine
	ABIs    []ABI
	Log     *zap.Logger
	Metrics *telemetry.Metrics
	// Bodies is what filters may hold back of bodies; nil: no bound.
	Bodies *filter.Budget
	// Cases runs the cases that an image carries, within bounds of its own; nil: none
	// are run. One call at a time, and one for each digest. The error is why the image is
	// not to be used, a *CaseError; one that wraps sandbox.ErrCrowded says nothing of the
	// image, and is tried again.
	Cases func(context.Context, *oci.Image) error
	// TagInterval is how often registries are asked where tags point; 0: no tag is
	// followed, those of folders neither.
	TagInterval time.Duration
}

// Manager keeps the filter runtimes, one for each filter hash. All methods may
// be called by several goroutines at once.
type Manager struct {
	o        Options
	changed  chan struct{} // capacity 1: some runtime's state changed
	loads    chan struct{} // a token for each load under way
	pulls    *shares
	proofs   *proofs
	failures telemetry.Counters
	ctx      context.Context
	stop     context.CancelFunc
	group    sync.WaitGroup

	quarantines, rollbacks telemetry.Counters
	canaries               telemetry.Counters
	states                 states
	turning                sync.Mutex // held while a runtime that ran changes its state

	mu   sync.Mutex
	byID map[string]*Runtime
	pins map[string]*pin // by the hash of the filter whose tag has moved

	totals   map[string]*config.Totals // by namespace
	compiles map[string][]time.Time    // cold ones of the last hour, by namespace
}

// entryParts is what every Entry of a runtime shares.
type entryParts struct {
	failures telemetry.Counter
	log      func(*filter.Error)
}

// New returns an empty manager; Close ends it.
func New(o Options) *Manager {
	ctx, stop := context.WithCancel(context.Background())
	return &Manager{
		o: o, ctx: ctx, stop: stop,
		changed:     make(chan struct{}, 1),
		loads:       make(chan struct{}, parallelLoads),
		pulls:       newShares(parallelPulls, namespacePulls),
		proofs:      newProofs(),
		failures:    o.Metrics.Counters("penstock_filter_failures_total", "Exchanges in which a filter failed, whatever onError then did.", "owner", "filter"),
		quarantines: o.Metrics.Counters("penstock_filter_quarantines_total", "Times a filter was put into quarantine.", "owner", "filter"),
		rollbacks:   o.Metrics.Counters("penstock_filter_rollbacks_total", "Times a filter went back to what ran before.", "owner", "filter"),
		canaries:    o.Metrics.Counters("penstock_filter_canary_total", "Exchanges chosen for another version of a filter, by what became of them.", "owner", "filter", "result"),
		states:      newStates(o.Metrics),
		byID:        map[string]*Runtime{},
		pins:        map[string]*pin{},
		compiles:    map[string][]time.Time{},
	}
}

// Run keeps the count of failures and ends quarantines until ctx is done.
func (m *Manager) Run(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		m.rested()
		if n%int(healthSlot/time.Second) == 0 {
			for _, r := range m.Runtimes() {
				r.health.turn()
			}
		}
	}
}

// Changed receives a value after the state of any runtime changed.
func (m *Manager) Changed() <-chan struct{} { return m.changed }

// Acquire returns the runtime of f with one more reference; a new one starts
// to load. Release it.
func (m *Manager) Acquire(f *config.Filter) *Runtime { return m.acquire(f, nil) }

// acquire is Acquire; base is the filter as configured if f is another form of it.
func (m *Manager) acquire(f, base *config.Filter) *Runtime {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.byID[f.Hash]
	if r == nil {
		ctx, cancel := context.WithCancel(m.ctx)
		r = &Runtime{manager: m, config: f, base: base, cancel: cancel, done: make(chan struct{}), kick: make(chan struct{}, 1)}
		r.latest.Store(f)
		r.state.Store(&State{Phase: Pulling, Guard: f.Guard, Since: time.Now()})
		m.states.tell(r) // before its counters are made
		r.entry = entryParts{failures: m.failures.With(f.Owner.String(), f.ID()), log: m.failureLog(f)}
		if strings.HasSuffix(f.Name, config.CanarySuffix) {
			r.canary = m.canary(f)
		}
		m.byID[f.Hash] = r
		if f.Cache != nil { // it is native: there is nothing to load
			r.state.Store(&State{Phase: Ready, Since: time.Now()})
			m.states.tell(r)
			close(r.done)
			r.refs++
			return r
		}
		m.group.Add(1)
		go func() {
			defer m.group.Done()
			defer close(r.done)
			m.load(ctx, r)
		}()
	} else if old := r.latest.Swap(f); !slices.Equal(old.PullSecrets, f.PullSecrets) {
		select {
		case r.kick <- struct{}{}:
		default:
		}
	}
	r.refs++
	return r
}

func (m *Manager) release(r *Runtime) {
	m.mu.Lock()
	r.refs--
	last := r.refs == 0 && m.byID[r.config.Hash] == r // else Close has ended it
	if last {
		delete(m.byID, r.config.Hash)
		if r.base != nil && m.pins[r.base.Hash] != nil && m.pins[r.base.Hash].now.hash == r.config.Hash {
			delete(m.pins, r.base.Hash)
		}
		m.group.Add(1)
	}
	m.mu.Unlock()
	if !last {
		return
	}
	r.cancel()
	go func() {
		defer m.group.Done()
		<-r.done
		if r.running != nil {
			ctx, cancel := context.WithTimeout(m.ctx, drainTimeout)
			defer cancel()
			r.running.Close(ctx)
		}
		m.states.end(r, func() { m.forget(r.config) })
	}()
}

// Runtimes returns all runtimes, in no order.
func (m *Manager) Runtimes() []*Runtime {
	return m.those(func(*Runtime) bool { return true })
}

// those returns the runtimes that are so.
func (m *Manager) those(so func(*Runtime) bool) []*Runtime {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*Runtime
	for _, r := range m.byID {
		if so(r) {
			all = append(all, r)
		}
	}
	return all
}

// Close ends every runtime, whoever holds it, and waits for it.
func (m *Manager) Close() {
	m.stop()
	m.mu.Lock()
	all := m.byID
	m.byID = map[string]*Runtime{}
	m.mu.Unlock()
	for _, r := range all {
		<-r.done
		if r.running != nil {
			r.running.Close(m.ctx)
		}
	}
	m.group.Wait()
}

// Digests returns the digests of the images that runtimes have.
func (m *Manager) Digests() []string {
	var all []string
	for _, r := range m.Runtimes() {
		if d := r.State().Digest; d != "" {
			all = append(all, d)
		}
	}
	return all
}

func (m *Manager) set(r *Runtime, s State) {
	s.Since = time.Now()
	r.state.Store(&s)
	m.states.tell(r)
	m.tell()
}

// tell makes chains be linked anew.
func (m *Manager) tell() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// failureLog returns a function that logs failing exchanges: the first at
// once, then one line in ten seconds with the number left out.
func (m *Manager) failureLog(f *config.Filter) func(*filter.Error) {
	var mu sync.Mutex
	var last time.Time
	var silent int
	return func(err *filter.Error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < 10*time.Second {
			silent++
			return
		}
		m.o.Log.Warn("filter failed", zap.Stringer("object", f.Owner), zap.String("plugin", f.ID()),
			zap.String("cause", err.Cause), zap.Int("notLogged", silent), zap.Error(err.Err))
		last, silent = time.Now(), 0
	}
}
