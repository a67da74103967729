//! base64url without padding (RFC 7515, 2).

/// Decodes a text strictly: no padding, no space, no bits that stand for nothing. So no two
/// texts are the same bytes. None: it is none.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut chunks = text.chunks_exact(4);
    for c in &mut chunks {
        let v = |i: usize| u32::from(VALUES[usize::from(c[i])]);
        let (a, b, c, d) = (v(0), v(1), v(2), v(3));
        if (a | b | c | d) & u32::from(NONE) != 0 {
            return None;
        }
        bytes.extend_from_slice(&(a << 18 | b << 12 | c << 6 | d).to_be_bytes()[1..]);
    }
    match *chunks.remainder() {
        [] => {}
        [a, b] => {
            let n = value(a)? << 6 | value(b)?;
            if n & 0xf != 0 {
                return None;
            }
            bytes.push((n >> 4) as u8);
        }
        [a, b, c] => {
            let n = value(a)? << 12 | value(b)? << 6 | value(c)?;
            if n & 3 != 0 {
                return None;
            }
            bytes.extend_from_slice(&[(n >> 10) as u8, (n >> 2) as u8]);
        }
        _ => return None,
    }
    Some(bytes)
}

/// Says whether a text decodes, without doing it.
pub(crate) fn decodes(text: &str) -> bool {
    decode(text.as_bytes()).is_some()
}

/// What each byte stands for; NONE: nothing.
const VALUES: [u8; 256] = {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut values = [NONE; 256];
    let mut i = 0;
    while i < 64 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};
const NONE: u8 = 0x80;

fn value(c: u8) -> Option<u32> {
    let v = VALUES[usize::from(c)];
    (v != NONE).then_some(u32::from(v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded() {
        for (text, want) in [
            ("", &b""[..]),
            ("Zg", b"f"),
            ("Zm8", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg", b"foob"),
            ("A-z_4ME", &[3, 236, 255, 224, 193]), // RFC 7515, appendix C
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "Z",
            "Zm9vY",
            "Zg==",
            "Zm8=",
            "Zh",
            "Zm9",
            "Zm9v\n",
            "Zm 9v",
            "Zm+v",
            "Zm/v",
            "Zm9\u{e9}",
            "====",
            "Zm.v",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    /// What a text decodes to is encoded as that text alone.
    #[test]
    fn each_text_has_its_own_bytes() {
        let alphabet: Vec<u8> = (0..=255).filter(|c| value(*c).is_some()).collect();
        assert_eq!(alphabet.len(), 64);
        let mut seen = std::collections::HashSet::new();
        for a in &alphabet {
            for b in &alphabet {
                if let Some(bytes) = decode(&[*a, *b]) {
                    assert!(bytes.len() == 1 && seen.insert(bytes));
                }
            }
        }
        assert_eq!(seen.len(), 256);
    }
}
