package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/telemetry"
)

// TestAwaitPurges: what a process waits for before it is ready, and for how long at most.
func TestAwaitPurges(t *testing.T) {
	const never = time.Hour
	tests := map[string]struct {
		met, caughtUp time.Duration // from the start on; met 0: there is no control
		want          bool
		took          time.Duration
	}{
		"without control, nothing to purge":    {0, 0, true, 0},
		"without control":                      {0, time.Second, true, time.Second},
		"control is there":                     {time.Second, time.Second, true, time.Second},
		"its purges take a while":              {time.Second, 20 * time.Second, true, 20 * time.Second},
		"its purges take too long":             {time.Second, never, false, time.Second + purgesWait},
		"control is silent":                    {never, 0, true, controlWait},
		"and purges of the last good config":   {never, 20 * time.Second, true, 20 * time.Second},
		"which take too long":                  {never, never, false, controlWait + purgesWait},
		"without control, they take too long":  {0, never, false, purgesWait},
		"control after the purges on the disk": {2 * time.Second, time.Second, true, 2 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var met chan struct{}
				if tt.met > 0 {
					met = make(chan struct{})
					timer := time.AfterFunc(tt.met, func() { close(met) })
					defer timer.Stop()
				}
				got := awaitPurges(t.Context(), met, func() bool { return time.Since(began) >= tt.caughtUp })
				if took := time.Since(began); got != tt.want || took < tt.took || took > tt.took+readyLook {
					t.Errorf("got %v after %v; want %v after %v", got, took, tt.want, tt.took)
				}
			})
		})
	}
	t.Run("it ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for _, met := range []chan struct{}{nil, make(chan struct{})} {
				if began := time.Now(); awaitPurges(ctx, met, func() bool { return false }) || time.Since(began) > time.Second {
					t.Errorf("it waits on for %v", time.Since(began))
				}
			}
		})
	})
}

// TestForget: what is cached goes when control was away for so long that purges may have
// been missed, which is said once, and not if there was nothing.
func TestForget(t *testing.T) {
	tests := map[string]struct {
		away time.Duration
		full bool
		went bool
	}{
		"not away":                 {0, true, false},
		"as long as purges live":   {forgetAfter, true, false},
		"longer":                   {forgetAfter + time.Second, true, true},
		"for ever":                 {remote.Forever, true, true},
		"for ever, nothing cached": {remote.Forever, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			kept, err := store.Open(store.Options{MemoryBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			k := cache.New(kept, 1<<20, telemetry.New())
			if tt.full {
				if err := k.PutObject("ns", "", []byte("key"), []byte("value"), time.Hour, nil); err != nil {
					t.Fatal(err)
				}
			}
			core, log := observer.New(zap.InfoLevel)
			forget(k, tt.away, zap.New(core))
			k.Close() // waits for it
			if gone := kept.Stats().Objects == 0; gone != (tt.went || !tt.full) {
				t.Errorf("gone: %v", gone)
			}
			switch lines := log.All(); {
			case tt.went && (len(lines) != 1 || lines[0].ContextMap()["dropped"] != int64(1) || lines[0].ContextMap()["away"] == nil):
				t.Errorf("the log says %v", lines)
			case !tt.went && len(lines) > 0:
				t.Errorf("the log says %v", lines)
			}
			if err := kept.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
