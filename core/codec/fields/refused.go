package fields

// Refused says why a message is not accepted. Reason is a short code, one of a
// fixed set. Status is what the client is told; 0: the request is malformed
// (RFC 9113, 8.1.1; RFC 9114, 4.1.2), and its stream is reset.
type Refused struct {
	Status int
	Reason string
}

// Error returns the reason.
func (r *Refused) Error() string { return "refused: " + r.Reason }

// What can be wrong with a request. Reasons that HTTP/1.1 has too mean the same.
// They are never changed.
var (
	ErrPseudo     = &Refused{0, "pseudo-field"}
	ErrMethod     = &Refused{0, "method"}
	ErrFieldName  = &Refused{0, "field-name"}
	ErrFieldValue = &Refused{0, "field-value"}
	ErrConnection = &Refused{0, "connection-field"}
	ErrLength     = &Refused{0, "content-length"}
	ErrHost       = &Refused{400, "host"}
	ErrTarget     = &Refused{400, "target"}
	ErrConnect    = &Refused{501, "connect"}
	ErrLineLong   = &Refused{414, "line-too-long"}
	ErrHeadLarge  = &Refused{431, "fields-too-large"}
	ErrHeadMany   = &Refused{431, "too-many-fields"}
	ErrExpect     = &Refused{417, "expect"}

	ErrTunnelContent = &Refused{400, "connect-content"}
)

// ErrStatus is what else can be wrong with a response. It is never changed.
var ErrStatus = &Refused{0, "status"}

// Reasons lists the reasons that requests are refused for, for the labels of metrics.
func Reasons() []string {
	var all []string
	for _, r := range []*Refused{
		ErrPseudo, ErrMethod, ErrFieldName, ErrFieldValue, ErrConnection, ErrLength, ErrHost, ErrTarget, ErrConnect,
		ErrLineLong, ErrHeadLarge, ErrHeadMany, ErrExpect, ErrTunnelContent,
	} {
		all = append(all, r.Reason)
	}
	return all
}
