package h1

// Refused says why a message is not accepted. Reason is a short code, one of a
// fixed set; Status is what a client is told.
type Refused struct {
	Status int
	Reason string
}

// Error returns the reason.
func (r *Refused) Error() string { return "refused: " + r.Reason }

// What can be wrong with a message.
var (
	errStartLine     = &Refused{400, "start-line"}
	errMethod        = &Refused{400, "method"}
	errTarget        = &Refused{400, "target"}
	errVersion       = &Refused{505, "version"}
	errConnect       = &Refused{501, "connect"}
	errTunnelContent = &Refused{400, "connect-content"}
	errLineLong      = &Refused{414, "line-too-long"}
	errHeadLarge     = &Refused{431, "fields-too-large"}
	errHeadMany      = &Refused{431, "too-many-fields"}
	errLineEnd       = &Refused{400, "line-end"}
	errFold          = &Refused{400, "folded-line"}
	errFieldName     = &Refused{400, "field-name"}
	errFieldValue    = &Refused{400, "field-value"}
	errConnection    = &Refused{400, "connection-field"}
	errHost          = &Refused{400, "host"}
	errLength        = &Refused{400, "content-length"}
	errCoding        = &Refused{400, "transfer-encoding"}
	errCodingUnknown = &Refused{501, "unknown-transfer-encoding"}
	errFraming       = &Refused{400, "length-and-transfer-encoding"}
	errHeaderTimeout = &Refused{408, "header-timeout"}
	errExpect        = &Refused{417, "expect"}
	errChunk         = &Refused{400, "chunk"}
	errTrailer       = &Refused{400, "trailer"}
	errSlowRequest   = &Refused{408, "request-body-slow"}
	errSlowResponse  = &Refused{408, "response-slow"}
	errStatusLine    = &Refused{502, "status-line"}
	errSwitch        = &Refused{502, "switching-protocols"}
	errManyInterim   = &Refused{502, "too-many-interim"}
)

// refusals lists what a client can be refused for, for the metric's labels.
func refusals() []*Refused {
	return []*Refused{
		errStartLine, errMethod, errTarget, errVersion, errConnect, errTunnelContent, errLineLong, errHeadLarge, errHeadMany,
		errLineEnd, errFold, errFieldName, errFieldValue, errConnection, errHost, errLength, errCoding,
		errCodingUnknown, errFraming, errHeaderTimeout, errExpect, errChunk, errTrailer,
		errSlowRequest, errSlowResponse,
	}
}
