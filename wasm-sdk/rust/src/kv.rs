//! The key-value store.

use std::time::Duration;

use crate::memory::with_room;
use crate::wire::{append_text, read_int};
use crate::{Bytes, Status, call_foreign};

/// How long a key may be, in bytes; it is not empty.
pub const MAX_KV_KEY: usize = 1 << 10;
/// How long a value may be, in bytes.
pub const MAX_KV_VALUE: usize = 64 << 10;

const MAX_TTL: u64 = 31 * 24 * 3600;

/// A value that was found.
#[derive(Debug)]
pub struct KvValue {
    bytes: Bytes,
    /// How long it lives on.
    pub left: Duration,
}

impl KvValue {
    /// Returns the value itself.
    pub fn value(&self) -> &[u8] {
        self.bytes.get(8..).unwrap_or_default()
    }
}

fn key_fits(key: &[u8]) -> Result<(), Status> {
    if key.is_empty() || key.len() > MAX_KV_KEY {
        return Err(Status::BadArgument);
    }
    Ok(())
}

/// Returns a time to live as seconds.
fn seconds(ttl: Duration) -> Result<u32, Status> {
    let s = ttl.as_secs();
    if s == 0 || s > MAX_TTL {
        return Err(Status::BadArgument);
    }
    Ok(s as u32)
}

/// Returns the value that was put under key on this proxy by filters of this
/// namespace with the same vmId, without one by this filter; None if there is none, without
/// the capability kv, and elsewhere than in Penstock.
pub fn kv_get(key: impl AsRef<[u8]>) -> Option<KvValue> {
    key_fits(key.as_ref()).ok()?;
    let bytes = call_foreign("penstock.kv_get", key).ok()?;
    let left = read_int(bytes.get(..8)?)?;
    let left = Duration::from_millis(left.try_into().ok()?);
    Some(KvValue { bytes, left })
}

/// Stores a value for ttl, in whole seconds from 1 s to 31 days; absent: only where
/// there is none, Status::CasMismatch else. Nothing else takes its place before: it fails
/// with Status::Internal when the namespace's room is full, and what was there is untouched.
/// It needs the capability kv.
pub fn kv_put(
    key: impl AsRef<[u8]>,
    value: impl AsRef<[u8]>,
    ttl: Duration,
    absent: bool,
) -> Result<(), Status> {
    let (key, value) = (key.as_ref(), value.as_ref());
    key_fits(key)?;
    if value.len() > MAX_KV_VALUE {
        return Err(Status::BadArgument);
    }
    let ttl = seconds(ttl)?;
    with_room(|room| {
        room.push(u8::from(absent));
        room.extend_from_slice(&ttl.to_le_bytes());
        append_text(room, key)?;
        room.extend_from_slice(value);
        call_foreign("penstock.kv_put", room).map(drop)
    })
}

/// Removes a value, if it is there. It needs the capability kv.
pub fn kv_delete(key: impl AsRef<[u8]>) -> Result<(), Status> {
    key_fits(key.as_ref())?;
    call_foreign("penstock.kv_delete", key).map(drop)
}

/// Adds to a number, which is 0 where there is none and lives for ttl from then on,
/// and returns the sum. Its value is 8 bytes, little endian: Status::Parse for another one,
/// and for a sum beyond 64 bits. Else it is as kv_put.
pub fn kv_add(key: impl AsRef<[u8]>, delta: i64, ttl: Duration) -> Result<i64, Status> {
    let key = key.as_ref();
    key_fits(key)?;
    let ttl = seconds(ttl)?;
    with_room(|room| {
        room.extend_from_slice(&ttl.to_le_bytes());
        room.extend_from_slice(&delta.to_le_bytes());
        room.extend_from_slice(key);
        read_int(&call_foreign("penstock.kv_add", room)?).ok_or(Status::ResultMismatch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let second = Duration::from_secs(1);
        let none = Err(Status::Unimplemented); // there is no proxy here
        assert_eq!(kv_put("k", "v", second, false), none);
        assert_eq!(kv_delete("k"), none);
        assert_eq!(kv_add("k", 1, second), Err(Status::Unimplemented));
        let bad = Err(Status::BadArgument);
        assert_eq!(kv_put("", "v", second, false), bad);
        assert_eq!(kv_put("k", vec![0; MAX_KV_VALUE + 1], second, false), bad);
        assert_eq!(kv_put("k", "v", Duration::from_millis(999), false), bad);
        assert_eq!(kv_put("k", "v", second * 32 * 24 * 3600, true), bad);
        assert_eq!(kv_delete(vec![0; MAX_KV_KEY + 1]), bad);
        assert_eq!(kv_add("", 1, second), Err(Status::BadArgument));
        assert!(kv_get("k").is_none());
    }
}
