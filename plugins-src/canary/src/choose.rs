//! Who is sent where.

use crate::config::Rules;
use crate::cookie::cookie;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub canary: bool,
    /// The client is to be told, so that it stays.
    pub told: bool,
}

/// Decides by what a request shows: the header field of the rules, its Cookie fields joined,
/// and draw, of 0 to 99, for one that nothing has decided.
pub fn choose(
    rules: &Rules,
    header: Option<&[u8]>,
    cookies: &[u8],
    draw: impl FnOnce() -> u32,
) -> Choice {
    let settled = |canary| Choice {
        canary,
        told: false,
    };
    if let Some(canary) = header.and_then(|v| said(v, b"always", b"never")) {
        return settled(canary);
    }
    if let Some(name) = &rules.cookie
        && let Some(canary) = cookie(cookies, name).and_then(|v| said(v, b"always", b"never"))
    {
        return settled(canary);
    }
    if let Some(sticky) = &rules.sticky
        && let Some(canary) =
            cookie(cookies, &sticky.cookie).and_then(|v| said(v, b"canary", b"stable"))
    {
        return settled(canary && rules.share > 0);
    }
    Choice {
        canary: rules.share > 0 && draw() < rules.share,
        told: rules.sticky.is_some() && rules.share > 0,
    }
}

fn said(value: &[u8], yes: &[u8], no: &[u8]) -> Option<bool> {
    let value = value.trim_ascii();
    match value {
        v if v == yes => Some(true),
        v if v == no => Some(false),
        _ => None,
    }
}

/// Numbers that nobody has to be unable to guess (xorshift64*).
pub struct Draws(u64);

impl Draws {
    /// Begins at a place that is made of seed, which is another one in each instance: proxies
    /// that start together are not to send the same of their requests to the canary.
    pub fn new(seed: u64) -> Draws {
        Draws(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number of 0 to 99.
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high * 100 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn the_first_that_says_something_decides() {
        let all =
            parse(br#"{"header":"h","cookie":"c","share":50,"sticky":{"cookie":"s"}}"#).unwrap();
        let off = parse(br#"{"share":0,"sticky":{"cookie":"s"}}"#).unwrap();
        let free = parse(br#"{"share":50}"#).unwrap();
        let choice = |canary, told| Choice { canary, told };
        for (rules, header, cookies, draw, want) in [
            (
                &all,
                Some("always"),
                "c=never; s=stable",
                99,
                choice(true, false),
            ),
            (&all, Some("never"), "c=always", 0, choice(false, false)),
            (&all, Some(" always "), "", 99, choice(true, false)),
            (&all, Some("Always"), "", 99, choice(false, true)),
            (
                &all,
                Some("maybe"),
                "a=b;c=always;s=stable",
                99,
                choice(true, false),
            ),
            (&all, None, "c=never; s=canary", 0, choice(false, false)),
            (&all, None, "c=other; s=canary", 99, choice(true, false)),
            (&all, None, "s=stable", 0, choice(false, false)),
            (&all, None, "s=forged", 49, choice(true, true)),
            (
                &all,
                None,
                "ss=canary; =; s; xs=canary",
                50,
                choice(false, true),
            ),
            (&off, None, "s=canary", 0, choice(false, false)),
            (&off, None, "", 0, choice(false, false)),
            (&free, None, "s=stable", 49, choice(true, false)),
            (&free, None, "", 50, choice(false, false)),
        ] {
            let got = choose(rules, header.map(str::as_bytes), cookies.as_bytes(), || {
                draw
            });
            assert_eq!(got, want, "{header:?} {cookies} {draw}");
        }
    }

    #[test]
    fn draws_are_even() {
        for seed in [1, 2, 3, u64::MAX, Draws::new(7).0] {
            let mut draws = Draws(seed);
            let mut counts = [0u32; 100];
            for _ in 0..1_000_000 {
                counts[draws.next() as usize] += 1;
            }
            // 10,000 each; six deviations of 100.
            assert!(
                counts.iter().all(|n| (9_400..10_600).contains(n)),
                "{seed}: {counts:?}"
            );
        }
    }

    #[test]
    fn instances_begin_apart() {
        assert_ne!(Draws::new(8).0, Draws::new(10).0);
    }
}
