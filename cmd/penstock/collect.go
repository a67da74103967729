package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Between two garbage collections so much is allocated at least, unless that is more
// than a share of the process's memory: a proxy holds little, so that the runtime's
// own measure, as much as is held, would make it collect a hundred times a second. One
// that holds much, since it has many routes, allocates no more for it: it gets by with
// half of that measure.
const (
	collectLeast = 32 << 20
	collectShare = 16
	leastPercent = 50
	// cachedPercent of what cached responses take may be allocated besides: they are
	// held to their budget, and marking many costs time.
	cachedPercent = 6
	// heapLeast is what the runtime takes to be held at least.
	heapLeast = 4 << 20
)

// paceEvery is how often the measure is taken: within a second a cache can fill up, for
// which what was right for a process that held little would let ten times as much go to
// waste.
const paceEvery = 50 * time.Millisecond

// paceCollections keeps that until ctx ends. memory is what the process may use, cached
// returns what cached responses take of it, in bytes. A user's GOGC stands.
func paceCollections(ctx context.Context, memory int64, cached func() int64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	least := min(collectLeast, memory/collectShare)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	for now := 100; ; {
		metrics.Read(live)
		want := collectPercent(int64(live[0].Value.Uint64()), cached(), least)
		if want*5 < now*4 || want*4 > now*5 { // setting it stops the world
			now = want
			debug.SetGCPercent(now)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// collectPercent is the GOGC that lets least bytes be allocated where live are held, of
// which so many are cached responses.
func collectPercent(live, cached, least int64) int {
	own := max(live-cached, heapLeast)
	floor := min(max(collectLeast*100/own, leastPercent), 100)
	percent := max(least*100/own, floor)
	if cached < heapLeast {
		return int(percent)
	}
	allocated := max(own*percent/100, cached*cachedPercent/100)
	return int(max(allocated*100/max(live, heapLeast), 1))
}
