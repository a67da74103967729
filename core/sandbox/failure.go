package sandbox

import (
	"errors"
	"strings"

	"github.com/tetratelabs/wazero/sys"
)

// The causes of a Failure; they are label values of metrics.
const (
	CauseTrap   = "trap"
	CauseCPU    = "cpu"
	CauseMemory = "memory"
	CauseStack  = "stack"
	CauseExit   = "exit"
	CauseStuck  = "stuck"
	// CauseUnavailable: there was no instance, or no processor for it. It does not
	// count as a failure.
	CauseUnavailable = "unavailable"
	CauseABI         = "abi"
	// CauseCut: the host ended the call for a reason that is not the guest's, as
	// a body that is cut short. It does not count as a failure.
	CauseCut = "cut"
)

// Failure is why a guest's call ended without a result. The instance is dead, if
// there was one.
type Failure struct {
	Cause string
	Err   error
}

// Error returns cause and error.
func (f *Failure) Error() string { return f.Cause + ": " + f.Err.Error() }

// Unwrap returns the error.
func (f *Failure) Unwrap() error { return f.Err }

// blameless reports whether the guest did nothing wrong.
func (f *Failure) blameless() bool { return f.Cause == CauseCut || f.Cause == CauseUnavailable }

// What a Failure's Err may be.
var (
	ErrCPU      = errors.New("the call spent its CPU budget")
	ErrStack    = errors.New("the call stack is exhausted")
	ErrExit     = errors.New("the guest called proc_exit")
	ErrStuck    = errors.New("the call took far longer than its budget")
	ErrCrowded  = errors.New("other slow guests had the processors for longer than a call may wait")
	ErrDead     = errors.New("the instance is dead")
	ErrBackOff  = errors.New("the plugin keeps failing: no instance until the back-off is over")
	ErrClosed   = errors.New("the filter runtime is closed")
	ErrMapping  = errors.New("the machine has no address space for a guest's memory")
	errAbort    = errors.New("aborted by the host")
	errTooLarge = errors.New("module too large")
)

// maxTrace bounds the Wasm stack trace that an error carries, in bytes.
const maxTrace = 2 << 10

// classify turns an engine's error into a Failure.
func classify(err error) *Failure {
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return &Failure{CauseExit, ErrExit}
	}
	text := err.Error()
	if strings.Contains(text, "stack overflow") {
		return &Failure{CauseStack, ErrStack}
	}
	if len(text) > maxTrace {
		text = text[:maxTrace] + " ..."
	}
	return &Failure{CauseTrap, errors.New(text)}
}
