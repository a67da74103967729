package cluster

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/reference"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

const (
	// eventAgain is how long an object and reason have one Event at most
	// (annotations.md, section 5).
	eventAgain  = 5 * time.Minute
	eventRate   = 5 // a second
	eventBurst  = 100
	maxNote     = 1024 // bytes (events.k8s.io/v1)
	maxReason   = 128
	eventAction = "Translate"
	maxRunning  = 1000 // that wait
)

// events tells of problems with objects that have no condition for them.
type events struct {
	w     *writer
	limit *rate.Limiter
	wake  chan struct{}

	mu      sync.Mutex
	told    map[eventID]time.Time
	pending []translate.Problem
	running []translate.Problem // that only running has shown
}

type eventID struct {
	object config.Object
	reason string
}

func newEvents(w *writer) *events {
	return &events{w: w, limit: rate.NewLimiter(eventRate, eventBurst), wake: make(chan struct{}, 1), told: map[eventID]time.Time{}}
}

// tell queues an Event for each problem that had none lately. What does not fit
// into the rate waits; a problem that is gone by then is not told.
func (e *events) tell(problems []translate.Problem) {
	e.mu.Lock()
	e.pending = problems
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// also queues an Event for a problem that only running has shown, unless it had one
// lately.
func (e *events) also(p translate.Problem) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, told := e.told[eventID{p.Object, p.Reason}]; told || len(e.running) >= maxRunning {
		return
	}
	e.running = append(e.running, p)
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run writes Events until ctx is done.
func (e *events) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		e.mu.Lock()
		list, running := e.pending, e.running
		e.pending, e.running = nil, nil
		now := e.w.now()
		for id, at := range e.told {
			if now.Sub(at) > eventAgain {
				delete(e.told, id)
			}
		}
		e.mu.Unlock()
		for i := range running {
			if err := e.one(ctx, &running[i]); err != nil {
				return
			}
		}
		for i := range list {
			if err := e.one(ctx, &list[i]); err != nil {
				return
			}
			if e.newer() {
				break
			}
		}
	}
}

func (e *events) newer() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pending != nil
}

// one writes the Event of a problem, if it is due; the error is that of ctx.
func (e *events) one(ctx context.Context, p *translate.Problem) error {
	id := eventID{p.Object, p.Reason}
	e.mu.Lock()
	_, told := e.told[id]
	e.mu.Unlock()
	if told || !e.w.leads.Load() {
		return nil
	}
	about, ok := e.w.stores.find(p.Object)
	if !ok {
		return nil
	}
	if err := e.limit.Wait(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	e.told[id] = e.w.now()
	e.mu.Unlock()
	err := e.write(ctx, about, p)
	e.w.count("Event", err)
	if err != nil && !ending(err) {
		e.w.log.Warn("Event not written", zap.Stringer("object", p.Object), zap.Error(err))
	}
	return nil
}

func (e *events) write(ctx context.Context, about object, p *translate.Problem) error {
	ref, err := reference.GetReference(e.w.clients.scheme, about)
	if err != nil {
		return err
	}
	namespace := about.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	note := p.Message
	if p.Field != "" {
		note = p.Field + ": " + note
	}
	now := e.w.now()
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: about.GetName() + "-"},
		EventTime:  metav1.NewMicroTime(now),
		Regarding:  *ref, Reason: cut(p.Reason, maxReason), Action: eventAction, Note: cut(note, maxNote), Type: corev1.EventTypeWarning,
		ReportingController: e.w.controllerName, ReportingInstance: e.w.identity,
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return e.w.clients.byGV[eventsv1.SchemeGroupVersion].Post().Namespace(namespace).Resource("events").
		Param("fieldManager", fieldManager).Body(event).Do(ctx).Error()
}

// cut shortens a text to n bytes, at a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
