package proxywasm

import (
	"encoding/binary"
	"errors"
	"time"

	"penstock.dev/penstock/hosts/capability"
)

// stepsOfKV is what a function of capability kv costs a guest, in steps, beside what is
// copied.
const stepsOfKV = 1_000

// kvAbsent is a flag of penstock.kv_put: only where there is no value.
const kvAbsent = 1 << 0

// kvFunctions are foreign functions of capability kv. Numbers in their arguments and
// results are little endian.
func kvFunctions() map[string]foreignFunc {
	of := func(do foreignFunc) foreignFunc {
		return capable(capability.KV, func(a *ABI) bool { return a.o.KV != nil }, do)
	}
	return map[string]foreignFunc{"penstock.kv_get": of(kvGet), "penstock.kv_put": of(kvPut), "penstock.kv_delete": of(kvDelete), "penstock.kv_add": of(kvAdd)}
}

func isKVKey(key []byte) bool { return len(key) > 0 && len(key) <= capability.MaxKVKey }

// kvGet returns the value under a key, which is the argument: milliseconds that it lives
// on (64 bits), the value; NOT_FOUND without one.
func kvGet(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfKV)
	if !isKVKey(args) {
		return nil, statusBadArgument
	}
	f := v.r.f
	v.object = append(v.object[:0], make([]byte, 8)...)
	value, left, ok := f.abi.o.KV.Value(v.object, f.config.Namespace, f.shared.id, args)
	v.object = value
	if !ok {
		return nil, statusNotFound
	}
	binary.LittleEndian.PutUint64(value, uint64(left/time.Millisecond))
	return value, statusOK
}

// kvPut stores a value: flags (8 bits), seconds to live (32 bits), the key with its length
// (16 bits), the value. CAS_MISMATCH where there is one and was to be none;
// INTERNAL_FAILURE without room.
func kvPut(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfKV + int64(len(args))/bytesOfAStep)
	r := reader{rest: args}
	flags, ttl, key := r.byte(), time.Duration(r.u32())*time.Second, r.text(1, capability.MaxKVKey)
	if r.bad || flags&^kvAbsent != 0 || ttl == 0 || ttl > capability.MaxKVTTL || len(r.rest) > capability.MaxKVValue {
		return nil, statusBadArgument
	}
	f := v.r.f
	return nil, f.kvStatus(f.abi.o.KV.Put(f.config.Namespace, f.shared.id, key, r.rest, ttl, flags&kvAbsent != 0))
}

// kvDelete removes the value under a key, which is the argument.
func kvDelete(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfKV)
	if !isKVKey(args) {
		return nil, statusBadArgument
	}
	f := v.r.f
	f.abi.o.KV.Delete(f.config.Namespace, f.shared.id, args)
	return nil, statusOK
}

// kvAdd adds to a number of 64 bits: seconds to live (32 bits) if there is none yet, what
// is added (64 bits, signed), the key. It returns the sum. PARSE_FAILURE: the value is no
// number, or the sum none of 64 bits.
func kvAdd(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfKV)
	r := reader{rest: args}
	ttl, delta := time.Duration(r.u32())*time.Second, r.take(8)
	if r.bad || ttl == 0 || ttl > capability.MaxKVTTL || !isKVKey(r.rest) {
		return nil, statusBadArgument
	}
	f := v.r.f
	sum, err := f.abi.o.KV.Add(f.config.Namespace, f.shared.id, r.rest, int64(binary.LittleEndian.Uint64(delta)), ttl)
	if err != nil {
		return nil, f.kvStatus(err)
	}
	return binary.LittleEndian.AppendUint64(nil, uint64(sum)), statusOK
}

// kvStatus is what a guest is told of an error.
func (f *Filter) kvStatus(err error) uint32 {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, capability.ErrKVExists):
		return statusCASMismatch
	case errors.Is(err, capability.ErrKVNumber):
		return statusParseFailure
	}
	f.log.once("kv", "the plugin's value was not stored: "+err.Error())
	return statusInternal
}
