package proxywasm

import (
	"bytes"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// Streams of Proxy-Wasm (proxy_stream_type_t).
const (
	streamRequest    = 0
	streamResponse   = 1
	streamDownstream = 2
	streamUpstream   = 3
	lastStream       = 3
)

// Bounds on a local response.
const (
	maxAnswerBody    = 16 << 20
	maxAnswerDetails = 1 << 10
)

// controlImports decide what becomes of an exchange. Their effects come after
// the guest's callback has returned.
func controlImports() map[string]hostFunc {
	resume := func(kind uint32) func(*vm, []uint64) uint32 {
		return func(v *vm, _ []uint64) uint32 { return v.resume(kind) }
	}
	return map[string]hostFunc{
		"proxy_send_local_response": {8, sendLocalResponse},
		"proxy_continue_stream":     {1, func(v *vm, p []uint64) uint32 { return v.resume(u(p[0])) }},
		"proxy_continue_request":    {0, resume(streamRequest)},
		"proxy_continue_response":   {0, resume(streamResponse)},
		"proxy_close_stream":        {1, closeStream},
		"proxy_clear_route_cache":   {0, func(*vm, []uint64) uint32 { return statusOK }},
		"proxy_set_effective_context": {1, func(v *vm, p []uint64) uint32 {
			if u(p[0]) == v.r.id {
				v.effective = nil
				return statusOK
			}
			s := v.streams[u(p[0])]
			if s == nil || s.r != v.r { // another filter's
				return statusBadArgument
			}
			v.effective = s
			return statusOK
		}},
		"proxy_done": {0, func(v *vm, _ []uint64) uint32 {
			if !v.r.doneAsked || v.r.released {
				return statusNotFound
			}
			v.r.released = true
			return statusOK
		}},
		"proxy_call_foreign_function": {6, callForeign},
	}
}

// target returns the stream and direction that a stream type means.
func (v *vm) target(kind uint32) (s *stream, way uint8, status uint32) {
	if kind > lastStream {
		return nil, wayNone, statusBadArgument
	}
	s = v.effective
	if s == nil || s.done {
		return nil, wayNone, statusBadArgument
	}
	if raw := s.x == nil; raw != (kind >= streamDownstream) {
		return nil, wayNone, statusUnimplemented
	}
	if kind == streamRequest || kind == streamDownstream {
		return s, wayRequest, statusOK
	}
	return s, wayResponse, statusOK
}

// resume undoes a Pause: within the callback it wins over the action; else it
// wakes the exchange, if that waits.
func (v *vm) resume(kind uint32) uint32 {
	s, way, status := v.target(kind)
	switch {
	case status != statusOK:
		return status
	case s == v.current && s.now == way:
		s.ways[way].resumed = true
	case s.ways[way].waits():
		s.w.Post(resumeOf(way))
	}
	return statusOK
}

func closeStream(v *vm, p []uint64) uint32 {
	s, _, status := v.target(u(p[0]))
	switch {
	case status != statusOK:
		return status
	case s == v.current:
		s.reset = true
	default:
		s.w.Post(filter.Abort)
	}
	return statusOK
}

// sendLocalResponse keeps the guest's answer; a second one replaces nothing.
func sendLocalResponse(v *vm, p []uint64) uint32 {
	s := v.effective
	if s == nil || s.answer != nil || !s.answerable() {
		return statusBadArgument
	}
	details, ok := v.read(p[1], p[2])
	body, ok2 := v.read(p[3], p[4])
	headers, ok3 := v.read(p[5], p[6])
	if !ok || !ok2 || !ok3 {
		return statusInvalidMemory
	}
	status := u(p[0])
	pairs, err := parsePairs(headers)
	if err != nil || status < 200 || status > 599 || len(body) > maxAnswerBody {
		return statusBadArgument
	}
	w := view{s: s, h: &s.x.Local.Header, kind: mapResponseHeaders}
	sent, size := pairs[:0], len(body)
	for _, q := range pairs {
		// Plugins send pairs without a name and do not look at the status: a response
		// that never comes would hold their exchange up.
		if len(q.name) == 0 {
			continue
		}
		if !w.check(q.name, q.value) {
			return statusBadArgument
		}
		if !isFraming(q.name) && !exchange.EqualFold(q.name, "content-length") {
			sent = append(sent, q)
			size += len(q.name) + len(q.value)
		}
	}
	a := &answer{status: int(status), grpc: int32(u(p[7])), details: string(details[:min(len(details), maxAnswerDetails)])}
	// Without room for body and fields the exchange ends with the budget's status,
	// not with this answer. The guest is not told: it has denied the exchange, and
	// must not come to think that it goes on.
	if s.w.Hold(size) == nil {
		a.body, a.pairs = bytes.Clone(body), sent
		for n, q := range sent {
			sent[n] = pair{bytes.Clone(q.name), bytes.Clone(q.value)}
		}
	}
	s.answer = a
	if s != v.current {
		s.w.Post(filter.Answer)
	}
	return statusOK
}

// answerable: until the response's head has left, while a callback of the
// stream runs or it waits.
func (s *stream) answerable() bool {
	if s.x == nil || s.done || s.ways[wayRequest].stage == stageNone && s.ways[wayResponse].stage == stageNone {
		return false
	}
	response := &s.ways[wayResponse]
	if response.stage != stageNone {
		return response.headers && (s.v.current == s && s.now == wayResponse || response.waits())
	}
	return s.v.current == s || s.ways[wayRequest].waits()
}
