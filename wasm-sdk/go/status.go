package sdk

import (
	"errors"
	"strconv"
)

// ErrHost is what each error of a host function is, by errors.Is.
var ErrHost = errors.New("the proxy refused")

// Status is the error of a host function: why the proxy refused (proxy_status_t).
// errors.Is finds each in ErrHost, and tells them apart. It allocates nothing.
type Status uint32

// The statuses that hosts give.
const (
	ErrNotFound         Status = 1
	ErrBadArgument      Status = 2
	ErrSerialization    Status = 3
	ErrParse            Status = 4
	ErrBadExpression    Status = 5
	ErrInvalidMemory    Status = 6
	ErrEmpty            Status = 7
	ErrCASMismatch      Status = 8
	ErrResultMismatch   Status = 9
	ErrInternal         Status = 10 // also: the plugin lacks the capability
	ErrBrokenConnection Status = 11
	ErrUnimplemented    Status = 12
)

var statusTexts = [...]string{
	"ok", "not found", "bad argument", "serialization failure", "parse failure", "bad expression", "invalid memory access",
	"empty", "compare and swap mismatch", "result mismatch", "internal failure", "broken connection", "unimplemented",
}

// Error implements error.
func (s Status) Error() string {
	text := "status " + strconv.Itoa(int(s))
	if int(s) < len(statusTexts) {
		text = statusTexts[s]
	}
	return ErrHost.Error() + ": " + text
}

// Is makes each Status an ErrHost.
func (s Status) Is(target error) bool { return target == ErrHost }

// failure returns a host function's status as an error.
func failure(status uint32) error {
	if status == 0 {
		return nil
	}
	return Status(status)
}

// CallError is why an HTTP call that was begun has no response.
type CallError struct {
	Status  Status
	Message string // the proxy's, for the log
}

// Error implements error.
func (e *CallError) Error() string {
	if e.Message == "" {
		return e.Status.Error()
	}
	return e.Status.Error() + ": " + e.Message
}

// Unwrap returns the Status.
func (e *CallError) Unwrap() error { return e.Status }

// GRPCStatus is how a gRPC call ended: the code is 0 if it went well.
type GRPCStatus struct {
	Code    uint32
	Message string
}
