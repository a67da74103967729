package h3

import (
	"errors"
	"fmt"

	"penstock.dev/penstock/core/codec/fields"
)

// code is an error code (RFC 9114, 8.1; RFC 9204, 6).
type code uint64

const (
	codeNo                 code = 0x100
	codeGeneralProtocol    code = 0x101
	codeInternal           code = 0x102
	codeStreamCreation     code = 0x103
	codeClosedCritical     code = 0x104
	codeFrameUnexpected    code = 0x105
	codeFrame              code = 0x106
	codeExcessiveLoad      code = 0x107
	codeID                 code = 0x108
	codeSettings           code = 0x109
	codeMissingSettings    code = 0x10a
	codeRequestRejected    code = 0x10b
	codeRequestCancelled   code = 0x10c
	codeRequestIncomplete  code = 0x10d
	codeMessage            code = 0x10e
	codeConnect            code = 0x10f
	codeQPACKDecompression code = 0x200
	codeQPACKEncoder       code = 0x201
	codeQPACKDecoder       code = 0x202
)

// connError ends the connection (RFC 9114, 8).
type connError struct {
	code   code
	reason string // one of a fixed set
}

func (e connError) Error() string { return fmt.Sprintf("connection error %#x: %s", e.code, e.reason) }

// streamError ends one stream (RFC 9114, 8).
type streamError struct {
	code   code
	reason string // one of a fixed set
}

func (e streamError) Error() string { return fmt.Sprintf("stream error %#x: %s", e.code, e.reason) }

// What else can end a stream.
var (
	errGone    = errors.New("client is gone")
	errReset   = errors.New("the client has reset the stream")
	errTimeout = errors.New("no data within the timeout")
)

// reasons lists all that connections, streams and requests are refused for, for
// the metric's labels.
func reasons() []string {
	return append(fields.Reasons(),
		// connections
		"frame-unexpected", "frame-size", "frame-truncated", "no-settings", "settings", "stream-creation", "closed-critical",
		"push-id", "goaway", "priority-update", "qpack", "qpack-encoder", "qpack-decoder", "control-stream",
		"control-flood", "reset-flood",
		// streams
		"request-incomplete", "header-timeout", "trailer", "body-length", "window-stall", reasonSlowRequest, reasonSlowResponse,
	)
}
