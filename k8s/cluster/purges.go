package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

const (
	// A CachePurge that is not completed is written once in purgeEvery, with a few more
	// at first; that it is completed is written at once.
	purgeEvery = time.Second
	purgeBurst = 4
	// Bounds of its status.
	maxPurgeProxies = 128
	maxPurgeMessage = 1024
)

// PurgingProxy is which purges one proxy says to have carried out.
type PurgingProxy struct {
	Name   string
	Ready  bool             // it takes traffic
	Purges map[string]Purge // by config.Purge.ID
}

// Purge is what became of a purge on one proxy.
type Purge struct {
	Removed int64  // stored responses that it removed, or made stale
	Error   string // why it could not be carried out; empty: it was
}

// repurge has every CachePurge that is not completed compared with what proxies say now.
func (w *writer) repurge() {
	if !w.leads.Load() {
		return
	}
	for _, p := range w.stores.purges.list() {
		if !completed(p) {
			w.queue.Add(config.Object{Kind: "CachePurge", Namespace: p.Namespace, Name: p.Name})
		}
	}
}

// purge writes the status of a CachePurge if it differs. One that is completed stays
// as it is.
func (w *writer) purge(ctx context.Context, o config.Object) error {
	current, ok := w.stores.purges.get(o.Namespace, o.Name)
	if !ok || completed(current) {
		return nil
	}
	w.mu.Lock()
	var want *api.CachePurgeStatus
	if w.wanted != nil {
		want, _ = w.wanted.Status.Of(o).(*api.CachePurgeStatus)
	}
	pace := w.paces[o]
	if pace == nil && want != nil {
		pace = rate.NewLimiter(rate.Every(purgeEvery), purgeBurst)
		w.paces[o] = pace
	}
	w.mu.Unlock()
	if want == nil || want.ObservedGeneration != current.Generation {
		return nil // it was not translated yet
	}
	now := want.DeepCopy()
	proxies, found := w.purged()
	if !found { // nobody tells when they are
		w.queue.AddAfter(o, purgeEvery)
	}
	done := purgeStatus(now, current, proxies, found, metav1.NewTime(w.now().Truncate(time.Second)))
	next := w.merged(current, now)
	if next == nil {
		w.note(o, want, current.GetResourceVersion(), current.GetResourceVersion())
		return nil
	}
	if wait := pace.Reserve(); wait.Delay() > 0 && !done {
		w.queue.AddAfter(o, wait.Delay())
		wait.Cancel()
		return nil
	}
	made, err := w.put(ctx, o, next)
	w.count(o.Kind, err)
	if err == nil {
		w.note(o, want, current.GetResourceVersion(), made.GetResourceVersion())
	}
	return err
}

// completed reports whether all proxies have carried a purge out.
func completed(p *api.CachePurge) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == api.ConditionCompleted && c.Status == metav1.ConditionTrue && c.ObservedGeneration == p.Generation
	})
}

// purgeStatus fills in what proxies say of a purge, and whether it is completed: all
// that are ready have carried it out, and all there are were found. Those that did and are
// gone stay in the list: what they removed counts.
func purgeStatus(mine *api.CachePurgeStatus, current *api.CachePurge, proxies []PurgingProxy, found bool, now metav1.Time) (done bool) {
	completed := metav1.Condition{Type: api.ConditionCompleted, Status: metav1.ConditionFalse, Reason: "Pending", ObservedGeneration: mine.ObservedGeneration}
	if i := slices.IndexFunc(mine.Conditions, func(c metav1.Condition) bool { return c.Status == metav1.ConditionFalse }); i >= 0 {
		completed.Reason, completed.Message = mine.Conditions[i].Reason, "it is not carried out"
		mine.Conditions = append(slices.Clone(mine.Conditions), completed)
		return false
	}
	all := map[string]api.CachePurgeProxy{}
	for _, p := range current.Status.Proxies {
		if p.State == api.PurgeDone {
			all[p.Name] = p
		}
	}
	id := translate.PurgeID(current)
	ready, did := 0, 0
	failed := ""
	seen := map[string]bool{} // a proxy that connects anew may be there twice
	for i := range proxies {
		p := &proxies[i]
		one := p.said(id, current.Status.Proxies, now)
		if p.Ready {
			ready++
			switch one.State {
			case api.PurgeDone:
				did++
			case api.PurgeFailed:
				failed = cmp.Or(failed, one.Name+": "+one.Message)
			}
		} else if one.State == api.PurgePending {
			continue
		}
		if seen[p.Name] && all[p.Name].State != api.PurgeDone {
			continue // the worse one counts
		}
		all[p.Name], seen[p.Name] = one, true
	}
	mine.Removed, mine.Proxies = 0, nil
	for _, one := range all {
		mine.Removed += one.Removed
		mine.Proxies = append(mine.Proxies, one)
	}
	slices.SortFunc(mine.Proxies, func(a, b api.CachePurgeProxy) int { return cmp.Compare(a.Name, b.Name) })
	mine.Proxies = mine.Proxies[:min(len(mine.Proxies), maxPurgeProxies)]
	completed.Message = fmt.Sprintf("%d of %d ready proxies have done it", did, ready)
	switch {
	case failed != "":
		completed.Reason, completed.Message = "Failed", shortened(failed)
	case ready > 0 && did == ready && !found: // those that lack it may be on their way here
		completed.Message += "; others may not have found the control that leads now"
	case ready > 0 && did == ready:
		completed.Status, completed.Reason = metav1.ConditionTrue, "Completed"
	}
	mine.Conditions = append(slices.Clone(mine.Conditions), completed)
	return completed.Status == metav1.ConditionTrue
}

// said is what a proxy says of a purge. before is what the object says: the time of what
// has not changed stays.
func (p *PurgingProxy) said(id string, before []api.CachePurgeProxy, now metav1.Time) api.CachePurgeProxy {
	one := api.CachePurgeProxy{Name: p.Name, State: api.PurgePending, Time: now}
	switch report, told := p.Purges[id]; {
	case told && report.Error != "":
		one.State, one.Message = api.PurgeFailed, shortened(report.Error)
	case told:
		one.State, one.Removed = api.PurgeDone, report.Removed
	}
	for _, o := range before {
		if o.Name == one.Name && o.State == one.State && o.Removed == one.Removed && o.Message == one.Message {
			one.Time = o.Time
		}
	}
	return one
}

// shortened bounds what a proxy says.
func shortened(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= maxPurgeMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxPurgeMessage], "")
}
