package proxy

import (
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/router"
	"penstock.dev/penstock/core/snapshot"
)

// steps does what the filters of a rule or backendRef say, in their order; plugins are
// the chains that stand among them, mirrors what their RequestMirrors are.
func (h *HTTP) steps(s *state, steps []config.Step, plugins []*filter.Chain, mirrors []snapshot.Mirror) *exchange.Error {
	for i := range steps {
		step := &steps[i]
		if !step.Plugins && s.run.Skipping() {
			if step.Mirror != nil {
				mirrors = mirrors[1:]
			}
			continue
		}
		switch {
		case step.Request != nil:
			snapshot.Modify(&s.x.Request.Header, step.Request)
		case step.Response != nil:
			s.run.Turn(modifyResponse, step)
		case step.Rewrite != nil:
			s.rewrite(step.Rewrite)
		case step.CORS != nil:
			if err := s.cors(step); err != nil {
				return err
			}
		case step.Mirror != nil:
			h.copied(s, &mirrors[0])
			mirrors = mirrors[1:]
		case step.Plugins:
			if err := s.runOne(plugins[0]); err != nil {
				return err
			}
			plugins = plugins[1:]
		}
	}
	return nil
}

func modifyResponse(x *exchange.Exchange, step *config.Step) {
	snapshot.Modify(&x.Response.Header, step.Response)
}

// rewrite changes what the upstream is asked for; filters that come later see it, and
// their exceptions hold for the new path.
func (s *state) rewrite(w *config.Rewrite) {
	x := s.x
	if w.Hostname != "" {
		x.Request.Authority = rewriteAuthority(x, w.Hostname)
	}
	if w.Path == nil || x.Request.Connect() { // it has none
		return
	}
	x.Request.Path = rewritePath(x, w.Path, s.match)
	path, _ := router.SplitQuery(x.Request.Path)
	if normal, _, err := router.Normalise(path, x.Arena.Alloc); err == nil {
		s.request.Path = normal
	}
}
