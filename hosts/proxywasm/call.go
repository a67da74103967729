package proxywasm

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/hosts/capability"
)

// Bounds on calls out of one filter on one instance.
const (
	maxCalls    = 128
	maxCallBody = 16 << 20
	// maxCallBytes bounds the bodies of all of them together, in bytes.
	maxCallBytes = 32 << 20
	// statusBroken is what proxy_get_status says of an HTTP call that failed.
	statusBroken = 11
)

// call is a call out under way.
type call struct {
	id     uint32
	r      *root
	s      *stream // that made it, if it still has the number sid; nil: the root
	sid    uint32
	bytes  int // of its body
	cancel func()
	grpc   capability.GRPCStream // nil: not gRPC
	unary  bool
}

// opened notes a call that is about to begin.
func (v *vm) opened() *call {
	for {
		if v.lastCall++; v.lastCall != 0 && v.calls[v.lastCall] == nil {
			break
		}
	}
	c := &call{id: v.lastCall, r: v.r}
	if s := v.effective; s != nil {
		c.s, c.sid = s, s.id
		s.kept = true
	}
	v.calls[c.id] = c
	c.r.calls++
	c.r.hold()
	return c
}

// drop forgets a call and ends it.
func (v *vm) drop(c *call) {
	if v.calls[c.id] != c {
		return
	}
	v.forget(c)
	if c.cancel != nil {
		c.cancel()
	}
	if c.grpc != nil {
		c.grpc.Cancel()
	}
}

func (v *vm) forget(c *call) {
	delete(v.calls, c.id)
	c.r.calls--
	c.r.callBytes -= c.bytes
	c.r.drop()
}

// happened brings what came for a call to the guest; it is called on a
// goroutine of the caller's. An exchange that waits is woken, so that the
// callback runs on its goroutine and may change what it holds.
func (v *vm) happened(c *call, name string, last bool, event func(*vm) error) {
	if v.i.Lock() != nil {
		return
	}
	defer v.i.Unlock()
	if v.closed || v.calls[c.id] != c {
		return
	}
	if last {
		v.forget(c)
	}
	s := c.s
	if s != nil && v.streams[c.sid] == s && !s.done && (s.ways[0].waits() || s.ways[1].waits()) {
		s.deliveries = append(s.deliveries, event)
		s.w.Post(filter.Deliver)
		return
	}
	c.r.on(name, event)
}

// allowed says whether the filter holds a capability, and logs if it does not.
func (f *Filter) allowed(name string) bool {
	if f.granted(name) {
		return true
	}
	f.log.once(name, "the plugin asks for a capability that it was not granted: list it in the Plugin, or in policy and the image's manifest", zap.String("capability", name))
	return false
}

// callStatus turns the refusal of a call into a status.
func callStatus(err error) uint32 {
	if errors.Is(err, capability.ErrUnknownUpstream) {
		return statusBadArgument
	}
	return statusInternal
}

// httpCall begins an HTTP call: upstream, headers, body, trailers, each with
// its size, then timeout and where its number goes.
func httpCall(v *vm, p []uint64) uint32 {
	if !v.r.f.allowed(capability.HTTPCalls) {
		return statusInternal
	}
	if v.r.f.abi.o.HTTP == nil {
		return statusUnimplemented
	}
	upstream, ok := v.read(p[0], p[1])
	headers, ok2 := v.read(p[2], p[3])
	body, ok3 := v.read(p[4], p[5])
	trailers, ok4 := v.read(p[6], p[7])
	if !ok || !ok2 || !ok3 || !ok4 || !v.writeU32(p[9], 0) {
		return statusInvalidMemory
	}
	out := &capability.HTTPCall{Filter: v.r.f.config, Upstream: string(upstream), Body: bytes.Clone(body), Timeout: time.Duration(u(p[8])) * time.Millisecond}
	if int32(u(p[8])) < 0 || len(upstream) > maxPath || len(body) > maxCallBody || !fillHead(out, headers) || !fillFields(&out.Trailer, trailers) {
		return statusBadArgument
	}
	if v.r.calls >= maxCalls || v.r.callBytes+len(body) > maxCallBytes {
		return statusInternal
	}
	c := v.opened()
	c.bytes = len(body)
	c.r.callBytes += c.bytes
	log := v.r.f.log
	cancel, err := v.r.f.abi.o.HTTP.HTTPCall(out, func(a *capability.HTTPAnswer, err error) {
		if errors.Is(err, capability.ErrNotAllowed) { // known only once its name was looked up
			log.refusedCall(out.Upstream, err)
		}
		v.happened(c, "proxy_on_http_call_response", true, func(v *vm) error { return v.answered(c.id, a, err) })
	})
	if err != nil {
		v.forget(c)
		log.refusedCall(out.Upstream, err)
		return callStatus(err)
	}
	c.cancel = cancel
	v.writeU32(p[9], c.id)
	return statusOK
}

// fillHead reads the head of a guest's request; false: it is no request.
func fillHead(out *capability.HTTPCall, headers []byte) bool {
	pairs, err := parsePairs(headers)
	if err != nil {
		return false
	}
	for _, p := range pairs {
		name, value := bytes.Clone(p.name), append([]byte{}, p.value...) // an empty value is not nil
		switch string(bytes.ToLower(name)) {
		case ":method":
			out.Method = value
		case ":path":
			out.Path = value
		case ":authority", "host":
			out.Authority = value
		case ":scheme":
			out.Scheme = value
		default:
			if !isToken(name) || !isValue(value) {
				return false
			}
			if !isFraming(name) && !exchange.EqualFold(name, "content-length") {
				out.Header.Add(name, value)
			}
		}
	}
	if out.Authority != nil && len(out.Authority) == 0 { // there, and empty: the upstream's own name
		out.Authority = []byte(out.Upstream[strings.LastIndexByte(out.Upstream, '|')+1:])
	}
	return isToken(out.Method) && isPath(out.Path) && isAuthority(out.Authority)
}

// fillFields reads a guest's trailers.
func fillFields(h *exchange.Header, text []byte) bool {
	pairs, err := parsePairs(text)
	if err != nil {
		return false
	}
	for _, p := range pairs {
		if !isToken(p.name) || !isValue(p.value) || isFraming(p.name) {
			return false
		}
		h.Add(bytes.Clone(p.name), bytes.Clone(p.value))
	}
	return true
}

// answered calls proxy_on_http_call_response; a call that failed has no headers.
func (v *vm) answered(id uint32, a *capability.HTTPAnswer, failure error) error {
	v.r.status.code, v.r.status.message = statusOK, ""
	if failure != nil {
		v.r.status.code, v.r.status.message = statusBroken, failure.Error()
		return v.callRoot(v.fn.httpCallResponse, uint64(id), 0, 0, 0)
	}
	head := &exchange.Header{}
	head.Add(pseudoStatus, strconv.AppendInt(nil, int64(a.Status), 10))
	for _, f := range a.Header.Fields() {
		head.Add(f.Name, f.Value)
	}
	v.arrived.headers, v.arrived.trailers, v.arrived.body = head, &a.Trailer, a.Body
	return v.callRoot(v.fn.httpCallResponse, uint64(id), uint64(head.Len()), uint64(len(a.Body)), uint64(a.Trailer.Len()))
}

// getStatus tells how the last call ended: code, message.
func getStatus(v *vm, p []uint64) uint32 {
	if !v.writeU32(p[0], v.r.status.code) {
		return statusInvalidMemory
	}
	return v.give([]byte(v.r.status.message), p[1], p[2])
}
