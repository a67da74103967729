package h3

// Types of frames (RFC 9114, 7.2; RFC 9218, 7.2).
const (
	frameData        = 0x0
	frameHeaders     = 0x1
	frameCancelPush  = 0x3
	frameSettings    = 0x4
	framePushPromise = 0x5
	frameGoAway      = 0x7
	frameMaxPushID   = 0xd
	// Of HTTP/2, reserved (RFC 9114, 7.2.8).
	framePriority     = 0x2
	framePing         = 0x6
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	framePriorityUpdateRequest = 0xf0700
	framePriorityUpdatePush    = 0xf0701
)

// known reports whether a frame's type means something: it is then allowed at
// some places only.
func known(kind uint64) bool {
	switch kind {
	case frameData, frameHeaders, frameCancelPush, frameSettings, framePushPromise, frameGoAway, frameMaxPushID,
		framePriority, framePing, frameWindowUpdate, frameContinuation, framePriorityUpdateRequest, framePriorityUpdatePush:
		return true
	}
	return false
}

// Types of unidirectional streams (RFC 9114, 6.2; RFC 9204, 4.2).
const (
	streamControl = 0x0
	streamPush    = 0x1
	streamEncoder = 0x2
	streamDecoder = 0x3
)

// Settings (RFC 9114, 7.2.4.1; RFC 9204, 5; RFC 9220, 3; RFC 9297, 2.1.1).
const (
	settingMaxFieldSection = 0x6
	settingExtendedConnect = 0x8
	settingDatagram        = 0x33
)

// maxVarint is the largest number that can be written (RFC 9000, 16).
const maxVarint = 1<<62 - 1

// appendVarint appends a number of at most maxVarint (RFC 9000, 16).
func appendVarint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return append(b, 0x40|byte(v>>8), byte(v))
	case v < 1<<30:
		return append(b, 0x80|byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	return append(b, 0xc0|byte(v>>56), byte(v>>48), byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// frameHeaderLen is how long the header of a DATA or HEADERS frame is that
// putFrame writes: numbers may be longer than they need be (RFC 9000, 16).
const frameHeaderLen = 5

// putFrame writes a frame's header into b; size is below 1<<30.
func putFrame(b []byte, kind byte, size int) {
	b[0], b[1], b[2], b[3], b[4] = kind, 0x80|byte(size>>24), byte(size>>16), byte(size>>8), byte(size)
}

// appendFrame appends a frame.
func appendFrame(b []byte, kind uint64, payload []byte) []byte {
	b = appendVarint(appendVarint(b, kind), uint64(len(payload)))
	return append(b, payload...)
}

// appendSetting appends one setting.
func appendSetting(b []byte, id, value uint64) []byte {
	return appendVarint(appendVarint(b, id), value)
}

// appendGoAway appends a GOAWAY: requests below id are served.
func appendGoAway(b []byte, id uint64) []byte {
	var store [8]byte
	return appendFrame(b, frameGoAway, appendVarint(store[:0], id))
}
