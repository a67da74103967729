package httpwasm

import (
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/core/sandbox"
)

// FuzzHostCalls: no arguments make the host panic, and what stays in the
// exchange can be sent. The calls are made without a guest: a trap ends the
// sequence, as the guest would end.
func FuzzHostCalls(f *testing.F) {
	g := &guest{next: 1}
	b := start(f, g, func(c *config.Filter) { c.Limits.BodyBytes = 3000 })
	names := hostNames()
	sequence := func(calls ...[6]uint32) (out []byte) {
		for _, c := range calls {
			for _, n := range c {
				out = binary.LittleEndian.AppendUint32(out, n)
			}
		}
		return out
	}
	for i := range names {
		n := uint32(i)
		f.Add(byte(7), sequence([6]uint32{n, 0, 100, 10, 200, 10}, [6]uint32{n, 1, 200, 4, 300, 3}), []byte("x-a: b\r\n"))
		f.Add(byte(1), sequence([6]uint32{n, 100, 2, 2, 2, 2}, [6]uint32{n | 0x100, 1, 100, 1, 102, 1}), []byte("/abcd"))
		f.Add(byte(6), sequence([6]uint32{n, 2, 0xffffffff, 0xfffffff0, 8, 12}, [6]uint32{n | 0x100, 3, 100, 2, 101, 0xffff}), []byte("host"))
	}
	f.Fuzz(func(t *testing.T, features byte, calls, memory []byte) {
		x := newExchange()
		post(x, 11, "hello", " world")
		x.Request.Body.(*partsBody).fields = []string{"trail"}
		i, err := b.f.pool.Take(takeWait)
		if err != nil {
			t.Fatal(err)
		}
		defer b.f.pool.Give(i)
		begun, _ := b.f.Begin(x, &filter.Waker{})
		s := begun.(*stream)
		s.i, s.v = i, i.Data.(*vm)
		if err := i.Call(s.v.request, &sandbox.Budget{Call: 1 << 40}, s.v.stack[:]); err != nil { // leaves its steps to what follows
			t.Fatal(err)
		}
		s.v.s = s
		s.features = uint32(features) & allFeatures
		for _, at := range []uint32{0, 100, 200, 300, 2000, 0x1ffff - 1000} {
			i.Memory().Write(at, memory[:min(len(memory), 1000)])
		}
		s.phase, s.request.inner = phaseRequest, x.Request.Body
		ok := true
		for ok && len(calls) >= 24 && (s.phase == phaseRequest || s.phase == phaseResponse) {
			var stack [6]uint64
			for n := range stack {
				stack[n] = uint64(binary.LittleEndian.Uint32(calls[4*n:])) | 0xdead<<32 // a dirty upper half
			}
			calls = calls[24:]
			if stack[0]&0x100 != 0 && s.phase == phaseRequest {
				s.next()
				checkMessage(t, x.Request.Body, x.Request.ContentLength, true)
				s.phase = phaseResponse
				respondWith(x, 200, "one", " two")
				s.response.inner = x.Response.Body
			}
			h := hostFuncs[names[int(stack[0]&0xff)%len(names)]]
			ok = s.attempt(t, h, stack[1:])
		}
		if s.phase == phaseRequest {
			s.request.settle(&x.Request.Body, &x.Request.ContentLength, &x.Request.Header, &x.Request.Trailer, !ok)
			checkMessage(t, x.Request.Body, x.Request.ContentLength, ok)
		} else {
			s.response.settle(&x.Response.Body, &x.Response.ContentLength, &x.Response.Header, &x.Response.Trailer, !ok)
			checkMessage(t, x.Response.Body, x.Response.ContentLength, ok)
		}
		s.respond()
		checkHead(t, x)
		s.phase, s.v.s = phaseOver, nil
		s.i = nil
		s.Done()
	})
}

// next ends handle_request.
func (s *stream) next() {
	q := &s.x.Request
	s.request.settle(&q.Body, &q.ContentLength, &q.Header, &q.Trailer, false)
}

// attempt calls a host function; ok is false if it trapped.
func (s *stream) attempt(t *testing.T, h hostFunc, p []uint64) (ok bool) {
	t.Helper()
	defer func() {
		r := recover()
		var broken runtime.Error
		if err, _ := r.(error); r != nil && (err == nil || errors.As(err, &broken)) {
			panic(r)
		}
		ok = r == nil
	}()
	h.f(s.v, p)
	return true
}

func checkMessage(t *testing.T, body exchange.Body, length int64, whole bool) {
	t.Helper()
	if body == nil {
		if length > 0 {
			t.Fatalf("no body of %d bytes", length)
		}
		return
	}
	text, err := io.ReadAll(struct{ io.Reader }{body})
	if whole && err != nil || err == nil && length >= 0 && int64(len(text)) != length {
		t.Fatalf("got %d bytes, %v; want %d", len(text), err, length)
	}
	if n := body.Buffered(); n != 0 {
		t.Fatalf("%d bytes are left", n)
	}
}

func checkHead(t *testing.T, x *exchange.Exchange) {
	t.Helper()
	for _, header := range []*exchange.Header{&x.Request.Header, &x.Response.Header, &x.Request.Trailer, &x.Response.Trailer, &x.Local.Header} {
		for _, field := range header.Fields() {
			if !isToken(field.Name) || !isValue(field.Value) || isFraming(field.Name) && string(field.Name) != "Content-Length" {
				t.Fatalf("a field that cannot be sent: %q", field)
			}
		}
	}
	if !isPath(x.Request.Path) || !isToken(x.Request.Method) || !isAuthority(x.Request.Authority) || x.Local.Status < 200 || x.Local.Status > 599 ||
		x.Response.Status != 0 && (x.Response.Status < 200 || x.Response.Status > 599) {
		t.Fatalf("a head that cannot be sent: %q %q %q %d %d", x.Request.Method, x.Request.Path, x.Request.Authority, x.Local.Status, x.Response.Status)
	}
}
