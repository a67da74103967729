package control

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/remote"
)

// moving is a store with one image, whose tag points to a digest.
type moving struct {
	points string
	err    error // of what it points to
}

func (m *moving) Get(context.Context, oci.Request) (*oci.Image, error) {
	return &oci.Image{Digest: m.points, Module: []byte("module")}, m.err
}
func (m *moving) Recheck(context.Context, oci.Request, string) error   { return nil }
func (m *moving) Resolve(context.Context, oci.Request) (string, error) { return m.points, nil }

// TestATagThatMovesToWhatCannotBeHad: what runs goes on, with a message for proxies, until
// the tag points elsewhere; it is logged once.
func TestATagThatMovesToWhatCannotBeHad(t *testing.T) {
	core, lines := observer.New(zapcore.WarnLevel)
	store := &moving{points: "sha256:aa"}
	i := NewImages(ImagesOptions{Store: store, Dir: t.TempDir(), Quota: 1 << 20, Log: zap.New(core)})
	f := &config.Filter{Part: "service", Name: "x", Image: "r.example/x:1"}
	first := i.look(t.Context(), f, remote.Image{}, true)
	if first.Digest != "sha256:aa" || first.Reason != "" || first.Message != "" {
		t.Fatalf("got %+v", first)
	}
	store.points, store.err = "sha256:bb", fmt.Errorf("%w: no key signed it", oci.ErrSignature)
	now := first
	for range 2 {
		now = i.look(t.Context(), f, now, true)
		if now.Digest != "sha256:aa" || now.Reason != "" || !strings.HasPrefix(now.Message, "tag moved to sha256:bb: SignatureInvalid: ") || !strings.HasSuffix(now.Message, "no key signed it; the old one goes on") {
			t.Errorf("got %+v", now)
		}
	}
	if n := lines.Len(); n != 1 {
		t.Errorf("%d lines in the log; want one", n)
	}
	if again := i.look(t.Context(), f, now, false); again.Message != now.Message {
		t.Errorf("nobody has asked where it points, and got %q", again.Message)
	}
	for points, want := range map[string]string{"sha256:aa": "sha256:aa", "sha256:bb": "sha256:bb"} {
		store.points, store.err = points, nil
		if got := i.look(t.Context(), f, now, true); got.Digest != want || got.Reason != "" || got.Message != "" {
			t.Errorf("it points to %s: got %+v", points, got)
		}
	}
}
