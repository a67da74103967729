package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/sandbox"
)

// TestCases: what an image's own cases say decides whether it is used.
func TestCases(t *testing.T) {
	some := []oci.CasesFile{{Name: "cases.yaml", Text: []byte("cases: [...]")}}
	failing := &CaseError{File: "cases.yaml", Case: "a key", Faults: []string{"response.status: got 500;\nwant 200", "b", "c"}}
	tests := map[string]struct {
		cases []oci.CasesFile
		err   error
		use   string
		runs  int
		want  string // of Try: "", a reason and a message, or "not tried"
	}{
		"they pass":                       {some, nil, "", 1, ""},
		"there are none":                  {nil, failing, "", 0, ""},
		"a bundled plugin":                {some, failing, "bundled/x", 0, ""},
		"a Plugin object":                 {some, failing, "Plugin/x", 1, `InvalidModule: the image's own case "a key" (cases.yaml) fails: response.status: got 500; want 200 (and 2 more)`},
		"one fails":                       {some, failing, "", 1, `InvalidModule: the image's own case "a key" (cases.yaml) fails: response.status: got 500; want 200 (and 2 more)`},
		"they cannot be read":             {some, errors.New("cases.yaml: line 1"), "", 1, "InvalidModule: cases.yaml: line 1"},
		"the machine has no time for it":  {some, fmt.Errorf("%w: later", sandbox.ErrCrowded), "", 2, "not tried"},
		"a fault that is longer than fit": {some, &CaseError{File: "c", Case: "d", Faults: []string{strings.Repeat("x", 1000)}}, "", 1, `InvalidModule: the image's own case "d" (c) fails: ` + strings.Repeat("x", 300)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.image.cases = test.cases
			runs := 0
			b.o.Cases = func(_ context.Context, img *oci.Image) error {
				runs++
				if img.Digest != b.image.digest || len(img.Module) == 0 {
					t.Errorf("got %+v", img)
				}
				return test.err
			}
			for range 2 { // what is known of a digest is not asked again
				f := spec()
				f.Plugin = test.use
				_, err := b.Try(context.Background(), f)
				got := ""
				var fault *Fault
				switch {
				case errors.Is(err, ErrNotTried):
					got = "not tried"
				case errors.As(err, &fault):
					got = fault.Reason + ": " + err.Error()
				}
				if got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
			}
			if runs != test.runs {
				t.Errorf("they were run %d times; want %d", runs, test.runs)
			}
		})
	}
}

// TestCasesOneByOne: however many filters load, one run is under way at a time, and a
// digest has one.
func TestCasesOneByOne(t *testing.T) {
	b := newBed(t)
	b.image.cases = []oci.CasesFile{{Name: "cases.yaml"}}
	var mu sync.Mutex
	running, runs := 0, 0
	b.o.Cases = func(context.Context, *oci.Image) error {
		mu.Lock()
		running++
		runs++
		if running > 1 {
			t.Error("two at a time")
		}
		mu.Unlock()
		defer func() {
			mu.Lock()
			running--
			mu.Unlock()
		}()
		return nil
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := b.prove(context.Background(), spec(), &oci.Image{Digest: "sha256:1", Cases: b.image.cases}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if runs != 1 {
		t.Errorf("%d runs of one digest; want 1", runs)
	}
}

// TestCasesCount: a run counts as a compile of its namespace, but not beside one.
func TestCasesCount(t *testing.T) {
	b := newBed(t)
	b.image.cases = []oci.CasesFile{{Name: "cases.yaml"}}
	b.o.Cases = func(context.Context, *oci.Image) error { return nil }
	b.totals(func(c *config.Totals) { c.CompilesPerHour = 2 })
	try := func(digest string, want error) {
		t.Helper()
		b.image.digest = digest
		if _, err := b.Try(context.Background(), tenantSpec("h")); !errors.Is(err, want) {
			t.Errorf("%s: got %v; want %v", digest, err, want)
		}
	}
	try("sha256:1", nil) // it is compiled, too
	module, err := b.o.Engine.Load(context.Background(), []byte("\x00asm\x01\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	defer module.Close()
	try("sha256:2", nil) // of the same module
	try("sha256:3", ErrNotTried)
	try("sha256:1", nil) // which is known
}
