package cluster

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/k8s/api"
)

// Proxy is what one proxy runs.
type Proxy struct {
	Name    string
	Ready   bool            // it takes traffic
	Current bool            // it serves the latest config
	Parts   map[string]Part // by config.Part.Hash
}

// Part is how a proxy runs a part of chains.
type Part struct {
	State   string // "Running", "LastGood", "Pending", "Broken"
	Filters []Filter
}

// Filter is how a proxy runs a filter. State and Reason are those of
// annotations.md, section 3.
type Filter struct {
	Name                           string // part/name
	Digest, State, Reason, Message string
	Since                          time.Time
	// Declaration is config.Filter.Declaration; Entry is what declares a filter that runs
	// in the place of one that was rolled back.
	Declaration string
	Entry       []byte
}

// worst is how much a filter's state asks to be shown, where proxies differ.
var worst = []string{"Ready", "Compiling", "Pulling", "RolledBack", "Quarantined", "Failed"}

// failed are the states of filters that an operator is told of.
var failed = []string{"Failed", "Quarantined", "RolledBack"}

// run fills in what a chain's filters are on the proxies, and whether all ready
// ones run it.
func run(mine *api.ChainController, hashes []string, proxies []Proxy, generation int64) {
	ready, serving := 0, 0
	lastGood := false
	for i := range proxies {
		p := &proxies[i]
		if !p.Ready {
			continue
		}
		ready++
		all := p.Current
		for _, hash := range hashes {
			part, ok := p.Parts[hash]
			all = all && ok && part.State == "Running"
			lastGood = lastGood || part.State == "LastGood"
			for j := range part.Filters {
				f := &part.Filters[j]
				all = all && (f.State != "RolledBack" || ordered(mine, f)) // its form before runs
				fill(mine, f)
			}
		}
		for j := range mine.Filters {
			all = all && runsBefore(&mine.Filters[j], hashes, p)
		}
		if all {
			serving++
		}
	}
	mine.Proxies = fmt.Sprintf("%d/%d", serving, ready)
	programmed := metav1.Condition{Type: api.ConditionProgrammed, Status: metav1.ConditionTrue, Reason: "Programmed", ObservedGeneration: generation}
	degraded := metav1.Condition{Type: api.ConditionDegraded, Status: metav1.ConditionFalse, Reason: "AsConfigured", ObservedGeneration: generation}
	bad := slices.IndexFunc(mine.Filters, func(f api.ChainFilter) bool {
		return slices.Contains(failed, f.State)
	})
	switch {
	case ready > 0 && serving == ready && !slices.ContainsFunc(mine.Filters, func(f api.ChainFilter) bool { return f.RolledBack != nil }):
	case bad >= 0:
		f := &mine.Filters[bad]
		programmed = metav1.Condition{Type: api.ConditionProgrammed, Status: metav1.ConditionFalse, Reason: or(f.Reason, f.State), Message: f.Name + ": " + f.Message, ObservedGeneration: generation}
	default:
		programmed.Status, programmed.Reason = metav1.ConditionFalse, "Pending"
		programmed.Message = fmt.Sprintf("%d of %d ready proxies run it", serving, ready)
		for _, f := range mine.Filters {
			if f.State == "Pulling" || f.State == "Compiling" {
				programmed.Reason, programmed.Message = f.State, f.Name
				break
			}
		}
		accepted := slices.IndexFunc(mine.Conditions, func(c metav1.Condition) bool {
			return c.Type == api.ConditionAccepted && c.Status == metav1.ConditionFalse
		})
		if accepted >= 0 {
			programmed.Reason, programmed.Message = mine.Conditions[accepted].Reason, mine.Conditions[accepted].Message
		}
	}
	switch {
	case lastGood:
		degraded.Status, degraded.Reason, degraded.Message = metav1.ConditionTrue, "LastGood", "what ran before serves in its place"
	case bad >= 0:
		degraded.Status, degraded.Reason, degraded.Message = metav1.ConditionTrue, or(mine.Filters[bad].Reason, mine.Filters[bad].State), mine.Filters[bad].Name+": "+mine.Filters[bad].Message
	}
	mine.Conditions = append(slices.Clone(mine.Conditions), programmed, degraded)
}

// ordered reports whether a filter that a proxy rolled back is so on all of them.
func ordered(mine *api.ChainController, f *Filter) bool {
	return slices.ContainsFunc(mine.Filters, func(c api.ChainFilter) bool {
		return c.RolledBack != nil && c.Name == f.Name && c.Hash == f.Declaration
	})
}

// runsBefore reports whether a proxy runs in the place of a filter that was rolled back
// what all are to run there; of other filters it is true.
func runsBefore(c *api.ChainFilter, hashes []string, p *Proxy) bool {
	if c.RolledBack == nil {
		return true
	}
	for _, hash := range hashes {
		if slices.ContainsFunc(p.Parts[hash].Filters, func(f Filter) bool {
			return f.Name == c.Name && f.State == "Ready" && f.Declaration == c.RolledBack.To && f.Digest == c.Digest
		}) {
			return true
		}
	}
	return false
}

// fill takes over what one proxy says of a filter, if it is worse than what others
// say.
func fill(mine *api.ChainController, f *Filter) {
	for i := range mine.Filters {
		c := &mine.Filters[i]
		if c.Name == f.Name && c.RolledBack != nil { // a new process that leads must read again what runs in its place
			if f.State == "Failed" && f.Declaration == c.RolledBack.To {
				c.Message = f.Reason + ": " + f.Message
			}
			continue
		}
		if c.Name == f.Name && c.State == f.State && c.Message == "" { // a remark on what is as good there
			c.Message = f.Message
		}
		if c.Name != f.Name || c.State != "" && slices.Index(worst, f.State) <= slices.Index(worst, c.State) {
			continue
		}
		since := metav1.NewTime(f.Since.Truncate(time.Second))
		c.Digest, c.State, c.Reason, c.Message, c.Since = f.Digest, f.State, f.Reason, f.Message, &since
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
