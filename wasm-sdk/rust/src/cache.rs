//! The functions of Penstock's response cache.

use std::time::Duration;

use crate::cachewire::{append_key, append_purge, append_put, read_object, read_purged};
use crate::memory::with_room;
use crate::{CacheError, CacheObject, Status, Steering, call_foreign};

/// Says to a response cache that comes after the plugin what it is to do with
/// this exchange, in place of what the plugin said before. What several plugins say adds up:
/// key parts and tags in the order of the plugins, the last ttl holds, one bypass is enough.
/// To be called in request_headers, or until the request's headers go on. It needs the
/// capability cache: without it, and elsewhere than in Penstock, it fails with
/// CacheError::Host. A plugin whose key parts must not get lost does not let the request go
/// on then.
pub fn steer_cache(steering: &Steering) -> Result<(), CacheError> {
    with_room(|room| {
        steering.append(room)?;
        Ok(send_steering(room)?)
    })
}

/// As steer_cache, with what Steering::append has made: in configure, once for
/// many exchanges.
pub fn send_steering(steering: impl AsRef<[u8]>) -> Result<(), Status> {
    call_foreign("penstock.cache_steer", steering).map(drop)
}

/// Returns the object that was put under key by plugins of this namespace with the
/// same vmId, without one by this filter; None if there is none, without the capability
/// cache, and elsewhere than in Penstock.
pub fn cache_get(key: &str) -> Option<CacheObject> {
    with_room(|room| {
        append_key(room, key).ok()?;
        read_object(call_foreign("penstock.cache_get", room).ok()?)
    })
}

/// Stores an object for ttl, in whole seconds from 1 s to 30 days; it may be gone
/// earlier. What was under the key is replaced. Each plugin has a quota: once that is full,
/// or the cache has no room, without the capability cache, and elsewhere than in Penstock,
/// it fails with CacheError::Host, and what was there is untouched.
pub fn cache_put(
    key: &str,
    value: impl AsRef<[u8]>,
    ttl: Duration,
    tags: &[&str],
) -> Result<(), CacheError> {
    with_room(|room| {
        append_put(room, key, value.as_ref(), ttl, tags)?;
        call_foreign("penstock.cache_put", room)?;
        Ok(())
    })
}

/// Removes an object, if it is there. It fails as cache_put does.
pub fn cache_delete(key: &str) -> Result<(), CacheError> {
    with_room(|room| {
        append_key(room, key)?;
        call_foreign("penstock.cache_delete", room)?;
        Ok(())
    })
}

/// Removes what has any of the tags in the plugin's namespace, responses and
/// objects of all its plugins; soft makes it stale instead: a stale response may still serve
/// while a fresh one is fetched. It returns how much that was, None if the purge goes on in
/// the background. Only this proxy's cache is purged: all proxies' is by a CachePurge
/// object. It fails as cache_put does.
pub fn cache_purge(soft: bool, tags: &[&str]) -> Result<Option<u32>, CacheError> {
    with_room(|room| {
        append_purge(room, tags, soft)?;
        let answer = call_foreign("penstock.cache_purge", room)?;
        Ok(read_purged(&answer).ok_or(Status::ResultMismatch)?)
    })
}
