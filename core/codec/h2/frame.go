package h2

import "encoding/binary"

// Preface is what a client sends first (RFC 9113, 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Types of frames (RFC 9113, 6; RFC 9218, 7.1).
const (
	frameData           = 0x0
	frameHeaders        = 0x1
	framePriority       = 0x2
	frameRSTStream      = 0x3
	frameSettings       = 0x4
	framePushPromise    = 0x5
	framePing           = 0x6
	frameGoAway         = 0x7
	frameWindowUpdate   = 0x8
	frameContinuation   = 0x9
	framePriorityUpdate = 0x10
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings (RFC 9113, 6.5.2; RFC 8441, 3; RFC 9218, 2.1).
const (
	settingHeaderTableSize      = 0x1
	settingEnablePush           = 0x2
	settingMaxConcurrentStreams = 0x3
	settingInitialWindowSize    = 0x4
	settingMaxFrameSize         = 0x5
	settingMaxHeaderListSize    = 0x6
	settingExtendedConnect      = 0x8
	settingNoPriorities         = 0x9 // those of RFC 7540
)

// Sizes in bytes.
const (
	frameHeaderLen = 9
	leastFrameSize = 1 << 14 // what every peer accepts, and all that is accepted here
	mostFrameSize  = 1<<24 - 1
	defaultWindow  = 1<<16 - 1
	mostWindow     = 1<<31 - 1
)

// frame is one frame; payload is in the read buffer.
type frame struct {
	kind, flags uint8
	id          uint32
	payload     []byte
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// unpad returns the payload without padding (RFC 9113, 6.1).
func (f *frame) unpad() ([]byte, error) {
	p := f.payload
	if !f.has(flagPadded) {
		return p, nil
	}
	if len(p) == 0 {
		return nil, connError{codeFrameSize, "no-pad-length"}
	}
	pad := int(p[0])
	if p = p[1:]; pad > len(p) {
		return nil, connError{codeProtocol, "padding"}
	}
	return p[:len(p)-pad], nil
}

// appendFrame appends a frame's header; size bytes of payload follow it.
func appendFrame(b []byte, kind, flags uint8, id uint32, size int) []byte {
	b = append(b, byte(size>>16), byte(size>>8), byte(size), kind, flags)
	return binary.BigEndian.AppendUint32(b, id)
}

func appendSetting(b []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), value)
}

func appendRST(b []byte, id uint32, code code) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, frameRSTStream, 0, id, 4), uint32(code))
}

func appendWindowUpdate(b []byte, id uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, frameWindowUpdate, 0, id, 4), uint32(n))
}

func appendGoAway(b []byte, last uint32, code code) []byte {
	b = binary.BigEndian.AppendUint32(appendFrame(b, frameGoAway, 0, 0, 8), last)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendPing(b []byte, flags uint8, data []byte) []byte {
	return append(appendFrame(b, framePing, flags, 0, len(data)), data...)
}

// appendHeaders appends a header block as one HEADERS frame, and CONTINUATION
// frames if it is longer than most.
func appendHeaders(b []byte, id uint32, flags uint8, block []byte, most int) []byte {
	kind := uint8(frameHeaders)
	for len(block) > most {
		b = append(appendFrame(b, kind, flags, id, most), block[:most]...)
		block = block[most:]
		kind, flags = frameContinuation, 0
	}
	return append(appendFrame(b, kind, flags|flagEndHeaders, id, len(block)), block...)
}
