package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/files"
	"penstock.dev/penstock/k8s/translate"
)

// checksAtOnce bounds the plugins that wait for a registry at one time.
const checksAtOnce = 8

// checkPlugins tries each filter of a checked folder once, with what penstock run
// is made of, and returns what is wrong with them. The error is for parts that
// cannot be made.
func checkPlugins(ctx context.Context, o options, checked *files.Checked, timeout time.Duration) ([]translate.Problem, error) {
	all := filtersOf(checked.Config)
	if len(all) == 0 {
		return nil, nil
	}
	log, err := newLog(o.logLevel)
	if err != nil {
		return nil, err
	}
	var said lastErrors
	log = said.listen(log)
	p, err := wirePlugins(o, log, nobody{}, telemetry.New(), nil, nil)
	if err != nil {
		return nil, err
	}
	defer p.closePlugins()
	p.groups.Apply(checked.Config.Upstreams, checked.Config.Endpoints)
	p.plugins.SetTotals(checked.Config.Totals)
	found := make([]*translate.Problem, len(all))
	var group errgroup.Group
	group.SetLimit(checksAtOnce)
	for i, f := range all {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			missing, err := p.plugins.Try(ctx, f)
			found[i] = problemOf(f, missing, said.explainFilter(f, err))
			return nil
		})
	}
	_ = group.Wait()
	var problems []translate.Problem
	for _, one := range found {
		if one != nil {
			one.File = checked.Files[one.Object]
			problems = append(problems, *one)
		}
	}
	return problems, nil
}

// nobody is the dialler of a check: plugins may ask for calls, and reach nobody.
type nobody struct{}

// Dial implements upstream.Dialer.
func (nobody) Dial(context.Context, config.Endpoint, time.Duration) (net.Conn, error) {
	return nil, errors.New("penstock check calls nobody")
}

// fixes say what would be right, for reasons whose errors do not.
var fixes = map[string]string{
	"InvalidModule":    "; name another image or version of the plugin",
	"ImageUnavailable": "; correct the image's name, or push it (--images names a folder that holds it)",
	"DigestMismatch":   "; name the digest that the image has",
}

// problemOf says what is wrong with a filter; nil: nothing. missing is what its image asks
// for in vain.
func problemOf(f *config.Filter, missing []string, err error) *translate.Problem {
	if err == nil && len(missing) == 0 {
		return nil
	}
	if err == nil {
		return &translate.Problem{
			Object: f.Owner, Field: fieldOf(f), Warning: true, Reason: "NotGranted",
			Message: fmt.Sprintf("filter %s: its image asks for %s, which it does not get: its calls of that kind fail; list it under capabilities of the PluginPolicy, or of the Plugin", f.ID(), strings.Join(missing, " and ")),
		}
	}
	p := &translate.Problem{Object: f.Owner, Field: fieldOf(f), Message: "filter " + f.ID() + ": " + strings.Join(strings.Fields(err.Error()), " ")}
	var fault *plugin.Fault
	if errors.As(err, &fault) {
		p.Reason = fault.Reason
		p.Message += fixes[p.Reason]
		return p
	}
	p.Warning, p.Reason = true, "NotChecked"
	p.Message += "; --images and --registry-mirror name other places, --no-plugins checks none"
	return p
}

// fieldOf returns where the filter's entry stands in the object that declares it.
func fieldOf(f *config.Filter) string {
	switch f.Owner.Kind {
	case "PluginChain", "Consumer":
		return "spec.plugins"
	case "PluginPolicy":
		return "spec"
	}
	return "metadata.annotations"
}

// filtersOf returns each filter that a config runs once, with its canary, by
// object and name. What may run in its place is left out: it was right before.
func filtersOf(c *config.Config) []*config.Filter {
	seen := map[string]bool{}
	var all []*config.Filter
	add := func(f *config.Filter) {
		if !seen[f.Hash] && f.Cache == nil { // which is native
			seen[f.Hash] = true
			all = append(all, f)
		}
	}
	c.Chains(func(chain *config.Chain) {
		for _, p := range chain.Parts {
			for _, f := range p.Filters {
				add(f)
				if f.Canary != nil && f.Canary.Filter != nil {
					add(f.Canary.Filter)
				}
			}
		}
	})
	slices.SortStableFunc(all, func(a, b *config.Filter) int {
		return slices.Compare([]string{a.Owner.String(), a.ID()}, []string{b.Owner.String(), b.ID()})
	})
	return all
}
