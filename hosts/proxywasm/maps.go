package proxywasm

import (
	"bytes"
	"strconv"

	"penstock.dev/penstock/core/exchange"
)

// Maps of Proxy-Wasm (proxy_map_type_t).
const (
	mapRequestHeaders   = 0
	mapRequestTrailers  = 1
	mapResponseHeaders  = 2
	mapResponseTrailers = 3
	mapGRPCInitial      = 4
	mapGRPCTrailing     = 5
	mapCallHeaders      = 6
	mapCallTrailers     = 7
)

// How many pseudo header fields a head has.
const (
	requestPseudo  = 4
	connectPseudo  = 2 // a CONNECT's request (RFC 9113, 8.5)
	responsePseudo = 1
)

const methodConnect = "CONNECT"

const (
	maxValueBytes = 64 << 10
	maxFields     = 1024
	// maxGrowth bounds what one stream may put into the maps of its exchange.
	maxGrowth = 256 << 10
)

// Pseudo header fields (RFC 9113, 8.3), part of a guest's maps on every version.
var (
	pseudoAuthority = []byte(":authority")
	pseudoPath      = []byte(":path")
	pseudoMethod    = []byte(":method")
	pseudoScheme    = []byte(":scheme")
	pseudoStatus    = []byte(":status")
)

// view is a map as a guest reaches it in this moment.
type view struct {
	s        *stream // nil: a map of a call out, which nobody writes
	h        *exchange.Header
	kind     uint32
	writable bool
}

// reach returns the effective stream if the guest may touch that direction of
// it now; wayNone: what both directions share.
func (v *vm) reach(way uint8) *stream {
	if s := v.effective; s != nil && s.open(way) {
		return s
	}
	return nil
}

// open says whether a guest may touch a direction of the stream now; wayNone:
// what both share.
//
// Two goroutines work on an exchange: its own, which the response passes on, and
// from Send on another one that sends the request's body. A callback of the
// stream, or an answer that is delivered to it, runs on one of them. A foreign
// callback, as a tick or another stream's, runs beside both, so it may touch only
// what a goroutine that waits works on:
//   - parked on the request's headers, or anywhere on the response, the exchange's
//     own waits: that direction and what both share;
//   - parked on the request's trailers it may be the other one: the request alone;
//   - else, also while a part of a body is held: nothing.
func (s *stream) open(way uint8) bool {
	request, response := &s.ways[wayRequest], &s.ways[wayResponse]
	switch {
	case s.v.current == s:
		return s.now == way || way == wayNone || s.done
	case s.delivering && way == wayNone:
		return true
	case s.delivering:
		return s.ways[way].waits()
	case way == wayNone:
		return request.parked && request.stage == stageHeaders || response.parked
	}
	return s.ways[way].parked
}

// told says whether a guest may read what the exchange's own goroutine writes on
// the response's way: errors, sizes, times. It may where the response is open,
// but for an answer that is delivered to a stream that waits both ways: that may
// be on the goroutine that sends the request's body.
func (s *stream) told() bool {
	return s.open(wayResponse) && (!s.delivering || s.ways[wayResponse].parked || !s.ways[wayRequest].waits())
}

// view finds a map; ok is false if it is not available now.
func (v *vm) view(kind uint32) (w view, ok bool) {
	if kind > mapResponseTrailers {
		h := [...]*exchange.Header{v.arrived.initial, v.arrived.trailing, v.arrived.headers, v.arrived.trailers}
		if kind > mapCallTrailers || h[kind-mapGRPCInitial] == nil {
			return view{}, false
		}
		return view{h: h[kind-mapGRPCInitial], kind: kind}, true
	}
	s := v.effective
	if s == nil || s.x == nil {
		return view{}, false
	}
	x, way := s.x, uint8(kind/2)
	d := &s.ways[way]
	open := s.open(way) && d.stage != stageNone
	w = view{s: s, kind: kind}
	switch kind {
	case mapRequestHeaders: // frozen when the response comes
		w.h, w.writable = &x.Request.Header, open && d.headers
		return w, d.stage != stageNone && (open || s.open(wayResponse)) || s.open(wayResponse)
	case mapResponseHeaders:
		w.h, w.writable = &x.Response.Header, open && d.headers
		return w, open
	case mapRequestTrailers:
		w.h = &x.Request.Trailer
	case mapResponseTrailers:
		w.h = &x.Response.Trailer
	}
	w.writable = open && !s.done && (d.stage == stageTrailers || d.stage == stageBody && d.end)
	return w, w.writable || open && s.done
}

// pseudo returns the head's pseudo header fields; status is the response's,
// written into buf.
func (w *view) pseudo(pairs *[requestPseudo]pair, buf []byte) []pair {
	switch w.kind {
	case mapRequestHeaders:
		q := &w.s.x.Request
		if q.Connect() {
			pairs[0], pairs[1] = pair{pseudoAuthority, q.Authority}, pair{pseudoMethod, q.Method}
			return pairs[:connectPseudo]
		}
		*pairs = [...]pair{{pseudoAuthority, q.Authority}, {pseudoPath, q.Path}, {pseudoMethod, q.Method}, {pseudoScheme, q.Scheme}}
		return pairs[:requestPseudo]
	case mapResponseHeaders:
		pairs[0] = pair{pseudoStatus, strconv.AppendInt(buf, int64(w.s.x.Response.Status), 10)}
		return pairs[:responsePseudo]
	}
	return nil
}

// get returns the first value of a name.
func (w *view) get(name []byte, buf []byte) ([]byte, bool) {
	if len(name) > 0 && name[0] == ':' && w.s != nil {
		var pairs [requestPseudo]pair
		for _, p := range w.pseudo(&pairs, buf) {
			if exchange.EqualFold(name, p.name) {
				return p.value, true
			}
		}
		return nil, false
	}
	if w.kind == mapRequestHeaders && exchange.EqualFold(name, "host") {
		return w.s.x.Request.Authority, true
	}
	for _, f := range w.h.Fields() {
		if exchange.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return nil, false
}

// check says whether a field may be put into the map: a token as name, a value
// that cannot end a line, a pseudo header field that makes sense.
func (w *view) check(name, value []byte) bool {
	if len(value) > maxValueBytes || len(name) == 0 || len(name) > 1024 {
		return false
	}
	if name[0] == ':' {
		return w.checkPseudo(name, value)
	}
	return isToken(name) && isValue(value)
}

func (w *view) checkPseudo(name, value []byte) bool {
	request := w.kind == mapRequestHeaders
	switch string(name) {
	case ":authority":
		return request && isAuthority(value)
	case ":path":
		return request && isPath(value)
	case ":method": // what is a tunnel, or is none, stays so
		return request && isToken(value) && (string(value) == methodConnect) == w.s.x.Request.Connect()
	case ":scheme":
		return request && (string(value) == "http" || string(value) == "https")
	case ":status":
		n, err := strconv.Atoi(string(value))
		return w.kind == mapResponseHeaders && err == nil && len(value) == 3 && n >= 200 && n <= 599
	}
	return false
}

// set puts a checked pseudo header field into the exchange; done is false for
// any other name. The bytes are copied.
func (w *view) set(name, value []byte) (done bool) {
	x := w.s.x
	switch {
	case len(name) > 0 && name[0] == ':':
		copied := w.s.copy(value)
		switch string(name) {
		case ":authority":
			x.Request.Authority = copied
		case ":path":
			if !x.Request.Connect() { // it has none
				x.Request.Path = copied
			}
		case ":method":
			x.Request.Method = copied
		case ":scheme": // what the proxy speaks to the upstream is config
		case ":status":
			x.Response.Status, _ = strconv.Atoi(string(value)) // checked
		}
		return true
	case w.kind == mapRequestHeaders && exchange.EqualFold(name, "host"):
		if isAuthority(value) {
			x.Request.Authority = w.s.copy(value)
		}
		return true
	case isFraming(name): // framing and the connection are the codec's
		return true
	}
	return false
}

func (w *view) add(name, value []byte) {
	if !w.set(name, value) {
		w.h.Add(w.s.copy(name), w.s.copy(value))
	}
}

// copy keeps bytes for the exchange. The request's body may pass on another
// goroutine than the arena's: then the heap has to do.
func (s *stream) copy(b []byte) []byte {
	if s.ways[wayRequest].stage > stageHeaders && s.now != wayResponse {
		return bytes.Clone(b)
	}
	return s.x.Arena.Copy(b)
}

// grow counts what a stream puts into maps; false: it is too much.
func (s *stream) grow(n int) bool {
	s.grown += n
	return s.grown <= maxGrowth
}

// isFraming names fields that a guest cannot set: how a message is framed and
// what a connection does is decided by the codec.
func isFraming(name []byte) bool {
	switch len(name) {
	case 2:
		return exchange.EqualFold(name, "te")
	case 7:
		return exchange.EqualFold(name, "upgrade") || exchange.EqualFold(name, "trailer")
	case 10:
		return exchange.EqualFold(name, "connection") || exchange.EqualFold(name, "keep-alive")
	case 16:
		return exchange.EqualFold(name, "proxy-connection")
	case 17:
		return exchange.EqualFold(name, "transfer-encoding")
	}
	return false
}

// mapImports are the functions over header maps.
func mapImports() map[string]hostFunc {
	change := func(apply func(w *view, name, value []byte)) func(*vm, []uint64) uint32 {
		return func(v *vm, p []uint64) uint32 {
			w, ok := v.view(u(p[0]))
			if !ok || !w.writable {
				return statusBadArgument
			}
			name, ok := v.read(p[1], p[2])
			value, ok2 := v.read(p[3], p[4])
			if !ok || !ok2 {
				return statusInvalidMemory
			}
			v.search(w.h, name)
			if !w.check(name, value) || w.h.Len() >= maxFields || !w.s.grow(len(name)+len(value)) {
				return statusBadArgument
			}
			apply(&w, name, value)
			return statusOK
		}
	}
	return map[string]hostFunc{
		"proxy_get_header_map_size":      {2, mapBytes},
		"proxy_get_header_map_pairs":     {3, getPairs},
		"proxy_set_header_map_pairs":     {3, setPairs},
		"proxy_get_header_map_value":     {5, getValue},
		"proxy_add_header_map_value":     {5, change(func(w *view, name, value []byte) { w.add(name, value) })},
		"proxy_replace_header_map_value": {5, change(replace)},
		"proxy_remove_header_map_value":  {3, removeValue},
	}
}

func replace(w *view, name, value []byte) {
	if !w.set(name, value) {
		w.h.Set(w.s.copy(name), w.s.copy(value))
	}
}

func mapBytes(v *vm, p []uint64) uint32 {
	w, ok := v.view(u(p[0]))
	if !ok {
		return statusBadArgument
	}
	v.search(w.h, nil)
	var pairs [requestPseudo]pair
	if !v.writeU32(p[1], uint32(mapSize(w.pseudo(&pairs, v.digits[:0]), w.h))) {
		return statusInvalidMemory
	}
	return statusOK
}

func getPairs(v *vm, p []uint64) uint32 {
	w, ok := v.view(u(p[0]))
	if !ok {
		return statusBadArgument
	}
	v.search(w.h, nil)
	var pairs [requestPseudo]pair
	v.scratch = appendPairs(v.scratch[:0], w.pseudo(&pairs, v.digits[:0]), w.h)
	return v.give(v.scratch, p[1], p[2])
}

// setPairs replaces a whole map; one that is malformed changes nothing.
func setPairs(v *vm, p []uint64) uint32 {
	w, ok := v.view(u(p[0]))
	if !ok || !w.writable {
		return statusBadArgument
	}
	text, ok := v.read(p[1], p[2])
	if !ok {
		return statusInvalidMemory
	}
	pairs, err := parsePairs(text)
	if err != nil {
		return statusBadArgument
	}
	size := 0
	for _, pair := range pairs {
		if size += len(pair.name) + len(pair.value); !w.check(pair.name, pair.value) {
			return statusBadArgument
		}
	}
	if !w.s.grow(size) {
		return statusBadArgument
	}
	w.h.Reset()
	for _, pair := range pairs {
		w.add(pair.name, pair.value)
	}
	return statusOK
}

func getValue(v *vm, p []uint64) uint32 {
	w, ok := v.view(u(p[0]))
	if !ok {
		return statusBadArgument
	}
	name, ok := v.read(p[1], p[2])
	if !ok {
		return statusInvalidMemory
	}
	v.search(w.h, name)
	value, found := w.get(name, v.digits[:0])
	if !found && !v.r.f.old { // 0.1.0 answers OK and nothing
		return statusNotFound
	}
	return v.give(value, p[3], p[4])
}

func removeValue(v *vm, p []uint64) uint32 {
	w, ok := v.view(u(p[0]))
	if !ok || !w.writable {
		return statusBadArgument
	}
	name, ok := v.read(p[1], p[2])
	if !ok {
		return statusInvalidMemory
	}
	v.search(w.h, name)
	if len(name) <= 1024 {
		w.h.Del(string(name))
	}
	return statusOK
}
