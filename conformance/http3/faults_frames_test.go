package http3

import (
	"strings"

	"github.com/quic-go/quic-go"
)

const (
	unexpected = "connection H3_FRAME_UNEXPECTED"
	badFrame   = "connection H3_FRAME_ERROR"
	badID      = "connection H3_ID_ERROR"
	creation   = "connection H3_STREAM_CREATION_ERROR"
	critical   = "connection H3_CLOSED_CRITICAL_STREAM"
	load       = "connection H3_EXCESSIVE_LOAD"
)

// one is a frame that is a number.
func one(kind, n uint64) []byte { return frame(kind, number(n)) }

// requests are faults in the frames of requests.
func requests() []fault {
	head, upload := headers(get()...), headers(post()...)
	list := []fault{
		onRequest("DATA before HEADERS", "RFC 9114, 4.1", "MUST", unexpected, "frame-unexpected", data("hello"), head),
		onRequest("empty DATA before HEADERS", "RFC 9114, 4.1", "MUST", unexpected, "frame-unexpected", data(""), head),
		onRequest("DATA behind trailers", "RFC 9114, 4.1", "MUST", unexpected, "frame-unexpected", upload, data("a"), headers("a: b"), data("c")),
		onRequest("HEADERS behind trailers", "RFC 9114, 4.1", "MUST", unexpected, "frame-unexpected", upload, data("a"), headers("a: b"), headers("c: d")),
		onRequest("DATA behind trailers and an unknown frame", "RFC 9114, 4.1", "MUST", unexpected, "frame-unexpected", upload, headers("a: b"), frame(frameGrease), data("c")),
		onRequest("PUSH_PROMISE of a client behind HEADERS", "RFC 9114, 7.2.5", "MUST", unexpected, "frame-unexpected", upload, frame(framePushPromise, number(0), packed(get()))),
		onRequest("a request that is nothing", "RFC 9114, 4.1", "SHOULD", "stream H3_REQUEST_INCOMPLETE", "request-incomplete"),
		onRequest("a request of unknown frames alone", "RFC 9114, 4.1", "SHOULD", "stream H3_REQUEST_INCOMPLETE", "request-incomplete", frame(frameGrease, []byte("abc"))),
		onRequest("a stream that ends within a frame's type", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", []byte{0x40}),
		onRequest("a stream that ends behind a frame's type", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", number(frameHeaders)),
		onRequest("a stream that ends within a frame's length", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", number(frameHeaders), []byte{0x80, 0}),
		onRequest("a stream that ends within HEADERS", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", head[:len(head)-1]),
		onRequest("a stream that ends before HEADERS' payload", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", head[:2]),
		onRequest("a stream that ends within DATA", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", upload, data("hello")[:4]),
		onRequest("a stream that ends within DATA's length", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", upload, []byte{frameData, 0xc0}),
		onRequest("DATA of the greatest length, cut", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", upload, numbers(frameData, mostVarint), []byte("hello")),
		onRequest("a stream that ends within trailers", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", upload, data("hello"), headers("a: b")[:3]),
		onRequest("a stream that ends within an unknown frame", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", head, frame(frameGrease, []byte("hello"))[:5]),
		onRequest("unknown frames before, between and behind", "RFC 9114, 9", "MUST", fine, "", frame(frameGrease), upload, frame(0x1f*1000+0x21, make([]byte, 3000)), data("a"), frame(0xface, []byte("b")), headers("a: b"), frame(frameGrease)),
		onRequest("types and lengths longer than need be", "RFC 9000, 16", "MUST", fine, "", []byte{0xc0, 0, 0, 0, 0, 0, 0, frameHeaders, 0x40, byte(len(packed(get())))}, packed(get())),
		onRequest("trailers that are empty", "RFC 9114, 4.1", "MUST", fine, "", upload, data("hello"), frame(frameHeaders, []byte{0, 0})),
	}
	for _, k := range []struct {
		name, section string
		kind          uint64
	}{
		{"SETTINGS", "RFC 9114, 7.2.4", frameSettings}, {"GOAWAY", "RFC 9114, 7.2.6", frameGoAway}, {"MAX_PUSH_ID", "RFC 9114, 7.2.7", frameMaxPushID},
		{"CANCEL_PUSH", "RFC 9114, 7.2.3", frameCancelPush}, {"PUSH_PROMISE", "RFC 9114, 7.2.5", framePushPromise},
		{"HTTP/2's PRIORITY", "RFC 9114, 7.2.8", framePriority}, {"HTTP/2's PING", "RFC 9114, 7.2.8", framePing},
		{"HTTP/2's WINDOW_UPDATE", "RFC 9114, 7.2.8", frameWindowUpdate}, {"HTTP/2's CONTINUATION", "RFC 9114, 7.2.8", frameContinuation},
		{"PRIORITY_UPDATE of a request", "RFC 9218, 7.2", frameUpdateRequest}, {"PRIORITY_UPDATE of a push", "RFC 9218, 7.2", frameUpdatePush},
	} {
		list = append(list,
			onRequest(k.name+" before a request", k.section, "MUST", unexpected, "frame-unexpected", one(k.kind, 0), head),
			onRequest(k.name+" in content", k.section, "MUST", unexpected, "frame-unexpected", upload, data("a"), one(k.kind, 0)))
	}
	return list
}

// streams are faults with streams as such, and with their ends.
func streams() []fault {
	on := func(name, section, level, want, reason string, do func(c *raw)) fault {
		return fault{name: name, section: section, level: level, want: want, reason: reason, do: func(c *raw) *quic.Stream {
			do(c)
			return c.then(want)
		}}
	}
	bare := func(c *raw, b ...byte) *quic.SendStream {
		s, err := c.OpenUniStreamSync(c.ctx)
		if err != nil {
			c.t.Fatal(err)
		}
		_, _ = s.Write(b)
		return s
	}
	cancelled := onRequest("a request that is cancelled", "RFC 9114, 4.1.1", "MUST", fine, "")
	cancelled.do = func(c *raw) *quic.Stream {
		s := c.request(false, headers(at("/a/slow")...))
		s.CancelRead(0x10c)
		s.CancelWrite(0x10c)
		return c.then(fine)
	}
	silent := onRequest("a request of a client that has no control stream yet", "RFC 9114, 7.2.4.2", "MUST", fine, "", headers(get()...))
	silent.silent = true
	return []fault{
		cancelled, silent,
		onUni("a second control stream", "RFC 9114, 6.2.1", "MUST", creation, "stream-creation", streamControl, frame(frameSettings)),
		onUni("a second control stream that is empty", "RFC 9114, 6.2.1", "MUST", creation, "stream-creation", streamControl),
		onUni("a push stream of a client", "RFC 9114, 6.2.2", "MUST", creation, "stream-creation", streamPush, number(0)),
		on("a second control stream whose type is longer than need be", "RFC 9114, 6.2.1", "MUST", creation, "stream-creation", func(c *raw) { bare(c, 0x40, streamControl) }),
		on("a second encoder stream", "RFC 9204, 4.2", "MUST", creation, "stream-creation", func(c *raw) { c.uni(streamEncoder); c.uni(streamEncoder) }),
		on("a second decoder stream", "RFC 9204, 4.2", "MUST", creation, "stream-creation", func(c *raw) { c.uni(streamDecoder); c.uni(streamDecoder) }),
		on("a control stream that ends", "RFC 9114, 6.2.1", "MUST", critical, "closed-critical", func(c *raw) { _ = c.control.Close() }),
		on("a control stream that is reset", "RFC 9114, 6.2.1", "MUST", critical, "closed-critical", func(c *raw) {
			_, _ = c.control.Write(frame(frameGrease, make([]byte, 200<<10))) // more than fits unread: it is known by then
			c.control.CancelWrite(0x100)
		}),
		on("our control stream is refused", "RFC 9114, 6.2.1", "MUST", critical, "closed-critical", func(c *raw) { c.ours().CancelRead(0x100) }),
		on("our control stream is refused, with a code that nobody knows", "RFC 9114, 6.2.1", "MUST", critical, "closed-critical", func(c *raw) { c.ours().CancelRead(0x1f*50 + 0x21) }),
		on("an encoder stream that ends", "RFC 9204, 4.2", "MUST", critical, "closed-critical", func(c *raw) { _ = c.uni(streamEncoder).Close() }),
		on("a decoder stream that ends", "RFC 9204, 4.2", "MUST", critical, "closed-critical", func(c *raw) { _ = c.uni(streamDecoder).Close() }),
		on("a decoder stream that ends within an instruction", "RFC 9204, 4.2", "MUST", critical, "closed-critical", func(c *raw) { _ = c.uni(streamDecoder, []byte{0x7f}).Close() }),
		on("QPACK's streams, empty", "RFC 9204, 4.2", "MUST", fine, "", func(c *raw) { c.uni(streamEncoder); c.uni(streamDecoder) }),
		on("a stream of an unknown type", "RFC 9114, 6.2.3", "MUST", fine, "", func(c *raw) { c.uni(streamGrease, []byte("hello")) }),
		on("more streams of unknown types than may be open", "RFC 9114, 6.2.3", "MUST", fine, "", func(c *raw) {
			for i := range uint64(40) {
				_ = c.uni(0x1f*i+0x21, []byte("hello")).Close()
			}
		}),
		on("a stream that ends before its type", "RFC 9114, 6.2", "MUST", fine, "", func(c *raw) { _ = bare(c).Close() }),
		on("a stream that ends within its type", "RFC 9114, 6.2", "MUST", fine, "", func(c *raw) { _ = bare(c, 0x40).Close() }),
		on("a stream that is reset before its type", "RFC 9114, 6.2", "MUST", fine, "", func(c *raw) { bare(c, 0x80, 0).CancelWrite(0x100) }),
		on("a request that is reset within its HEADERS", "RFC 9114, 7.1", "MUST", fine, "", func(c *raw) { c.request(false, headers(get()...)[:5]).CancelWrite(0x10c) }),
		on("a request that is reset with a code that nobody knows", "RFC 9114, 9", "MUST", fine, "", func(c *raw) { c.request(false, headers(post()...)).CancelWrite(0xfeed) }),
	}
}

// tunnels are faults within a tunnel (RFC 9220): the upstream has switched.
func tunnels() []fault {
	head := headers(":method: CONNECT", ":protocol: websocket", ":scheme: https", ":authority: a.example", ":path: /a/socket", "sec-websocket-version: 13")
	return []fault{
		onRequest("HEADERS in a tunnel", "RFC 9114, 4.4", "MUST", unexpected, "frame-unexpected", head, headers("a: b")),
		onRequest("SETTINGS in a tunnel", "RFC 9114, 4.4", "MUST", unexpected, "frame-unexpected", head, frame(frameSettings)),
		onRequest("HTTP/2's PING in a tunnel", "RFC 9114, 7.2.8", "MUST", unexpected, "frame-unexpected", head, frame(framePing, make([]byte, 8))),
		onRequest("a tunnel that ends within DATA", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated", head, data("hello")[:4]),
		onRequest("unknown frames and empty ones in a tunnel", "RFC 9114, 9", "MUST", fine, "", head, frame(frameGrease, []byte("hello")), data("")),
	}
}

// controls are faults in the frames of the control stream.
func controls() []fault {
	list := []fault{
		onControl("a second SETTINGS", "RFC 9114, 7.2.4", "MUST", unexpected, "frame-unexpected", frame(frameSettings)),
		onControl("DATA on the control stream", "RFC 9114, 7.2.1", "MUST", unexpected, "frame-unexpected", data("a")),
		onControl("HEADERS on the control stream", "RFC 9114, 7.2.2", "MUST", unexpected, "frame-unexpected", headers(get()...)),
		onControl("PUSH_PROMISE on the control stream", "RFC 9114, 7.2.5", "MUST", unexpected, "frame-unexpected", one(framePushPromise, 0)),
		onControl("CANCEL_PUSH of what was not promised", "RFC 9114, 7.2.3", "MUST", badID, "push-id", one(frameMaxPushID, 9), one(frameCancelPush, 0)),
		onControl("CANCEL_PUSH above the MAX_PUSH_ID", "RFC 9114, 7.2.3", "MUST", badID, "push-id", one(frameCancelPush, 7)),
		onControl("MAX_PUSH_ID goes down", "RFC 9114, 7.2.7", "MUST", badID, "push-id", one(frameMaxPushID, 9), one(frameMaxPushID, 8)),
		onControl("GOAWAY goes up", "RFC 9114, 5.2", "MUST", badID, "goaway", one(frameGoAway, 4), one(frameGoAway, 5)),
		onControl("PRIORITY_UPDATE of what is no request's stream", "RFC 9218, 7.2", "MUST", badID, "priority-update", frame(frameUpdateRequest, number(2), []byte("u=1"))),
		onControl("PRIORITY_UPDATE of a push above the MAX_PUSH_ID", "RFC 9218, 7.2", "MUST", badID, "priority-update", one(frameMaxPushID, 3), frame(frameUpdatePush, number(4), []byte("u=1"))),
		onControl("MAX_PUSH_ID that stays and goes up", "RFC 9114, 7.2.7", "MUST", fine, "", one(frameMaxPushID, 9), one(frameMaxPushID, 9), one(frameMaxPushID, mostVarint)),
		onControl("GOAWAY that stays and goes down", "RFC 9114, 5.2", "MUST", fine, "", one(frameGoAway, mostVarint), one(frameGoAway, 9), one(frameGoAway, 9), one(frameGoAway, 0)),
		onControl("PRIORITY_UPDATE of a request that may come", "RFC 9218, 7.1", "MUST", fine, "", frame(frameUpdateRequest, number(0), []byte("u=1"))),
		onControl("PRIORITY_UPDATE with a value that is none", "RFC 9218, 7", "MUST", fine, "", frame(frameUpdateRequest, number(0), []byte("\x00\xff"))),
		onControl("unknown frames on the control stream", "RFC 9114, 9", "MUST", fine, "", frame(frameGrease, make([]byte, 3000)), frame(0xface), one(frameGoAway, 9)),
		onControl("an unknown frame of the greatest length", "RFC 9114, 9", "MUST", fine, "", numbers(frameGrease, mostVarint), []byte("hello")),
		onControl("the length of a frame that ends behind its number", "RFC 9114, 7.1", "MUST", badFrame, "frame-size", numbers(frameGoAway, mostVarint), []byte{0}),
	}
	for _, k := range []struct {
		name string
		kind uint64
	}{{"HTTP/2's PRIORITY", framePriority}, {"HTTP/2's PING", framePing}, {"HTTP/2's WINDOW_UPDATE", frameWindowUpdate}, {"HTTP/2's CONTINUATION", frameContinuation}} {
		list = append(list, onControl(k.name+" on the control stream", "RFC 9114, 7.2.8", "MUST", unexpected, "frame-unexpected", frame(k.kind, make([]byte, 8))))
	}
	for _, k := range []struct {
		name string
		kind uint64
	}{{"GOAWAY", frameGoAway}, {"MAX_PUSH_ID", frameMaxPushID}, {"CANCEL_PUSH", frameCancelPush}} {
		list = append(list,
			onControl(k.name+" without a number", "RFC 9114, 7.1", "MUST", badFrame, "frame-size", frame(k.kind)),
			onControl(k.name+" with half a number", "RFC 9114, 7.1", "MUST", badFrame, "frame-size", frame(k.kind, []byte{0x40})),
			onControl(k.name+" with more than a number", "RFC 9114, 7.1", "MUST", badFrame, "frame-size", frame(k.kind, []byte{0, 0})))
	}
	cut := onControl("a control stream that ends within a frame", "RFC 9114, 7.1", "MUST", badFrame, "frame-truncated")
	cut.do = func(c *raw) *quic.Stream {
		_, _ = c.control.Write([]byte{frameGoAway, 4, 0x80})
		_ = c.control.Close()
		return nil
	}
	return append(list, cut, onControl("PRIORITY_UPDATE without a number", "RFC 9114, 7.1", "MUST", badFrame, "frame-size", frame(frameUpdateRequest)))
}

// greetings are how a control stream may begin, and may not.
func greetings() []fault {
	const bad = "connection H3_SETTINGS_ERROR"
	missing := func(name string, parts ...[]byte) fault {
		return first(name, "RFC 9114, 6.2.1", "MUST", "connection H3_MISSING_SETTINGS", "no-settings", parts...)
	}
	list := []fault{
		missing("GOAWAY before SETTINGS", one(frameGoAway, 0), frame(frameSettings)),
		missing("MAX_PUSH_ID before SETTINGS", one(frameMaxPushID, 0), frame(frameSettings)),
		missing("an unknown frame before SETTINGS", frame(frameGrease), frame(frameSettings)),
		missing("HEADERS before SETTINGS", headers(get()...)),
		settings("a setting twice", "RFC 9114, 7.2.4", "MAY", bad, 0x6, 1000, 0x6, 1000),
		settings("an unknown setting twice", "RFC 9114, 7.2.4", "MAY", bad, 0x21, 0, 0x40, 0, 0x21, 1),
		settings("ENABLE_CONNECT_PROTOCOL of 2", "RFC 8441, 3", "MUST", bad, 0x8, 2),
		settings("H3_DATAGRAM of 2", "RFC 9297, 2.1.1", "MUST", bad, 0x33, 2),
		settings("H3_DATAGRAM without QUIC's datagrams", "RFC 9297, 2.1.1", "MUST", bad, 0x33, 1),
		settings("no settings", "RFC 9114, 7.2.4", "MUST", fine),
		settings("settings that mean nothing", "RFC 9114, 7.2.4.1", "MUST", fine, 0x1f*3+0x21, mostVarint, 0xface, 0),
		settings("the settings of browsers", "RFC 9114, 7.2.4", "MUST", fine, 0x1, 65536, 0x6, 262144, 0x7, 100, 0x8, 1, 0x33, 0, 0x1f*9+0x21, 5),
		settings("the greatest settings", "RFC 9204, 5", "MUST", fine, 0x1, mostVarint, 0x7, mostVarint, 0x6, mostVarint),
		first("a setting without a value", "RFC 9114, 7.1", "MUST", badFrame, "frame-size", frame(frameSettings, number(0x6))),
		first("half a setting's value", "RFC 9114, 7.1", "MUST", badFrame, "frame-size", frame(frameSettings, number(0x6), []byte{0x80, 0})),
		first("half a setting's identifier", "RFC 9114, 7.1", "MUST", badFrame, "frame-size", frame(frameSettings, []byte{0x80})),
		first("more settings than anybody has", "RFC 9114, 10.5", "MAY", load, "settings", frame(frameSettings, manySettings(200))),
		first("SETTINGS of the greatest length", "RFC 9114, 10.5", "MAY", load, "settings", numbers(frameSettings, mostVarint)),
	}
	for _, id := range []struct {
		name string
		id   uint64
	}{{"a setting of 0", 0x0}, {"HTTP/2's ENABLE_PUSH", 0x2}, {"HTTP/2's MAX_CONCURRENT_STREAMS", 0x3}, {"HTTP/2's INITIAL_WINDOW_SIZE", 0x4}, {"HTTP/2's MAX_FRAME_SIZE", 0x5}} {
		list = append(list, settings(id.name, "RFC 9114, 7.2.4.1", "MUST", bad, id.id, 0))
	}
	small := settings("a response larger than the client takes", "RFC 9114, 4.2.2", "SHOULD", "502", 0x6, 1000)
	small.reason = ""
	small.do = func(c *raw) *quic.Stream {
		c.uni(streamControl, frame(frameSettings, numbers(0x6, 1000)))
		return c.request(true, headers(at("/a/large")...))
	}
	return append(list, small)
}

func manySettings(n int) (b []byte) {
	for i := range uint64(n) {
		b = append(b, numbers(0x40+i, 0)...)
	}
	return b
}

// messages are what is wrong with whole requests, and what is too large; TestDowngrade
// has the rest.
func messages() []fault {
	const bad = "stream H3_MESSAGE_ERROR"
	return []fault{
		onRequest("a malformed head", "RFC 9114, 4.1.2", "MUST", bad, "pseudo-field", headers(get(":path: /b")...)),
		onRequest("a malformed name", "RFC 9114, 4.2", "MUST", bad, "field-name", headers(get("A: b")...)),
		onRequest("a malformed value", "RFC 9114, 10.3", "MUST", bad, "field-value", headers(get("a: b\nc")...)),
		onRequest("a field of a connection", "RFC 9114, 4.2", "MUST", bad, "connection-field", headers(get("connection: close")...)),
		onRequest("content longer than its length", "RFC 9114, 4.1.2", "MUST", bad, "body-length", headers(post("content-length: 3")...), data("hello")),
		onRequest("content shorter than its length", "RFC 9114, 4.1.2", "MUST", bad, "body-length", headers(post("content-length: 9")...), data("hello")),
		onRequest("content behind a length of 0", "RFC 9114, 4.1.2", "MUST", bad, "body-length", headers(post("content-length: 0")...), data("hello")),
		onRequest("malformed trailers", "RFC 9114, 4.3", "MUST", bad, "trailer", headers(post()...), data("hello"), headers(":path: /a")),
		onRequest("a field section larger than our limit", "RFC 9114, 4.2.2", "MAY", "431", "fields-too-large", headers(get("a: "+strings.Repeat("b", 70_000))...)),
		onRequest("a field section of more fields than our limit", "RFC 6585, 5", "MAY", "431", "too-many-fields", headers(get(strings.Split(strings.Repeat("a: b|", 150)+"a: b", "|")...)...)),
		onRequest("a HEADERS frame of the greatest length", "RFC 9114, 4.2.2", "MAY", "431", "fields-too-large", numbers(frameHeaders, mostVarint), packed(get())),
		onRequest("a CONNECT", "RFC 9114, 4.4", "MAY", "501", "", headers(":method: CONNECT", ":authority: b.example:443")),
	}
}

// floods are what is no fault once.
func floods() []fault {
	many := func(n int, b []byte) []byte { return []byte(strings.Repeat(string(b), n)) }
	resets := fault{name: "requests that are cancelled at once", section: "RFC 9114, 10.5", level: "SHOULD", want: load, reason: "reset-flood", do: func(c *raw) *quic.Stream {
		head := headers(at("/a/slow")...)
		for c.Context().Err() == nil && c.ctx.Err() == nil {
			s, err := c.OpenStreamSync(c.ctx)
			if err != nil {
				break
			}
			_, _ = s.Write(head)
			s.CancelRead(0x10c)
			s.CancelWrite(0x10c)
		}
		return nil
	}}
	return []fault{
		resets,
		onRequest("empty frames of DATA", "RFC 9114, 10.5", "SHOULD", load, "control-flood", headers(post()...), many(5000, data(""))),
		onRequest("unknown frames before a request", "RFC 9114, 10.5", "SHOULD", load, "control-flood", many(5000, frame(frameGrease))),
		onControl("unknown frames without end", "RFC 9114, 10.5", "SHOULD", load, "control-flood", many(5000, frame(frameGrease))),
		onControl("GOAWAY again and again", "RFC 9114, 10.5", "SHOULD", load, "control-flood", many(5000, one(frameGoAway, 0))),
		onControl("an unknown frame of many MiB", "RFC 9114, 10.5", "SHOULD", load, "control-flood", numbers(frameGrease, mostVarint), make([]byte, 8<<20)),
		onUni("streams that are cancelled again and again", "RFC 9204, 7.4", "SHOULD", load, "control-flood", streamDecoder, many(5000, []byte{0x40})),
	}
}
