package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pod is one Pod of this node, from its first sight to its end.
type pod struct {
	agent           *Agent
	namespace, name string
	uid             types.UID
	dir             string

	// sandbox is written before any container starts.
	sandbox    *sandbox
	containers []*container // init containers first

	mu     sync.Mutex
	spec   *corev1.Pod // as the API server last said
	began  metav1.Time
	ready  bool // volumes and network are there
	inited bool
	phase  corev1.PodPhase // Succeeded or Failed when all is done

	volumesMu sync.Mutex
	volumes   map[string]*volume

	changed chan struct{}      // the status is to be written
	mounted chan struct{}      // volumes are to be written
	ending  chan time.Duration // the grace of a deletion
	gone    chan struct{}      // closed by run
}

func (a *Agent) newPod(o *corev1.Pod) *pod {
	p := &pod{
		agent: a, namespace: o.Namespace, name: o.Name, uid: o.UID, dir: filepath.Join(a.config.Dir, string(o.UID)), spec: o, began: metav1.Now(),
		volumes: map[string]*volume{}, changed: make(chan struct{}, 1), mounted: make(chan struct{}, 1), ending: make(chan time.Duration, 1), gone: make(chan struct{}),
	}
	for i := range o.Spec.InitContainers {
		p.containers = append(p.containers, newContainer(p, &o.Spec.InitContainers[i], true))
	}
	for i := range o.Spec.Containers {
		p.containers = append(p.containers, newContainer(p, &o.Spec.Containers[i], false))
	}
	// A node that was off and comes back runs its Pods again.
	for _, c := range p.containers {
		for _, s := range append(append([]corev1.ContainerStatus{}, o.Status.InitContainerStatuses...), o.Status.ContainerStatuses...) {
			if s.Name == c.spec.Name && s.ContainerID != "" {
				c.restarts = s.RestartCount + 1
			}
		}
	}
	return p
}

func (p *pod) object() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spec
}

func (p *pod) hostname() string {
	if h := p.object().Spec.Hostname; h != "" {
		return h
	}
	return p.name[:min(len(p.name), 63)]
}

func (p *pod) grace() time.Duration {
	if s := p.object().Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}

// report has the status written soon.
func (p *pod) report() { poke(p.changed) }

// remount has the volumes written again.
func (p *pod) remount() { poke(p.mounted) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// update takes a new version of the Pod from the API server.
func (p *pod) update(o *corev1.Pod) {
	p.mu.Lock()
	p.spec = o
	p.mu.Unlock()
	p.remount() // labels and annotations may be in a volume
	p.report()
	if o.DeletionTimestamp != nil {
		grace := p.grace()
		if s := o.DeletionGracePeriodSeconds; s != nil {
			grace = time.Duration(*s) * time.Second
		}
		p.end(grace)
	}
}

// end has the Pod end within grace; the first call counts.
func (p *pod) end(grace time.Duration) {
	select {
	case p.ending <- grace:
	default:
	}
}

// run is the Pod's life.
func (p *pod) run(ctx context.Context) {
	defer close(p.gone)
	var writers sync.WaitGroup
	writing, stop := context.WithCancel(ctx)
	writers.Go(func() { p.writeStatus(writing) })
	p.report()

	var running sync.WaitGroup
	finished := make(chan struct{})
	alive, kill := context.WithCancel(ctx)
	go func() {
		defer close(finished)
		if p.prepare(alive, &writers) {
			p.runContainers(alive, &running)
		}
		running.Wait()
	}()
	select {
	case <-finished:
		p.finish()
		select {
		case grace := <-p.ending:
			_ = grace // nothing runs
		case <-ctx.Done():
		}
	case grace := <-p.ending:
		p.stopContainers(ctx, grace)
		kill()
		<-finished
		p.finish()
	case <-ctx.Done():
		p.stopContainers(context.Background(), 0)
		kill()
		<-finished
	}
	kill()
	p.cleanUp(ctx)
	if ctx.Err() == nil {
		p.flushStatus(ctx)
		p.remove(ctx)
	}
	stop()
	writers.Wait()
}

// prepare makes network and volumes; it tries until it can.
func (p *pod) prepare(ctx context.Context, writers *sync.WaitGroup) bool {
	try := func(what string, do func() error) bool {
		for said := ""; ; {
			err := do()
			if err == nil {
				return true
			}
			if ctx.Err() == nil && said != err.Error() {
				said = err.Error()
				p.agent.event(p, corev1.EventTypeWarning, what, said)
			}
			select {
			case <-ctx.Done():
				return false
			case <-p.containers[0].stop:
				return false
			case <-time.After(250 * time.Millisecond):
			}
		}
	}
	if !try("FailedCreatePodSandBox", func() error {
		if p.sandbox != nil {
			return nil
		}
		s, err := p.agent.network.newSandbox(p.hostname())
		if err != nil {
			return err
		}
		if err := p.agent.config.CNI.add(ctx, s, p.object()); err != nil {
			s.close()
			p.agent.network.give(s.addr)
			return err
		}
		p.mu.Lock()
		p.sandbox = s
		p.mu.Unlock()
		return nil
	}) {
		return false
	}
	if err := os.MkdirAll(filepath.Join(p.dir, "logs"), 0o755); err != nil {
		p.agent.event(p, corev1.EventTypeWarning, "Failed", err.Error())
		return false
	}
	var renew time.Time
	if !try("FailedMount", func() (err error) {
		renew, err = p.writeVolumes(ctx)
		return err
	}) {
		return false
	}
	writers.Go(func() { p.keepVolumes(ctx, renew) })
	p.mu.Lock()
	p.ready = true
	p.mu.Unlock()
	p.report()
	return true
}

// keepVolumes writes volumes again when an object has changed or a token ages.
func (p *pod) keepVolumes(ctx context.Context, renew time.Time) {
	for {
		var timer <-chan time.Time
		if !renew.IsZero() {
			timer = time.After(max(time.Second, time.Until(renew)))
		}
		select {
		case <-ctx.Done():
			return
		case <-p.mounted:
		case <-timer:
		}
		next, err := p.writeVolumes(ctx)
		if err == nil {
			renew = next
		} else if ctx.Err() == nil {
			p.agent.event(p, corev1.EventTypeWarning, "FailedMount", err.Error())
		}
	}
}

// runContainers runs init containers one after the other and then all others.
func (p *pod) runContainers(ctx context.Context, running *sync.WaitGroup) {
	for _, c := range p.containers {
		switch c.kind {
		case initial:
			if code := c.run(ctx); code != 0 || c.isStopping() {
				return
			}
		case sidecar:
			running.Go(func() { c.run(ctx) })
			for !c.isStarted() {
				if !c.pause(20 * time.Millisecond) {
					return
				}
			}
		}
	}
	p.mu.Lock()
	p.inited = true
	p.mu.Unlock()
	p.report()
	var work sync.WaitGroup
	for _, c := range p.containers {
		if c.kind == ordinary {
			work.Go(func() { c.run(ctx) })
		}
	}
	work.Wait()
	p.stopSidecars(ctx, p.grace())
}

// stopContainers ends all ordinary containers at once, then sidecars, the last
// first.
func (p *pod) stopContainers(ctx context.Context, grace time.Duration) {
	end := time.Now().Add(grace)
	for _, c := range p.containers {
		c.forbid()
	}
	var work sync.WaitGroup
	for _, c := range p.containers {
		if c.kind != sidecar {
			work.Go(func() { c.end(ctx, grace) })
		}
	}
	work.Wait()
	p.stopSidecars(ctx, max(0, time.Until(end)))
}

func (p *pod) stopSidecars(ctx context.Context, grace time.Duration) {
	end := time.Now().Add(grace)
	for _, c := range slices.Backward(p.containers) {
		if c.kind == sidecar {
			c.forbid()
			c.end(ctx, max(0, time.Until(end)))
		}
	}
}

// forbid has the container not start again.
func (c *container) forbid() {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	if !c.stopping {
		c.stopping = true
		close(c.stop)
	}
}

func (c *container) isStopping() bool {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.stopping
}

func (c *container) isStarted() bool {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.started
}

// finish says how the Pod's work ended.
func (p *pod) finish() {
	p.mu.Lock()
	p.phase = corev1.PodSucceeded
	for _, c := range p.containers {
		switch ended := c.state.Terminated; {
		case c.kind == sidecar:
		case ended == nil && c.state.Running == nil && c.kind == ordinary: // never started
			p.phase = corev1.PodFailed
		case ended != nil && ended.ExitCode != 0:
			p.phase = corev1.PodFailed
		}
	}
	p.mu.Unlock()
	p.report()
}

// cleanUp gives back what the Pod had of the node.
func (p *pod) cleanUp(ctx context.Context) {
	p.agent.forget(p)
	p.mu.Lock()
	s := p.sandbox
	p.mu.Unlock()
	if s != nil {
		if err := p.agent.config.CNI.remove(context.WithoutCancel(ctx), s, p.object()); err != nil {
			p.agent.event(p, corev1.EventTypeWarning, "FailedKillPod", err.Error())
		}
		s.close()
		p.agent.network.give(s.addr)
	}
	_ = os.RemoveAll(p.dir)
}
