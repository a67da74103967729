package plugin

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"penstock.dev/penstock/core/oci"
)

// recheckEvery is how often registries are asked whether what runs may still be
// pulled: a right that is gone closes the chain within 30 seconds.
const recheckEvery = 20 * time.Second

// RunRechecks asks who may still pull what runs until ctx is done.
func (m *Manager) RunRechecks(ctx context.Context) {
	t := time.NewTicker(recheckEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-m.o.Told:
		}
		m.recheck(ctx)
	}
}

// rechecksAtOnce bounds the questions under way: a registry that hangs must not
// hold up those about other registries.
const rechecksAtOnce = 16

// recheck asks once for each namespace, image and its credentials.
func (m *Manager) recheck(ctx context.Context) {
	type key struct{ right, digest string }
	users := map[key][]*Runtime{}
	for _, r := range m.Runtimes() {
		s, f := r.State(), r.latest.Load()
		if !s.Runnable() && s.Reason != "PullForbidden" || s.Digest == "" {
			continue
		}
		k := key{requestOf(f).Right(), s.Digest}
		if m.o.Told != nil {
			k.right = f.Hash
		}
		users[k] = append(users[k], r)
	}
	var group errgroup.Group
	group.SetLimit(rechecksAtOnce)
	for k, runtimes := range users {
		group.Go(func() error {
			err := m.o.Images.Recheck(ctx, requestOf(runtimes[0].latest.Load()), k.digest)
			for _, r := range runtimes {
				m.revoked(r, err)
			}
			return nil
		})
	}
	_ = group.Wait()
}

// revoked closes a runtime whose pull right is gone, and opens it again when it
// is back. An answer that is no refusal changes nothing.
func (m *Manager) revoked(r *Runtime, err error) {
	m.turning.Lock()
	defer m.turning.Unlock()
	old := r.State()
	closed := old.Phase == Failed && old.Reason == "PullForbidden"
	switch forbidden := errors.Is(err, oci.ErrForbidden); {
	case forbidden && old.Runnable():
		m.o.Log.Warn("filter closed: its image may no longer be pulled", zap.Stringer("object", r.config.Owner), zap.String("plugin", r.config.ID()), zap.Error(err))
		m.set(r, State{Phase: Failed, Reason: "PullForbidden", Message: err.Error(), Digest: old.Digest, Guard: old.Guard})
	case closed && err == nil && r.ready.Load():
		back := State{Phase: Ready, Digest: old.Digest, Guard: old.Guard}
		switch until := r.health.restUntil.Load(); { // its gate has stayed shut
		case until == restForEver:
			back.Phase, back.Reason, back.Message = RolledBack, "RolledBack", "what ran before runs in its place"
		case until > time.Now().UnixNano():
			back.Phase, back.Reason, back.Message = Quarantined, "Quarantined", "at least half of its calls failed within a minute"
		}
		m.set(r, back)
	}
}
