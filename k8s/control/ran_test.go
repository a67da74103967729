package control_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/remote"
)

// TestRanIsWithoutWhatWasRolledBack: nothing goes back to a form that one proxy has
// left, however well it runs on another.
func TestRanIsWithoutWhatWasRolledBack(t *testing.T) {
	f := newFleet(t)
	c := someConfig(1)
	f.update(c)
	hash := ""
	for h := range c.PartHashes() {
		hash = h
	}
	report := func(state string) {
		t.Helper()
		sent := false
		err := f.server.Report(context.Background(), func() (*remote.Report, error) {
			if sent {
				return nil, io.EOF
			}
			sent = true
			return &remote.Report{Ready: true, Parts: []remote.PartReport{{Hash: hash, State: "Running", Filters: []remote.FilterReport{{Name: "service/x", State: state}}}}}, nil
		})
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	if f.server.Ran(hash) {
		t.Error("it ran before anybody said so")
	}
	report("Ready")
	if !f.server.Ran(hash) {
		t.Error("it did not run though a proxy says so")
	}
	if f.server.RolledBack() {
		t.Error("a filter is rolled back though nobody says so")
	}
	report("RolledBack")
	report("Ready")
	if f.server.Ran(hash) {
		t.Error("what a proxy has left counts as what ran")
	}
}

// TestResolvedDigests: what this process has found itself.
func TestResolvedDigests(t *testing.T) {
	f := newFleet(t)
	f.registry.images["registry.example/x:1"] = &oci.Image{Digest: "sha256:1", Module: []byte("module")}
	f.update(someConfig(1))
	eventually(t, "the image is found", func() bool { return f.images.Resolved("filter-hash", "sha256:1") })
	if f.images.Resolved("filter-hash", "sha256:2") || f.images.Resolved("another", "sha256:1") {
		t.Error("what nobody found counts as found")
	}
}
