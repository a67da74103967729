package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/telemetry"
)

// maxLarge is how many answers about the whole config are made at once: others
// wait. Each holds a copy.
const maxLarge = 2

// ControlOptions of a Control. Any goroutine may call the functions.
type ControlOptions struct {
	Metrics *telemetry.Metrics
	// Ready: a config was read.
	Ready func() bool
	// Config is the latest that is served; nil: there is none yet.
	Config func() *config.Config
	Fleet  func() Fleet
	// Problems are what is wrong with the cluster's objects.
	Problems func() []Problem
}

// Control answers the admin and the health address of a control process.
type Control struct {
	o     ControlOptions
	large chan struct{}
}

// NewControl returns a Control.
func NewControl(o ControlOptions) *Control {
	return &Control{o: o, large: make(chan struct{}, maxLarge)}
}

// Health serves /livez, /readyz and /metrics: what may be seen from elsewhere.
func (c *Control) Health() http.Handler {
	mux := http.NewServeMux()
	for path, h := range c.health() {
		mux.Handle("GET "+path, h)
	}
	return mux
}

func (c *Control) health() map[string]http.Handler {
	return map[string]http.Handler{
		"/livez": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") }),
		"/readyz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if !c.o.Ready() {
				text(w, http.StatusServiceUnavailable, "not ready\n")
				return
			}
			text(w, http.StatusOK, "ok\n")
		}),
		"/metrics": c.o.Metrics.Handler(),
	}
}

// Admin serves what Health does, /proxies, and profiles under /debug/pprof/, each to
// who may get its path; and /config and /chains to who may get ChainStatuses: those of
// the namespace that the query names, or of all.
func (c *Control) Admin(g Guard) http.Handler {
	mux := http.NewServeMux()
	ofPath := profiles()
	for path, h := range c.health() {
		ofPath[path] = h
	}
	ofPath["/proxies"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f := c.o.Fleet()
		if f.Proxies == nil {
			f.Proxies = []Proxy{}
		}
		object(w, f)
	})
	for path, h := range ofPath {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if g.allow(w, r, Right{Path: path}) {
				h.ServeHTTP(w, r)
			}
		})
	}
	for path, answer := range map[string]func(*config.Config, string) any{"/config": showConfig, "/chains": c.chains} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			namespace, err := namespaceOf(r.URL.RawQuery)
			if err != nil {
				refuse(w, http.StatusBadRequest, err.Error()+"\n")
				return
			}
			if g.allow(w, r, Right{Namespace: namespace}) {
				c.answer(w, r, func(from *config.Config) any { return answer(from, namespace) })
			}
		})
	}
	return mux
}

// answer waits for its turn, and writes what there is to say of the config.
func (c *Control) answer(w http.ResponseWriter, r *http.Request, of func(*config.Config) any) {
	select {
	case c.large <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	defer func() { <-c.large }()
	current := c.o.Config()
	if current == nil {
		w.Header().Set("Retry-After", "1")
		text(w, http.StatusServiceUnavailable, "no configuration yet\n")
		return
	}
	object(w, of(current))
}

func showConfig(c *config.Config, namespace string) any {
	return shown{namespace: namespace}.config(c)
}

func (c *Control) chains(from *config.Config, namespace string) any {
	f := c.o.Fleet()
	s := shown{namespace: namespace}
	return struct {
		Leads    bool           `json:"leads"`
		Chains   []*chainReport `json:"chains"`
		Problems []Problem      `json:"problems"`
	}{f.Leads, f.chains(from, namespace), slices.DeleteFunc(c.o.Problems(), func(p Problem) bool { return !s.has(p.Namespace) })}
}

var namespaceForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// namespaceOf returns the namespace that a query asks for, empty if for all. What it
// does not know it refuses: it would be answered otherwise than was meant.
func namespaceOf(query string) (string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", fmt.Errorf("the query cannot be read: want ?namespace=NAME or none")
	}
	for key, list := range values {
		if key != "namespace" {
			return "", fmt.Errorf("unknown parameter %.40q: want ?namespace=NAME or none", key)
		}
		if len(list) != 1 || !namespaceForm.MatchString(list[0]) {
			return "", fmt.Errorf("parameter namespace: want the name of one namespace")
		}
	}
	return values.Get("namespace"), nil
}
