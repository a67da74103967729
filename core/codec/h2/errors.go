package h2

import (
	"fmt"

	"penstock.dev/penstock/core/codec/fields"
)

// code is an error code (RFC 9113, 7).
type code uint32

const (
	codeNo                 code = 0x0
	codeProtocol           code = 0x1
	codeInternal           code = 0x2
	codeFlowControl        code = 0x3
	codeStreamClosed       code = 0x5
	codeFrameSize          code = 0x6
	codeRefusedStream      code = 0x7
	codeCancel             code = 0x8
	codeCompression        code = 0x9
	codeConnect            code = 0xa
	codeEnhanceYourCalm    code = 0xb
	codeInadequateSecurity code = 0xc
)

// connError ends the connection (RFC 9113, 5.4.1).
type connError struct {
	code   code
	reason string // one of a fixed set
}

func (e connError) Error() string { return fmt.Sprintf("connection error %d: %s", e.code, e.reason) }

// streamError ends one stream (RFC 9113, 5.4.2).
type streamError struct {
	id     uint32
	code   code
	reason string // one of a fixed set
}

func (e streamError) Error() string {
	return fmt.Sprintf("stream %d error %d: %s", e.id, e.code, e.reason)
}

// errInterim is what else can be wrong with a response.
var errInterim = &fields.Refused{Reason: "interim"}

const (
	reasonNoHead = "no-head"
	reasonSilent = "silent"

	reasonSlowRequest  = "request-body-slow"
	reasonSlowResponse = "response-slow"
)

// faultReasons lists what else upstreams are refused for.
func faultReasons() []string {
	return []string{fields.ErrStatus.Reason, errInterim.Reason, reasonNoHead, reasonSilent}
}

// reasons lists all that connections, streams and requests are refused for, for
// the metric's labels.
func reasons() []string {
	return append(fields.Reasons(),
		// connections
		"preface", "tls", "no-settings", "frame-size", "no-pad-length", "padding", "stream-id", "stream-closed", "idle-stream",
		"header-block", "compression", "settings", "settings-ack", "push-promise", "ping", "goaway", "priority-update",
		"window-update", "window-overflow", "flow-control", "header-timeout",
		"control-flood", "reset-flood", "continuation-flood",
		// streams
		"priority", "too-many-streams", "trailer", "body-length", "window-stall", reasonSlowRequest, reasonSlowResponse,
	)
}
