package plugin

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
)

// CaseError is why an image is not used: one of the cases that it carries failed.
type CaseError struct {
	File, Case string
	// Faults say what was not as wanted, each in a line.
	Faults []string
}

// maxFault bounds what is told of a fault, in bytes: the image wrote a part of it.
const maxFault = 300

// Error names the case, and the first thing that was not as wanted.
func (e *CaseError) Error() string {
	first := "it failed"
	if len(e.Faults) > 0 {
		first = fmt.Sprintf("%.*s", maxFault, oneLine(e.Faults[0]))
	}
	more := ""
	if n := len(e.Faults); n > 1 {
		more = fmt.Sprintf(" (and %d more)", n-1)
	}
	return fmt.Sprintf("the image's own case %.80q (%.80s) fails: %s%s", e.Case, e.File, first, more)
}

// maxProofs bounds the digests that are known to have passed, or not to.
const maxProofs = 1024

// proofs are the images whose cases were run.
type proofs struct {
	running chan struct{} // holds one while cases are run

	mu  sync.Mutex
	all map[string]error // by the image's digest; nil: they passed
}

func newProofs() *proofs {
	return &proofs{running: make(chan struct{}, 1), all: map[string]error{}}
}

// prove runs the cases that an image carries, unless it was done before. permit, unless
// nil, is asked first: a run counts as the compile that it mostly comes with.
func (m *Manager) prove(ctx context.Context, f *config.Filter, img *oci.Image, permit func() error) error {
	// What is bundled was tested when it was built.
	if m.o.Cases == nil || len(img.Cases) == 0 || strings.HasPrefix(f.Plugin, "bundled/") {
		return nil
	}
	p := m.proofs
	select {
	case p.running <- struct{}{}:
		defer func() { <-p.running }()
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	err, known := p.all[img.Digest]
	p.mu.Unlock()
	if known {
		return err
	}
	if permit != nil {
		if err := permit(); err != nil {
			return err
		}
	}
	if err = m.o.Cases(ctx, img); err != nil && (waits(err) || ctx.Err() != nil) { // says nothing of the image
		return err
	}
	if err != nil {
		err = &Fault{"InvalidModule", err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) >= maxProofs {
		clear(p.all)
	}
	p.all[img.Digest] = err
	return err
}
