package admin

import (
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/snapshot"
)

// Fleet is what control knows of the proxies.
type Fleet struct {
	// Leads: proxies are connected to this process, and not to another one.
	Leads   bool    `json:"leads"`
	Proxies []Proxy `json:"proxies"`
}

// Proxy is one proxy, as it told.
type Proxy struct {
	ID      string `json:"id"`
	Ready   bool   `json:"ready"`           // it takes traffic
	Current bool   `json:"current"`         // it serves the latest config
	Fault   string `json:"fault,omitempty"` // why it refuses what it was sent last
	Parts   []Part `json:"-"`
}

// Part is a part of chains as one proxy runs it.
type Part struct {
	Hash    string // config.Part.Hash
	State   string // as snapshot.Report.State
	Filters []Filter
}

// Filter is a filter as one proxy runs it.
type Filter struct {
	Name                           string // part/name
	Digest, State, Reason, Message string
	Since                          time.Time
}

// chainReport is what control's /chains says of one part.
type chainReport struct {
	snapshot.Report
	Proxies string         `json:"proxies"` // "2/3": how many of the ready ones run it
	Filters []filterReport `json:"filters,omitempty"`
}

// filterReport is what control's /chains says of one filter: the worst of what
// ready proxies say.
type filterReport struct {
	snapshot.FilterReport
	Proxies string    `json:"proxies"` // "2/3": how many of the ready ones have it in this state
	Since   time.Time `json:"since,omitzero"`

	count int
}

// How much a state asks to be shown, where proxies differ.
var (
	worstPart   = []string{"Running", "LastGood", "Pending", "Broken"}
	worstFilter = []string{"", "Ready", "Compiling", "Pulling", "RolledBack", "Quarantined", "Failed"}
)

// chains lists every part of the config's chains that is declared in a namespace,
// empty: in any, each once.
func (f *Fleet) chains(c *config.Config, namespace string) []*chainReport {
	s := shown{namespace: namespace}
	parts, byHash := []*gathered{}, map[string]*gathered{}
	c.Chains(func(chain *config.Chain) {
		for _, p := range chain.Parts {
			if byHash[p.Hash] == nil && s.has(p.Object.Namespace) {
				g := &gathered{part: p}
				byHash[p.Hash] = g
				parts = append(parts, g)
			}
		}
	})
	ready := 0
	for i := range f.Proxies {
		p := &f.Proxies[i]
		if !p.Ready {
			continue
		}
		ready++
		for j := range p.Parts {
			if g := byHash[p.Parts[j].Hash]; g != nil {
				g.add(&p.Parts[j], p.Current)
			}
		}
	}
	all := make([]*chainReport, len(parts))
	for i, g := range parts {
		all[i] = g.report(ready)
	}
	slices.SortStableFunc(all, func(a, b *chainReport) int {
		return slices.Compare([]string{a.Target, a.Part}, []string{b.Target, b.Part})
	})
	return all
}

// gathered is what ready proxies say of one part.
type gathered struct {
	part          *config.Part
	state         string // the worst
	told, running int    // proxies
	filters       []filterReport
}

// add takes over what one proxy says.
func (g *gathered) add(p *Part, current bool) {
	g.told++
	if g.state == "" || slices.Index(worstPart, p.State) > slices.Index(worstPart, g.state) {
		g.state = p.State
	}
	runs := current && p.State == "Running"
	for _, f := range p.Filters {
		runs = runs && f.State != "RolledBack" // its form before runs
		g.addFilter(&f)
	}
	if runs {
		g.running++
	}
}

func (g *gathered) addFilter(f *Filter) {
	i := slices.IndexFunc(g.filters, func(o filterReport) bool { return o.Name == f.Name })
	if i < 0 {
		i = len(g.filters)
		g.filters = append(g.filters, filterReport{})
	}
	one := &g.filters[i]
	switch rank := slices.Index(worstFilter, f.State) - slices.Index(worstFilter, one.State); {
	case one.Name == "" || rank > 0:
		*one = filterReport{Since: f.Since, count: 1}
		one.Name, one.Digest, one.State, one.Reason, one.Message = f.Name, f.Digest, f.State, f.Reason, f.Message
	case rank == 0:
		one.count++
		if one.Message == "" { // a remark on what is as good there
			one.Message = f.Message
		}
	}
}

// report is what is said of the part, with this many ready proxies.
func (g *gathered) report(ready int) *chainReport {
	p := g.part
	r := &chainReport{Proxies: fmt.Sprintf("%d/%d", g.running, ready)}
	r.Target, r.Part, r.State = p.Object.String(), p.Name, g.state
	if g.told < ready && g.state != "Broken" || ready == 0 {
		r.State = "Pending"
	}
	if p.Fault != nil {
		r.Reason, r.Message = p.Fault.Reason, p.Fault.Message
	}
	// Those that are configured, in their order, then others that serve in their place.
	for _, f := range p.Filters {
		one := filterReport{}
		if i := slices.IndexFunc(g.filters, func(o filterReport) bool { return o.Name == f.ID() }); i >= 0 {
			one = g.filters[i]
			g.filters = slices.Delete(g.filters, i, i+1)
		}
		r.Filters = append(r.Filters, one.of(f, ready))
	}
	for _, one := range g.filters {
		r.Filters = append(r.Filters, one.of(formerly(p, one.Name), ready))
	}
	return r
}

// of adds what the config says of the filter; nil: it has it no more.
func (r filterReport) of(f *config.Filter, ready int) filterReport {
	r.Proxies = fmt.Sprintf("%d/%d", r.count, ready)
	if f != nil {
		r.Name, r.Image, r.Guard = f.ID(), f.Image, f.Guard
		r.Origin = snapshot.Origin{Object: f.Owner.String(), Part: f.Part, Plugin: f.Plugin, Version: f.PluginVersion}
	}
	return r
}

// formerly finds a filter in the forms that a part may go back to.
func formerly(p *config.Part, name string) *config.Filter {
	for _, form := range []*config.Part{p.Fallback, p.Previous} {
		for ; form != nil; form = form.Fallback {
			for _, f := range form.Filters {
				if f.ID() == name {
					return f
				}
			}
		}
	}
	return nil
}
