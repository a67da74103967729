package capability

import "time"

// Bounds on what a plugin says to the cache, and stores in it.
const (
	MaxCacheParts     = 16 // of a key, each of at most MaxCachePart bytes
	MaxCachePart      = 1 << 10
	MaxCacheTags      = 32 // each of 1 to MaxCacheTag bytes
	MaxCacheTag       = 256
	MaxCacheTTL       = 365 * 24 * time.Hour // of a response
	MaxCacheKey       = 1 << 10              // bytes, of a plugin's own object
	MaxCacheValue     = 1 << 20
	MaxCacheObjectTTL = 30 * 24 * time.Hour
)

// CacheObjects keeps plugins' own objects beside the responses. Objects belong to a namespace
// and, within it, to the plugins with one state id: neither responses nor other plugins'
// lookups find them. Any goroutine may call it.
type CacheObjects interface {
	// Object appends what was put under key, and returns how long it lives on; stale: a
	// soft purge has met it. ok is false, and dst as it was, if there is none.
	Object(dst []byte, namespace, id string, key []byte) (value []byte, left time.Duration, stale, ok bool)
	// PutObject stores value under key for ttl, or a shorter time. Nothing is kept of what
	// is passed. After an error, as that the quota is full, what was there still is.
	PutObject(namespace, id string, key, value []byte, ttl time.Duration, tags [][]byte) error
	// DeleteObject removes what is under key, if there is anything.
	DeleteObject(namespace, id string, key []byte)
	// PurgeTags removes what has any of the tags in the namespace, responses too, or makes
	// it stale, and returns how much that was; -1: it goes on.
	PurgeTags(namespace string, tags [][]byte, soft bool) (removed int, err error)
}
