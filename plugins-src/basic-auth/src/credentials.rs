//! What a request says of who sends it (RFC 7617).

use crate::config::named;

/// More is no password of a person's, and only takes time to look at.
const MAX_FIELD: usize = 4096;

/// Reads an Authorization field of the scheme Basic: a username and a password.
pub fn read(field: &[u8]) -> Option<(String, Vec<u8>)> {
    if field.len() > MAX_FIELD {
        return None;
    }
    let (scheme, token) = field.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = base64(token.trim_ascii())?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    let (name, password) = (&decoded[..colon], &decoded[colon + 1..]);
    let name = std::str::from_utf8(name).ok()?;
    if name.is_empty() || !name.chars().all(named) || password.iter().any(u8::is_ascii_control) {
        return None;
    }
    Some((name.to_string(), password.to_vec()))
}

/// Decodes base64 (RFC 4648, 4), strictly.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let groups = text.len() / 4;
    for (i, group) in text.chunks_exact(4).enumerate() {
        let padding = group.iter().rev().take_while(|b| **b == b'=').count();
        if padding > 2 || padding > 0 && i + 1 != groups {
            return None;
        }
        let mut n = 0u32;
        for b in &group[..4 - padding] {
            n = n << 6 | u32::from(digit(*b)?);
        }
        n <<= 6 * padding as u32;
        if n & ((1 << (8 * padding)) - 1) != 0 {
            return None; // bits that stand for nothing
        }
        out.extend_from_slice(&n.to_be_bytes()[1..4 - padding]);
    }
    Some(out)
}

fn digit(b: u8) -> Option<u8> {
    match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Compares two texts; what it takes does not tell where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let mut differ = a.len() ^ b.len();
    for i in 0..a.len() {
        let other = b.get(i).copied().unwrap_or(0);
        differ |= usize::from(std::hint::black_box(a[i] ^ other));
    }
    differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        // The example of RFC 7617, 2.
        let (name, password) = read(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap();
        assert_eq!(
            (name.as_str(), &password[..]),
            ("Aladdin", &b"open sesame"[..])
        );
        // And of 2.1, in UTF-8.
        let (name, password) = read(b"bAsIc dGVzdDoxMjPCow==").unwrap();
        assert_eq!(
            (name.as_str(), password),
            ("test", "123\u{a3}".as_bytes().to_vec())
        );
        assert_eq!(read(b"Basic YTpiOmM=").unwrap().1, b"b:c");
        assert_eq!(read(b"Basic YTo=").unwrap().1, b"");
        for bad in [
            &b""[..],
            b"Basic",
            b"Basic ",
            b"Bearer YTpi",
            b"Basic YTpi=",
            b"Basic YTpiYg=",
            b"Basic YTpiYh==", // bits that stand for nothing
            b"Basic YTpi====",
            b"Basic YT==pi==",
            b"Basic YTpi YTpi",
            b"Basic YWJj",     // no colon
            b"Basic OmFi",     // no name
            b"Basic YQo6YWI=", // a line feed
            b"Basic YTphCg==", // in the password
            b"Basic /zphYg==", // no UTF-8
        ] {
            assert!(read(bad).is_none(), "{}", bad.escape_ascii());
        }
        let long = [b"Basic ".to_vec(), b"YTpi".repeat(2000)].concat();
        assert!(read(&long).is_none());
    }

    #[test]
    fn texts_are_compared() {
        for (a, b, want) in [
            ("", "", true),
            ("a", "a", true),
            ("a", "b", false),
            ("a", "ab", false),
            ("ab", "a", false),
            ("a\0", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(same(a.as_bytes(), b.as_bytes()), want, "{a} {b}");
        }
    }
}
