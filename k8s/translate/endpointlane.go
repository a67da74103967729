package translate

import (
	"maps"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"penstock.dev/penstock/core/config"
)

// Endpoints returns the last result of Translate, or of Endpoints, as it is when
// nothing but the EndpointSlices of some Services has changed since: the frequent
// change, which costs what it touches. changed has all that there are of these
// Services now, by namespace/name. It returns nil where more than endpoints
// depends on them: then Translate says what.
func (t *Translator) Endpoints(last *Result, changed map[string][]*discoveryv1.EndpointSlice) *Result {
	if last == nil || last.Config != t.last {
		return nil
	}
	made := map[string]*config.EndpointSet{}
	lists := map[string][]*discoveryv1.EndpointSlice{}
	r := &run{t: t} // it tells what is wrong
	for _, list := range changed {
		for _, slice := range list {
			r.checkSlice(slice)
		}
	}
	for name, k := range t.restored {
		list, ok := changed[k.service.Namespace+"/"+k.service.Name]
		if !ok {
			continue
		}
		list = sorted(list)
		if k.podsOnly {
			for _, slice := range list {
				r.checkTargets(slice)
			}
		}
		if len(r.problems) > 0 || slices.ContainsFunc(k.problems, func(p Problem) bool { return p.Object.Kind == "EndpointSlice" }) {
			return nil
		}
		lists[name], made[name] = list, endpoints(k.service, list, k.port, k.podsOnly)
	}
	if len(made) == 0 {
		return last // nothing leads there
	}
	c := *last.Config
	c.Endpoints = maps.Clone(c.Endpoints)
	for name, set := range made {
		k := t.restored[name]
		if c.Endpoints[name] == nil {
			return nil
		}
		k.slices, k.endpoints, c.Endpoints[name] = lists[name], set, set
		t.memo.endpoints.old[name] = memoEntry[config.EndpointSet]{endpointsKey(k.service, lists[name], k.port, k.podsOnly), set}
	}
	next := *last
	next.Config = &c
	t.last = &c
	return &next
}
