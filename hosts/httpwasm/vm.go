package httpwasm

import (
	"errors"
	"fmt"

	"penstock.dev/penstock/core/sandbox"
)

// What a guest is not to do; it traps.
var (
	errNoExchange = errors.New("there is no exchange while the guest starts")
	errMemory     = errors.New("an address outside of the guest's memory")
	errKind       = errors.New("an unknown kind")
	errAfterNext  = errors.New("not after the next handler")
	errBuffer     = errors.New("not after the next handler unless buffer_response is enabled")
	errRequest    = errors.New("not after the next handler unless buffer_request is enabled")
	errTrailers   = errors.New("the feature trailers is not enabled")
	errEmpty      = errors.New("an empty name")
	errInvalid    = errors.New("a value that cannot be sent")
	errMany       = errors.New("too many fields, or changes of them")
	errNoLimit    = errors.New("buf_limit is 0")
	errAnswer     = errors.New("the response's body is beyond the filter's limit")
)

// The features of enable_features.
const (
	bufferRequest  = 1
	bufferResponse = 2
	trailers       = 4
	allFeatures    = bufferRequest | bufferResponse | trailers
)

// vm is the state of one instance; used under its lock.
type vm struct {
	f                 *Filter
	i                 *sandbox.Instance
	request, response *sandbox.Func
	features          uint32  // enabled while the guest started
	s                 *stream // whose call runs; nil: the guest starts
	call              string  // the host function that runs, for errors
	stack             [2]uint64
	scratch           []byte
}

// exchange is the number of the exchange that the guest works for; 0: none.
func (v *vm) exchange() uint64 {
	if v.s == nil || v.s.x == nil {
		return 0
	}
	return v.s.x.ID
}

// startFuncs are called in this order, those that there are.
var startFuncs = [...]string{"_start", "_initialize"}

// vm returns the instance's state. The first host function that a module's
// start section calls makes it.
func (f *Filter) vm(i *sandbox.Instance) *vm {
	v, ok := i.Data.(*vm)
	if !ok {
		v = &vm{f: f, i: i}
		i.Data = v
	}
	return v
}

// start readies a new instance, within one budget.
func (f *Filter) start(i *sandbox.Instance) error {
	v := f.vm(i)
	v.request, v.response = i.Func("handle_request"), i.Func("handle_response")
	left := sandbox.Steps(f.config.Limits.CPUTimeStart)
	for _, name := range startFuncs {
		if fn := i.Func(name); fn != nil {
			if err := i.Call(fn, &sandbox.Budget{Call: left, Exchange: &left}, v.stack[:]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// trap ends the guest's call, and its instance.
func (v *vm) trap(call string, err error) {
	v.i.Abort(&sandbox.Failure{Cause: sandbox.CauseABI, Err: fmt.Errorf("%s: %w", call, err)})
}

// check traps with err unless ok.
func (v *vm) check(ok bool, err error) {
	if !ok {
		v.trap(v.call, err)
	}
}

// cut ends the guest's call for a reason that is not its own; the exchange
// fails with err.
func (v *vm) cut(err error) {
	v.s.cut = err
	v.i.Abort(&sandbox.Failure{Cause: sandbox.CauseCut, Err: err})
}

// copy keeps a guest's bytes for the exchange. The memory that a guest can have
// this way is bounded.
func (v *vm) copy(b []byte) []byte {
	v.s.copied += len(b)
	v.check(v.s.copied <= maxCopied, errMany)
	return v.s.x.Arena.Copy(b)
}

// What a host function costs a guest, in steps.
const (
	stepsOfCall  = 50
	bytesOfAStep = 16 // that are copied
	// comparedOfAStep is how much of a name is compared with each field's.
	comparedOfAStep = 8
)

// pay charges the guest for bytes that it hands over or gets.
func (v *vm) pay(bytes int) { v.i.Spend(int64(bytes) / bytesOfAStep) }

// search charges the guest for looking for a name of that many bytes among fields:
// each is looked at, and one with a name of the same length is compared.
func (v *vm) search(fields, bytes int) {
	v.i.Spend(int64(fields) * int64(1+bytes/comparedOfAStep))
}

// u truncates a parameter: the upper half of an i32 is undefined.
func u(p uint64) uint32 { return uint32(p) }

// read returns guest memory, for which the guest pays; the view is valid until the
// guest runs again.
func (v *vm) read(ptr, size uint64) []byte {
	b := v.view(ptr, size)
	v.pay(len(b))
	return b
}

// view is read of what the guest does not hand over.
func (v *vm) view(ptr, size uint64) []byte {
	if u(size) == 0 {
		return nil
	}
	b, ok := v.i.Memory().Read(u(ptr), u(size))
	v.check(ok, errMemory)
	return b
}

// give writes data into the guest's buffer if it is large enough, and returns
// its length in any case. A guest pays also for what it has no room for: most of it
// was put together for the guest.
func (v *vm) give(data []byte, buf, limit uint64) uint64 {
	v.pay(len(data))
	if len(data) > 0 && uint64(len(data)) <= uint64(u(limit)) {
		v.check(v.i.Memory().Write(u(buf), data), errMemory)
	}
	return uint64(len(data))
}
