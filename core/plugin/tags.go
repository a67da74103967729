package plugin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
)

// DefaultTagInterval is how often registries are asked where tags point.
const DefaultTagInterval = 5 * time.Minute

// rollBackTime is how long after a change a filter may go back to what ran
// before (annotations.md, section 5).
const rollBackTime = 10 * time.Minute

// takeUpTime is how long a form that is ready is held for chains to take it up. They do so
// at once, unless the machine is busy; where no chain wants it, its object has gone.
const takeUpTime = time.Minute

// form is a filter at one digest.
type form struct{ image, hash string }

func (o form) of(f *config.Filter) *config.Filter {
	c := *f
	c.Image, c.Hash = o.image, o.hash
	return &c
}

// pin says that a filter's tag has moved while it ran.
type pin struct {
	now, before form
	until       time.Time // before may come back until then
	held        *Runtime  // until chains have taken it up
}

// Form returns f as it runs now, which is f itself unless its image's tag has
// moved since it was loaded. before is what ran until the tag moved, if that may
// still come back; else nil.
func (m *Manager) Form(f *config.Filter) (now, before *config.Filter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pins[f.Hash]
	if p == nil {
		return f, nil
	}
	if p.before.hash == "" {
		return p.now.of(f), nil
	}
	if time.Now().Before(p.until) || m.byID[p.now.hash] != nil && m.byID[p.now.hash].State().Phase == RolledBack {
		before = p.before.of(f)
	}
	return p.now.of(f), before
}

// RunTags follows tags that move until ctx is done: the new digest is loaded
// beside the running one, and takes its place once it is ready. Those of registries are
// looked up each Options.TagInterval, those of folders as soon as the folder changes.
func (m *Manager) RunTags(ctx context.Context) {
	if m.o.TagInterval <= 0 {
		return
	}
	if folders, ok := m.o.Images.(Folders); ok {
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() { m.runFolders(ctx, folders) }) // beside: no registry holds it up
	}
	t := time.NewTicker(m.o.TagInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			m.followTags(ctx)
		}
	}
}

func (m *Manager) followTags(ctx context.Context) {
	m.mu.Lock()
	var held []*Runtime
	for _, p := range m.pins {
		// What only the pin holds would end here, and be loaded and told of again.
		if p.held != nil && (p.held.refs > 1 || time.Until(p.until) < rollBackTime-takeUpTime) {
			held = append(held, p.held)
			p.held = nil
		}
	}
	m.mu.Unlock()
	for _, r := range held {
		r.Release()
	}
	m.eachTag(func(r *Runtime, base *config.Filter, reference oci.Reference) {
		if !r.settled() {
			return
		}
		digest, err := m.o.Images.Resolve(ctx, requestOf(base))
		if err == nil { // a registry that does not answer changes nothing
			m.followTag(ctx, r, base, reference, digest)
		}
	})
}

// eachTag calls do for each runtime whose image is named by a tag alone, with the filter
// as it is configured, and returns when all calls have.
func (m *Manager) eachTag(do func(*Runtime, *config.Filter, oci.Reference)) {
	var group errgroup.Group
	group.SetLimit(rechecksAtOnce)
	for _, r := range m.Runtimes() {
		base := r.latest.Load()
		if r.base != nil {
			base = r.base
		}
		if base.Cache != nil {
			continue
		}
		reference, err := oci.ParseReference(base.Image)
		if err != nil || reference.Digest != "" {
			continue
		}
		group.Go(func() error {
			do(r, base, reference)
			return nil
		})
	}
	_ = group.Wait()
}

// settled reports whether the runtime runs, or has failed for good.
func (r *Runtime) settled() bool {
	if r.State().Phase != Failed {
		return r.ready.Load()
	}
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// followTag has r, which is settled, give way if the tag of its image points to another
// digest now; empty: where it points is not known.
func (m *Manager) followTag(ctx context.Context, r *Runtime, base *config.Filter, reference oci.Reference, digest string) {
	state := r.State()
	if digest == "" || digest == state.Digest {
		if digest != "" && r.note.Swap(nil) != nil {
			m.tell()
		}
		return
	}
	reference.Digest = digest
	next := form{reference.String(), base.Hash + "@" + digest}
	if next.hash == r.config.Hash || m.pinned(base.Hash, next.hash) {
		return
	}
	log := m.o.Log.With(zap.Stringer("object", base.Owner), zap.String("plugin", base.ID()), zap.String("image", base.Image), zap.String("digest", digest))
	made := m.acquire(next.of(base), base)
	if !made.loaded(ctx) {
		if s := made.State(); ctx.Err() == nil && r.remark(fmt.Sprintf("tag moved to %s: %s: %.1000s; the old one goes on", digest, s.Reason, s.Message)) {
			log.Warn("the tag has moved to a digest that cannot run: the old one goes on", zap.String("reason", s.Reason), zap.String("error", s.Message))
			m.tell()
		}
		made.Release()
		return
	}
	r.note.Store(nil) // it may run again
	old := form{r.config.Image, r.config.Hash}
	if reference.Digest = state.Digest; state.Digest != "" {
		old.image = reference.String()
	}
	m.mu.Lock()
	if last := m.pins[base.Hash]; last != nil && last.now.hash == next.hash { // who looked at the same time was first
		m.mu.Unlock()
		made.Release()
		return
	}
	p := &pin{now: next, before: old, until: time.Now().Add(rollBackTime), held: made}
	if state.Phase == RolledBack { // what ran is not r
		p.before = form{}
	}
	if last := m.pins[base.Hash]; last != nil {
		if state.Phase == RolledBack {
			p.before = last.before
		}
		if last.held != nil {
			defer last.held.Release()
		}
	}
	m.pins[base.Hash] = p
	m.mu.Unlock()
	log.Info("the tag has moved", zap.String("from", state.Digest))
	m.tell()
}

// remark keeps what is to be told of r beside its state, and reports whether it is new.
func (r *Runtime) remark(text string) bool {
	old := r.note.Swap(&text)
	return old == nil || *old != text
}

// Note is what an operator should know of a filter though it runs: that its tag has moved
// to what cannot. Empty: nothing.
func (r *Runtime) Note() string {
	if text := r.note.Load(); text != nil {
		return *text
	}
	return ""
}

// pinned reports whether a filter runs this form already, or has left it.
func (m *Manager) pinned(base, hash string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pins[base] != nil && m.pins[base].now.hash == hash
}

// loaded waits for the first result of a runtime's loading.
func (r *Runtime) loaded(ctx context.Context) bool {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for s := r.State(); s.Phase == Pulling || s.Phase == Compiling && s.Reason == ""; s = r.State() { // a Reason: it waits for a total
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	return r.State().Runnable()
}
