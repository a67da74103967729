package proxywasm

import (
	"encoding/binary"
	"slices"
	"time"
	"unicode/utf8"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

// What the cache's functions cost a guest, in steps, beside what is copied.
const (
	stepsOfSteer  = 1_000
	stepsOfObject = 5_000
	stepsOfPut    = 20_000
	stepsOfPurge  = 2_000_000
)

// Bounds on the steering that an instance remembers by its bytes.
const (
	maxSteers     = 256
	maxSteerBytes = 512
)

// Flags of penstock.cache_steer, penstock.cache_purge, and the answer of
// penstock.cache_get.
const (
	steerBypass = 1 << 0
	steerForce  = 1 << 1
	purgeSoft   = 1 << 0
	objectStale = 1 << 0
)

// cacheFunctions are foreign functions of capability cache. Numbers in their arguments
// are little endian; a list is a byte with the number of its elements, and each has its
// length before it, in 16 bits.
func cacheFunctions() map[string]foreignFunc {
	of := func(do foreignFunc) foreignFunc {
		return capable(capability.Cache, func(a *ABI) bool { return a.o.Cache != nil }, do)
	}
	return map[string]foreignFunc{
		"penstock.cache_steer":  of(steerCache),
		"penstock.cache_get":    of(cacheGet),
		"penstock.cache_put":    of(cachePut),
		"penstock.cache_delete": of(cacheDelete),
		"penstock.cache_purge":  of(cachePurge),
	}
}

// steerCache says to a response cache that comes later what it is to do with the
// exchange, in place of what this filter said before: flags (8 bits), seconds to live
// (32 bits; 0: nothing is said), a list of key parts, a list of tags. It may while the
// request's headers have not gone on.
func steerCache(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfSteer)
	s := v.reach(wayRequest)
	if s == nil || s.x == nil || !s.ways[wayRequest].headers || s.ways[wayResponse].stage != stageNone {
		return nil, statusBadArgument
	}
	said, known := v.steers[string(args)]
	if !known {
		if said = parseSteer(args); said == nil {
			return nil, statusBadArgument
		}
		if len(args) <= maxSteerBytes {
			if v.steers == nil || len(v.steers) >= maxSteers {
				v.steers = map[string]*exchange.CacheSteer{}
			}
			v.steers[string(args)] = said
		}
	}
	if !s.steered { // filters after this one have not spoken yet
		s.steered, s.before = true, s.x.Steer
	}
	s.x.Steer = together(s.before, said)
	return nil, statusOK
}

// together adds what a filter says to what those before it have said.
func together(before, said *exchange.CacheSteer) *exchange.CacheSteer {
	if before == nil {
		return said
	}
	all := *before
	all.Bypass = all.Bypass || said.Bypass
	all.Key = slices.Concat(before.Key, said.Key)
	all.Tags = slices.Concat(before.Tags, said.Tags)
	if said.TTL > 0 {
		all.TTL, all.Force = said.TTL, said.Force
	}
	return &all
}

// parseSteer reads the argument of penstock.cache_steer, which is not kept; nil: it is
// malformed.
func parseSteer(args []byte) *exchange.CacheSteer {
	r := reader{rest: slices.Clone(args)}
	flags, seconds := r.byte(), r.u32()
	c := &exchange.CacheSteer{
		Bypass: flags&steerBypass != 0, Force: flags&steerForce != 0, TTL: time.Duration(seconds) * time.Second,
		Key:  r.list(capability.MaxCacheParts, 0, capability.MaxCachePart),
		Tags: r.tags(),
	}
	switch {
	case r.bad || len(r.rest) > 0 || flags&^(steerBypass|steerForce) != 0:
		return nil
	case c.TTL > capability.MaxCacheTTL || c.Force && c.TTL == 0:
		return nil
	}
	return c
}

// cacheGet returns the filter's object under a key, which is the argument: flags (8
// bits), milliseconds that it still lives (64 bits), the value; NOT_FOUND without one.
func cacheGet(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfObject)
	if len(args) == 0 || len(args) > capability.MaxCacheKey {
		return nil, statusBadArgument
	}
	f := v.r.f
	v.object = append(v.object[:0], make([]byte, 9)...)
	value, left, stale, ok := f.abi.o.Cache.Object(v.object, f.config.Namespace, f.shared.id, args)
	if !ok {
		return nil, statusNotFound
	}
	if stale {
		value[0] = objectStale
	}
	binary.LittleEndian.PutUint64(value[1:], uint64(left/time.Millisecond))
	v.i.Spend(int64(len(value)) / bytesOfAStep)
	if v.object = value; cap(value) > maxKeptObject {
		v.object = nil
	}
	return value, statusOK
}

// maxKeptObject is how large a buffer for objects an instance keeps.
const maxKeptObject = 64 << 10

// cachePut stores an object: seconds to live (32 bits), the key with its length (16
// bits), a list of tags, the value. Without room for it INTERNAL_FAILURE.
func cachePut(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfPut + 2*int64(len(args))/bytesOfAStep)
	r := reader{rest: args}
	ttl := time.Duration(r.u32()) * time.Second
	key, tags := r.text(1, capability.MaxCacheKey), r.tags()
	if r.bad || len(r.rest) > capability.MaxCacheValue || ttl < time.Second || ttl > capability.MaxCacheObjectTTL {
		return nil, statusBadArgument
	}
	f := v.r.f
	if err := f.abi.o.Cache.PutObject(f.config.Namespace, f.shared.id, key, r.rest, ttl, tags); err != nil {
		f.log.once("cache put", noCacheRoom+err.Error())
		return nil, statusInternal
	}
	return nil, statusOK
}

const noCacheRoom = "the plugin's object was not stored in the cache: "

// cacheDelete removes the filter's object under a key, which is the argument.
func cacheDelete(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfObject)
	if len(args) == 0 || len(args) > capability.MaxCacheKey {
		return nil, statusBadArgument
	}
	f := v.r.f
	f.abi.o.Cache.DeleteObject(f.config.Namespace, f.shared.id, args)
	return nil, statusOK
}

// cachePurge purges what has any of some tags in the filter's namespace: flags (8 bits),
// a list of tags. It returns how much that was (32 bits), all ones if it takes longer. A
// shadow changes nothing: what it says is for comparison.
func cachePurge(v *vm, args []byte) ([]byte, uint32) {
	v.i.Spend(stepsOfPurge)
	r := reader{rest: args}
	flags, tags := r.byte(), r.tags()
	if r.bad || len(r.rest) > 0 || flags&^purgeSoft != 0 || len(tags) == 0 {
		return nil, statusBadArgument
	}
	n, f := 0, v.r.f
	if !f.config.Shadow {
		var err error
		if n, err = f.abi.o.Cache.PurgeTags(f.config.Namespace, tags, flags&purgeSoft != 0); err != nil {
			f.log.once("cache purge", "the plugin's purge failed: "+err.Error())
			return nil, statusInternal
		}
	}
	return binary.LittleEndian.AppendUint32(nil, uint32(n)), statusOK
}

// reader reads an argument from its beginning; bad: something was not there, or beyond
// its bounds.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// text reads bytes with their length before them.
func (r *reader) text(least, most int) []byte {
	b := r.take(2)
	if b == nil {
		return nil
	}
	n := int(binary.LittleEndian.Uint16(b))
	if n < least || n > most {
		r.bad = true
		return nil
	}
	return r.take(n)
}

// list reads a list of texts.
func (r *reader) list(elements, least, most int) [][]byte {
	n := int(r.byte())
	if n > elements {
		r.bad = true
	}
	if n == 0 || r.bad {
		return nil
	}
	list := make([][]byte, n)
	for i := range list {
		list[i] = r.text(least, most)
	}
	return list
}

// tags reads a list of tags: text that a person can name in a purge.
func (r *reader) tags() [][]byte {
	tags := r.list(capability.MaxCacheTags, 1, capability.MaxCacheTag)
	for _, t := range tags {
		if r.bad || !utf8.Valid(t) || slices.ContainsFunc(t, func(c byte) bool { return c < 0x20 || c == 0x7f }) {
			r.bad = true
			return nil
		}
	}
	return tags
}
