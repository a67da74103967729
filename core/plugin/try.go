package plugin

import (
	"context"
	"errors"
	"fmt"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
)

// ErrNotTried means that nothing is known of a filter: its image could not be
// reached, there was no time, or its namespace's totals did not allow it.
var ErrNotTried = errors.New("not checked")

// Try pulls, compiles, starts and configures f once, and ends it again. The error
// is a *Fault with the reason that a runtime would have, or wraps ErrNotTried. missing are
// the capabilities that its image asks for and is not granted.
func (m *Manager) Try(ctx context.Context, f *config.Filter) (missing []string, err error) {
	var running Running
	var state State
	if err = ctx.Err(); err == nil {
		state, running, err = m.prepare(ctx, f, func(State) {})
	}
	if err == nil {
		running.Close(ctx)
		return state.Missing, nil
	}
	unreachable := errors.Is(err, oci.ErrUnavailable) && !errors.Is(err, oci.ErrMissing)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: it took too long: %w", ErrNotTried, err)
	case unreachable, waits(err):
		return nil, fmt.Errorf("%w: %w", ErrNotTried, err)
	}
	reason, _ := reasonOf(err)
	return nil, &Fault{reason, err}
}
