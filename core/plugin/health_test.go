package plugin

import (
	"errors"
	"testing"
	"time"

	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/oci"
)

func TestWhenAFilterCountsAsFailing(t *testing.T) {
	tests := map[string]struct {
		calls, traps int
		apart        int // slots between the traps
		want         bool
	}{
		"ten of ten":                     {10, 10, 0, true},
		"nine of nine":                   {9, 9, 0, false},
		"ten of twenty":                  {20, 10, 0, true},
		"ten of twenty-one":              {21, 10, 0, false},
		"ten over a minute and more":     {10, 10, 2, false},
		"many, and more that went well":  {1000, 499, 0, false},
		"many, and as many went well":    {1000, 500, 0, true},
		"nothing that failed":            {1000, 0, 0, false},
		"ten, one in each of ten slots ": {10, 10, 1, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := &health{}
			got := false
			h.calls.Add(int64(test.calls - test.traps))
			for range test.traps {
				for range test.apart {
					h.turn()
				}
				h.calls.Add(1)
				got = h.trap()
			}
			if got != test.want {
				t.Errorf("got %v; want %v", got, test.want)
			}
		})
	}
}

func TestRestsGrowAndShrinkAgain(t *testing.T) {
	h, now := &health{}, time.Unix(1000, 0)
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		if got := h.quarantine(now); got != want {
			t.Errorf("got %v; want %v", got, want)
		}
		now = now.Add(want + time.Second)
	}
	for range 20 {
		now = now.Add(h.quarantine(now))
	}
	if got := h.quarantine(now); got != lastRest {
		t.Errorf("got %v; want at most %v", got, lastRest)
	}
	if got := h.quarantine(now.Add(2*lastRest + calmFor)); got != firstRest {
		t.Errorf("after a calm time: got %v; want %v", got, firstRest)
	}
}

func TestQuarantineEndsByItself(t *testing.T) {
	b := newBed(t)
	r := b.Acquire(spec())
	defer r.Release()
	b.settle(t, r)
	e := r.Entry(spec())
	trap := &filter.Error{Cause: "trap", Err: errors.New("unreachable")}
	for n := range 10 {
		if _, err := e.Filter.Begin(nil, nil); errors.Is(err, errQuarantined) {
			t.Fatalf("in quarantine after %d failures", n)
		}
		e.Failed(trap)
	}
	if s := r.State(); s.Phase != Quarantined || !s.Runnable() {
		t.Fatalf("got %+v; want it in quarantine", s)
	}
	if _, err := e.Filter.Begin(nil, nil); !errors.Is(err, errQuarantined) {
		t.Errorf("got %v; want %v", err, errQuarantined)
	}
	e.Failed(&filter.Error{Cause: "unavailable", Err: errQuarantined}) // no call: it does not count
	r.health.restUntil.Store(time.Now().UnixNano())
	b.rested()
	if s := r.State(); s.Phase != Ready {
		t.Errorf("got %+v; want it tried again", s)
	}
	r.RollBack("nothing") // not in quarantine
	if s := r.State(); s.Phase != Ready {
		t.Errorf("got %+v; want it left alone", s)
	}
}

func TestOldCallsDoNotCount(t *testing.T) {
	h := &health{}
	h.calls.Add(1000)
	for range healthSlots + 1 {
		h.turn()
	}
	h.calls.Add(10)
	for range 9 {
		h.trap()
	}
	if !h.trap() {
		t.Error("calls of more than a minute ago count")
	}
}

// TestRetire: what another proxy found to fail is left where it runs well.
func TestRetire(t *testing.T) {
	b := newBed(t)
	r := b.Acquire(spec())
	defer r.Release()
	b.settle(t, r)
	r.Retire("what ran before")
	if s := r.State(); s.Phase != RolledBack || s.Digest == "" {
		t.Errorf("got %+v; want it left", s)
	}
	if _, err := r.Entry(spec()).Filter.Begin(nil, nil); !errors.Is(err, errQuarantined) {
		t.Errorf("got %v; want it to take no exchange", err)
	}
	b.rested()
	if s := r.State(); s.Phase != RolledBack {
		t.Errorf("got %+v; want it left for good", s)
	}
}

// TestPullRightComesBack: what was in quarantine or rolled back when its pull
// right went is so again, not ready and shut.
func TestPullRightComesBack(t *testing.T) {
	for _, phase := range []Phase{Quarantined, RolledBack} {
		b := newBed(t)
		r := b.Acquire(spec())
		b.settle(t, r)
		b.quarantine(r)
		if phase == RolledBack {
			r.RollBack("what ran before")
		}
		b.revoked(r, oci.ErrForbidden)
		if s := r.State(); s.Phase != Failed {
			t.Fatalf("got %+v; want it closed", s)
		}
		b.revoked(r, nil)
		if s := r.State(); s.Phase != phase {
			t.Errorf("got %v; want %v", s.Phase, phase)
		}
		r.Release()
	}
}
