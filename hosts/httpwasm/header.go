package httpwasm

import "penstock.dev/penstock/core/exchange"

// Kinds of headers.
const (
	kindRequestHeader = iota
	kindResponseHeader
	kindRequestTrailer
	kindResponseTrailer
)

// header returns the fields of a kind to read; nil: there are none.
func (v *vm) header(kind uint32) *exchange.Header {
	s := v.s
	before := s.phase == phaseRequest
	v.check(kind <= kindResponseTrailer, errKind)
	if kind >= kindRequestTrailer && s.features&trailers == 0 {
		return nil
	}
	switch {
	case kind == kindRequestHeader:
		return &s.x.Request.Header
	case kind == kindRequestTrailer && before:
		if s.features&bufferRequest != 0 {
			v.drain(&s.request)
		}
		return &s.x.Request.Trailer
	case kind == kindRequestTrailer && !s.request.whole():
		return nil // whoever sends the body may be writing them just now
	case kind == kindRequestTrailer:
		return &s.x.Request.Trailer
	case before && kind == kindResponseHeader:
		return &s.answer.header
	case before:
		return &s.answer.trailer
	case kind == kindResponseHeader:
		return &s.x.Response.Header
	}
	if s.phase == phaseResponse && s.features&bufferResponse != 0 {
		v.drain(&s.response)
	}
	return &s.x.Response.Trailer
}

// drain reads a body to its end, so that its trailers are known.
func (v *vm) drain(b *body) {
	if err := v.s.drain(b); err != nil {
		v.cut(err)
	}
}

// writable returns the fields of a kind to change.
func (v *vm) writable(kind uint32) *exchange.Header {
	s := v.s
	v.check(kind <= kindResponseTrailer, errKind)
	before := s.phase == phaseRequest
	if kind == kindRequestHeader || kind == kindRequestTrailer {
		v.check(before, errAfterNext)
	} else {
		v.check(before || s.features&bufferResponse != 0, errBuffer)
	}
	switch {
	case kind == kindRequestHeader:
		return &s.x.Request.Header
	case kind == kindResponseHeader && before, s.phase == phaseGone:
		return &s.answer.header
	case kind == kindResponseHeader:
		return &s.x.Response.Header
	}
	v.check(s.features&trailers != 0, errTrailers)
	switch {
	case kind == kindRequestTrailer:
		v.drain(&s.request)
		s.request.trailers = true
		return &s.x.Request.Trailer
	case before:
		return &s.answer.trailer
	}
	v.drain(&s.response)
	s.response.trailers = true
	return &s.x.Response.Trailer
}

// getHeaderNames writes each name once, in lower case.
func getHeaderNames(v *vm, p []uint64) uint64 {
	kind := u(p[0])
	h := v.header(kind)
	v.scratch = v.scratch[:0]
	count := 0
	if kind == kindRequestHeader && len(v.s.x.Request.Authority) > 0 {
		v.scratch = appendText(v.scratch, hostName)
		count++
	}
	if h != nil {
		fields := h.Fields()
		for i := range fields {
			v.search(i+1, len(fields[i].Name)) // with those before
			if isFirst(fields, i) {
				v.scratch = appendLower(v.scratch, fields[i].Name)
				count++
			}
		}
	}
	return v.list(count, p[1], p[2])
}

// isFirst reports whether no field before i has the name of field i.
func isFirst(fields []exchange.Field, i int) bool {
	for j := range i {
		if exchange.EqualFold(fields[j].Name, fields[i].Name) {
			return false
		}
	}
	return true
}

func getHeaderValues(v *vm, p []uint64) uint64 {
	kind, name := u(p[0]), v.read(p[1], p[2])
	v.check(len(name) > 0, errEmpty)
	h := v.header(kind)
	v.scratch = v.scratch[:0]
	count := 0
	switch {
	case kind == kindRequestHeader && isHost(name):
		if authority := v.s.x.Request.Authority; len(authority) > 0 {
			v.scratch = appendText(v.scratch, authority)
			count++
		}
	case h != nil:
		v.search(h.Len(), len(name))
		for _, f := range h.Fields() {
			if exchange.EqualFold(f.Name, name) {
				v.scratch = appendText(v.scratch, f.Value)
				count++
			}
		}
	}
	return v.list(count, p[3], p[4])
}

// changeHeader sets or adds a field. Framing is the codec's: what a guest says
// about it is passed over.
func (v *vm) changeHeader(p []uint64, change func(h *exchange.Header, name, value []byte)) uint64 {
	kind, name, value := u(p[0]), v.read(p[1], p[2]), trimmed(v, p[3], p[4])
	v.check(len(name) > 0, errEmpty)
	h := v.writable(kind)
	v.search(h.Len(), len(name))
	v.check(isToken(name) && len(name) <= maxNameBytes && isValue(value) && len(value) <= maxValueBytes, errInvalid)
	x := v.s.x
	switch {
	case kind == kindRequestHeader && isHost(name):
		v.check(isAuthority(value), errInvalid)
		x.Request.Authority = v.copy(value)
	case isFraming(name) || isHost(name):
	default:
		v.check(h.Len() < maxFields, errMany)
		change(h, v.copy(name), v.copy(value))
	}
	return 0
}

// removeHeader removes every field of a name. The host stays: a request cannot
// do without.
func removeHeader(v *vm, p []uint64) uint64 {
	kind, name := u(p[0]), v.read(p[1], p[2])
	v.check(len(name) > 0, errEmpty)
	h := v.writable(kind)
	v.search(h.Len(), len(name))
	if !isFraming(name) {
		h.DeleteFunc(func(f exchange.Field) bool { return exchange.EqualFold(f.Name, name) })
	}
	return 0
}
