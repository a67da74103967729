import { foreign } from "./host";
import { gotAt, gotSize } from "./memory";
import { ErrHost, ErrSerialization, Result, Status, failed, failure, ok, statusOf } from "./status";
import { Duration, Hour, Millisecond, Second } from "./time";
import { Writer, bytesAt, out } from "./wire";

/** What is to be said to the cache, or stored in it, passes a bound; it is no ErrHost. */
export const ErrCacheArgument = new Error("beyond the bounds of the cache's functions");

// Bounds of the cache's functions; lengths are bytes of UTF-8.
export const MaxCacheParts = 16; // each of at most MaxCachePart bytes
export const MaxCachePart = 1 << 10;
export const MaxCacheTags = 32; // each of 1 to MaxCacheTag bytes of text without control characters
export const MaxCacheTag = 256;
export const MaxCacheKey = 1 << 10; // bytes, at least 1
export const MaxCacheValue = 1 << 20;

const maxSteerTTL: Duration = 365 * 24 * Hour;
const maxObjectTTL: Duration = 30 * 24 * Hour;

/** What a plugin says to the response cache that comes after it. */
export class Steering {
  /** The request is neither answered from the cache, nor is its response stored. */
  bypass: bool = false;
  /**
   * Parts that the key gets beside its own, in this order: responses to requests that
   * differ in them are stored apart.
   */
  key: string[] = [];
  /**
   * How long the response is fresh if it does not say itself, in whole seconds, to a year;
   * 0: as the cache's configuration says.
   */
  ttl: Duration = 0;
  /** ttl holds also if the response does say. Neither permits storing what may not be stored. */
  force: bool = false;
  /** Added to the response's own, for purges. */
  tags: string[] = [];

  /**
   * These as sendSteering takes them: a byte of flags (1 bypass, 2 force), the seconds of
   * ttl in 32 bits, and two lists, key and tags. A list is a byte with the number of its
   * elements, and each has its length before it, in 16 bits. The error is
   * ErrCacheArgument.
   */
  bytes(): Result<Uint8Array> {
    const w = new Writer();
    return this.write(w) ? ok<Uint8Array>(w.take()) : failed<Uint8Array>(ErrCacheArgument);
  }

  /** Writes these; false: they pass a bound. */
  write(w: Writer): bool {
    const ttl = this.ttl;
    if (ttl < 0 || ttl > maxSteerTTL || ttl > 0 && ttl < Second || this.force && ttl == 0) return false;
    w.u8((this.bypass ? 1 : 0) | (this.force ? 2 : 0));
    w.u32(<u32>(ttl / Second));
    return writeList(w, this.key, MaxCacheParts, 0, MaxCachePart) && writeList(w, this.tags, MaxCacheTags, 1, MaxCacheTag);
  }
}

/**
 * Says to a response cache that comes after the plugin what it is to do with this exchange,
 * in place of what the plugin said before. What several plugins say adds up: key parts and
 * tags in the order of the plugins, the last TTL holds, one bypass is enough. To be called
 * in requestHeaders, or until the request's headers go on. It needs the capability cache:
 * without it, and elsewhere than in Penstock, it fails with an ErrHost. A plugin whose key
 * parts must not get lost does not let the request go on then.
 */
export function steerCache(s: Steering): Error | null {
  out.clear();
  if (!s.write(out)) return ErrCacheArgument;
  return failure(foreign("penstock.cache_steer", out.at(0), out.length));
}

/** steerCache with what Steering.bytes has made: in configure, once for many exchanges. */
export function sendSteering(b: Uint8Array): Status | null {
  return failure(foreign("penstock.cache_steer", b.dataStart, b.length));
}

/** What cacheGet finds. */
export class CacheObject {
  constructor(
    readonly value: Uint8Array,
    /** How long it lives on. */
    readonly left: Duration,
    /** A soft purge has met it. */
    readonly stale: bool,
  ) {}
}

/**
 * The object that was put under key by plugins of this namespace with the same vmId,
 * without one by this filter; null: there is none, or without the capability cache, and
 * elsewhere than in Penstock.
 */
export function cacheGet(key: string): CacheObject | null {
  out.clear();
  if (!isKey(out.text(key)) || foreign("penstock.cache_get", out.at(0), out.length) != 0) return null;
  const n = gotSize();
  return readObject(gotAt(), n);
}

/**
 * Stores an object for ttl, in whole seconds from 1 s to 30 days; it may be gone earlier.
 * What was under the key is replaced. Each plugin has a quota: once that is full, or the
 * cache has no room, without the capability cache, and elsewhere than in Penstock, it fails
 * with an ErrHost, and what was there is untouched.
 */
export function cachePut(key: string, value: Uint8Array, ttl: Duration, tags: string[] = []): Error | null {
  out.clear();
  if (!writePut(out, key, value, ttl, tags)) return ErrCacheArgument;
  return failure(foreign("penstock.cache_put", out.at(0), out.length));
}

/** Removes an object, if it is there. It fails as cachePut does. */
export function cacheDelete(key: string): Error | null {
  out.clear();
  if (!isKey(out.text(key))) return ErrCacheArgument;
  return failure(foreign("penstock.cache_delete", out.at(0), out.length));
}

/**
 * Removes what has any of the tags in the plugin's namespace, responses and objects of all
 * its plugins; soft makes it stale instead: a stale response may still serve while a fresh
 * one is fetched. The value is how much that was, -1 if the purge goes on in the
 * background. Only this proxy's cache is purged: all proxies' is by a CachePurge object. It
 * fails as cachePut does.
 */
export function cachePurge(soft: bool, tags: string[]): Result<i32> {
  out.clear();
  if (!writePurge(out, tags, soft)) return failed<i32>(ErrCacheArgument);
  const code = foreign("penstock.cache_purge", out.at(0), out.length);
  if (code != 0) return failed<i32>(statusOf(code));
  return gotSize() < 4 ? failed<i32>(ErrSerialization) : ok<i32>(load<i32>(gotAt())); // all ones are -1
}

function writeList(w: Writer, list: string[], elements: i32, least: i32, most: i32): bool {
  if (list.length > elements) return false;
  w.u8(<u8>list.length);
  for (let i = 0; i < list.length; i++) {
    const n = w.text16(list[i]);
    if (n < least || n > most) return false;
  }
  return true;
}

/**
 * Writes the argument of a put: seconds in 32 bits, the key with its length in 16 bits, the
 * list of tags, the value; false: it passes a bound.
 */
export function writePut(w: Writer, key: string, value: Uint8Array, ttl: Duration, tags: string[]): bool {
  if (value.length > MaxCacheValue || ttl < Second || ttl > maxObjectTTL) return false;
  w.u32(<u32>(ttl / Second));
  if (!isKey(w.text16(key)) || !writeList(w, tags, MaxCacheTags, 1, MaxCacheTag)) return false;
  w.raw(value);
  return true;
}

function isKey(length: i32): bool {
  return length > 0 && length <= MaxCacheKey;
}

/** Writes the argument of a purge: a byte of flags (1 soft), the tags; false: it passes a bound. */
export function writePurge(w: Writer, tags: string[], soft: bool): bool {
  w.u8(soft ? 1 : 0);
  return tags.length > 0 && writeList(w, tags, MaxCacheTags, 1, MaxCacheTag);
}

/** Reads the answer of a get: a byte of flags (1 stale), milliseconds in 64 bits, the value. */
export function readObject(at: usize, n: i32): CacheObject | null {
  if (n < 9) return null;
  return new CacheObject(bytesAt(at + 9, n - 9), load<i64>(at, 1) * Millisecond, (load<u8>(at) & 1) != 0);
}
