package translate_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/files"
	"penstock.dev/penstock/k8s/translate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func options() translate.Options {
	return translate.Options{
		ControllerName: "penstock.dev/gateway-controller", InstallNamespace: "penstock-system",
		Bundled: []translate.Bundled{
			{Name: "key-auth", Major: "1", Image: "penstock.dev/plugins/key-auth:1", Guard: true, Identifies: true},
			{Name: "transform", Major: "1", Image: "penstock.dev/plugins/transform:1"},
		},
		Parameters: config.DefaultProxyParameters(), Now: func() time.Time { return time.Unix(1000, 0) },
	}
}

var errEnough = errors.New("enough")

// load translates a folder's files.
func load(t testing.TB, dir string, tr *translate.Translator) (*config.Config, []translate.Problem) {
	t.Helper()
	s := files.New(files.Options{Dir: dir, Log: zap.NewNop(), Translator: tr})
	var c *config.Config
	err := s.Run(context.Background(), func(got *config.Config) error { c = got; return errEnough })
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	return c, s.Problems()
}

// TestGolden compares what each testdata/NAME.in.yaml becomes with
// NAME.out.txt; -update rewrites it.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) < 10 {
		t.Fatalf("%d inputs, %v; want at least 10", len(inputs), err)
	}
	for _, in := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(in), ".in.yaml"), func(t *testing.T) {
			text, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "in.yaml"), append([]byte(common), text...), 0o600); err != nil {
				t.Fatal(err)
			}
			o := options()
			if bytes.HasPrefix(text, []byte("# infrastructure\n")) {
				o.Infrastructure = &translate.Infrastructure{Namespace: "penstock-system", Selector: map[string]string{"app": "penstock"}}
			}
			checked, err := files.Check(dir, translate.New(o))
			if err != nil {
				t.Fatal(err)
			}
			if err := checked.Config.Validate(); err != nil {
				t.Error(err)
			}
			got := dump(checked.Config, checked.Problems) + statusText(t, checked.Status)
			golden := strings.TrimSuffix(in, ".in.yaml") + ".out.txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// statusText writes statuses, but for the features of GatewayClasses: they are in
// TestSupportedFeatures.
func statusText(t *testing.T, status translate.Statuses) string {
	shown := maps.Collect(status.All())
	for o, v := range shown {
		if c, ok := v.(*gatewayv1.GatewayClassStatus); ok {
			shown[o] = &gatewayv1.GatewayClassStatus{Conditions: c.Conditions}
		}
	}
	var text strings.Builder
	if err := translate.WriteStatus(&text, config.OverlayOf(shown)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// common stands before every input.
const common = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: penstock}
spec: {controllerName: penstock.dev/gateway-controller}
---
`

// dump writes a config for a reader: what differs by run is left out.
func dump(c *config.Config, problems []translate.Problem) string {
	var b strings.Builder
	p := func(depth int, format string, args ...any) {
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth), strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
	for _, g := range c.Gateways {
		p(0, "%s", g.Object)
		dumpParameters(p, g.Parameters)
		for _, l := range g.Listeners {
			port := fmt.Sprint(l.Port)
			if l.BindPort != 0 {
				port += fmt.Sprintf(" at %d", l.BindPort)
			}
			p(1, "listener %s %s %s %s", l.Name, l.Protocol, port, l.Hostname)
			if l.TLS != nil {
				p(2, "tls at least 1.%d, %d certificates", 2+l.TLS.MinVersion, len(l.TLS.Certificates))
				if l.TLS.Curves != nil {
					p(3, "curves %v", l.TLS.Curves)
				}
				if a := l.TLS.Clients; a != nil {
					p(3, "clients optional=%v unchecked=%v %+v, %d roots, %d lists", a.Optional, a.Unchecked, a.Names, len(a.Roots), len(a.Revoked))
				}
				for _, c := range l.TLS.Certificates {
					p(3, "certificate of %s for %v, chain of %d, key of %d bytes", c.Object, c.Names, len(c.Chain), len(c.Key))
				}
			}
			dumpChain(p, 2, l.Chain)
			if l.RawRoutes != nil {
				dumpRaw(p, l.RawRoutes)
				continue
			}
			for _, e := range l.Routes.Entries {
				p(2, "%s %v", e.Route.Object, e.Hostnames)
				for _, r := range e.Route.Rules {
					dumpRule(p, r)
				}
			}
		}
	}
	for _, name := range sorted(c.Upstreams) {
		p(0, "upstream %s %v", name, c.Endpoints.Of(name).Endpoints)
		if s := c.Upstreams[name].TLS; s != nil {
			p(1, "tls %s %+v, %d roots, at least 1.%d, shows %v, fault %q", s.ServerName, s.Names, len(s.Roots), 2+s.MinVersion, s.Certificate != nil, s.Fault)
		}
		if u := c.Upstreams[name]; u.Protocol != config.ProtocolHTTP {
			p(1, "protocol %s", u.Protocol)
		}
	}
	for _, x := range c.Purges {
		p(0, "purge %s of %s soft=%v urls %q prefixes %q hostnames %q tags %q", x.ID, x.Namespace, x.Soft, x.URLs, x.Prefixes, x.Hostnames, x.Tags)
	}
	for _, name := range sorted(maps.Collect(c.Consumers.All())) {
		x := c.Consumers.Of(name)
		p(0, "consumer %s username %s groups %q", name, x.Username, x.Groups)
		dumpChain(p, 1, x.Chain)
		for _, k := range x.Credentials {
			how, data, _ := bytes.Cut(k.Data, []byte{0})
			p(1, "credential %s %x %s %d bytes", k.Type, k.ID[:4], how, len(data))
		}
	}
	if c.ConsumerGrants != nil {
		for _, g := range c.ConsumerGrants.List {
			p(0, "grant %s %s to Consumer %s/%s", g.FromKind, g.FromNamespace, g.Namespace, g.Name)
		}
	}
	for _, x := range problems {
		level := "error"
		if x.Warning {
			level = "warning"
		}
		p(0, "%s %s", level, x)
	}
	return b.String()
}

func dumpRaw(p func(int, string, ...any), t *config.RawTable) {
	for _, e := range t.Entries {
		p(2, "%s %v", e.Route.Object, e.Hostnames)
		p(3, "rule %s", e.Route.Name)
		for _, x := range e.Route.Backends {
			p(4, "backend %d %s %s status %d proxy protocol %d", x.Weight, x.Upstream, x.Service, x.Status, x.ProxyProtocol)
			dumpChain(p, 5, x.Chain)
		}
	}
}

func dumpRule(p func(int, string, ...any), r *config.Rule) {
	p(3, "rule %s", r.Name)
	for _, m := range r.Matches {
		text := fmt.Sprintf("match %d %s%v %s", m.PathType, m.Path, orNothing(m.Regex), m.Method)
		if m.GRPC {
			text += " gRPC"
		}
		for _, h := range m.Headers {
			text += fmt.Sprintf(" header %s=%s%v", h.Name, h.Value, orNothing(h.Regex))
		}
		for _, q := range m.Query {
			text += fmt.Sprintf(" query %s=%s%v", q.Name, q.Value, orNothing(q.Regex))
		}
		p(4, "%s", text)
	}
	dumpSteps(p, 4, r.Steps)
	if r.Redirect != nil {
		p(4, "redirect %s %s %d %+v %d", r.Redirect.Scheme, r.Redirect.Hostname, r.Redirect.Port, orNothing(r.Redirect.Path), r.Redirect.Status)
	}
	if r.Timeout+r.BackendTimeout > 0 {
		p(4, "timeouts %v %v", r.Timeout, r.BackendTimeout)
	}
	if r.Retry != nil {
		p(4, "retry %+v", *r.Retry)
	}
	if r.Session != nil {
		p(4, "session %+v", *r.Session)
	}
	if r.Status != 0 {
		p(4, "status %d", r.Status)
	}
	for _, x := range r.Backends {
		p(4, "backend %d %s %s status %d", x.Weight, x.Upstream, x.Service, x.Status)
		if x.CacheScope != "" {
			p(5, "cache scope %s", x.CacheScope)
		}
		dumpSteps(p, 5, x.Steps)
		if x.Redirect != nil {
			p(5, "redirect %+v", *x.Redirect)
		}
		dumpChain(p, 5, x.Chain)
	}
	if len(r.Backends) == 0 {
		dumpChain(p, 4, r.Chain)
	}
}

func dumpSteps(p func(int, string, ...any), depth int, steps []config.Step) {
	for _, s := range steps {
		switch {
		case s.Request != nil:
			p(depth, "request %+v", *s.Request)
		case s.Response != nil:
			p(depth, "response %+v", *s.Response)
		case s.Rewrite != nil:
			p(depth, "rewrite %s %+v", s.Rewrite.Hostname, orNothing(s.Rewrite.Path))
		case s.CORS != nil:
			p(depth, "cors %+v", *s.CORS)
		case s.Mirror != nil:
			p(depth, "mirror %+v", *s.Mirror)
		case s.Plugins:
			p(depth, "plugins")
		}
	}
}

func dumpParameters(p func(int, string, ...any), v *config.ProxyParameters) {
	shown := *v
	if shown.Redis = nil; !cmp.Equal(&shown, config.DefaultProxyParameters(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })) {
		p(1, "parameters %+v", shown)
	}
	if r := v.Redis; r != nil {
		shown := *r
		shown.Password, shown.CA = "", ""
		p(1, "redis %+v password %d ca %d", shown, len(r.Password), len(r.CA))
	}
}

func dumpChain(p func(int, string, ...any), depth int, c *config.Chain) {
	if c == nil {
		return
	}
	for _, part := range c.Parts {
		p(depth, "part %s %s %s", part.Name, part.Object, part.Scope)
		if part.Fault != nil {
			p(depth+1, "fault %s: %s", part.Fault.Reason, part.Fault.Message)
		}
		for _, f := range part.Filters {
			p(depth+1, "filter %s of %s: %s guard=%v grant=%d %v onError=%d denied=%v", f.ID(), f.Owner, f.Image, f.Guard, f.Grant, f.Capabilities, f.OnError, f.DeniedDigests)
			p(depth+2, "config %s env %v except %v", f.Config, f.Env, f.Except)
			if f.Cache != nil {
				p(depth+2, "%s %+v", f.Plugin, *f.Cache)
				continue
			}
			if f.RootID+f.VMID+string(f.VMConfig) != "" || f.HeaderStop != 0 || f.Egress != nil {
				p(depth+2, "root %s vm %s %s headerStop %d egress %v", f.RootID, f.VMID, f.VMConfig, f.HeaderStop, f.Egress)
			}
			if f.Redis != nil {
				p(depth+2, "redis %s", f.Redis.Name)
			}
			for _, c := range f.PullSecrets {
				p(depth+2, "pull secret %s %s %d", c.Registry, c.Username, len(c.Password)+len(c.IdentityToken))
			}
			for _, t := range f.Trust {
				p(depth+2, "trust %d keys", len(t.Keys))
			}
			if c := f.Canary; c != nil && c.Fault != nil {
				p(depth+2, "canary %d%% shadow=%v fault %s: %s", c.WeightPercent, c.Shadow, c.Fault.Reason, c.Fault.Message)
			} else if c != nil {
				p(depth+2, "canary %d%% shadow=%v filter %s: %s guard=%v grant=%d %v config %s trust %d keys", c.WeightPercent, c.Shadow, c.Filter.ID(), c.Filter.Image, c.Filter.Guard, c.Filter.Grant, c.Filter.Capabilities, c.Filter.Config, len(c.Filter.Trust))
			}
			if f.Limits != config.DefaultLimits() {
				p(depth+2, "limits %+v", f.Limits)
			}
		}
	}
}

func orNothing[T any](v *T) string {
	if v == nil {
		return ""
	}
	if s, ok := any(v).(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("%+v", *v)
}

func sorted[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
