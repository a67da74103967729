package proxywasm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"slices"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
)

// Streams of Proxy-Wasm (proxy_stream_type_t).
const (
	streamRequest  = 0
	streamResponse = 1
	lastStream     = 3
)

// Bounds on a local response.
const (
	maxAnswerBody    = 16 << 20
	maxAnswerDetails = 1 << 10
)

// controlImports decide what becomes of an exchange. Their effects come after
// the guest's callback has returned.
func (f *Filter) controlImports() map[string]hostFunc {
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
			if u(p[0]) == rootID {
				v.effective = nil
				return statusOK
			}
			s := v.streams[u(p[0])]
			if s == nil {
				return statusBadArgument
			}
			v.effective = s
			return statusOK
		}},
		"proxy_done":                  {0, func(*vm, []uint64) uint32 { return statusNotFound }},
		"proxy_call_foreign_function": {6, f.foreign},
	}
}

// resume undoes a Pause: within the callback it wins over the action; for a
// parked stream it wakes its exchange.
func (v *vm) resume(kind uint32) uint32 {
	if kind > streamResponse {
		if kind <= lastStream {
			return statusUnimplemented
		}
		return statusBadArgument
	}
	s := v.effective
	if s == nil || s.x == nil {
		return statusBadArgument
	}
	if s == v.current {
		s.resumed = true
		return statusOK
	}
	signal := filter.ResumeRequest
	if kind == streamResponse {
		signal = filter.ResumeResponse
	}
	s.w.Post(signal)
	return statusOK
}

func closeStream(v *vm, p []uint64) uint32 {
	if kind := u(p[0]); kind > lastStream {
		return statusBadArgument
	} else if kind > streamResponse {
		return statusUnimplemented
	}
	s := v.effective
	if s == nil || s.x == nil {
		return statusBadArgument
	}
	if s == v.current {
		s.reset = true
		return statusOK
	}
	s.w.Post(filter.Abort)
	return statusOK
}

// sendLocalResponse keeps the guest's answer; a second one replaces nothing.
func sendLocalResponse(v *vm, p []uint64) uint32 {
	s := v.reach()
	if s == nil || s.answer != nil || !answerable(s.phase) {
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
	a := &answer{status: int(status), grpc: int32(u(p[7]))}
	for _, pair := range pairs {
		if !w.check(pair.name, pair.value) {
			return statusBadArgument
		}
	}
	for _, q := range pairs {
		if !isFraming(q.name) && !exchange.EqualFold(q.name, "content-length") {
			a.pairs = append(a.pairs, pair{bytes.Clone(q.name), bytes.Clone(q.value)})
		}
	}
	a.details = string(details[:min(len(details), maxAnswerDetails)])
	a.body = bytes.Clone(body)
	s.answer = a
	if s != v.current {
		s.w.Post(filter.Answer)
	}
	return statusOK
}

// answerable: until the response's head has left.
func answerable(p phase) bool { return p >= phaseRequestHeaders && p <= phaseResponseHeaders }

// maxForeign bounds the arguments of a foreign function, in bytes.
const maxForeign = 64 << 10

// foreign calls a function that is not part of the ABI.
func (f *Filter) foreign(v *vm, p []uint64) uint32 {
	name, ok := v.read(p[0], p[1])
	args, ok2 := v.read(p[2], p[3])
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	var result []byte
	status := statusNotFound
	switch string(name) {
	case "penstock.set_consumer":
		status = f.setConsumer(v, args)
	case "penstock.set_callbacks":
		status = f.setCallbacks(v, args)
	case "get_log_level":
		status = statusOK
		result = binary.LittleEndian.AppendUint32(nil, f.log.level())
	case "clear_route_cache":
		status = statusOK
	}
	if status != statusOK || u(p[4]) == 0 || u(p[5]) == 0 { // the caller does not want a result
		return status
	}
	return v.give(result, p[4], p[5])
}

// callbackDone is the bit of penstock.set_callbacks for proxy_on_done and
// proxy_on_log; the others are filter.Callbacks.
const callbackDone = 1 << 6

// setCallbacks takes the callbacks that a plugin has use for with its
// configuration, 32 bits little endian: the others are not made, so that a body
// nobody looks at is not held up. Only while the plugin starts; it can take
// callbacks away, never add one.
func (f *Filter) setCallbacks(v *vm, args []byte) uint32 {
	if !v.starting || len(args) != 4 {
		return statusBadArgument
	}
	if !f.started {
		wanted := binary.LittleEndian.Uint32(args)
		f.callbacks &= filter.Callbacks(wanted)
		f.quiet = wanted&callbackDone == 0
	}
	return statusOK
}

// setConsumer says who sent the request: JSON {name, groups}.
func (f *Filter) setConsumer(v *vm, args []byte) uint32 {
	if !f.granted("consumer") {
		return statusInternal
	}
	s := v.reach()
	if s == nil || s.phase > phaseRequestTrailers {
		return statusBadArgument
	}
	c, known := v.consumers[string(args)]
	if !known {
		var ok bool
		if c, ok = parseConsumer(args); !ok {
			return statusBadArgument
		}
		if len(v.consumers) >= maxConsumers {
			clear(v.consumers)
		}
		v.consumers[string(args)] = c
	}
	s.x.Consumer = c
	return statusOK
}

// maxConsumers bounds the consumers whose JSON an instance remembers.
const maxConsumers = 1024

func parseConsumer(args []byte) (exchange.Consumer, bool) {
	var c struct {
		Name   string   `json:"name"`
		Groups []string `json:"groups"`
	}
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if len(args) > maxForeign || d.Decode(&c) != nil {
		return exchange.Consumer{}, false
	}
	if _, err := d.Token(); err != io.EOF {
		return exchange.Consumer{}, false
	}
	if !isPrintable(c.Name) || len(c.Groups) > 64 || slices.ContainsFunc(c.Groups, func(g string) bool { return !isPrintable(g) }) {
		return exchange.Consumer{}, false
	}
	return exchange.Consumer{Name: c.Name, Groups: c.Groups}, true
}
