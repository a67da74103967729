package sdk

import (
	"encoding/binary"
	"errors"
	"time"
)

// ErrCacheArgument: what is to be said to the cache, or stored in it, passes a bound.
var ErrCacheArgument = errors.New("beyond the bounds of the cache's functions")

// Bounds of the cache's functions.
const (
	MaxCacheParts = 16 // each of at most MaxCachePart bytes
	MaxCachePart  = 1 << 10
	MaxCacheTags  = 32 // each of 1 to MaxCacheTag bytes of text without control characters
	MaxCacheTag   = 256
	MaxCacheKey   = 1 << 10 // bytes, at least 1
	MaxCacheValue = 1 << 20

	maxSteerTTL  = 365 * 24 * time.Hour
	maxObjectTTL = 30 * 24 * time.Hour
)

// Steering is what a plugin says to the response cache that comes after it.
type Steering struct {
	// Bypass: the request is neither answered from the cache, nor is its response stored.
	Bypass bool
	// Key are parts that the key gets beside its own, in this order: responses to
	// requests that differ in them are stored apart.
	Key []string
	// TTL is how long the response is fresh if it does not say itself, in whole seconds,
	// to a year; 0: as the cache's configuration says. Force: also if it does say. Neither
	// permits storing what may not be stored.
	TTL   time.Duration
	Force bool
	// Tags are added to the response's own, for purges.
	Tags []string
}

// Append appends s as SendSteering takes it: a byte of flags (1 Bypass, 2 Force), the
// seconds of TTL in 32 bits, and two lists, Key and Tags. A list is a byte with the
// number of its elements, and each has its length before it, in 16 bits. All numbers are
// little endian. The error is ErrCacheArgument.
func (s *Steering) Append(dst []byte) ([]byte, error) {
	if s.TTL < 0 || s.TTL > maxSteerTTL || s.TTL > 0 && s.TTL < time.Second || s.Force && s.TTL == 0 {
		return dst, ErrCacheArgument
	}
	var flags byte
	if s.Bypass {
		flags |= 1
	}
	if s.Force {
		flags |= 2
	}
	out := binary.LittleEndian.AppendUint32(append(dst, flags), uint32(s.TTL/time.Second))
	out, ok := appendList(out, s.Key, MaxCacheParts, 0, MaxCachePart)
	if ok {
		out, ok = appendList(out, s.Tags, MaxCacheTags, 1, MaxCacheTag)
	}
	if !ok {
		return dst, ErrCacheArgument
	}
	return out, nil
}

func appendList(dst []byte, list []string, elements, least, most int) ([]byte, bool) {
	if len(list) > elements {
		return dst, false
	}
	dst = append(dst, byte(len(list)))
	for _, s := range list {
		if len(s) < least || len(s) > most {
			return dst, false
		}
		dst = appendText(dst, s)
	}
	return dst, true
}

// appendPut appends the argument of a put: seconds in 32 bits, the key with its length
// in 16 bits, the list of tags, the value.
func appendPut(dst []byte, key string, value []byte, ttl time.Duration, tags []string) ([]byte, error) {
	if !isKey(key) || len(value) > MaxCacheValue || ttl < time.Second || ttl > maxObjectTTL {
		return dst, ErrCacheArgument
	}
	out := binary.LittleEndian.AppendUint32(dst, uint32(ttl/time.Second))
	out, ok := appendList(appendText(out, key), tags, MaxCacheTags, 1, MaxCacheTag)
	if !ok {
		return dst, ErrCacheArgument
	}
	return append(out, value...), nil
}

// appendKey appends the argument of a get or a delete.
func appendKey(dst []byte, key string) ([]byte, error) {
	if !isKey(key) {
		return dst, ErrCacheArgument
	}
	return append(dst, key...), nil
}

func isKey(key string) bool { return key != "" && len(key) <= MaxCacheKey }

// CacheObject is what CacheGet finds.
type CacheObject struct {
	Value []byte        // valid until the next call of a function of this package
	Left  time.Duration // how long it lives on
	Stale bool          // a soft purge has met it
}

// readObject reads the answer of a get: a byte of flags (1 Stale), milliseconds in 64
// bits, the value.
func readObject(b []byte) (o CacheObject, ok bool) {
	if len(b) < 9 {
		return o, false
	}
	return CacheObject{Value: b[9:], Left: time.Duration(binary.LittleEndian.Uint64(b[1:])) * time.Millisecond, Stale: b[0]&1 != 0}, true
}

// appendPurge appends the argument of a purge: a byte of flags (1 soft), the tags.
func appendPurge(dst []byte, tags []string, soft bool) ([]byte, error) {
	var flags byte
	if soft {
		flags = 1
	}
	out, ok := appendList(append(dst, flags), tags, MaxCacheTags, 1, MaxCacheTag)
	if !ok || len(tags) == 0 {
		return dst, ErrCacheArgument
	}
	return out, nil
}

// readPurged reads the answer of a purge: how much it was in 32 bits, all ones for -1.
func readPurged(b []byte) (removed int, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	return int(int32(binary.LittleEndian.Uint32(b))), true
}
