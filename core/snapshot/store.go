package snapshot

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
)

// Sockets opens and closes the sockets of a snapshot. Implemented by listener.
type Sockets interface {
	// Reconcile makes the open sockets equal to these; those it cannot open are
	// named in the error, the others are open.
	Reconcile([]config.Socket) error
}

// Consumers are what plugins find by what requests show. Implemented by the composition
// root's index.
type Consumers interface {
	// Apply makes these all there are, and the grants those that hold.
	Apply(config.Overlay[string, *config.Consumer], *config.ConsumerGrants)
}

// Store holds the snapshot that serves and replaces it.
type Store struct {
	bind      netip.Addr
	sockets   Sockets
	consumers Consumers // nil: nobody looks them up
	groups    *upstream.Set
	linker    *linker
	metrics   *Metrics

	// Written under mu; read by every exchange.
	current atomic.Pointer[Snapshot]

	mu     sync.Mutex               // one Apply or relink at a time
	routes map[*config.Route]*route // of the snapshot that serves

	relinked chan struct{} // capacity 1
	again    *time.Timer   // links anew when linker.due has come
	runs     uint64        // compilations

	ranMu sync.Mutex
	ran   map[string]bool // part hashes that run or ran since they are configured
}

// New returns a Store that serves nothing yet. Listeners bind to bind. responses is the
// response cache of its chains.
func New(bind netip.Addr, sockets Sockets, groups *upstream.Set, plugins *plugin.Manager, responses *cache.Cache, m *telemetry.Metrics) *Store {
	return &Store{
		bind: bind, sockets: sockets, groups: groups,
		linker:  &linker{plugins: plugins, cache: responses, now: time.Now},
		metrics: NewMetrics(m),
		routes:  map[*config.Route]*route{},
		ran:     map[string]bool{},

		relinked: make(chan struct{}, 1),
		again:    time.NewTimer(time.Hour),
	}
}

// Consumers has an index told of the consumers of every config. To be called before the
// first Apply.
func (s *Store) Consumers(c Consumers) { s.consumers = c }

// Metrics counts what the snapshots serve.
func (s *Store) Metrics() *Metrics { return s.metrics }

// Load returns the snapshot that serves; nil before the first Apply.
func (s *Store) Load() *Snapshot { return s.current.Load() }

// Ran reports whether the part with this hash has been warm in the running
// configuration: what translate asks to find an object's last good part.
func (s *Store) Ran(hash string) bool {
	s.ranMu.Lock()
	defer s.ranMu.Unlock()
	return s.ran[hash]
}

// Apply compiles cfg and makes it serve. After an error of validation the old
// snapshot serves; an error of the sockets leaves the new one serving on those
// that are open.
func (s *Store) Apply(cfg *config.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, valid := s.current.Load(), &config.Config{}
	if old != nil {
		valid = old.config
	}
	if err := cfg.ValidateAfter(valid); err != nil {
		return fmt.Errorf("config refused: %w", err)
	}
	s.groups.Forbid(cfg.Forbidden)
	steady := s.groups.Apply(cfg.Upstreams, cfg.Endpoints)
	s.linker.plugins.SetTotals(cfg.Totals)
	s.runs++
	c := &compiler{run: s.runs, routes: s.routes, old: old, groups: s.groups, metrics: s.metrics, steady: steady, socket: func(port uint16) config.Socket {
		return config.Socket{Address: netip.AddrPortFrom(s.bind, port)}
	}}
	sockets := c.compile(cfg)
	if s.linker.cache != nil {
		s.linker.cache.CarryOut(cfg.Purges)
	}
	s.relink(c.new)
	s.current.Store(c.new)
	if s.consumers != nil { // who is found has its filters by now
		s.consumers.Apply(cfg.Consumers, cfg.ConsumerGrants)
	}
	s.metrics.forget(old, c.new, c.turn())
	if old != nil {
		for key, chain := range old.chains {
			if c.new.chains[key] == nil {
				chain.set(nil)
			}
		}
	}
	return s.sockets.Reconcile(sockets)
}

// Relinked receives a value after chains were linked anew.
func (s *Store) Relinked() <-chan struct{} { return s.relinked }

// ApplyEndpoints replaces the endpoints of some upstreams, and nothing else.
func (s *Store) ApplyEndpoints(changed map[string]*config.EndpointSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups.ApplyEndpoints(changed)
}

// relink gives every chain the link that its filters' states allow now.
func (s *Store) relink(snapshot *Snapshot) {
	ran, undone := map[string]bool{}, map[string]bool{}
	s.linker.due = time.Time{}
	for _, chain := range snapshot.chains {
		if l := s.linker.link(chain); l != nil {
			chain.set(l)
		}
		for _, p := range chain.current.Load().parts {
			switch {
			case len(p.retired) > 0: // nobody is to go back to it
				undone[p.part.Hash] = true
			case p.fault == nil && !p.pending:
				ran[p.part.Hash] = true
			}
		}
	}
	if due := s.linker.due; !due.IsZero() {
		s.again.Reset(due.Sub(s.linker.now()))
	}
	s.ranMu.Lock()
	defer s.ranMu.Unlock()
	for _, chain := range snapshot.chains { // keep what was warm as long as it is named
		for _, part := range chain.config.Load().Parts {
			for p := part; p != nil; p = p.Fallback {
				ran[p.Hash] = ran[p.Hash] || s.ran[p.Hash]
			}
			if p := part.Previous; p != nil {
				ran[p.Hash] = ran[p.Hash] || s.ran[p.Hash]
			}
		}
	}
	for hash := range undone {
		delete(ran, hash)
	}
	s.ran = ran
}

// Run relinks chains whenever a filter runtime changes its state, and once a
// minute for last good parts whose time is over. It returns when ctx is done.
func (s *Store) Run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.linker.plugins.Changed():
		case <-tick.C:
		case <-s.again.C:
		}
		s.mu.Lock()
		if current := s.current.Load(); current != nil {
			s.relink(current)
		}
		s.mu.Unlock()
		select {
		case s.relinked <- struct{}{}:
		default:
		}
	}
}

// Settled reports whether every chain is ready or has failed: the first
// condition of readiness.
func (s *Store) Settled() bool {
	current := s.current.Load()
	if current == nil {
		return false
	}
	for _, c := range current.chains {
		if !c.Settled() {
			return false
		}
	}
	return true
}

// Close gives every chain's runtimes back. Call it when no exchange is left.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.current.Load()
	if current == nil {
		return
	}
	for _, c := range current.chains {
		c.set(nil)
	}
}

// Report is what /chains says of one part of a chain.
type Report struct {
	Hash    string         `json:"-"` // config.Part.Hash
	Target  string         `json:"target"`
	Part    string         `json:"part"`
	State   string         `json:"state"` // "Running", "LastGood", "Pending", "Broken"
	Reason  string         `json:"reason,omitempty"`
	Message string         `json:"message,omitempty"`
	Filters []FilterReport `json:"filters,omitempty"`
}

// FilterReport is what /chains says of one filter.
type FilterReport struct {
	Name    string    `json:"name"`
	Origin  Origin    `json:"origin"`
	Image   string    `json:"image"`
	Digest  string    `json:"digest,omitempty"`
	State   string    `json:"state"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Guard   bool      `json:"guard,omitempty"`
	Since   time.Time `json:"since"`
	// Declaration is config.Filter.Declaration; Entry is set of a filter that runs in
	// the place of one of its name that was rolled back.
	Declaration string `json:"-"`
	Entry       []byte `json:"-"`
	// The numbers of the filter; nil: it has never run.
	*plugin.Counts
	// Canary is the filter's other version; nil: none.
	Canary *CanaryReport `json:"canary,omitempty"`
}

// Origin is who declares a filter.
type Origin struct {
	Object string `json:"object"`
	Part   string `json:"part"`
	// Plugin is the catalogue entry, "Plugin/name" or "bundled/name", and Version
	// its version; empty: the object names an image.
	Plugin  string `json:"plugin,omitempty"`
	Version string `json:"version,omitempty"`
}

// CanaryReport is what /chains says of another version of a filter.
type CanaryReport struct {
	Mode   string `json:"mode"`          // "live", "shadow"
	Weight int    `json:"weightPercent"` // of the exchanges, while State is Ready
	FilterReport
	plugin.CanaryCounts
}

// Reports lists every part that the running chains are made of, each once.
func (s *Store) Reports() []Report {
	current := s.current.Load()
	if current == nil {
		return nil
	}
	seen := map[string]bool{}
	var all []Report
	for _, chain := range current.chains {
		for i, part := range chain.config.Load().Parts {
			parts := chain.current.Load().parts
			if i >= len(parts) || seen[part.Hash] {
				continue
			}
			seen[part.Hash] = true
			all = append(all, report(part, &parts[i]))
		}
	}
	slices.SortFunc(all, func(a, b Report) int {
		return slices.Compare([]string{a.Target, a.Part}, []string{b.Target, b.Part})
	})
	return all
}

func report(part *config.Part, c *choice) Report {
	r := Report{Hash: part.Hash, Target: part.Object.String(), Part: part.Name, State: "Running"}
	runtimes := c.runtimes
	fault := c.fault
	switch {
	case c.part != part:
		r.State, fault = "LastGood", part.Fault
		if part.Fault == nil { // what is to come says more than what serves
			runtimes = c.warming
		}
	case fault != nil:
		r.State = "Broken"
	case c.pending:
		r.State = "Pending"
	}
	if fault != nil {
		r.Reason, r.Message = fault.Reason, fault.Message
	}
	for i, rt := range slices.Concat(runtimes, c.retired) {
		f := filterReport(rt)
		if len(c.retired) > 0 && i < len(c.filters) {
			f.Declaration, f.Entry = c.filters[i].Declaration, c.filters[i].Entry
		}
		if c.part == part && i < len(c.canaries) {
			f.Canary = c.canaries[i].report()
		}
		r.Filters = append(r.Filters, f)
	}
	return r
}

func filterReport(rt *plugin.Runtime) FilterReport {
	state, f := rt.State(), rt.Latest()
	message := state.Message
	if message == "" { // nothing that is worse
		message = rt.Note()
	}
	return FilterReport{
		Declaration: f.Declaration,
		Name:        f.ID(), Image: f.Image, Digest: state.Digest, State: string(state.Phase),
		Reason: state.Reason, Message: message, Guard: state.Guard, Since: state.Since,
		Origin: Origin{Object: f.Owner.String(), Part: f.Part, Plugin: f.Plugin, Version: f.PluginVersion},
		Counts: rt.Counts(),
	}
}

func (o *canary) report() *CanaryReport {
	if o.config == nil {
		return nil
	}
	r := &CanaryReport{Mode: "live", Weight: o.config.WeightPercent}
	if o.config.Shadow {
		r.Mode = "shadow"
	}
	if o.runtime == nil {
		r.FilterReport = FilterReport{State: string(plugin.Failed), Reason: o.config.Fault.Reason, Message: o.config.Fault.Message}
		return r
	}
	r.FilterReport, r.CanaryCounts = filterReport(o.runtime), o.runtime.CanaryCounts()
	if o.unsafe {
		r.State, r.Reason = string(plugin.Failed), "GuardMissing"
		r.Message = "the filter is a guard and this version is none: no exchange is sent to it; use mode: shadow, or a version whose manifest or Plugin says guard"
	}
	return r
}
