package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/k8s/annotation"
)

// Defaults of the response cache.
const (
	// cacheShare is the part of the process's memory that responses may take: one byte
	// in so many, and no more than cacheMost.
	cacheShare = 8
	cacheMost  = 1 << 30
	// garbagePercent of the memory for responses is left to what went and was not
	// collected yet, and to freed memory that the system has not got back. With it the
	// process holds what it was given.
	garbagePercent = 23
	// objectShare is the part of a tier that one response may take.
	objectShare = 16
	objectMost  = 1 << 30
)

// cacheOptions are what --cache-memory and the others say.
type cacheOptions struct{ memory, disk, dir string }

func cacheFlags(c *cobra.Command, o *cacheOptions) {
	f := c.Flags()
	f.StringVar(&o.memory, "cache-memory", "", "memory for cached responses, with what the collector needs for them; default an eighth of --memory-limit, 1Gi at most")
	f.StringVar(&o.disk, "cache-disk", "0", "disk space for cached responses, which survive restarts there; 0: none")
	f.StringVar(&o.dir, "cache-dir", "", "folder for cached responses; default the folder cache in --state")
}

// folder returns where cached responses are kept on disk; empty: nowhere.
func (o cacheOptions) folder(state string) string {
	switch {
	case o.disk == "0":
		return ""
	case o.dir == "":
		return filepath.Join(state, "cache")
	}
	return o.dir
}

// openCache makes the response cache. memory is what the process may use, state its
// folder.
func openCache(o cacheOptions, memory int64, state string, log *zap.Logger, m *telemetry.Metrics) (*cache.Cache, *store.Store, error) {
	s := store.Options{MemoryBytes: min(memory/cacheShare, cacheMost)}
	if o.memory != "" {
		n, ok := annotation.Bytes(o.memory)
		if !ok || n < 1<<20 {
			return nil, nil, fmt.Errorf("--cache-memory %q: want a size of at least 1Mi, such as 256Mi", o.memory)
		}
		s.MemoryBytes = n
	}
	s.MemoryBytes -= s.MemoryBytes / 100 * garbagePercent
	largest := s.MemoryBytes
	if o.disk != "0" {
		n, ok := annotation.Bytes(o.disk)
		if !ok || n < 64<<20 {
			return nil, nil, fmt.Errorf("--cache-disk %q: want 0, or a size of at least 64Mi, such as 10Gi", o.disk)
		}
		s.DiskBytes, s.Dir = n, o.folder(state)
		largest = max(largest, n)
	}
	s.Error = func(err error) { log.Warn("cached responses on disk", zap.Error(err)) }
	s.Wait = true // for the process that hands over to this one
	s.Adopted = func(objects int, waited time.Duration) {
		log.Info("cached responses on disk adopted", zap.Int("objects", objects), zap.Duration("waited", waited))
	}
	kept, err := store.Open(s)
	if err != nil {
		return nil, nil, fmt.Errorf("--cache-dir %s: %w", s.Dir, err)
	}
	if kept.Stats().Waiting {
		log.Info("another process has the cached responses on disk: they are adopted once it lets go of them", zap.String("dir", s.Dir))
	}
	return cache.New(kept, min(largest/objectShare, objectMost), m), kept, nil
}
