package proxywasm

import (
	"encoding/binary"
	"errors"
	"strings"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/compress"
)

// stepsOfRecode is what a function of capability compress costs a guest, in steps. The work
// itself is not on the guest's time.
const stepsOfRecode = 2_000

// compressFunctions are foreign functions of capability compress. Numbers in their arguments
// are little endian.
func compressFunctions() map[string]foreignFunc {
	of := func(do foreignFunc) foreignFunc {
		return capable(capability.Compress, func(a *ABI) bool { return a.o.Recoder != nil }, do)
	}
	return map[string]foreignFunc{"penstock.encode_body": of(encodeBody), "penstock.decode_body": of(decodeBody)}
}

// encodeBody has the body of the message at hand encoded once its headers go on: which one
// (8 bits: 0 the request, 1 the response), the level (8 bits), the coding's name. NOT_FOUND:
// there is no such coding; EMPTY: there is no body; INTERNAL_FAILURE: no room for an encoder.
func encodeBody(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfRecode)
	r := reader{rest: args}
	way, level := r.byte(), int(r.byte())
	if r.bad || level > capability.MaxCodingLevel {
		return nil, statusBadArgument
	}
	c, ok := capability.ParseCoding(r.rest)
	if !ok {
		return nil, statusNotFound
	}
	return nil, v.recode(way, func(s *stream) (capability.Recoding, error) {
		return v.r.f.abi.o.Recoder.Encode(s.payer(), c, level)
	})
}

// decodeBody has the body of the message at hand decoded once its headers go on: which one
// (8 bits, as encodeBody), how many bytes it may become (64 bits), the codings that are taken
// away, the outermost first and with commas between them; nothing: all that
// Content-Encoding says. The status is as encodeBody's, EMPTY also where nothing is encoded.
func decodeBody(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfRecode)
	r := reader{rest: args}
	way, limit := r.byte(), r.take(8)
	if r.bad {
		return nil, statusBadArgument
	}
	most := int64(binary.LittleEndian.Uint64(limit))
	if most <= 0 {
		return nil, statusBadArgument
	}
	return nil, v.recode(way, func(s *stream) (capability.Recoding, error) {
		var all []capability.Coding
		var ok bool
		if len(r.rest) > 0 {
			all, ok = compress.ParseCodings(r.rest)
		} else {
			all, ok = compress.Codings(s.headerOf(way))
		}
		switch {
		case !ok:
			return nil, capability.ErrCoding
		case len(all) == 0:
			return nil, errNothing
		}
		return v.r.f.abi.o.Recoder.Decode(s.payer(), all, most)
	})
}

var errNothing = errors.New("there is nothing to encode or decode")

// recode readies the stream's message for what begin returns.
func (v *vm) recode(way uint8, begin func(*stream) (capability.Recoding, error)) uint32 {
	if way > wayResponse {
		return statusBadArgument
	}
	s := v.reach(way)
	if s == nil || s.x == nil || s.done || s.recodings[way] != nil {
		return statusBadArgument
	}
	if w := &s.ways[way]; w.stage != stageHeaders || !w.headers || w.held || !s.whole(way) {
		return statusBadArgument
	}
	var recoding capability.Recoding
	err := errNothing
	if s.hasContent(way) {
		recoding, err = begin(s)
	}
	switch {
	case err == nil:
		s.recodings[way] = recoding
		s.w.Convert(way == wayRequest, recoding)
		return statusOK
	case errors.Is(err, capability.ErrCoding):
		return statusNotFound
	case err == errNothing:
		return statusEmpty
	}
	v.r.f.log.once("recode", "the plugin's body was neither encoded nor decoded: "+err.Error())
	return statusInternal
}

func (s *stream) headerOf(way uint8) *exchange.Header {
	if way == wayRequest {
		return &s.x.Request.Header
	}
	return &s.x.Response.Header
}

// whole reports whether a message has, or speaks of, all of a content: no part of it
// (RFC 9110, 14), and no tunnel.
func (s *stream) whole(way uint8) bool {
	q, p := &s.x.Request, &s.x.Response
	if _, part := s.headerOf(way).Get("Content-Range"); part {
		return false
	}
	if way == wayRequest {
		return !q.Connect() && q.Upgrade == nil
	}
	return p.Status >= 200 && p.Status != 206 && p.Tunnel == nil
}

// hasContent reports whether a message has a content, or fields that speak of one, as the
// answer to HEAD and a 304.
func (s *stream) hasContent(way uint8) bool {
	if way == wayRequest {
		return s.x.Request.Body != nil
	}
	p := &s.x.Response
	return p.Body != nil || p.Status == 304 || string(s.x.Request.Method) == "HEAD" && p.Status != 204 && p.Status != 205
}

// payer is the namespace that memory counts for: a policy's filter holds for the Service
// that is asked.
func (s *stream) payer() string {
	if tenant := s.f.config.Tenant(); tenant != "" {
		return tenant
	}
	namespace, _, _ := strings.Cut(s.x.Service, "/")
	return namespace
}

// recoded frees what the body of a message has, if it is over or none comes.
func (s *stream) recoded(way uint8) {
	if r := s.recodings[way]; r != nil {
		r.Release()
		s.recodings[way] = nil
	}
}
