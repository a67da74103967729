//! The forms of small things on the way to the host and back.

use std::time::Duration;

use crate::Status;

/// Appends a property's path: its segments with a NUL between them.
pub(crate) fn append_path(dst: &mut Vec<u8>, path: &[&str]) {
    for (i, segment) in path.iter().enumerate() {
        if i > 0 {
            dst.push(0);
        }
        dst.extend_from_slice(segment.as_bytes());
    }
}

/// Reads an integer, a time or a duration: 8 bytes, little endian.
pub(crate) fn read_int(b: &[u8]) -> Option<i64> {
    b.try_into().ok().map(i64::from_le_bytes)
}

/// Reads a truth value: one byte.
pub(crate) fn read_bool(b: &[u8]) -> Option<bool> {
    match b {
        [value] => Some(*value != 0),
        _ => None,
    }
}

/// Reads a number of 4 bytes, little endian, that begins at a place.
pub(crate) fn read_u32(b: &[u8], at: usize) -> Option<u32> {
    let b = b.get(at..at.checked_add(4)?)?;
    b.try_into().ok().map(u32::from_le_bytes)
}

/// Appends a text behind its length in 16 bits; Status::BadArgument: it is longer.
pub(crate) fn append_text(dst: &mut Vec<u8>, text: &[u8]) -> Result<(), Status> {
    let n = u16::try_from(text.len()).map_err(|_| Status::BadArgument)?;
    dst.extend_from_slice(&n.to_le_bytes());
    dst.extend_from_slice(text);
    Ok(())
}

/// Returns a time as the ABI has it, rounded up, so that what is more than
/// nothing stays so; Status::BadArgument: it is beyond 24 days.
pub(crate) fn milliseconds(d: Duration) -> Result<u32, Status> {
    let most = u64::from(i32::MAX as u32);
    let whole = d.as_secs().checked_mul(1000).ok_or(Status::BadArgument)?;
    let ms = whole.saturating_add(u64::from(d.subsec_nanos().div_ceil(1_000_000)));
    if ms > most {
        Err(Status::BadArgument)
    } else {
        Ok(ms as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read() {
        assert_eq!(read_int(b"\x01\x02\0\0\0\0\0\0"), Some(513));
        assert_eq!(read_int(&[0xff; 8]), Some(-1));
        for b in [&b""[..], b"\x01", b"\x01\0\0\0", &[1; 9]] {
            assert_eq!(read_int(b), None);
        }
        let bools = [
            read_bool(b"\x01"),
            read_bool(b"\0"),
            read_bool(b""),
            read_bool(b"\x01\0"),
        ];
        assert_eq!(bools, [Some(true), Some(false), None, None]);
        assert_eq!(read_u32(b"ab\x01\x02\0\0", 2), Some(513));
        assert_eq!(
            [read_u32(b"abcd", 1), read_u32(b"abcd", usize::MAX)],
            [None, None]
        );
        for (path, want) in [
            (&[][..], ""),
            (&["a"], "a"),
            (&["source", "address"], "source\0address"),
            (&["a", "", "b"], "a\0\0b"),
        ] {
            let mut got = b"before ".to_vec();
            append_path(&mut got, path);
            assert_eq!(got, format!("before {want}").as_bytes());
        }
    }

    #[test]
    fn times_are_rounded_up() {
        let ms = Duration::from_millis;
        let nano = Duration::from_nanos(1);
        let most = ms(i32::MAX as u64);
        for (d, want) in [
            (ms(0), 0),
            (nano, 1),
            (ms(1), 1),
            (ms(1) + nano, 2),
            (ms(999) + nano, 1000),
            (ms(1000), 1000),
            (most, i32::MAX as u32),
        ] {
            assert_eq!(milliseconds(d), Ok(want), "{d:?}");
        }
        for d in [
            most + nano,
            Duration::MAX,
            Duration::from_secs(u64::MAX / 1000),
        ] {
            assert_eq!(milliseconds(d), Err(Status::BadArgument), "{d:?}");
        }
    }
}
