//go:build wasip1

package sdk

import (
	"encoding/binary"
	"time"
)

// Bounds of the key-value store.
const (
	MaxKVKey   = 1 << 10 // bytes, at least 1
	MaxKVValue = 64 << 10
	maxKVTTL   = 31 * 24 * time.Hour
)

// KVGet returns the value that was put under key on this proxy by filters of this
// namespace with the same vmId, without one by this filter, and how long it lives on. ok
// is false if there is none, without the capability kv, and elsewhere than in Penstock.
// value is valid until the next call of a function of this package.
func KVGet(key string) (value []byte, left time.Duration, ok bool) {
	if key == "" || len(key) > MaxKVKey {
		return nil, 0, false
	}
	arguments = append(arguments[:0], key...)
	b, err := CallForeign("penstock.kv_get", arguments)
	if err != nil || len(b) < 8 {
		return nil, 0, false
	}
	return b[8:], time.Duration(binary.LittleEndian.Uint64(b)) * time.Millisecond, true
}

// KVPut stores a value for ttl, in whole seconds from 1 s to 31 days; absent: only where
// there is none, ErrCASMismatch else. Nothing else takes its place before: it fails with
// ErrInternal when the namespace's room is full, and what was there is untouched. It needs
// the capability kv.
func KVPut(key string, value []byte, ttl time.Duration, absent bool) error {
	if key == "" || len(key) > MaxKVKey || len(value) > MaxKVValue || ttl < time.Second || ttl > maxKVTTL {
		return ErrBadArgument
	}
	var flags byte
	if absent {
		flags = 1
	}
	arguments = binary.LittleEndian.AppendUint32(append(arguments[:0], flags), uint32(ttl/time.Second))
	arguments = append(appendText(arguments, key), value...)
	_, err := CallForeign("penstock.kv_put", arguments)
	return err
}

// KVDelete removes a value, if it is there. It needs the capability kv.
func KVDelete(key string) error {
	if key == "" || len(key) > MaxKVKey {
		return ErrBadArgument
	}
	arguments = append(arguments[:0], key...)
	_, err := CallForeign("penstock.kv_delete", arguments)
	return err
}

// KVAdd adds to a number, which is 0 where there is none and lives for ttl from then on,
// and returns the sum. Its value is 8 bytes, little endian: ErrParse for another one, and
// for a sum beyond 64 bits. Else it is as KVPut.
func KVAdd(key string, delta int64, ttl time.Duration) (sum int64, err error) {
	if key == "" || len(key) > MaxKVKey || ttl < time.Second || ttl > maxKVTTL {
		return 0, ErrBadArgument
	}
	arguments = binary.LittleEndian.AppendUint32(arguments[:0], uint32(ttl/time.Second))
	arguments = append(binary.LittleEndian.AppendUint64(arguments, uint64(delta)), key...)
	b, err := CallForeign("penstock.kv_add", arguments)
	if err != nil {
		return 0, err
	}
	sum, ok := readInt(b)
	if !ok {
		return 0, ErrResultMismatch
	}
	return sum, nil
}
