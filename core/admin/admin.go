// Package admin is the proxy's own HTTP server for people and probes: health,
// metrics, and what it runs. It listens on loopback by default.
package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
)

// readyWait is how long readiness waits for first chains (annotations.md, section 5).
const readyWait = 30 * time.Second

// Problem is one thing that a source found wrong with its objects.
type Problem struct {
	File     string `json:"file,omitempty"`
	Object   string `json:"object"`
	Field    string `json:"field,omitempty"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	Severity string `json:"severity"`
}

// Server answers the admin and the health address.
type Server struct {
	store    *snapshot.Store
	metrics  *telemetry.Metrics
	problems func() []Problem
	started  time.Time

	bound    atomic.Bool // the listeners are open
	stopping atomic.Bool
	wasReady atomic.Bool // then a new chain that is still pulling changes nothing
}

// New returns a server that is live and not ready. problems may be nil.
func New(store *snapshot.Store, metrics *telemetry.Metrics, problems func() []Problem) *Server {
	return &Server{store: store, metrics: metrics, problems: problems, started: time.Now()}
}

// Bound says that the first configuration's listeners are open.
func (s *Server) Bound() { s.bound.Store(true) }

// Stopping makes the server not ready for good.
func (s *Server) Stopping() { s.stopping.Store(true) }

// Ready reports whether traffic should come: the listeners are bound and every
// first chain is warm or has failed, for which it waits 30 s at most.
func (s *Server) Ready() bool {
	if s.stopping.Load() || !s.bound.Load() {
		return false
	}
	if !s.wasReady.Load() && (s.store.Settled() || time.Since(s.started) > readyWait) {
		s.wasReady.Store(true)
	}
	return s.wasReady.Load()
}

// Health serves /livez, /readyz and /metrics: what may be seen from elsewhere.
func (s *Server) Health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.metrics.Handler())
	return mux
}

// Admin serves what Health does, /config, /chains, and profiles of the process
// under /debug/pprof/.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.Health())
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/heap", pprof.Handler("heap").ServeHTTP)
	mux.HandleFunc("GET /debug/pprof/goroutine", pprof.Handler("goroutine").ServeHTTP)
	mux.HandleFunc("GET /chains", func(w http.ResponseWriter, _ *http.Request) {
		reply := struct {
			Chains   []snapshot.Report `json:"chains"`
			Problems []Problem         `json:"problems"`
		}{Chains: s.store.Reports()}
		if s.problems != nil {
			reply.Problems = s.problems()
		}
		for _, r := range s.store.RawRefusals() {
			reply.Problems = append(reply.Problems, Problem{
				Object: r.Target.String(), Reason: "PluginsNotApplicable", Severity: "error",
				Message: fmt.Sprintf("filter %s of %s is not for raw connections: what passes it is refused", r.Filter, r.Owner),
			})
		}
		object(w, reply)
	})
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		current := s.store.Load()
		if current == nil {
			text(w, http.StatusServiceUnavailable, "no configuration yet\n")
			return
		}
		object(w, redact(current.Config()))
	})
	return mux
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if !s.Ready() {
		text(w, http.StatusServiceUnavailable, "not ready\n")
		return
	}
	text(w, http.StatusOK, "ok\n")
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func object(w http.ResponseWriter, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n'))
}

const redacted = "(redacted)"

// redact returns a copy of what may be shown: without any plugin's config and
// without the values of environment variables.
func redact(c *config.Config) *config.Config {
	filters := func(in []*config.Filter) []*config.Filter {
		var out []*config.Filter
		for _, f := range in {
			out = append(out, redactFilter(f))
		}
		return out
	}
	var part func(p *config.Part) *config.Part
	part = func(p *config.Part) *config.Part {
		if p == nil {
			return nil
		}
		shown := *p
		shown.Filters, shown.Fallback, shown.Previous = filters(p.Filters), part(p.Fallback), part(p.Previous)
		return &shown
	}
	chain := func(in *config.Chain) *config.Chain {
		if in == nil {
			return nil
		}
		var out config.Chain
		for _, p := range in.Parts {
			out.Parts = append(out.Parts, part(p))
		}
		return &out
	}
	return mapChains(c, chain)
}

func redactFilter(f *config.Filter) *config.Filter {
	shown := *f
	shown.Config, shown.VMConfig, shown.Env, shown.PullSecrets = nil, nil, nil, nil
	for _, e := range f.Env {
		shown.Env = append(shown.Env, config.EnvVar{Name: e.Name, Value: redacted})
	}
	if f.Canary != nil {
		canary := *f.Canary
		if canary.Filter != nil {
			canary.Filter = redactFilter(canary.Filter)
		}
		shown.Canary = &canary
	}
	return &shown
}

// mapChains copies c with every chain replaced.
func mapChains(c *config.Config, chain func(*config.Chain) *config.Chain) *config.Config {
	out := &config.Config{Upstreams: c.Upstreams, Endpoints: c.Endpoints, Totals: c.Totals}
	for _, g := range c.Gateways {
		gateway := *g
		gateway.Listeners = nil
		for _, l := range g.Listeners {
			listener := *l
			listener.Chain = chain(l.Chain)
			if l.Raw() {
				listener.RawRoutes = mapRaw(l.RawRoutes, chain)
				gateway.Listeners = append(gateway.Listeners, &listener)
				continue
			}
			listener.Routes = &config.RouteTable{}
			for _, e := range l.Routes.Entries {
				route := *e.Route
				route.Rules = nil
				for _, r := range e.Route.Rules {
					rule := *r
					rule.Chain = chain(r.Chain)
					rule.Backends = nil
					for _, b := range r.Backends {
						b.Chain = chain(b.Chain)
						rule.Backends = append(rule.Backends, b)
					}
					route.Rules = append(route.Rules, &rule)
				}
				listener.Routes.Entries = append(listener.Routes.Entries, &config.RouteEntry{Hostnames: e.Hostnames, Route: &route})
			}
			gateway.Listeners = append(gateway.Listeners, &listener)
		}
		out.Gateways = append(out.Gateways, &gateway)
	}
	return out
}

func mapRaw(t *config.RawTable, chain func(*config.Chain) *config.Chain) *config.RawTable {
	out := &config.RawTable{}
	for _, e := range t.Entries {
		route := *e.Route
		route.Backends = nil
		for _, b := range e.Route.Backends {
			b.Chain = chain(b.Chain)
			route.Backends = append(route.Backends, b)
		}
		out.Entries = append(out.Entries, config.RawEntry{Hostnames: e.Hostnames, Route: &route})
	}
	return out
}
