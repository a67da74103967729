package snapshot

import (
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
)

func imaged(hash, image string) *config.Filter {
	f := filterOf(hash)
	f.Image, f.Declaration = image, "declared "+hash
	return f
}

// ordered is a part whose filter is not to run; before is what is, nil: it is not
// known.
func ordered(hash string, f, before *config.Filter) *config.Part {
	c := *f
	c.RolledBack = "sha256:" + f.Image
	p := partOf(hash, &c)
	if before != nil {
		p.Previous = partOf("before "+hash, before)
	}
	return p
}

// digests are what a report says of the filter: what runs, and what was left.
func (b *runBed) states() (running, left string) {
	for _, r := range b.Reports() {
		for _, f := range r.Filters {
			if f.State == "Ready" {
				running = f.Digest
			}
			if f.State == "RolledBack" {
				left = f.Digest
			}
		}
	}
	return running, left
}

func (b *runBed) becomes(t *testing.T, running, left string) {
	t.Helper()
	b.eventually(t, running+" runs in the place of "+left, func() bool { r, l := b.states(); return r == running && l == left })
}

// TestRollBackOfAnother: another proxy found it, this one never ran it or runs it well.
func TestRollBackOfAnother(t *testing.T) {
	good, bad := imaged("good", "r.example/ok:1"), imaged("bad", "r.example/403:2")
	good.Entry = []byte("{}")
	for name, runs := range map[string]bool{"it begins": false, "it runs it": true} {
		t.Run(name, func(t *testing.T) {
			b := newRunBed(t)
			if runs {
				b.apply(t, partOf("p", bad))
				b.eventually(t, "it runs", func() bool { return b.exchange(t) == 403 })
			}
			b.apply(t, ordered("q", bad, good))
			if got := b.exchange(t); got != 200 { // it waits for what ran before
				t.Errorf("got %d; want the form before", got)
			}
			b.becomes(t, "sha256:r.example/ok:1", "sha256:r.example/403:2")
			for _, f := range b.Reports()[0].Filters {
				if f.State == "Ready" && (f.Declaration != "declared good" || len(f.Entry) == 0) || f.State == "RolledBack" && f.Declaration != "declared bad" {
					t.Errorf("got %+v", f)
				}
			}
			b.apply(t, partOf("r", imaged("third", "r.example/403:3")))
			b.eventually(t, "another entry runs", func() bool { return b.exchange(t) == 403 })
		})
	}
}

// TestRollBackOfAGuard: no word takes a guard away.
func TestRollBackOfAGuard(t *testing.T) {
	b := newRunBed(t)
	b.apply(t, ordered("p", imaged("guard", "r.example/guard-403:2"), imaged("good", "r.example/ok:1")))
	for range 100 {
		if got := b.exchange(t); got != 403 {
			t.Fatalf("got %d: the guard was left out", got)
		}
	}
	if r := b.Reports()[0]; len(r.Filters) != 1 || r.Filters[0].State != "Ready" {
		t.Errorf("got %+v", r)
	}
}

// TestRollBackIsOfADigest: the tag names another one now.
func TestRollBackIsOfADigest(t *testing.T) {
	b := newRunBed(t)
	p := ordered("p", imaged("new", "r.example/403:2"), imaged("good", "r.example/ok:1"))
	p.Filters[0].RolledBack = "sha256:another"
	b.apply(t, p)
	if got := b.exchange(t); got != 403 {
		t.Errorf("got %d; want the filter itself", got)
	}
}

func TestRollBackToWhatCannotRun(t *testing.T) {
	bad := imaged("bad", "r.example/403:2")
	fault := &config.Fault{Reason: "RefusedByPolicy", Message: "no"}
	tests := map[string]struct {
		part   func() *config.Part
		refuse error
		reason string
	}{
		"policy's refusal":   {func() *config.Part { p := ordered("p", bad, nil); p.PreviousFault = fault; return p }, nil, "RefusedByPolicy"},
		"no right to pull":   {func() *config.Part { return ordered("p", bad, imaged("good", "r.example/ok:1")) }, oci.ErrForbidden, "PullForbidden"},
		"it is a guard now":  {func() *config.Part { return ordered("p", bad, imaged("good", "r.example/guard-ok:1")) }, nil, "RolledBack"},
		"the image is there": {func() *config.Part { return ordered("p", bad, imaged("good", "r.example/ok:1")) }, nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newRunBed(t)
			if test.refuse != nil {
				b.refused["r.example/ok:1"] = test.refuse
			}
			b.apply(t, test.part())
			want := 503
			if test.reason == "" {
				want = 200
			}
			b.eventually(t, "the answer", func() bool { return b.exchange(t) == want })
			if r := b.Reports()[0]; r.Reason != test.reason {
				t.Errorf("got %+v; want %q", r, test.reason)
			}
		})
	}
}

// TestRollBackToWhatIsNotKnown: what runs goes on for a while, and a proxy that begins
// runs nothing; neither ever runs what was left.
func TestRollBackToWhatIsNotKnown(t *testing.T) {
	good, bad := imaged("good", "r.example/ok:1"), imaged("bad", "r.example/403:2")
	b := newRunBed(t)
	var late time.Duration // how much later than now it is
	b.Store.mu.Lock()
	b.linker.now = func() time.Time { return time.Now().Add(late) }
	b.Store.mu.Unlock()
	b.apply(t, ordered("p", bad, good))
	b.becomes(t, "sha256:r.example/ok:1", "sha256:r.example/403:2")
	b.apply(t, ordered("q", bad, nil)) // another control leads
	if got := b.exchange(t); got != 200 {
		t.Fatalf("got %d; want what ran", got)
	}
	b.becomes(t, "sha256:r.example/ok:1", "sha256:r.example/403:2")
	b.apply(t, ordered("r", bad, good)) // it knows now
	if got := b.exchange(t); got != 200 {
		t.Errorf("got %d; want what ran", got)
	}
	b.apply(t, ordered("s", bad, nil))
	b.Store.mu.Lock()
	late = formGrace
	b.relink(b.Load())
	b.Store.mu.Unlock()
	if got := b.exchange(t); got != 503 {
		t.Errorf("got %d; want an end of it", got)
	}
	if r := b.Reports()[0]; r.Reason != "RolledBack" || r.State != "Broken" {
		t.Errorf("got %+v", r)
	}
}

// TestUnknownFormEndsInTime: the grace ends by itself, also for who began without.
func TestUnknownFormEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRunBed(t)
		b.apply(t, ordered("p", imaged("bad", "r.example/403:2"), nil))
		synctest.Wait()
		if b.Settled() {
			t.Error("settled before it is known what runs")
		}
		time.Sleep(formGrace + time.Millisecond)
		synctest.Wait()
		if got := b.exchange(t); got != 503 {
			t.Errorf("got %d; want 503", got)
		}
		if s, _ := b.states(); s != "" {
			t.Errorf("%s runs", s)
		}
	})
}
