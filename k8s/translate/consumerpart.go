package translate

import (
	"fmt"
	"slices"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// consumerChain returns what runs once it is known that a Consumer has sent a request; nil:
// nothing. faults are what is wrong with it. Who goes on from where a run stands makes none:
// a part may be another one for many reasons.
func (r *run) consumerChain(o *api.Consumer) (c *config.Chain, faults []Problem) {
	if len(o.Spec.Plugins) == 0 {
		return nil, nil
	}
	if r.changing {
		r.beyond = true
		return nil, nil
	}
	before := len(r.problems)
	at := place{part: config.PartConsumer, object: object("Consumer", o), namespace: o.Namespace, keep: true, noCache: annotation.NoConsumer}
	entries := r.entriesOf(o)
	var part *config.Part
	if entries.fault != nil {
		part = r.part(&at, nil, entries.fault)
	} else {
		part = r.part(&at, entries.entries, nil)
	}
	parts := []*config.Part{part}
	r.noteChain("Consumer", o, parts)
	others := r.problems[:before:before]
	for _, p := range r.problems[before:] {
		if p.Object == at.object { // it is told with the rest of the Consumer
			faults = append(faults, p)
		} else {
			others = append(others, p)
		}
	}
	r.problems = others
	return r.join(parts), faults
}

// entriesOf reads the plugins of a Consumer, which are read once for each version.
func (r *run) entriesOf(o *api.Consumer) parsed {
	key := "Consumer\n" + o.Namespace + "/" + o.Name + "\n" + version(o)
	p, ok := r.t.texts[key]
	if !ok {
		entries, err := annotation.Check(o.Entries(), "Consumer")
		p.entries = entries
		if err != nil {
			p.fault = &config.Fault{Reason: annotation.Reason(err), Message: fmt.Sprintf("%s: %s", object("Consumer", o), oneLine(err))}
		}
	}
	p.used = true
	r.t.texts[key] = p
	return p
}

// consumerFault says which of a Consumer's filters may not be one: nobody finds out who
// has sent a request when that is known. nil: each may.
func (r *run) consumerFault(at *place, filters []*config.Filter) *config.Fault {
	if at.part != config.PartConsumer {
		return nil
	}
	for _, f := range filters {
		if r.identifies(f) || f.Canary != nil && f.Canary.Filter != nil && r.identifies(f.Canary.Filter) {
			return &config.Fault{Reason: "NotSupported", Message: fmt.Sprintf(
				"%s: (%s): it says who sends a request, which is known when a Consumer's plugins run: write it on the Service, the route or the Gateway", at.object, f.Name)}
		}
	}
	return nil
}

// identifies reports whether a filter may say who sends a request.
func (r *run) identifies(f *config.Filter) bool {
	return slices.Contains(f.Capabilities, capabilityConsumer) ||
		f.Grant == config.GrantManifest && slices.ContainsFunc(r.t.o.Bundled, func(b Bundled) bool { return b.Identifies && "bundled/"+b.Name == f.Plugin })
}

// grantable leaves out what no filter of a Consumer gets: it is known who has sent the
// request.
func grantable(at *place, capabilities []string) []string {
	if at.part != config.PartConsumer {
		return capabilities
	}
	return slices.DeleteFunc(slices.Clone(capabilities), func(c string) bool { return c == capabilityConsumer })
}
