//! What a provider's redirect brings along (RFC 6749, 4.1.2; RFC 9207).

/// How long a query may be.
const MAX_QUERY: usize = 8 << 10;
/// How many parameters it may have.
const MAX_PARAMETERS: usize = 32;

/// The parameters of a callback that count. Each is there once at most (RFC 6749, 3.1).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Callback {
    pub(crate) state: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) issuer: Option<String>,
}

/// Reads a query. None: it is too long, is no UTF-8 when decoded, or has a parameter that
/// counts twice.
pub(crate) fn read(query: &[u8]) -> Option<Callback> {
    if query.len() > MAX_QUERY {
        return None;
    }
    let mut all = Callback::default();
    for (i, part) in query.split(|b| *b == b'&').enumerate() {
        if i == MAX_PARAMETERS {
            return None;
        }
        let at = part.iter().position(|b| *b == b'=');
        let (name, value) = match at {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, &b""[..]),
        };
        let place = match decode(name)?.as_str() {
            "state" => &mut all.state,
            "code" => &mut all.code,
            "error" => &mut all.error,
            "iss" => &mut all.issuer,
            _ => continue,
        };
        if place.replace(decode(value)?).is_some() {
            return None;
        }
    }
    Some(all)
}

/// Decodes a part of a form (application/x-www-form-urlencoded).
fn decode(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(b) = rest.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            b => *b,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::form;

    #[test]
    fn callbacks_are_read() {
        let got = read(b"code=a%2Fb+c&state=s&session_state=x&iss=https%3a%2F%2Fid").unwrap();
        assert_eq!(got.code.as_deref(), Some("a/b c"));
        assert_eq!(got.state.as_deref(), Some("s"));
        assert_eq!(got.issuer.as_deref(), Some("https://id"));
        assert_eq!(got.error, None);
        assert_eq!(read(b"").unwrap(), Callback::default());
        assert_eq!(read(b"code").unwrap().code.as_deref(), Some(""));
        for wrong in [
            "code=1&code=2",
            "state=1&st%61te=1",
            "code=%",
            "code=%4",
            "code=%zz",
            "code=%ff",
            "%=1",
        ] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(read("a&".repeat(MAX_PARAMETERS).as_bytes()), None);
        assert_eq!(read("a".repeat(MAX_QUERY + 1).as_bytes()), None);
    }

    /// Whatever comes: reading it ends, without a panic; and what was written by form, the
    /// other way round, comes back.
    #[test]
    fn any_bytes_are_read() {
        let seed = b"code=a%2Fb&state=c%26&error=x&iss=%C3%A9";
        for at in 0..seed.len() {
            for byte in 0..=255 {
                let mut text = seed.to_vec();
                text[at] = byte;
                let Some(got) = read(&text) else { continue };
                let again = form(&[
                    ("code", got.code.as_deref().unwrap_or("")),
                    ("state", got.state.as_deref().unwrap_or("")),
                ]);
                let back = read(again.as_bytes()).unwrap();
                assert_eq!(back.code.unwrap(), got.code.unwrap_or_default());
                assert_eq!(back.state.unwrap(), got.state.unwrap_or_default());
            }
        }
    }
}
