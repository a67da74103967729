package cluster

import (
	"context"
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// named watches single objects of a kind, those that others refer to: nobody
// needs the right to read all Secrets for it.
type named[T object] struct {
	w       *watcher
	kind    watched
	example T
	trim    func(T)
	changed func()

	mu      sync.Mutex
	objects map[[2]string]*single[T] // by namespace and name
}

type single[T object] struct {
	store *store[T]
	stop  context.CancelFunc
	since time.Time
}

// want makes these the objects that are watched, and returns the channels of
// those that have not been read yet. One that could not be read in firstRead counts
// as missing until it can: it must not hold up what others want.
func (n *named[T]) want(ctx context.Context, list map[[2]string]bool) []<-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, one := range n.objects {
		if !list[id] {
			one.stop()
			delete(n.objects, id)
		}
	}
	var fresh []<-chan struct{}
	for id := range list {
		one := n.objects[id]
		if one == nil {
			one = n.start(ctx, id)
			n.objects[id] = one
		}
		select {
		case <-one.store.synced:
		default:
			if time.Since(one.since) < firstRead {
				fresh = append(fresh, one.store.synced)
			}
		}
	}
	return fresh
}

func (n *named[T]) start(ctx context.Context, id [2]string) *single[T] {
	ctx, stop := context.WithCancel(ctx)
	one := &single[T]{store: newStore(n.trim, n.changed), stop: stop, since: time.Now()}
	what := n.kind
	what.namespace, what.pace = id[0], patience
	what.options = func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, id[1]).String()
	}
	follow(ctx, n.w, what, n.example, one.store)
	return one
}

// list returns the objects that there are.
func (n *named[T]) list() []T {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []T
	for one := range maps.Values(n.objects) {
		all = append(all, one.store.list()...)
	}
	return all
}
