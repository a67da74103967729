//go:build wasip1

package sdk

import "encoding/binary"

// callLater calls a foreign function whose answer is there now, or comes as that of an
// HTTP call does: it returns a number, and after 0 the answer.
func callLater(name string, args []byte, answered func(answer []byte, err error)) (answer []byte, now bool, err error) {
	b, err := CallForeign(name, args)
	if err != nil {
		return nil, false, err
	}
	if len(b) < 4 {
		return nil, false, ErrResultMismatch
	}
	id := binary.LittleEndian.Uint32(b)
	if id == 0 {
		return b[4:], true, nil
	}
	httpCalls[id] = httpCall{effective, func(r HTTPResponse) {
		if r.Err != nil {
			answered(nil, r.Err)
			return
		}
		answered(r.Body.get(0, maxAnswer), nil)
	}}
	return nil, false, nil
}

const maxAnswer = 4096
