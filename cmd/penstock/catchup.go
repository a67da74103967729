package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/k8s/translate"
)

const (
	// forgetAfter is how long control may be away until what is cached is dropped: purges
	// that were completed meanwhile may have left the config. It is less than they are
	// kept: a connection that was cut is in touch until that is seen, what is on disk is
	// from a minute ago, folders are read for minutes, and clocks differ.
	forgetAfter = translate.PurgeKept - 10*time.Minute
	// controlWait is how long a process that has a last good config waits for control's
	// until it is ready, while control is neither there nor refuses.
	controlWait = 5 * time.Second
	// purgesWait is how long it waits for the purges of its config.
	purgesWait = 30 * time.Second
)

// openContact returns what an earlier process has remembered of when control was there. p
// returns the process, once it is wired.
func openContact(o options, p func() *proxyProcess, log *zap.Logger) (*remote.Contact, error) {
	folder := o.cache.folder(o.state)
	if folder != "" {
		var err error
		if folder, err = filepath.Abs(folder); err != nil {
			return nil, err
		}
	}
	return remote.NewContact(filepath.Join(o.state, "config"), folder, func() bool {
		_, lasting := p().cache.CaughtUp()
		return lasting && p().responses.Folder() != "" // else purges are not carried out there
	}, log.Named("remote")), nil
}

// forget drops what is cached if control was away for so long that purges may have been
// missed.
func forget(k *cache.Cache, away time.Duration, log *zap.Logger) {
	if away <= forgetAfter {
		return
	}
	how := zap.Duration("away", away)
	if away == remote.Forever {
		how = zap.String("away", "not known")
	}
	k.Clear(func(n int, err error) {
		if n > 0 || err != nil && !errors.Is(err, store.ErrClosed) {
			log.Warn("control was away for longer than purges are kept: what was cached is dropped", how, zap.Int("dropped", n), zap.Error(err))
		}
	})
}

// catchUp makes the process ready, as far as the first config goes: once its purges are
// carried out; under control those of the first config from there, unless that is away.
func (p *proxyProcess) catchUp(ctx context.Context) {
	caughtUp := func() bool {
		done, _ := p.cache.CaughtUp()
		return done
	}
	if !awaitPurges(ctx, p.met, caughtUp) {
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("ready before all purges were carried out", zap.Duration("waited", purgesWait))
	}
	p.admin.Bound()
}

// awaitPurges waits until control was met, if it is to be, and purges are carried out;
// false: ctx is done, or it took too long.
func awaitPurges(ctx context.Context, met <-chan struct{}, caughtUp func() bool) bool {
	if met != nil {
		select {
		case <-ctx.Done():
			return false
		case <-met:
		case <-time.After(controlWait):
		}
	}
	late := time.After(purgesWait)
	t := time.NewTicker(readyLook)
	defer t.Stop()
	for !caughtUp() {
		select {
		case <-ctx.Done():
			return false
		case <-late:
			return false
		case <-t.C:
		}
	}
	return ctx.Err() == nil
}
