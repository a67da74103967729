package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// How long to wait before a kind that cannot be watched is asked for again.
var (
	// backoff is for a kind that everything depends on: once the API server is back,
	// what changed meanwhile is known soon. Endpoints that are gone are asked until then.
	backoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 4 * time.Second}
	// patience is for what there may be thousands of (single objects), or nothing at all
	// for good (a kind that is not installed).
	patience = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 30 * time.Second}
)

// A kind is asked for so often at most. client-go asks again at once as long as it is
// answered that its version is too old (410), whatever it asks for.
const (
	watchEvery = time.Second
	watchBurst = 5
)

// answerWithin is how long the API server may take to answer a list, or to begin a watch.
// It itself gives a list up after a minute; what stands in front of it may take a request
// and forget it, and client-go would wait for good.
const answerWithin = 30 * time.Second

var errSilent = fmt.Errorf("no answer in %v", answerWithin)

// watched is a kind as it is asked for.
type watched struct {
	gv        schema.GroupVersion
	resource  string // plural
	namespace string // empty: all
	options   func(*metav1.ListOptions)
	empty     func() runtime.Object // an empty list of it
	pace      wait.Backoff          // between attempts; zero: backoff
}

// String names it for people.
func (w *watched) String() string { return w.resource + "." + w.gv.Group }

// watcher follows kinds and single objects until its context is done.
type watcher struct {
	clients *clients
	log     *zap.Logger
	group   sync.WaitGroup
}

// follow keeps a store equal to what the API server has.
func follow[T object](ctx context.Context, w *watcher, what watched, example T, s *store[T]) {
	client := w.clients.byGV[what.gv]
	options := what.options
	if options == nil {
		options = func(*metav1.ListOptions) {}
	}
	lw := cache.NewFilteredListWatchFromClient(client, what.resource, what.namespace, options)
	state := &health{log: w.log, what: what.String()}
	list, watchFrom := lw.ListWithContextFunc, lw.WatchFuncWithContext
	lw.ListWithContextFunc = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		ctx, cancel := context.WithTimeout(ctx, answerWithin)
		defer cancel()
		l, err := list(ctx, o)
		if absent(err) { // its definition is not installed: there is none of it
			state.report(err)
			return what.empty(), nil
		}
		if err != nil { // all is well once it is watched
			state.report(err)
		}
		return l, err
	}
	often, missing := rate.NewLimiter(rate.Every(watchEvery), watchBurst), patience
	lw.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		if err := often.Wait(ctx); err != nil {
			return nil, err
		}
		i, err := begun(ctx, o, watchFrom)
		state.report(err)
		if !absent(err) {
			missing = patience
			return i, err
		}
		if o.SendInitialEvents != nil { // it is listed next
			return i, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(missing.Step()):
		}
		return i, err
	}
	quiet, pace := logr.Discard(), backoff
	if what.pace != (wait.Backoff{}) {
		pace = what.pace
	}
	r := cache.NewReflectorWithOptions(lw, example, s, cache.ReflectorOptions{Logger: &quiet, Name: what.String(), Backoff: &pace})
	w.group.Go(func() { r.RunWithContext(ctx) })
}

// begun begins a watch, unless it takes too long.
func begun(ctx context.Context, o metav1.ListOptions, from cache.WatchFuncWithContext) (watch.Interface, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(answerWithin, func() { cancel(errSilent) })
	i, err := from(ctx, o)
	late := !timer.Stop()
	if err == nil && !late {
		return &ended{i, func() { cancel(nil) }}, nil
	}
	if err == nil {
		i.Stop()
	}
	cancel(nil)
	if late {
		err = errSilent
	}
	return nil, err
}

// ended is a watch whose context ends with it.
type ended struct {
	watch.Interface
	end func()
}

// Stop implements watch.Interface.
func (e *ended) Stop() {
	e.Interface.Stop()
	e.end()
}

// absent reports whether the API server does not know the kind at all.
func absent(err error) bool {
	if !apierrors.IsNotFound(err) {
		return false
	}
	status, ok := err.(apierrors.APIStatus)
	return ok && (status.Status().Details == nil || status.Status().Details.Name == "")
}

// health tells when a kind can no longer be watched, and when it can again.
type health struct {
	log  *zap.Logger
	what string

	mu   sync.Mutex
	last string
}

func (h *health) report(err error) {
	h.tell(err, "cannot be watched: what is known of it serves on")
}

// tell logs an error with what it means, unless it was the last one; and its end.
func (h *health) tell(err error, meaning string) {
	text := ""
	if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && !errors.Is(err, context.Canceled) {
		text = err.Error()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case text == h.last:
	case text == "":
		h.log.Info("as it should be again", zap.String("kind", h.what))
	case absent(err):
		h.log.Info("the API server does not have the kind: none of it is served", zap.String("kind", h.what))
	default:
		h.log.Warn(meaning, zap.String("kind", h.what), zap.Error(err))
	}
	h.last = text
}
