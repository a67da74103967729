package h2

import (
	"bytes"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/codectest"
)

// TestStreamsThatEndInTheReadThatOpensThem: they are not served, those before and
// after them are.
func TestStreamsThatEndInTheReadThatOpensThem(t *testing.T) {
	tests := map[string]struct {
		end  func(f *http2.Framer, id uint32)
		want string // of the streams that end
	}{
		"the client resets them":          {func(f *http2.Framer, id uint32) { f.WriteRSTStream(id, http2.ErrCodeCancel) }, ""},
		"a window that opens by nothing":  {func(f *http2.Framer, id uint32) { f.WriteRawFrame(frameWindowUpdate, 0, id, u32(0)) }, "PROTOCOL_ERROR"},
		"a window that overflows":         {func(f *http2.Framer, id uint32) { f.WriteWindowUpdate(id, mostWindow) }, "FLOW_CONTROL_ERROR"},
		"a trailer section that is wrong": {func(f *http2.Framer, id uint32) { f.WriteRawFrame(frameHeaders, flagEndHeaders, id, nil) }, "PROTOCOL_ERROR"},
		"more content than was announced": {func(f *http2.Framer, id uint32) { f.WriteData(id, true, []byte("abcd")) }, "PROTOCOL_ERROR"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			const many = 150 // more than may be open at a time, and fewer than a flood
			var seen atomic.Int64
			ts := newTestServer(t, params(), func(x *exchange.Exchange) {
				if _, ends := x.Request.Header.Get("x-ends"); ends {
					seen.Add(1)
				}
				codectest.Answer(x, 200, "")
			})
			r := ts.dial(t)
			var out bytes.Buffer
			f := http2.NewFramer(&out, nil)
			f.AllowIllegalWrites = true
			open := func(id uint32, end bool, fields ...string) {
				f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block(fields...), EndHeaders: true, EndStream: end})
			}
			open(1, true, get()...)
			for i := range uint32(many) {
				open(3+2*i, false, post("x-ends: 1", "content-length: 3")...)
				test.end(f, 3+2*i)
			}
			open(3+2*many, true, get()...)
			if out.Len() > 16<<10 {
				t.Fatalf("%d bytes are more than one read", out.Len())
			}
			r.nc.Write(out.Bytes())
			resets, served := 0, 0
			for served < 2 || test.want != "" && resets < many {
				f, err := r.ReadFrame()
				if err != nil {
					t.Fatalf("%v; %d served, %d reset; %s", err, served, resets, ts.reasons())
				}
				switch f := f.(type) {
				case *http2.GoAwayFrame:
					t.Fatalf("got %v", f)
				case *http2.RSTStreamFrame:
					if resets++; f.ErrCode.String() != test.want {
						t.Fatalf("got %v", f)
					}
				case *http2.MetaHeadersFrame:
					if served++; f.StreamID != 1 && f.StreamID != 3+2*many || f.PseudoValue("status") != "200" {
						t.Fatalf("got %v", f)
					}
				}
			}
			if n := seen.Load(); n > 1 { // the greeting may have come with a part of it
				t.Errorf("%d were served", n)
			}
		})
	}
}
