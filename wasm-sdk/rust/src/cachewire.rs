//! What is said to Penstock's response cache, as bytes. All numbers are little endian.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::wire::{read_int, read_u32};
use crate::{Bytes, Status};

/// Why a function of the cache failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheError {
    /// What is to be said to the cache, or stored in it, passes a bound.
    Argument,
    /// The proxy refused.
    Host(Status),
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            CacheError::Argument => f.write_str("beyond the bounds of the cache's functions"),
            CacheError::Host(status) => status.fmt(f),
        }
    }
}

impl Error for CacheError {}

impl From<Status> for CacheError {
    fn from(status: Status) -> CacheError {
        CacheError::Host(status)
    }
}

/// Parts of a key, each of at most MAX_CACHE_PART bytes.
pub const MAX_CACHE_PARTS: usize = 16;
/// Bytes of a part of a key.
pub const MAX_CACHE_PART: usize = 1 << 10;
/// Tags, each of 1 to MAX_CACHE_TAG bytes of text without control characters.
pub const MAX_CACHE_TAGS: usize = 32;
/// Bytes of a tag.
pub const MAX_CACHE_TAG: usize = 256;
/// Bytes of an object's key, at least 1.
pub const MAX_CACHE_KEY: usize = 1 << 10;
/// Bytes of an object.
pub const MAX_CACHE_VALUE: usize = 1 << 20;

const DAY: u64 = 24 * 60 * 60; // in seconds
const MAX_STEER_TTL: Duration = Duration::from_secs(365 * DAY);
const MAX_OBJECT_TTL: Duration = Duration::from_secs(30 * DAY);
const SECOND: Duration = Duration::from_secs(1);

/// What a plugin says to the response cache that comes after it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steering<'a> {
    /// The request is neither answered from the cache, nor is its response stored.
    pub bypass: bool,
    /// Parts that the key gets beside its own, in this order: responses to requests that
    /// differ in them are stored apart.
    pub key: &'a [&'a str],
    /// How long the response is fresh if it does not say itself, in whole seconds, to a
    /// year; 0: as the cache's configuration says. It does not permit storing what may not
    /// be stored, nor does force.
    pub ttl: Duration,
    /// ttl holds also if the response does say.
    pub force: bool,
    /// Added to the response's own tags, for purges.
    pub tags: &'a [&'a str],
}

impl Steering<'_> {
    /// Appends it as send_steering takes it: a byte of flags (1 bypass, 2 force), the
    /// seconds of ttl in 32 bits, and two lists, key and tags. A list is a byte with the
    /// number of its elements, and each has its length before it, in 16 bits. If it fails,
    /// with CacheError::Argument, dst is as it was.
    pub fn append(&self, dst: &mut Vec<u8>) -> Result<(), CacheError> {
        let unset = self.ttl.is_zero();
        if self.ttl > MAX_STEER_TTL || !unset && self.ttl < SECOND || self.force && unset {
            return Err(CacheError::Argument);
        }
        whole(dst, |dst| {
            dst.push(u8::from(self.bypass) | u8::from(self.force) << 1);
            dst.extend((self.ttl.as_secs() as u32).to_le_bytes());
            append_list(dst, self.key, MAX_CACHE_PARTS, 0, MAX_CACHE_PART)?;
            append_tags(dst, self.tags)
        })
    }
}

/// Appends all of something, or nothing.
fn whole(
    dst: &mut Vec<u8>,
    append: impl FnOnce(&mut Vec<u8>) -> Result<(), CacheError>,
) -> Result<(), CacheError> {
    let n = dst.len();
    append(dst).inspect_err(|_| dst.truncate(n))
}

fn append_list(
    dst: &mut Vec<u8>,
    list: &[&str],
    elements: usize,
    least: usize,
    most: usize,
) -> Result<(), CacheError> {
    if list.len() > elements || list.iter().any(|s| s.len() < least || s.len() > most) {
        return Err(CacheError::Argument);
    }
    dst.push(list.len() as u8);
    for s in list {
        append_sized(dst, s);
    }
    Ok(())
}

fn append_tags(dst: &mut Vec<u8>, tags: &[&str]) -> Result<(), CacheError> {
    append_list(dst, tags, MAX_CACHE_TAGS, 1, MAX_CACHE_TAG)
}

fn append_sized(dst: &mut Vec<u8>, s: &str) {
    dst.extend((s.len() as u16).to_le_bytes());
    dst.extend_from_slice(s.as_bytes());
}

/// Appends the argument of a put: seconds in 32 bits, the key with its length in
/// 16 bits, the list of tags, the value.
pub(crate) fn append_put(
    dst: &mut Vec<u8>,
    key: &str,
    value: &[u8],
    ttl: Duration,
    tags: &[&str],
) -> Result<(), CacheError> {
    if !is_key(key) || value.len() > MAX_CACHE_VALUE || ttl < SECOND || ttl > MAX_OBJECT_TTL {
        return Err(CacheError::Argument);
    }
    whole(dst, |dst| {
        dst.extend((ttl.as_secs() as u32).to_le_bytes());
        append_sized(dst, key);
        append_tags(dst, tags)?;
        dst.extend_from_slice(value);
        Ok(())
    })
}

/// Appends the argument of a get or a delete.
pub(crate) fn append_key(dst: &mut Vec<u8>, key: &str) -> Result<(), CacheError> {
    if !is_key(key) {
        return Err(CacheError::Argument);
    }
    dst.extend_from_slice(key.as_bytes());
    Ok(())
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= MAX_CACHE_KEY
}

/// What cache_get finds.
#[derive(Debug)]
pub struct CacheObject {
    answer: Bytes,
    /// How long it lives on.
    pub left: Duration,
    /// A soft purge has met it.
    pub stale: bool,
}

/// Bytes of an answer before the value.
const BEFORE: usize = 9;

impl CacheObject {
    /// Returns what was put.
    pub fn value(&self) -> &[u8] {
        &self.answer[BEFORE..]
    }
}

/// Reads the answer of a get: a byte of flags (1 stale), milliseconds in 64
/// bits, the value.
pub(crate) fn read_object(answer: Bytes) -> Option<CacheObject> {
    let left = read_int(answer.get(1..BEFORE)?)?;
    Some(CacheObject {
        left: Duration::from_millis(left as u64),
        stale: answer[0] & 1 != 0,
        answer,
    })
}

/// Appends the argument of a purge: a byte of flags (1 soft), the tags.
pub(crate) fn append_purge(dst: &mut Vec<u8>, tags: &[&str], soft: bool) -> Result<(), CacheError> {
    if tags.is_empty() {
        return Err(CacheError::Argument);
    }
    whole(dst, |dst| {
        dst.push(soft.into());
        append_tags(dst, tags)
    })
}

/// Reads the answer of a purge: how much it was in 32 bits, all ones if it goes
/// on; None: that it is not.
pub(crate) fn read_purged(answer: &[u8]) -> Option<Option<u32>> {
    read_u32(answer, 0).map(|n| (n != u32::MAX).then_some(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::of;

    #[test]
    fn steering_is_written() {
        let s = Steering::default();
        let ttl = Duration::from_secs;
        let (part, tag) = ("x".repeat(MAX_CACHE_PART), "x".repeat(MAX_CACHE_TAG));
        let (long_part, long_tag) = (part.clone() + "x", tag.clone() + "x");
        let tests: &[(&str, Steering, Option<&[u8]>)] = &[
            ("nothing", s, Some(b"\0\0\0\0\0\0\0")),
            (
                "all of it",
                Steering {
                    bypass: true,
                    force: true,
                    ttl: ttl(258),
                    key: &["ab", ""],
                    tags: &["t"],
                },
                Some(b"\x03\x02\x01\0\0\x02\x02\0ab\0\0\x01\x01\0t"),
            ),
            (
                "a part of a second",
                Steering {
                    ttl: Duration::from_millis(1500),
                    ..s
                },
                Some(b"\0\x01\0\0\0\0\0"),
            ),
            (
                "less than a second",
                Steering {
                    ttl: Duration::from_nanos(999_999_999),
                    ..s
                },
                None,
            ),
            (
                "more than a year",
                Steering {
                    ttl: MAX_STEER_TTL + ttl(1),
                    ..s
                },
                None,
            ),
            ("force without a time", Steering { force: true, ..s }, None),
            (
                "too many parts",
                Steering {
                    key: &["x"; MAX_CACHE_PARTS + 1],
                    ..s
                },
                None,
            ),
            (
                "a part that is too big",
                Steering {
                    key: &[&long_part],
                    ..s
                },
                None,
            ),
            (
                "too many tags",
                Steering {
                    tags: &["x"; MAX_CACHE_TAGS + 1],
                    ..s
                },
                None,
            ),
            ("an empty tag", Steering { tags: &[""], ..s }, None),
            (
                "a tag that is too long",
                Steering {
                    tags: &[&long_tag],
                    ..s
                },
                None,
            ),
        ];
        for (name, s, want) in tests {
            let mut got = b"before ".to_vec();
            let result = s.append(&mut got);
            assert_eq!(result, want.map(drop).ok_or(CacheError::Argument), "{name}");
            assert_eq!(
                got,
                [b"before ", want.unwrap_or_default()].concat(),
                "{name}"
            );
        }
        let most = Steering {
            key: &[part.as_str(); MAX_CACHE_PARTS],
            tags: &[tag.as_str(); MAX_CACHE_TAGS],
            ttl: MAX_STEER_TTL,
            ..s
        };
        assert_eq!(most.append(&mut Vec::new()), Ok(()));
    }

    #[test]
    fn objects_are_written() {
        let minute = Duration::from_secs(60);
        let long = "k".repeat(MAX_CACHE_KEY + 1);
        let mut got = Vec::new();
        append_put(&mut got, "k", b"value", Duration::from_secs(258), &["t"]).unwrap();
        assert_eq!(got, b"\x02\x01\0\0\x01\0k\x01\x01\0tvalue");
        got.clear();
        let refused = [
            ("no key", append_put(&mut got, "", b"", minute, &[])),
            ("a long key", append_put(&mut got, &long, b"", minute, &[])),
            (
                "a large value",
                append_put(&mut got, "k", &vec![0; MAX_CACHE_VALUE + 1], minute, &[]),
            ),
            (
                "no time",
                append_put(&mut got, "k", b"", Duration::ZERO, &[]),
            ),
            (
                "too long a time",
                append_put(
                    &mut got,
                    "k",
                    b"",
                    MAX_OBJECT_TTL + Duration::from_nanos(1),
                    &[],
                ),
            ),
            (
                "an empty tag",
                append_put(&mut got, "k", b"", minute, &[""]),
            ),
            ("a look without a key", append_key(&mut got, "")),
            ("a look at a long key", append_key(&mut got, &long)),
            ("a purge of none", append_purge(&mut got, &[], false)),
            (
                "a purge too many",
                append_purge(&mut got, &["x"; MAX_CACHE_TAGS + 1], false),
            ),
        ];
        for (name, result) in refused {
            assert_eq!(result, Err(CacheError::Argument), "{name}");
        }
        assert!(got.is_empty());
        append_purge(&mut got, &["a", "bc"], true).unwrap();
        assert_eq!(got, b"\x01\x02\x01\0a\x02\0bc");
        append_key(&mut got, &long[1..]).unwrap();
    }

    #[test]
    fn answers_are_read() {
        for (answer, want) in [
            (b"\0\0\0\0", Some(0)),
            (b"\x07\x01\0\0", Some(263)),
            (b"\xff\xff\xff\xff", None),
        ] {
            assert_eq!(read_purged(answer), Some(want));
        }
        assert_eq!(read_purged(b"\x01"), None);
        let o = read_object(of(b"\x01\xdc\x05\0\0\0\0\0\0value")).unwrap();
        assert_eq!(
            (o.value(), o.stale, o.left),
            (&b"value"[..], true, Duration::from_millis(1500))
        );
        let o = read_object(of(b"\0\xff\xff\xff\xff\xff\xff\xff\xff")).unwrap();
        assert_eq!((o.value(), o.stale), (&b""[..], false));
        assert!(read_object(of(b"\0\0")).is_none());
    }
}
