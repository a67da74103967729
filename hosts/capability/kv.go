package capability

import (
	"errors"
	"time"
)

// Bounds on what a plugin keeps in the key-value store.
const (
	MaxKVKey   = 1 << 10 // bytes, at least 1
	MaxKVValue = 64 << 10
	MaxKVTTL   = 31 * 24 * time.Hour
)

// Why the key-value store does not take a value.
var (
	// ErrKVFull: the namespace's values, or all, take as much as they may.
	ErrKVFull = errors.New("the key-value store is full")
	// ErrKVExists: there is a value, and it was to be put only where there is none.
	ErrKVExists = errors.New("there is a value")
	// ErrKVNumber: the value is no number, or the sum is none of 64 bits.
	ErrKVNumber = errors.New("not a number of 64 bits")
)

// KVStore keeps values by key for a time on this proxy; nothing is evicted for others.
// state tells filters' keys apart, within a namespace. Any goroutine may call it.
type KVStore interface {
	// Value appends what is under key, and returns how long it lives on; ok is false, and
	// dst as it was, if there is nothing.
	Value(dst []byte, namespace, state string, key []byte) (value []byte, left time.Duration, ok bool)
	// Put stores value for ttl; absent: only where there is none. Nothing is kept of what
	// is passed. Errors are ErrKVFull, after which what was there still is, or ErrKVExists.
	Put(namespace, state string, key, value []byte, ttl time.Duration, absent bool) error
	// Delete removes what is under key, if there is anything.
	Delete(namespace, state string, key []byte)
	// Add adds to a number, which is 0 where there is none and lives for ttl from then on,
	// and returns the sum. Its value is 8 bytes, little endian. Errors are ErrKVFull or
	// ErrKVNumber.
	Add(namespace, state string, key []byte, delta int64, ttl time.Duration) (sum int64, err error)
}
