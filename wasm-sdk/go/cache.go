//go:build wasip1

package sdk

import "time"

// SteerCache says to a response cache that comes after the plugin what it is to do with
// this exchange, in place of what the plugin said before. What several plugins say adds
// up: key parts and tags in the order of the plugins, the last TTL holds, one Bypass is
// enough. To be called in RequestHeaders, or until the request's headers go on. It needs
// the capability cache: without it, and elsewhere than in Penstock, it fails with ErrHost.
// A plugin whose key parts must not get lost does not let the request go on then.
func SteerCache(s *Steering) (err error) {
	if arguments, err = s.Append(arguments[:0]); err != nil {
		return err
	}
	return SendSteering(arguments)
}

// SendSteering is SteerCache with what Append has made: in Configure, once for many
// exchanges.
func SendSteering(b []byte) error {
	_, err := CallForeign("penstock.cache_steer", b)
	return err
}

// CacheGet returns the object that was put under key by plugins of this namespace with
// the same vmId, without one by this filter; ok is false if there is none, without the
// capability cache, and elsewhere than in Penstock.
func CacheGet(key string) (o CacheObject, ok bool) {
	var err error
	if arguments, err = appendKey(arguments[:0], key); err != nil {
		return CacheObject{}, false
	}
	b, err := CallForeign("penstock.cache_get", arguments)
	if err != nil {
		return CacheObject{}, false
	}
	return readObject(b)
}

// CachePut stores an object for ttl, in whole seconds from 1 s to 30 days; it may be gone
// earlier. What was under the key is replaced. Each plugin has a quota: once that is
// full, or the cache has no room, without the capability cache, and elsewhere than in
// Penstock, it fails with ErrHost, and what was there is untouched.
func CachePut(key string, value []byte, ttl time.Duration, tags ...string) (err error) {
	if arguments, err = appendPut(arguments[:0], key, value, ttl, tags); err != nil {
		return err
	}
	_, err = CallForeign("penstock.cache_put", arguments)
	return err
}

// CacheDelete removes an object, if it is there. It fails as CachePut does.
func CacheDelete(key string) (err error) {
	if arguments, err = appendKey(arguments[:0], key); err != nil {
		return err
	}
	_, err = CallForeign("penstock.cache_delete", arguments)
	return err
}

// CachePurge removes what has any of the tags in the plugin's namespace, responses and
// objects of all its plugins; soft makes it stale instead: a stale response may still
// serve while a fresh one is fetched. It returns how much that was, -1 if the purge goes
// on in the background. Only this proxy's cache is purged: all proxies' is by a
// CachePurge object. It fails as CachePut does.
func CachePurge(soft bool, tags ...string) (removed int, err error) {
	if arguments, err = appendPurge(arguments[:0], tags, soft); err != nil {
		return 0, err
	}
	b, err := CallForeign("penstock.cache_purge", arguments)
	if err != nil {
		return 0, err
	}
	removed, ok := readPurged(b)
	if !ok {
		return 0, ErrHost
	}
	return removed, nil
}
