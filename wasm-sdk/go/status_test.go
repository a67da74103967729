package sdk

import (
	"errors"
	"testing"
)

func TestStatuses(t *testing.T) {
	if err := failure(0); err != nil {
		t.Errorf("status 0: got %v", err)
	}
	all := []error{ErrNotFound, ErrBadArgument, ErrSerialization, ErrParse, ErrBadExpression, ErrInvalidMemory, ErrEmpty, ErrCASMismatch, ErrResultMismatch, ErrInternal, ErrBrokenConnection, ErrUnimplemented}
	for i, want := range all {
		err := failure(uint32(i + 1))
		for _, other := range all {
			if errors.Is(err, other) != (other == want) {
				t.Errorf("status %d: %v is %v: %v", i+1, err, other, errors.Is(err, other))
			}
		}
		if !errors.Is(err, ErrHost) {
			t.Errorf("status %d: %v is no ErrHost", i+1, err)
		}
	}
	if errors.Is(ErrNotFound, ErrCacheArgument) {
		t.Error("a status is any error")
	}
	for err, want := range map[error]string{
		ErrCASMismatch: "the proxy refused: compare and swap mismatch", Status(99): "the proxy refused: status 99",
		&CallError{Status: ErrBrokenConnection, Message: "no endpoint"}: "the proxy refused: broken connection: no endpoint",
	} {
		if err.Error() != want {
			t.Errorf("got %q; want %q", err, want)
		}
	}
	var err error = &CallError{Status: ErrBrokenConnection}
	if !errors.Is(err, ErrBrokenConnection) || !errors.Is(err, ErrHost) || errors.Is(err, ErrInternal) {
		t.Errorf("%v is not its status", err)
	}
	if n := testing.AllocsPerRun(100, func() { err = failure(uint32(ErrUnimplemented)) }); n != 0 {
		t.Errorf("a failure: %v allocations; want 0", n)
	}
}
