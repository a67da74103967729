package cluster

import (
	"context"
	"slices"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// A ChainStatus is written once in chainEvery, with a few more at first: what is
// new goes through its states within a second (annotations.md, section 5).
const (
	chainEvery = 10 * time.Second
	chainBurst = 6
	// chainQuiet is how long changes of what runs are gathered.
	chainQuiet = 300 * time.Millisecond
)

// rerun has every ChainStatus compared with what runs now.
func (w *writer) rerun() {
	if !w.leads.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wanted == nil {
		return
	}
	for o := range w.wanted.ChainParts {
		w.queue.AddAfter(o, chainQuiet)
	}
}

// queueStale queues the ChainStatuses that nothing is said in any more. w.mu is held.
func (w *writer) queueStale() {
	for _, c := range w.stores.chainStatus.list() {
		o := config.Object{Kind: "ChainStatus", Namespace: c.Namespace, Name: c.Name}
		if w.wanted.Status.Of(o) == nil && w.mine(c) >= 0 {
			w.queue.Add(o)
		}
	}
}

// mine returns the place of our entry in a ChainStatus, -1 if there is none.
func (w *writer) mine(c *api.ChainStatus) int {
	return slices.IndexFunc(c.Status.Controllers, func(c api.ChainController) bool { return c.ControllerName == w.controllerName })
}

// chain makes, writes or removes a ChainStatus.
func (w *writer) chain(ctx context.Context, o config.Object) error {
	w.mu.Lock()
	var want *api.ChainStatus
	var hashes []string
	if w.wanted != nil {
		want, _ = w.wanted.Status.Of(o).(*api.ChainStatus)
		hashes = w.wanted.ChainParts[o]
	}
	pace := w.paces[o]
	if pace == nil {
		pace = rate.NewLimiter(rate.Every(chainEvery), chainBurst)
		w.paces[o] = pace
	}
	w.mu.Unlock()
	current, ok := w.stores.chainStatus.get(o.Namespace, o.Name)
	if want == nil {
		if !ok {
			return nil
		}
		return w.leave(ctx, o, current)
	}
	now := want.DeepCopy()
	run(&now.Status.Controllers[0], hashes, w.running(), 0)
	w.tellFailed(now)
	if !ok {
		made := want.DeepCopy()
		made.Status = api.ChainStatusState{}
		err := w.clients.byGV[api.GroupVersion].Post().Namespace(o.Namespace).Resource("chainstatuses").Param("fieldManager", fieldManager).Body(made).Do(ctx).Into(made)
		w.count(o.Kind, err)
		if err != nil {
			return err // also if it is there already: the watch is about to tell
		}
		current = made
	}
	next := w.merged(current, now)
	if next == nil {
		w.note(o, want, current.GetResourceVersion(), current.GetResourceVersion())
		return nil
	}
	if wait := pace.Reserve(); wait.Delay() > 0 {
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

// tellFailed tells of filters that do not run as they should.
func (w *writer) tellFailed(c *api.ChainStatus) {
	for _, f := range c.Status.Controllers[0].Filters {
		if slices.Contains(failed, f.State) {
			target := config.Object{Kind: c.Target.Kind, Namespace: c.Namespace, Name: c.Target.Name}
			w.events.also(translate.Problem{Object: target, Reason: or(f.Reason, f.State), Message: f.Name + ": " + f.Message})
		}
	}
}

// note remembers that an object was compared.
func (w *writer) note(o config.Object, want any, before, after string) {
	w.mu.Lock()
	w.seen[o] = written{want, "", before, after}
	w.mu.Unlock()
}

// leave takes our entry out of a ChainStatus, or all of it away if nobody else has
// one.
func (w *writer) leave(ctx context.Context, o config.Object, current *api.ChainStatus) error {
	i := w.mine(current)
	if i < 0 {
		return nil
	}
	var err error
	if len(current.Status.Controllers) > 1 {
		next := current.DeepCopy()
		next.Status.Controllers = slices.Delete(next.Status.Controllers, i, i+1)
		_, err = w.put(ctx, o, next)
	} else {
		uid := current.GetUID()
		err = w.clients.byGV[api.GroupVersion].Delete().Namespace(o.Namespace).Resource("chainstatuses").Name(o.Name).
			Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}).Do(ctx).Error()
	}
	w.count(o.Kind, err)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
