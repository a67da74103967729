package control

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/telemetry"
)

const (
	// pendingAfter is how long a config may take until it is told that proxies have
	// not taken it.
	pendingAfter = 2 * time.Second
	// reconnectFor is how long proxies have to find a process that begins to serve
	// until it is told that there are none: longer than they wait between attempts.
	reconnectFor = 12 * time.Second
	keepAlive    = 10 * time.Second
	maxProxies   = 10_000
	maxPurges    = 10_000 // of one report
)

// Options of a Server.
type Options struct {
	Log     *zap.Logger
	Metrics *telemetry.Metrics
	// TLS returns what connections are met with, as it is now.
	TLS    func() (*tls.Config, error)
	Images *Images
}

// Server serves proxies.
type Server struct {
	o         Options
	connected telemetry.Gauge
	refusals  telemetry.Counters

	encoder remote.Encoder // of Update alone

	mu     sync.Mutex
	latest *version
	// What the latest one holds.
	resources, endpoints *history
	filters              map[string]*config.Filter
	served               *config.Config // that filters and parts are of
	changed              chan struct{}  // closed when latest is another one
	proxies              map[*proxy]bool
	reports              map[string]*remote.Report // by peer: they may come before the proxy is known
	back                 map[string]bool           // peers that have rolled filters back
	pending              []*update
	since                time.Time       // it serves; zero: it does not yet
	runs                 chan struct{}   // holds one: what proxies run has changed
	parts                map[string]bool // by hash: those that are configured
	ran                  map[string]bool // those of them that ran somewhere
	left                 map[string]bool // those of them of which a filter was rolled back
}

// version is a config as it is sent.
type version struct {
	seq, config, endpoints uint64 // of this, and of the last that changed the one or the other
}

// keptUpdates is how many updates wait at most: each holds what is to be said of all
// objects.
const keptUpdates = 16

// thin drops every other update in between if there are too many: whichever is left
// is served once a proxy serves a later one.
func thin(list []*update) []*update {
	if len(list) <= keptUpdates {
		return list
	}
	kept := list[:1]
	for i := 1; i < len(list); i++ {
		if i%2 == 0 || i == len(list)-1 {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// update is a version whose caller waits for what becomes of it.
type update struct {
	version *version
	applied func(error)
	told    bool // that it is not applied yet
	since   time.Time
}

// New returns a Server without a config: proxies wait for the first.
func New(o Options) *Server {
	s := &Server{
		o: o, changed: make(chan struct{}), proxies: map[*proxy]bool{}, reports: map[string]*remote.Report{}, back: map[string]bool{}, runs: make(chan struct{}, 1), ran: map[string]bool{}, left: map[string]bool{},
		resources: newHistory(), endpoints: newHistory(),
		connected: o.Metrics.Gauges("penstock_control_proxies", "Proxies that are connected.").With(),
		refusals:  o.Metrics.Counters("penstock_control_refusals_total", "Updates that proxies refused, by type.", "type"),
	}
	o.Images.changed = s.wake
	return s
}

// Update makes a config the one that is served. applied is called with nil once
// every ready proxy serves it; with an error that says who does not if that
// takes long, and again when it changes. One goroutine at a time calls Update.
func (s *Server) Update(c *config.Config, applied func(error)) error {
	u, err := s.encoder.Encode(c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	v := &version{seq: 1, config: 1, endpoints: 1}
	keeps := s.served != nil && c.KeepsChains(s.served)
	if !keeps { // also for credentials, which no proxy gets
		s.filters, s.parts = c.Filters(), c.PartHashes()
		gone := func(hash string, _ bool) bool { return !s.parts[hash] }
		maps.DeleteFunc(s.ran, gone)
		maps.DeleteFunc(s.left, gone)
	}
	s.served = c
	filters := s.filters
	if old := s.latest; old != nil {
		v.seq, v.config, v.endpoints = old.seq+1, old.config, old.endpoints
	}
	if s.latest == nil || !u.Config.Empty() {
		v.config = v.seq
		s.resources.record(&u.Config, v.seq)
	}
	if s.latest == nil || !u.Endpoints.Empty() {
		v.endpoints = v.seq
		s.endpoints.record(&u.Endpoints, v.seq)
	}
	s.latest = v
	s.pending = thin(append(s.pending, &update{version: v, applied: applied, since: time.Now()}))
	s.mu.Unlock()
	if !keeps {
		s.o.Images.configure(filters)
	}
	s.wake()
	s.settle()
	return nil
}

// wake has every proxy's goroutine look for what is new.
func (s *Server) wake() {
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// Run serves on l until ctx is done.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := s.o.TLS()
		if err != nil {
			return nil, err
		}
		c = c.Clone()
		c.MinVersion, c.ClientAuth, c.NextProtos = tls.VersionTLS13, tls.RequireAndVerifyClientCert, []string{"h2"}
		return c, nil
	}}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(cfg)),
		grpc.MaxRecvMsgSize(remote.MaxMessage), grpc.MaxSendMsgSize(remote.MaxMessage), grpc.MaxConcurrentStreams(64),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepAlive, Timeout: keepAlive}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepAlive / 2, PermitWithoutStream: true}),
	)
	discovery.RegisterAggregatedDiscoveryServiceServer(server, discoveryService{server: s})
	bytestream.RegisterByteStreamServer(server, s.o.Images)
	remote.RegisterReports(server, s)
	s.mu.Lock()
	s.since = time.Now()
	s.mu.Unlock()
	var group sync.WaitGroup
	group.Go(func() {
		t := time.NewTicker(pendingAfter / 2)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				server.Stop() // proxies serve on, and look for another control
				return
			case <-t.C:
				s.settle()
			}
		}
	})
	defer func() {
		group.Wait()
		s.mu.Lock()
		s.since = time.Time{}
		s.mu.Unlock()
	}()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("control: %w", err)
	}
	return ctx.Err()
}

// settle tells what became of updates.
func (s *Server) settle() {
	s.mu.Lock()
	var calls []func()
	rest := s.pending[:0]
	late, have := s.late()
	for i, u := range s.pending {
		switch {
		case have && late(u.version) == "":
			if i == len(s.pending)-1 || late(s.pending[i+1].version) != "" { // older ones are of no interest
				calls = append(calls, func() { u.applied(nil) })
			}
		case i < len(s.pending)-1 && u.told: // a newer one waits
		default:
			found := have || s.found()
			if !u.told && found && time.Since(u.since) > pendingAfter {
				u.told = true
				why := "no proxy is connected"
				if have {
					why = late(u.version)
				}
				calls = append(calls, func() { u.applied(errors.New(why)) })
			}
			rest = append(rest, u)
		}
	}
	s.pending = rest
	s.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

// late returns a function that says which ready proxy does not serve a version;
// have is false if there is no ready proxy. s.mu is held while it is used.
func (s *Server) late() (late func(*version) string, have bool) {
	for p := range s.proxies {
		have = have || p.ready
	}
	return func(v *version) string {
		for p := range s.proxies {
			if p.ready && (p.config < v.config || p.endpoints < v.endpoints) {
				if p.fault != "" {
					return fmt.Sprintf("proxy %s refuses it: %s", p.id, p.fault)
				}
				return fmt.Sprintf("proxy %s has not taken it yet", p.id)
			}
		}
		return ""
	}, have
}

// ProxyState is what is known of a proxy.
type ProxyState struct {
	ID      string
	Ready   bool
	Current bool   // it serves the latest config
	Fault   string // why it refuses what it was sent last; empty: it does not
	Parts   []remote.PartReport
}

// Proxies returns what is known of the proxies, by name. Any goroutine may call it.
func (s *Server) Proxies() []ProxyState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []ProxyState
	for p := range s.proxies {
		all = append(all, ProxyState{
			ID: p.id, Ready: p.ready, Fault: p.fault, Parts: p.parts,
			Current: s.latest != nil && p.config >= s.latest.config && p.endpoints >= s.latest.endpoints,
		})
	}
	slices.SortFunc(all, func(a, b ProxyState) int { return slices.Compare([]string{a.ID}, []string{b.ID}) })
	return all
}

// PurgeState is which purges a proxy says to have carried out.
type PurgeState struct {
	ID     string // of the proxy
	Ready  bool
	Purges map[string]remote.PurgeReport // by ID; not to be written to
}

// Purges returns which purges the proxies have carried out, by name. found is false as
// long as some may be looking for this process, which has only begun to serve. Any
// goroutine may call it.
func (s *Server) Purges() (all []PurgeState, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.proxies {
		all = append(all, PurgeState{ID: p.id, Ready: p.ready, Purges: p.purges})
	}
	slices.SortFunc(all, func(a, b PurgeState) int { return cmp.Compare(a.ID, b.ID) })
	return all, s.found()
}

// found reports whether proxies have had the time to find this process. s.mu is held.
func (s *Server) found() bool { return !s.since.IsZero() && time.Since(s.since) > reconnectFor }

// Serving reports whether proxies are served: by the process that leads. Any goroutine
// may call it.
func (s *Server) Serving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.since.IsZero()
}

// Runs receives a value when what proxies run has changed.
func (s *Server) Runs() <-chan struct{} { return s.runs }

// Ran reports whether a part with this hash runs, or ran, on a proxy since this
// process began, as long as it is configured. Any goroutine may call it.
func (s *Server) Ran(hash string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ran[hash]
}

// RolledBack reports whether any proxy says that it has rolled a filter back: whether
// it is worth while to look at what they run. Any goroutine may call it.
func (s *Server) RolledBack() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.back) > 0
}

// Report takes a proxy's reports, until its connection ends.
func (s *Server) Report(ctx context.Context, next func() (*remote.Report, error)) error {
	from := peerOf(ctx)
	defer func() {
		s.mu.Lock()
		delete(s.reports, from)
		delete(s.back, from)
		s.mu.Unlock()
	}()
	for {
		r, err := next()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.reports[from] = r
		delete(s.back, from)
		for p := range s.proxies {
			if p.peer == from {
				p.tell(r)
			}
		}
		for _, part := range r.Parts {
			switch {
			case slices.ContainsFunc(part.Filters, func(f remote.FilterReport) bool { return f.State == "RolledBack" }):
				s.back[from] = true
				delete(s.ran, part.Hash) // nobody is to go back to it
				s.left[part.Hash] = s.parts[part.Hash]
			case part.State == "Running" && s.parts[part.Hash] && !s.left[part.Hash]:
				s.ran[part.Hash] = true
			}
		}
		s.mu.Unlock()
		s.settle()
		select {
		case s.runs <- struct{}{}:
		default:
		}
	}
}
