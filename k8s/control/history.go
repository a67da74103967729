package control

import (
	"slices"

	"penstock.dev/penstock/core/remote"
)

// keptChanges is how many changes a history remembers: a proxy that is further
// behind is compared with all that there is.
const keptChanges = 50_000

// history is the resources of one type, and when each changed last.
type history struct {
	all  map[string]*remote.Resource
	log  []change // by seq
	from uint64   // changes up to this one are forgotten
}

// change is that a resource was made, changed or removed.
type change struct {
	seq  uint64
	name string
}

func newHistory() *history { return &history{all: map[string]*remote.Resource{}} }

// record takes over what one version changes.
func (h *history) record(d *remote.Delta, seq uint64) {
	for _, name := range d.Removed {
		delete(h.all, name)
		h.log = append(h.log, change{seq, name})
	}
	for _, r := range d.Changed {
		h.all[r.Name] = r
		h.log = append(h.log, change{seq, r.Name})
	}
	if extra := len(h.log) - keptChanges; extra > 0 {
		h.from = h.log[extra-1].seq
		extra = slices.IndexFunc(h.log, func(c change) bool { return c.seq > h.from })
		if extra < 0 {
			extra = len(h.log)
		}
		h.log = slices.Clone(h.log[extra:])
	}
}

// since returns what changed after a version, each name once; ok is false if that
// is no longer known.
func (h *history) since(seq uint64) (names []string, ok bool) {
	if seq < h.from {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(h.log, seq+1, func(c change, seq uint64) int {
		if c.seq < seq {
			return -1
		}
		if c.seq > seq {
			return 1
		}
		return 0
	})
	seen := map[string]bool{}
	for _, c := range h.log[i:] {
		if !seen[c.name] {
			seen[c.name] = true
			names = append(names, c.name)
		}
	}
	return names, true
}
