//! Texts for other parties: base64, percent-encoding, HTML.

const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Returns base64url without padding (RFC 7515, 2).
pub(crate) fn base64url(bytes: &[u8]) -> String {
    encode(bytes, URL)
}

/// Returns base64 with padding, as the scheme Basic has it (RFC 7617, 2).
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = encode(bytes, STANDARD);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for c in bytes.chunks(3) {
        let n = c.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - c.len()));
        for i in 0..=c.len() {
            text.push(char::from(alphabet[(n >> (18 - 6 * i) & 63) as usize]));
        }
    }
    text
}

/// Returns a text as a part of a query or of a form: all but unreserved characters (RFC
/// 3986, 2.3) are encoded.
pub(crate) fn percent(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(b >> 4)]));
            out.push(char::from(HEX[usize::from(b & 15)]));
        }
    }
    out
}

/// Returns names and values as a form or the query of an address.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let all: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", percent(name), percent(value)))
        .collect();
    all.join("&")
}

/// Returns a text as the value of an HTML attribute in double quotes.
pub(crate) fn attribute(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_written() {
        for (bytes, plain, padded) in [
            (&b""[..], "", ""),
            (b"f", "Zg", "Zg=="),
            (b"fo", "Zm8", "Zm8="),
            (b"foo", "Zm9v", "Zm9v"),
            (&[3, 236, 255, 224, 193], "A-z_4ME", "A+z/4ME="),
        ] {
            assert_eq!(
                (base64url(bytes).as_str(), base64(bytes).as_str()),
                (plain, padded)
            );
        }
    }

    /// What is written is read again by the strict reader.
    #[test]
    fn base64_comes_back() {
        for n in 0..200u8 {
            let bytes: Vec<u8> = (0..n).map(|i| i.wrapping_mul(37) ^ n).collect();
            let text = base64url(&bytes);
            assert_eq!(crate::base64::decode(text.as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn texts_are_encoded() {
        assert_eq!(
            percent("aZ0-._~ /?&=+%\u{e9}\r\n"),
            "aZ0-._~%20%2F%3F%26%3D%2B%25%C3%A9%0D%0A"
        );
        assert_eq!(form(&[("a", "1 2"), ("b&", "=")]), "a=1%202&b%26=%3D");
        assert_eq!(
            attribute("/a?b=\"><script>'&"),
            "/a?b=&quot;&gt;&lt;script&gt;&#39;&amp;"
        );
    }
}
