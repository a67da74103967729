package plugin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/core/oci"
)

func TestATagThatMovesMakesAForm(t *testing.T) {
	b, f := newBed(t), spec()
	r := b.Acquire(f)
	b.settle(t, r)
	b.followTags(t.Context())
	if now, before := b.Form(f); now != f || before != nil {
		t.Fatalf("got %v, %v; want nothing changed", now, before)
	}

	b.image.digest = "sha256:bb"
	b.followTags(t.Context())
	now, before := b.Form(f)
	if now == f || now.Image != "r.example/x:1@sha256:bb" || before == nil || before.Image != "r.example/x:1@sha256:aa" || now.Name != f.Name {
		t.Fatalf("got %+v, %+v", now, before)
	}
	moved := b.Acquire(now) // as chains do
	r.Release()
	b.followTags(t.Context()) // lets go of its own hold
	if s := moved.State(); s.Phase != Ready || s.Digest != "sha256:bb" {
		t.Errorf("got %+v", s)
	}
	moved.Release()
	if now, _ := b.Form(f); now != f {
		t.Errorf("got %+v; want a filter that is gone to be forgotten", now)
	}
}

// TestAFormIsHeldUntilItIsTakenUp: tags may be looked up again before chains have it.
func TestAFormIsHeldUntilItIsTakenUp(t *testing.T) {
	b, f := newBed(t), spec()
	r := b.Acquire(f)
	defer r.Release()
	b.settle(t, r)
	b.image.digest = "sha256:bb"
	b.followTags(t.Context())
	now, _ := b.Form(f)
	made := b.byID[now.Hash]
	b.followTags(t.Context())
	if again, _ := b.Form(f); again.Hash != now.Hash || b.byID[now.Hash] != made {
		t.Error("it was let go, and made again")
	}
	b.pins[f.Hash].until = time.Now().Add(rollBackTime - takeUpTime - time.Second) // nobody takes it up
	b.followTags(t.Context())
	if b.byID[now.Hash] == made {
		t.Error("it is held for ever")
	}
}

func TestATagThatMovesToWhatCannotRun(t *testing.T) {
	b, f := newBed(t), spec()
	r := b.Acquire(f)
	defer r.Release()
	b.settle(t, r)
	b.image.digest, b.abi.detect = "sha256:bb", false
	b.followTags(t.Context())
	if now, _ := b.Form(f); now != f || r.State().Phase != Ready || len(b.Runtimes()) != 1 {
		t.Errorf("got %+v, %+v; want the old one to go on", now, r.State())
	}
	if note := r.Note(); !strings.HasPrefix(note, "tag moved to sha256:bb: UnknownABI: ") || !strings.HasSuffix(note, "; the old one goes on") {
		t.Errorf("got %q", note)
	}
	b.image.digest = "sha256:aa" // the tag is moved back
	b.followTags(t.Context())
	if note := r.Note(); note != "" {
		t.Errorf("got %q; want that nothing is told any more", note)
	}
}

func TestAFixedImageUnderTheSameTagIsFound(t *testing.T) {
	b, f := newBed(t), spec()
	b.fail(oci.ErrImage)
	r := b.Acquire(f)
	defer r.Release()
	b.settle(t, r)
	<-r.done
	b.image.err.Store(nil)
	b.followTags(t.Context())
	if now, _ := b.Form(f); now == f {
		t.Error("the fixed image was not found")
	}
}

func TestSharesKeepATenantFromTakingAll(t *testing.T) {
	s := newShares(3, 2)
	for _, tenant := range []string{"a", "a", "b"} {
		if err := s.take(t.Context(), tenant); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.take(ctx, "c"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want it to wait", err)
	}
	s.give("b")
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.take(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want a tenant with its share to wait", err)
	}
	got := make(chan error, 1)
	go func() { got <- s.take(t.Context(), "a") }()
	s.give("a")
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestATagThatStaysAfterARollBack(t *testing.T) {
	b, f := newBed(t), spec()
	r := b.Acquire(f)
	defer r.Release()
	b.settle(t, r)
	b.image.digest = "sha256:bb"
	b.followTags(t.Context())
	now, _ := b.Form(f)
	moved := b.Acquire(now)
	defer moved.Release()
	b.quarantine(moved)
	moved.RollBack("what ran before")
	pinned := b.pins[f.Hash]
	b.followTags(t.Context()) // r runs, and the tag points to what failed
	if b.pins[f.Hash] != pinned {
		t.Error("the tag has not moved, and counts as moved again")
	}
}

func TestATagThatMovesAwayFromWhatWasRolledBack(t *testing.T) {
	b, f := newBed(t), spec()
	r := b.Acquire(f)
	defer r.Release()
	b.settle(t, r)
	b.quarantine(r)
	r.RollBack("the entry before")
	b.image.digest = "sha256:bb"
	b.followTags(t.Context())
	if now, before := b.Form(f); now.Image != "r.example/x:1@sha256:bb" || before != nil {
		t.Errorf("got %+v, %+v; want the new digest, and nothing of what was left", now, before)
	}
}

// layout is a store whose images are in a folder.
type layout struct{ *image }

func (layout) LayoutsVersion() string   { return "" }
func (l layout) InLayout(string) string { return l.digest }

func TestAnImageThatIsPackedAgainIsLive(t *testing.T) {
	b, f := newBed(t), spec()
	r := b.Acquire(f)
	defer r.Release()
	b.settle(t, r)
	l := layout{b.image}
	b.followFolders(t.Context(), l)
	if now, _ := b.Form(f); now != f {
		t.Fatalf("got %+v; want nothing changed", now)
	}
	b.image.digest = "sha256:bb"
	b.followFolders(t.Context(), l)
	now, before := b.Form(f)
	if now.Image != "r.example/x:1@sha256:bb" || before == nil || before.Image != "r.example/x:1@sha256:aa" {
		t.Fatalf("got %+v, %+v", now, before)
	}
	b.followFolders(t.Context(), l)
	if p := b.pins[f.Hash]; p.held == nil || b.byID[now.Hash] == nil {
		t.Error("what was loaded is gone before chains could take it up")
	}
}

func TestAnImageThatIsPackedLateIsTriedAtOnce(t *testing.T) {
	b, f := newBed(t), spec()
	waits := &Runtime{manager: b.Manager, config: f, kick: make(chan struct{}, 1), done: make(chan struct{})}
	waits.latest.Store(f)
	waits.state.Store(&State{Phase: Failed, Reason: "ImageUnavailable"})
	b.byID[f.Hash] = waits
	defer delete(b.byID, f.Hash) // nobody closes done
	b.image.digest = ""
	b.followFolders(t.Context(), layout{b.image})
	if len(waits.kick) != 0 {
		t.Error("it is tried again, and no folder has its image")
	}
	b.image.digest = "sha256:bb"
	for range 2 {
		b.followFolders(t.Context(), layout{b.image})
	}
	if len(waits.kick) != 1 {
		t.Error("it waits for its next attempt, and a folder has its image now")
	}
}
