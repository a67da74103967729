package h2

import "fmt"

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

// refused says why a request is not accepted. Reason is a short code, one of a
// fixed set. Status is what the client is told; 0: the request is malformed
// (RFC 9113, 8.1.1), and its stream is reset.
type refused struct {
	Status int
	Reason string
}

// Error returns the reason.
func (r *refused) Error() string { return "refused: " + r.Reason }

// What can be wrong with a request. Reasons that HTTP/1.1 has too mean the same.
var (
	errPseudo     = &refused{0, "pseudo-field"}
	errMethod     = &refused{0, "method"}
	errFieldName  = &refused{0, "field-name"}
	errFieldValue = &refused{0, "field-value"}
	errConnection = &refused{0, "connection-field"}
	errLength     = &refused{0, "content-length"}
	errHost       = &refused{400, "host"}
	errTarget     = &refused{400, "target"}
	errConnect    = &refused{501, "connect"}
	errLineLong   = &refused{414, "line-too-long"}
	errHeadLarge  = &refused{431, "fields-too-large"}
	errHeadMany   = &refused{431, "too-many-fields"}
	errExpect     = &refused{417, "expect"}
)

// What else can be wrong with a response.
var (
	errStatus  = &refused{0, "status"}
	errInterim = &refused{0, "interim"}
)

const (
	reasonNoHead = "no-head"
	reasonSilent = "silent"

	reasonSlowRequest  = "request-body-slow"
	reasonSlowResponse = "response-slow"
)

// faultReasons lists what else upstreams are refused for.
func faultReasons() []string {
	return []string{errStatus.Reason, errInterim.Reason, reasonNoHead, reasonSilent}
}

// reasons lists all that connections, streams and requests are refused for, for
// the metric's labels.
func reasons() []string {
	all := []string{
		// connections
		"preface", "tls", "no-settings", "frame-size", "no-pad-length", "padding", "stream-id", "stream-closed", "idle-stream",
		"header-block", "compression", "settings", "settings-ack", "push-promise", "ping", "goaway", "priority-update",
		"window-update", "window-overflow", "flow-control", "header-timeout",
		"control-flood", "reset-flood", "continuation-flood",
		// streams
		"priority", "too-many-streams", "trailer", "body-length", "window-stall", reasonSlowRequest, reasonSlowResponse,
	}
	for _, r := range []*refused{
		errPseudo, errMethod, errFieldName, errFieldValue, errConnection, errLength, errHost, errTarget, errConnect,
		errLineLong, errHeadLarge, errHeadMany, errExpect,
	} {
		all = append(all, r.Reason)
	}
	return all
}
