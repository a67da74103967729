//! Rate limits.

use std::time::Duration;

use crate::httpcall::call_later;
use crate::memory::with_room;
use crate::wire::read_u32;
use crate::{CallError, Status, call_foreign};

/// A limit on how often something may happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// How many events a window allows, at least 1.
    pub limit: u32,
    /// In whole milliseconds, to 31 days.
    pub window: Duration,
    /// How many may come at once, where limit ones are gained evenly over each window
    /// (a token bucket); 0: limit. Not with sliding.
    pub burst: u32,
    /// Counts the events of the last window, those of the one before by share.
    pub sliding: bool,
}

/// Says whether events are within a Rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateAnswer {
    /// They are, and were counted.
    pub allowed: bool,
    /// How many more would be allowed now.
    pub remaining: u32,
    /// Until all of the limit is there again.
    pub reset: Duration,
    /// Until the same would be allowed, if it is not.
    pub retry: Duration,
}

const MAX_KEY: usize = 1 << 10;

impl Rate {
    /// Appends the argument of penstock.rate_limit: a byte of flags (1 sliding, 2 shared),
    /// the limit, the milliseconds, the burst, the cost in 32 bits each, the key.
    fn append(&self, dst: &mut Vec<u8>, shared: bool, key: &[u8], cost: u32) -> Result<(), Status> {
        let ms = u32::try_from(self.window.as_millis()).unwrap_or(0);
        let whole = self.window.subsec_nanos() % 1_000_000 == 0;
        let key_fits = !key.is_empty() && key.len() <= MAX_KEY;
        if self.limit == 0 || ms == 0 || !whole || !key_fits || self.sliding && self.burst != 0 {
            return Err(Status::BadArgument);
        }
        dst.push(u8::from(self.sliding) | u8::from(shared) << 1);
        for n in [self.limit, ms, self.burst, cost] {
            dst.extend_from_slice(&n.to_le_bytes());
        }
        dst.extend_from_slice(key);
        Ok(())
    }
}

/// Reads an answer: a byte, and three numbers of 32 bits.
fn read(b: &[u8]) -> Result<RateAnswer, Status> {
    let n = |at| read_u32(b, at).ok_or(Status::ResultMismatch);
    let ms = |at| n(at).map(|n| Duration::from_millis(u64::from(n)));
    if b.len() != 13 {
        return Err(Status::ResultMismatch);
    }
    Ok(RateAnswer {
        allowed: b[0] != 0,
        remaining: n(1)?,
        reset: ms(5)?,
        retry: ms(9)?,
    })
}

/// Counts cost events of a key if they are within a rate, on this proxy alone.
/// Filters of a namespace with the same vmId share keys. With cost 0 it only asks. It needs
/// the capability ratelimit: without it, and elsewhere than in Penstock, it fails.
pub fn take_rate(rate: &Rate, key: impl AsRef<[u8]>, cost: u32) -> Result<RateAnswer, Status> {
    with_room(|room| {
        rate.append(room, false, key.as_ref(), cost)?;
        read(&call_foreign("penstock.rate_limit", room)?)
    })
}

/// As take_rate, by what all proxies count together, in the Redis of the Gateway's
/// parameters. Some: that is the answer. Else answered is called once, as that of http_call
/// is, with an error if Redis did not answer. Without a Redis it fails with
/// Status::Unimplemented.
pub fn take_shared_rate(
    rate: &Rate,
    key: impl AsRef<[u8]>,
    cost: u32,
    answered: impl FnOnce(Result<RateAnswer, CallError>) + 'static,
) -> Result<Option<RateAnswer>, Status> {
    with_room(|room| {
        rate.append(room, true, key.as_ref(), cost)?;
        let now = call_later("penstock.rate_limit", room, move |answer| {
            answered(answer.and_then(|b| Ok(read(&b)?)))
        })?;
        now.as_deref().map(read).transpose()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_on_the_wire() {
        let second = Duration::from_secs(1);
        let mut got = b"before".to_vec();
        let bucket = Rate {
            limit: 10,
            window: second,
            burst: 3,
            sliding: false,
        };
        bucket.append(&mut got, false, b"k", 1).unwrap();
        assert_eq!(got, b"before\0\x0a\0\0\0\xe8\x03\0\0\x03\0\0\0\x01\0\0\0k");
        got.clear();
        let window = Rate {
            limit: 1,
            window: Duration::from_millis(1),
            burst: 0,
            sliding: true,
        };
        window.append(&mut got, true, b"key", 258).unwrap();
        assert_eq!(got, b"\x03\x01\0\0\0\x01\0\0\0\0\0\0\0\x02\x01\0\0key");
        let with = |limit, window, burst, sliding| Rate {
            limit,
            window,
            burst,
            sliding,
        };
        for (rate, key) in [
            (with(0, second, 0, false), &b"k"[..]),
            (with(1, Duration::ZERO, 0, false), b"k"),
            (with(1, Duration::from_micros(1500), 0, false), b"k"),
            (with(1, Duration::from_secs(1 << 40), 0, false), b"k"),
            (with(1, second, 1, true), b"k"),
            (with(1, second, 0, false), b""),
            (with(1, second, 0, false), &[b'k'; 1025]),
        ] {
            let mut got = Vec::new();
            assert_eq!(
                rate.append(&mut got, false, key, 1),
                Err(Status::BadArgument)
            );
            assert!(got.is_empty());
        }
    }

    #[test]
    fn answers_are_read() {
        let want = RateAnswer {
            allowed: true,
            remaining: 2,
            reset: Duration::from_secs(1),
            retry: Duration::from_millis(5),
        };
        assert_eq!(read(b"\x01\x02\0\0\0\xe8\x03\0\0\x05\0\0\0"), Ok(want));
        for b in [&b""[..], b"\x01", &[0; 14]] {
            assert_eq!(read(b), Err(Status::ResultMismatch));
        }
    }
}
