package proxywasm

import (
	"encoding/binary"

	"penstock.dev/penstock/hosts/capability"
)

// later begins what may take a while. The guest gets the number of a call (32 bits),
// whose answer comes as that of an HTTP call does: with status 200 and the answer as its
// body, or without headers if it failed. The number 0 means that the answer is there
// already, and follows. status maps why it could not begin.
func (v *vm) later(begin func(done func(answer []byte, err error)) (answer []byte, now bool, cancel func(), err error), status func(error) uint32) ([]byte, uint32) {
	if v.r.calls >= maxCalls {
		return nil, statusInternal
	}
	c := v.opened()
	answer, now, cancel, err := begin(func(answer []byte, err error) {
		v.happened(c, "proxy_on_http_call_response", true, func(v *vm) error {
			return v.answered(c.id, &capability.HTTPAnswer{Status: 200, Body: answer}, err)
		})
	})
	switch {
	case err != nil:
		v.forget(c)
		return nil, status(err)
	case now:
		v.forget(c)
		return append(make([]byte, 4, 4+len(answer)), answer...), statusOK
	}
	c.cancel = cancel
	return binary.LittleEndian.AppendUint32(nil, c.id), statusOK
}

// capable makes a foreign function one of a capability: INTERNAL_FAILURE without it,
// UNIMPLEMENTED where the proxy has nothing that serves it.
func capable(name string, served func(*ABI) bool, do foreignFunc) foreignFunc {
	return func(v *vm, args []byte) ([]byte, uint32) {
		f := v.r.f
		if !f.allowed(name) {
			return nil, statusInternal
		}
		if !served(f.abi) {
			return nil, statusUnimplemented
		}
		return do(v, args)
	}
}
