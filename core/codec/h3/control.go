package h3

import "slices"

// control reads the client's control stream (RFC 9114, 6.2.1). It is for one
// goroutine.
type control struct {
	in        *reader
	pay       func(n int) error // for frames, and KiB that are skipped
	datagrams func() bool       // the client's QUIC takes datagrams

	greeted bool   // SETTINGS came
	away    uint64 // of the last GOAWAY, and one; 0: none came
	pushes  uint64 // of the last MAX_PUSH_ID, and one; 0: none came
}

// What a frame of the control stream may have; more is no honest client's.
const (
	mostSettings     = 64
	mostSettingsSize = 1 << 10
)

// read reads to the stream's end, or to a mistake. The errors that are no
// connError are the reader's.
func (u *control) read() error {
	for {
		kind, size, err := u.in.frame()
		if err != nil {
			return err
		}
		if err := u.pay(1); err != nil {
			return err
		}
		if !u.greeted && kind != frameSettings {
			return connError{codeMissingSettings, "no-settings"} // RFC 9114, 6.2.1
		}
		if err := u.frame(kind, size); err != nil {
			return err
		}
	}
}

func (u *control) frame(kind, size uint64) error {
	switch kind {
	case frameSettings:
		if u.greeted {
			return connError{codeFrameUnexpected, "frame-unexpected"} // RFC 9114, 7.2.4
		}
		u.greeted = true
		return u.settings(size)
	case frameGoAway, frameMaxPushID, frameCancelPush:
		return u.id(kind, size)
	case framePriorityUpdateRequest, framePriorityUpdatePush:
		return u.priority(kind, size)
	}
	if known(kind) {
		return connError{codeFrameUnexpected, "frame-unexpected"} // RFC 9114, 7.2 and 7.2.8
	}
	return u.in.skip(size, u.pay)
}

// settings: RFC 9114, 7.2.4.
func (u *control) settings(left uint64) error {
	if left > mostSettingsSize {
		return connError{codeExcessiveLoad, "settings"}
	}
	var ids []uint64
	for left > 0 {
		id, err := u.in.number(&left)
		if err != nil {
			return err
		}
		value, err := u.in.number(&left)
		if err != nil {
			return err
		}
		if len(ids) == mostSettings {
			return connError{codeExcessiveLoad, "settings"}
		}
		if slices.Contains(ids, id) || !u.valid(id, value) {
			return connError{codeSettings, "settings"}
		}
		ids = append(ids, id)
	}
	return nil
}

// valid judges one setting. Nothing is done about those that are.
func (u *control) valid(id, value uint64) bool {
	switch id {
	case 0x0, 0x2, 0x3, 0x4, 0x5: // of HTTP/2, reserved (RFC 9114, 11.2.2)
		return false
	case settingExtendedConnect: // RFC 8441, 3
		return value <= 1
	case settingDatagram: // RFC 9297, 2.1.1
		return value == 0 || value == 1 && u.datagrams()
	}
	return true
}

// id reads a frame that is one number (RFC 9114, 7.2.3, 7.2.6 and 7.2.7).
func (u *control) id(kind, left uint64) error {
	id, err := u.in.number(&left)
	if err != nil {
		return err
	}
	if left > 0 {
		return connError{codeFrame, "frame-size"}
	}
	switch kind {
	case frameCancelPush: // nothing was promised
		return connError{codeID, "push-id"}
	case frameGoAway:
		if u.away > 0 && id+1 > u.away {
			return connError{codeID, "goaway"}
		}
		u.away = id + 1
	case frameMaxPushID:
		if id+1 < u.pushes {
			return connError{codeID, "push-id"}
		}
		u.pushes = id + 1
	}
	return nil
}

// priority checks a PRIORITY_UPDATE and ignores it (RFC 9218, 7.2).
func (u *control) priority(kind, left uint64) error {
	id, err := u.in.number(&left)
	if err != nil {
		return err
	}
	if kind == framePriorityUpdateRequest && id&3 != 0 || kind == framePriorityUpdatePush && id >= u.pushes {
		return connError{codeID, "priority-update"}
	}
	return u.in.skip(left, u.pay)
}
