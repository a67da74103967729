package node

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// reference is a Secret or ConfigMap that Pods of this node have mounted.
type reference struct{ kind, namespace, name string }

// watchers tell Pods that something they have mounted has changed: one watch for
// each object, since a node may not list others.
type watchers struct {
	mu   sync.Mutex
	pods map[reference]map[*pod]bool
	stop map[reference]context.CancelFunc
}

// watch has p write its volumes when the object changes, until it is forgotten.
func (a *Agent) watch(p *pod, kind, name string) {
	w := &a.watchers
	r := reference{kind, p.namespace, name}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pods[r] == nil {
		w.pods[r] = map[*pod]bool{}
		ctx, stop := context.WithCancel(a.ctx)
		w.stop[r] = stop
		a.running.Go(func() { a.follow(ctx, r) })
	}
	w.pods[r][p] = true
}

func (a *Agent) forget(p *pod) {
	w := &a.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	for r, pods := range w.pods {
		if delete(pods, p); len(pods) == 0 {
			w.stop[r]()
			delete(w.pods, r)
			delete(w.stop, r)
		}
	}
}

func (a *Agent) follow(ctx context.Context, r reference) {
	for ctx.Err() == nil {
		options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", r.name).String()}
		var w watch.Interface
		var err error
		if r.kind == "Secret" {
			w, err = a.client.CoreV1().Secrets(r.namespace).Watch(ctx, options)
		} else {
			w, err = a.client.CoreV1().ConfigMaps(r.namespace).Watch(ctx, options)
		}
		if err == nil {
			for range w.ResultChan() { // a new watch begins with what is there
				a.watchers.mu.Lock()
				for p := range a.watchers.pods[r] {
					p.remount()
				}
				a.watchers.mu.Unlock()
			}
			w.Stop()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
