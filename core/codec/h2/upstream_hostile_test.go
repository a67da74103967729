package h2

import (
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestAHostileUpstreamEndsItsConnection: for each reason the connection ends
// with that error code, and its streams with an error.
func TestAHostileUpstreamEndsItsConnection(t *testing.T) {
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, payload string) func(*rawClient) {
		return func(r *rawClient) { r.WriteRawFrame(kind, flags, id, []byte(payload)) }
	}
	settings := func(id http2.SettingID, v uint32) func(*rawClient) {
		return func(r *rawClient) { r.WriteSettings(http2.Setting{ID: id, Val: v}) }
	}
	many := func(n int, f func(*rawClient)) func(*rawClient) {
		return func(r *rawClient) {
			for range n {
				f(r)
			}
		}
	}
	tests := map[string]struct {
		first bool // no SETTINGS before
		say   func(*rawClient)
		want  string
	}{
		"no HTTP/2":                     {true, func(r *rawClient) { io.WriteString(r.nc, "HTTP/1.1 400 Bad Request\r\n\r\n") }, "no-settings PROTOCOL_ERROR"},
		"another frame first":           {true, raw(http2.FramePing, 0, 0, "12345678"), "no-settings PROTOCOL_ERROR"},
		"a push":                        {false, raw(http2.FramePushPromise, http2.FlagHeadersEndHeaders, 1, "\x00\x00\x00\x02"), "push-promise PROTOCOL_ERROR"},
		"push turned on":                {false, settings(http2.SettingEnablePush, 1), "settings PROTOCOL_ERROR"},
		"a window beyond the largest":   {false, settings(http2.SettingInitialWindowSize, 1<<31), "settings FLOW_CONTROL_ERROR"},
		"a frame size below the least":  {false, settings(http2.SettingMaxFrameSize, 1), "settings PROTOCOL_ERROR"},
		"half a setting":                {false, raw(http2.FrameSettings, 0, 0, "12345"), "settings FRAME_SIZE_ERROR"},
		"settings of a stream":          {false, raw(http2.FrameSettings, 0, 1, ""), "settings PROTOCOL_ERROR"},
		"a long ack":                    {false, raw(http2.FrameSettings, 1, 0, "123456"), "settings-ack FRAME_SIZE_ERROR"},
		"a short ping":                  {false, raw(http2.FramePing, 0, 0, "1"), "ping FRAME_SIZE_ERROR"},
		"a ping of a stream":            {false, raw(http2.FramePing, 0, 1, "12345678"), "ping PROTOCOL_ERROR"},
		"a goodbye of a stream":         {false, raw(http2.FrameGoAway, 0, 1, "12345678"), "goaway PROTOCOL_ERROR"},
		"a short goodbye":               {false, raw(http2.FrameGoAway, 0, 0, "1234"), "goaway FRAME_SIZE_ERROR"},
		"a window of nothing":           {false, raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"), "window-update PROTOCOL_ERROR"},
		"a window that overflows":       {false, raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"), "window-overflow FLOW_CONTROL_ERROR"},
		"a frame that is too long":      {false, raw(http2.FrameData, 0, 1, strings.Repeat("x", 16385)), "frame-size FRAME_SIZE_ERROR"},
		"fields that cannot be decoded": {false, raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\xff\xff\xff\xff\xff\xff"), "compression COMPRESSION_ERROR"},
		"an even stream":                {false, raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 2, "\x88"), "stream-id PROTOCOL_ERROR"},
		"a stream that was not opened":  {false, raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 3, "\x88"), "idle-stream PROTOCOL_ERROR"},
		"data of one":                   {false, raw(http2.FrameData, 0, 3, "x"), "idle-stream PROTOCOL_ERROR"},
		"a reset of one":                {false, raw(http2.FrameRSTStream, 0, 3, "\x00\x00\x00\x00"), "idle-stream PROTOCOL_ERROR"},
		"a window of one":               {false, raw(http2.FrameWindowUpdate, 0, 3, "\x00\x00\x00\x01"), "idle-stream PROTOCOL_ERROR"},
		"a continuation of nothing":     {false, raw(http2.FrameContinuation, 4, 1, ""), "header-block PROTOCOL_ERROR"},
		"a frame within a block": {false, func(r *rawClient) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(r)
			raw(http2.FramePing, 0, 0, "12345678")(r)
		}, "header-block PROTOCOL_ERROR"},
		"continuations without end": {false, func(r *rawClient) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(r)
			many(40, raw(http2.FrameContinuation, 0, 1, ""))(r)
		}, "continuation-flood ENHANCE_YOUR_CALM"},
		"a block without end": {false, func(r *rawClient) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(r)
			many(12, raw(http2.FrameContinuation, 0, 1, strings.Repeat("\x00\x01a\x01b", 3200)))(r)
		}, "continuation-flood ENHANCE_YOUR_CALM"},
		"settings without end": {false, many(3000, raw(http2.FrameSettings, 0, 0, "")), "control-flood ENHANCE_YOUR_CALM"},
		"pings without end":    {false, many(3000, raw(http2.FramePing, 0, 0, "12345678")), "control-flood ENHANCE_YOUR_CALM"},
		"empty data without end": {false, func(r *rawClient) {
			raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x88")(r)
			many(3000, raw(http2.FrameData, 0, 1, ""))(r)
		}, "control-flood ENHANCE_YOUR_CALM"},
		"unknown frames without end": {false, many(3000, raw(0xbb, 0, 0, "")), "control-flood ENHANCE_YOUR_CALM"},
		"resets without end":         {false, many(3000, raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x00")), "control-flood ENHANCE_YOUR_CALM"},
		"windows without end":        {false, many(3000, raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x01")), "control-flood ENHANCE_YOUR_CALM"},
		"answers to nothing without end": {false, func(r *rawClient) {
			raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x07")(r)
			many(3000, raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x88"))(r)
		}, "stream-closed STREAM_CLOSED"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code := make(chan string, 1)
			u := upstream(t, params(), func(r *rawClient) {
				defer close(code)
				if !test.first {
					r.WriteSettings()
				}
				for {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					if _, ok := f.(*http2.MetaHeadersFrame); ok {
						break
					}
				}
				go test.say(r)
				for {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					if g, ok := f.(*http2.GoAwayFrame); ok {
						code <- g.ErrCode.String()
						return
					}
				}
			})
			a := u.ask(newRequest("GET", nil, 0), 10*time.Second)
			got := a.outcome()
			reason, want, _ := strings.Cut(test.want, " ")
			if c := <-code; c != want {
				t.Errorf("goodbye %q; want %q", c, want)
			}
			<-u.ended
			if _, known := u.client.faults[reason]; !known {
				t.Errorf("no such reason: %s", reason)
			}
			if !strings.Contains(got, reason) && !strings.Contains(got, "bad-response") && !strings.HasPrefix(got, "upstream re") {
				t.Errorf("got %q; want %s", got, reason)
			}
			if b := u.ask(newRequest("GET", nil, 0), time.Second); b.err != ErrStale {
				t.Errorf("afterwards: %v", b.err)
			}
		})
	}
}
