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
// is a *Fault with the reason that a runtime would have, or wraps ErrNotTried.
func (m *Manager) Try(ctx context.Context, f *config.Filter) error {
	var running Running
	err := ctx.Err()
	if err == nil {
		_, running, err = m.prepare(ctx, f, func(State) {})
	}
	if err == nil {
		running.Close(ctx)
		return nil
	}
	unreachable := errors.Is(err, oci.ErrUnavailable) && !errors.Is(err, oci.ErrMissing)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: it took too long: %w", ErrNotTried, err)
	case unreachable, waits(err):
		return fmt.Errorf("%w: %w", ErrNotTried, err)
	}
	reason, _ := reasonOf(err)
	return &Fault{reason, err}
}
