package proxywasm

import (
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

// The HTTP callbacks.
var (
	onRequestHeaders = callback{
		of:      func(v *vm) *sandbox.Func { return v.fn.requestHeaders },
		opening: func(v *vm) *sandbox.Func { return v.fn.opening },
		way:     wayRequest, stage: stageHeaders,
	}
	onRequestBody      = callback{of: func(v *vm) *sandbox.Func { return v.fn.requestBody }, way: wayRequest, stage: stageBody}
	onRequestTrailers  = callback{of: func(v *vm) *sandbox.Func { return v.fn.requestTrailers }, way: wayRequest, stage: stageTrailers, end: true}
	onResponseHeaders  = callback{of: func(v *vm) *sandbox.Func { return v.fn.responseHeaders }, way: wayResponse, stage: stageHeaders}
	onResponseBody     = callback{of: func(v *vm) *sandbox.Func { return v.fn.responseBody }, way: wayResponse, stage: stageBody}
	onResponseTrailers = callback{of: func(v *vm) *sandbox.Func { return v.fn.responseTrailers }, way: wayResponse, stage: stageTrailers, end: true}
)

func (cb callback) ends(end bool) callback {
	cb.end = end
	return cb
}

// resumeOf returns the signal that undoes a pause of that direction.
func resumeOf(way uint8) filter.Signal {
	if way == wayRequest {
		return filter.ResumeRequest
	}
	return filter.ResumeResponse
}

// RequestHeaders implements filter.Stream.
func (s *stream) RequestHeaders(end bool) (filter.Verdict, error) {
	pseudo := requestPseudo
	if s.x.Request.Connect() {
		pseudo = connectPseudo
	}
	return s.call(onRequestHeaders.ends(end), uint64(s.x.Request.Header.Len()+pseudo), flag(end))
}

// RequestBody implements filter.Stream.
func (s *stream) RequestBody(b *filter.Buffer, end bool) (filter.Verdict, error) {
	s.ways[wayRequest].buffer = b
	return s.call(onRequestBody.ends(end), uint64(len(b.Data)), flag(end))
}

// RequestTrailers implements filter.Stream.
func (s *stream) RequestTrailers() (filter.Verdict, error) {
	return s.call(onRequestTrailers, uint64(s.x.Request.Trailer.Len()), 0)
}

// ResponseHeaders implements filter.Stream.
func (s *stream) ResponseHeaders(end bool) (filter.Verdict, error) {
	for _, p := range s.fields {
		if !isFraming(p.name) {
			s.x.Response.Header.Set(p.name, p.value)
		}
	}
	if s.f.fieldsOnly {
		return filter.Continue, nil
	}
	return s.call(onResponseHeaders.ends(end), uint64(s.x.Response.Header.Len()+responsePseudo), flag(end))
}

// ResponseBody implements filter.Stream.
func (s *stream) ResponseBody(b *filter.Buffer, end bool) (filter.Verdict, error) {
	s.ways[wayResponse].buffer = b
	return s.call(onResponseBody.ends(end), uint64(len(b.Data)), flag(end))
}

// ResponseTrailers implements filter.Stream.
func (s *stream) ResponseTrailers() (filter.Verdict, error) {
	return s.call(onResponseTrailers, uint64(s.x.Response.Trailer.Len()), 0)
}

// Answer implements filter.Answerer: a callback of another context answered
// for this paused stream.
func (s *stream) Answer() bool {
	if s.i.Lock() == nil {
		defer s.i.Unlock()
	}
	if s.answer == nil {
		return false
	}
	s.fill()
	return true
}

// fill makes the guest's answer the exchange's local response.
func (s *stream) fill() {
	a, l := s.answer, &s.x.Local
	s.answer = nil
	l.Header.Reset()
	l.Status, l.Details, l.Body, l.GRPCStatus = a.status, a.details, a.body, a.grpc
	for _, p := range a.pairs {
		if len(p.name) > 0 && p.name[0] == ':' { // a status in the map must not become a second one
			continue
		}
		l.Header.Add(p.name, p.value)
	}
}
