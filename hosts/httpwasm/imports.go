package httpwasm

import (
	"bytes"

	"penstock.dev/penstock/core/exchange"
)

// hostModule is where guests import from.
const hostModule = "http_handler"

// hostFunc serves one import: p is its parameters.
type hostFunc struct {
	params, result string // i is i32, l is i64
	always         bool   // also while the guest starts
	f              func(v *vm, p []uint64) uint64
}

// hostFuncs are the functions of the ABI.
var hostFuncs = map[string]hostFunc{
	"enable_features":      {"i", "i", true, enableFeatures},
	"get_config":           {"ii", "i", true, func(v *vm, p []uint64) uint64 { return v.give(v.f.config.Config, p[0], p[1]) }},
	"log":                  {"iii", "", true, logLine},
	"log_enabled":          {"i", "i", true, func(v *vm, p []uint64) uint64 { return flag(v.f.log.enabled(int32(u(p[0])))) }},
	"get_method":           {"ii", "i", false, func(v *vm, p []uint64) uint64 { return v.give(v.s.x.Request.Method, p[0], p[1]) }},
	"set_method":           {"ii", "", false, setMethod},
	"get_uri":              {"ii", "i", false, getURI},
	"set_uri":              {"ii", "", false, setURI},
	"get_protocol_version": {"ii", "i", false, getProtocolVersion},
	"get_source_addr":      {"ii", "i", false, getSourceAddr},
	"get_header_names":     {"iii", "l", false, getHeaderNames},
	"get_header_values":    {"iiiii", "l", false, getHeaderValues},
	"set_header_value":     {"iiiii", "", false, func(v *vm, p []uint64) uint64 { return v.changeHeader(p, (*exchange.Header).Set) }},
	"add_header_value":     {"iiiii", "", false, func(v *vm, p []uint64) uint64 { return v.changeHeader(p, (*exchange.Header).Add) }},
	"remove_header":        {"iii", "", false, removeHeader},
	"read_body":            {"iii", "l", false, readBody},
	"write_body":           {"iii", "", false, writeBody},
	"get_status_code":      {"", "i", false, getStatusCode},
	"set_status_code":      {"i", "", false, setStatusCode},
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// enableFeatures enables what this host has, which is all: for every exchange
// while the guest starts, for this one before the next handler.
func enableFeatures(v *vm, p []uint64) uint64 {
	bits := u(p[0]) & allFeatures
	if v.s == nil {
		v.features |= bits
		return uint64(v.features)
	}
	if v.s.phase == phaseRequest {
		v.s.features |= bits
	}
	return uint64(v.s.features)
}

func logLine(v *vm, p []uint64) uint64 {
	v.f.log.write(v.exchange(), int32(u(p[0])), v.read(p[1], p[2]))
	return 0
}

func setMethod(v *vm, p []uint64) uint64 {
	method := v.read(p[0], p[1])
	v.check(v.s.phase == phaseRequest, errAfterNext)
	// What is a tunnel, or is none, stays so.
	v.check(isToken(method) && len(method) <= maxNameBytes && (string(method) == "CONNECT") == v.s.x.Request.Connect(), errInvalid)
	v.s.x.Request.Method = v.copy(method)
	return 0
}

var slash = []byte("/")

func getURI(v *vm, p []uint64) uint64 {
	path := v.s.x.Request.Path
	if len(path) == 0 {
		path = slash
	}
	return v.give(path, p[0], p[1])
}

func setURI(v *vm, p []uint64) uint64 {
	path := v.read(p[0], p[1])
	v.check(v.s.phase == phaseRequest, errAfterNext)
	if len(path) == 0 {
		path = slash
	}
	v.check(isPath(path) && len(path) <= maxValueBytes, errInvalid)
	if !v.s.x.Request.Connect() { // it has none
		v.s.x.Request.Path = v.copy(path)
	}
	return 0
}

// versions in Go's notation, as the reference host has them.
var versions = map[uint8][]byte{
	exchange.HTTP10: []byte("HTTP/1.0"), exchange.HTTP11: []byte("HTTP/1.1"), exchange.HTTP2: []byte("HTTP/2.0"), exchange.HTTP3: []byte("HTTP/3.0"),
}

func getProtocolVersion(v *vm, p []uint64) uint64 {
	return v.give(versions[v.s.x.Request.Version], p[0], p[1])
}

func getSourceAddr(v *vm, p []uint64) uint64 {
	v.scratch = v.s.x.Conn.Remote.AppendTo(v.scratch[:0])
	return v.give(v.scratch, p[0], p[1])
}

// getStatusCode returns the next handler's status if the response is buffered,
// as the reference host does; before, what the guest has set.
func getStatusCode(v *vm, _ []uint64) uint64 {
	if v.s.phase == phaseRequest {
		return uint64(v.s.answer.code())
	}
	v.check(v.s.features&bufferResponse != 0, errBuffer)
	return uint64(v.s.x.Response.Status)
}

func setStatusCode(v *vm, p []uint64) uint64 {
	status := u(p[0])
	v.check(v.s.phase == phaseRequest || v.s.features&bufferResponse != 0, errBuffer)
	v.check(status >= 200 && status <= 599, errInvalid)
	switch v.s.phase {
	case phaseRequest:
		v.s.answer.status = int(status)
	case phaseResponse:
		v.s.x.Response.Status = int(status)
	}
	return 0
}

// Kinds of bodies.
const (
	kindRequest  = 0
	kindResponse = 1
)

// readBody fills the guest's buffer unless the body ends before.
func readBody(v *vm, p []uint64) uint64 {
	s := v.s
	kind, limit := u(p[0]), p[2]
	v.check(kind <= kindResponse, errKind)
	v.check(u(limit) != 0, errNoLimit)
	buf := v.view(p[1], limit)
	after := s.phase != phaseRequest
	b := &s.request
	switch {
	case kind == kindRequest:
		v.check(!after || s.features&bufferRequest != 0, errRequest)
		b.keep = s.features&bufferRequest != 0
	case !after:
		return 1 << 32 // the guest's own answer has no body that it could read
	default:
		v.check(s.features&bufferResponse != 0, errBuffer)
		b = &s.response
		b.keep = true
	}
	n, end, err := s.take(b, buf)
	if err != nil {
		v.cut(err)
	}
	return flag(end)<<32 | uint64(n)
}

// writeBody replaces a body with the first call, and appends with the others.
func writeBody(v *vm, p []uint64) uint64 {
	s := v.s
	kind, text := u(p[0]), v.read(p[1], p[2])
	v.check(kind <= kindResponse, errKind)
	limit := s.f.config.Limits.BodyBytes
	if kind == kindResponse && s.phase == phaseRequest {
		v.check(int64(len(s.answer.body)+len(text)) <= limit, errAnswer)
		s.answer.body = append(s.answer.body, text...)
		if err := s.hold(); err != nil {
			v.cut(err)
		}
		return 0
	}
	b := &s.request
	if kind == kindRequest {
		v.check(s.phase == phaseRequest, errAfterNext)
	} else {
		v.check(s.features&bufferResponse != 0, errBuffer)
		b = &s.response
	}
	err := b.write(text, limit)
	if err == nil {
		err = s.hold()
	}
	if err != nil {
		v.cut(err)
	}
	return 0
}

// appendLower appends a name in lower case and its end.
func appendLower(dst, name []byte) []byte {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return append(dst, 0)
}

// appendText appends a value and its end.
func appendText(dst, value []byte) []byte { return append(append(dst, value...), 0) }

// list writes what the scratch holds, a sequence of texts that end with NUL.
func (v *vm) list(count int, buf, limit uint64) uint64 {
	return uint64(count)<<32 | v.give(v.scratch, buf, limit)
}

var hostName = []byte("host")

func isHost(name []byte) bool { return exchange.EqualFold(name, hostName) }

// trimmed is a field's value as it is sent.
func trimmed(v *vm, ptr, size uint64) []byte {
	value := v.read(ptr, size)
	v.check(!bytes.ContainsAny(value, "\r\n\x00"), errInvalid)
	return trim(value)
}
