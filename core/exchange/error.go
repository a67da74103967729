package exchange

import "fmt"

// Phase is a step in the life of an exchange, in order (ARCHITECTURE.md, "How
// one request flows").
type Phase uint8

// The phases.
const (
	PhaseDecode Phase = iota
	PhaseGateway
	PhaseMatch
	PhaseRequest
	PhaseRequestBody
	PhaseSend
	PhaseResponse
	PhaseResponseBody
	PhaseEncode
	PhaseDone
)

var phaseNames = [...]string{"decode", "gateway", "match", "request", "request-body", "send", "response", "response-body", "encode", "done"}

// String returns the phase's name as it stands in logs and metrics.
func (p Phase) String() string { return phaseNames[p] }

// Side says who caused an error.
type Side uint8

// The sides.
const (
	SideClient Side = iota
	SideUpstream
	SidePlugin
	SideProxy
)

var sideNames = [...]string{"client", "upstream", "plugin", "proxy"}

// String returns the side's name as it stands in logs and metrics.
func (s Side) String() string { return sideNames[s] }

// Error is the only error type that leaves a phase.
type Error struct {
	Phase  Phase
	Side   Side   // who caused it
	Status int    // sent if no response byte has left yet, 400..599
	Retry  bool   // repeating is safe: the upstream cannot have acted, or the request is idempotent and replayable and a reused connection closed
	Reason string // short code for logs and metrics, one of a fixed set: "connect-refused", "response-timeout", "plugin-trap" ...
	Err    error  // the cause, never nil
}

// Error returns the phase, the side and the cause.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %s: %v", e.Phase, e.Side, e.Reason, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
