// Package admin is the process' own HTTP server for people and probes: health,
// metrics, and what runs. It listens on loopback by default, elsewhere with TLS.
package admin

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
)

// readyWait is how long readiness waits for first chains (annotations.md, section 5).
const readyWait = 30 * time.Second

// Problem is one thing that a source found wrong with its objects.
type Problem struct {
	File   string `json:"file,omitempty"`
	Object string `json:"object"`
	// Namespace of the object; empty: it is in none.
	Namespace string `json:"-"`
	Field     string `json:"field,omitempty"`
	Reason    string `json:"reason"`
	Message   string `json:"message"`
	Severity  string `json:"severity"`
}

// Server answers the admin and the health address.
type Server struct {
	store    *snapshot.Store
	cache    *cache.Cache
	metrics  *telemetry.Metrics
	problems func() []Problem
	started  time.Time

	bound    atomic.Bool // the listeners are open
	stopping atomic.Bool
	wasReady atomic.Bool // then a new chain that is still pulling changes nothing
}

// New returns a server that is live and not ready. problems may be nil.
func New(store *snapshot.Store, responses *cache.Cache, metrics *telemetry.Metrics, problems func() []Problem) *Server {
	return &Server{store: store, cache: responses, metrics: metrics, problems: problems, started: time.Now()}
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

// Admin serves what Health does, /config, /chains, /cache and what lies below it, and
// profiles of the process under /debug/pprof/, to whom g lets in: who has a certificate
// may ask all.
func (s *Server) Admin(g Guard) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.Health())
	for path, h := range profiles() {
		mux.Handle("GET "+path, h)
	}
	mux.HandleFunc("GET /chains", s.chains)
	mux.HandleFunc("DELETE /cache", func(w http.ResponseWriter, r *http.Request) { s.purge(w, r, g.open) })
	mux.HandleFunc("GET /cache/stats", func(w http.ResponseWriter, _ *http.Request) { object(w, s.cache.Stats()) })
	mux.HandleFunc("GET /cache/objects", s.cached)
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		current := s.store.Load()
		if current == nil {
			text(w, http.StatusServiceUnavailable, "no configuration yet\n")
			return
		}
		object(w, shown{values: true}.config(current.Config()))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.allow(w, r, Right{Path: r.URL.Path}) {
			mux.ServeHTTP(w, r)
		}
	})
}

func (s *Server) chains(w http.ResponseWriter, _ *http.Request) {
	reply := struct {
		Chains   []snapshot.Report `json:"chains"`
		Problems []Problem         `json:"problems"`
	}{Chains: s.store.Reports()}
	if s.problems != nil {
		reply.Problems = s.problems()
	}
	for _, r := range s.store.RawRefusals() {
		reply.Problems = append(reply.Problems, Problem{
			Object: r.Target.String(), Namespace: r.Target.Namespace, Reason: "PluginsNotApplicable", Severity: "error",
			Message: fmt.Sprintf("filter %s of %s is not for raw connections: what passes it is refused", r.Filter, r.Owner),
		})
	}
	object(w, reply)
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if !s.Ready() {
		text(w, http.StatusServiceUnavailable, "not ready\n")
		return
	}
	text(w, http.StatusOK, "ok\n")
}
