package control

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"penstock.dev/penstock/core/remote"
)

// TestHistory: who asks since a version gets what a comparison with that version
// would say, or at least that and what changed and changed back; or is told that it
// is no longer known.
func TestHistory(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	h := newHistory()
	states := []map[string]string{{}}
	for seq := uint64(1); seq <= 400; seq++ {
		state := maps.Clone(states[seq-1])
		d := &remote.Delta{}
		for range r.IntN(4) {
			name := fmt.Sprint(r.IntN(40))
			if r.IntN(3) == 0 {
				delete(state, name)
				d.Removed = append(d.Removed, name)
				continue
			}
			if slices.Contains(d.Removed, name) {
				continue // a version removes a resource or changes it
			}
			state[name] = fmt.Sprint(seq)
			d.Changed = append(d.Changed, &remote.Resource{Name: name, Version: state[name]})
		}
		d.Changed = slices.DeleteFunc(d.Changed, func(r *remote.Resource) bool { return slices.Contains(d.Removed, r.Name) })
		h.record(d, seq)
		states = append(states, state)
		if len(h.all) != len(state) {
			t.Fatalf("version %d has %d resources; want %d", seq, len(h.all), len(state))
		}
		for name, version := range state {
			if h.all[name] == nil || h.all[name].Version != version {
				t.Fatalf("version %d: %s is %+v; want %s", seq, name, h.all[name], version)
			}
		}
		for range 3 {
			from := uint64(r.IntN(int(seq) + 1))
			names, ok := h.since(from)
			if !ok {
				t.Fatalf("version %d is not known any more", from)
			}
			if slices.Sort(names); len(slices.Compact(slices.Clone(names))) != len(names) {
				t.Fatalf("%v has a name twice", names)
			}
			for name := range union(states[from], state) {
				if states[from][name] != state[name] && !slices.Contains(names, name) {
					t.Fatalf("from %d to %d %s changed, and is not among %v", from, seq, name, names)
				}
			}
		}
	}
	if names, ok := h.since(400); !ok || len(names) != 0 {
		t.Errorf("since the last version: %v, %v; want nothing", names, ok)
	}
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// TestHistoryForgets: only whole versions are forgotten, and who is behind them is told.
func TestHistoryForgets(t *testing.T) {
	h := newHistory()
	version := func(seq uint64, n int) {
		d := &remote.Delta{}
		for i := range n {
			d.Changed = append(d.Changed, &remote.Resource{Name: fmt.Sprintf("%d-%d", seq, i)})
		}
		h.record(d, seq)
	}
	version(1, keptChanges/2)
	version(2, keptChanges/2)
	if _, ok := h.since(0); !ok {
		t.Error("all is known yet")
	}
	version(3, 1)
	if _, ok := h.since(0); ok {
		t.Error("a part of version 1 is forgotten, and it is not told")
	}
	if names, ok := h.since(1); !ok || len(names) != keptChanges/2+1 {
		t.Errorf("since 1: %d names, %v; want those of 2 and 3", len(names), ok)
	}
	version(4, keptChanges+1)
	if _, ok := h.since(3); ok {
		t.Error("a version of more changes than are kept is forgotten at once")
	}
	if names, ok := h.since(4); !ok || len(names) != 0 {
		t.Errorf("since 4: %d names, %v", len(names), ok)
	}
	version(5, 2)
	if names, ok := h.since(4); !ok || len(names) != 2 {
		t.Errorf("since 4: %d names, %v; want 2", len(names), ok)
	}
}
