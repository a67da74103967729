package cluster

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/k8s/api"
)

// labelled watches the Secrets of Consumers' credentials, in single namespaces: one watch
// for all of a namespace, as there may be thousands, and no right to more namespaces than
// have Consumers.
type labelled struct {
	w       *watcher
	changed func()
	altered func(*corev1.Secret)

	mu         sync.Mutex
	namespaces map[string]*single[*corev1.Secret]
}

// want makes these the namespaces that are watched, and returns the channels of those
// that have not been read yet, as named.want does.
func (l *labelled) want(ctx context.Context, list map[string]bool) []<-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, one := range l.namespaces {
		if !list[name] {
			one.stop()
			delete(l.namespaces, name)
		}
	}
	var fresh []<-chan struct{}
	for name := range list {
		one := l.namespaces[name]
		if one == nil {
			one = l.start(ctx, name)
			l.namespaces[name] = one
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

func (l *labelled) start(ctx context.Context, namespace string) *single[*corev1.Secret] {
	ctx, stop := context.WithCancel(ctx)
	one := &single[*corev1.Secret]{store: newStore(trimmed[*corev1.Secret], l.changed), stop: stop, since: time.Now()}
	one.store.altered = l.altered
	what := watched{gv: corev1.SchemeGroupVersion, resource: "secrets", namespace: namespace, empty: list[corev1.SecretList], pace: patience}
	what.options = func(o *metav1.ListOptions) { o.LabelSelector = api.LabelCredential }
	follow(ctx, l.w, what, &corev1.Secret{}, one.store)
	return one
}

// get returns a Secret with the label, nil if there is none.
func (l *labelled) get(namespace, name string) *corev1.Secret {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one := l.namespaces[namespace]; one != nil {
		secret, _ := one.store.get(namespace, name)
		return secret
	}
	return nil
}

// list returns the Secrets that there are.
func (l *labelled) list() []*corev1.Secret {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*corev1.Secret
	for _, one := range l.namespaces {
		all = append(all, one.store.list()...)
	}
	return all
}
