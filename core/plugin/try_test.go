package plugin

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"penstock.dev/penstock/core/oci"
)

func TestTry(t *testing.T) {
	tests := map[string]struct {
		change func(*bed)
		reason string // "not": ErrNotTried
	}{
		"it runs":                  {func(*bed) {}, ""},
		"refused at start":         {func(b *bed) { b.abi.err = &Fault{"InvalidConfig", errors.New("no")} }, "InvalidConfig"},
		"no ABI":                   {func(b *bed) { b.abi.detect = false }, "UnknownABI"},
		"a registry that is down":  {func(b *bed) { b.fail(oci.ErrUnavailable) }, "not"},
		"not in the registry":      {func(b *bed) { b.fail(fmt.Errorf("%w: %w", oci.ErrUnavailable, oci.ErrMissing)) }, "ImageUnavailable"},
		"a namespace at its total": {func(b *bed) { b.abi.err = &delayed{errors.New("later")} }, "not"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			test.change(b)
			_, err := b.Try(context.Background(), spec())
			got := ""
			var fault *Fault
			switch {
			case errors.Is(err, ErrNotTried):
				got = "not"
			case errors.As(err, &fault):
				got = fault.Reason
			case err != nil:
				got = "another error"
			}
			if got != test.reason {
				t.Errorf("got %q, %v; want %q", got, err, test.reason)
			}
			if len(b.Runtimes()) > 0 {
				t.Error("it is kept")
			}
			if err == nil {
				<-b.abi.closed
			}
		})
	}
	b := newBed(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Try(ctx, spec()); !errors.Is(err, ErrNotTried) {
		t.Errorf("no time: got %v", err)
	}
}
