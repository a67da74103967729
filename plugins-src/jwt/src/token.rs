//! Tokens in their compact form (RFC 7515, 3.1).

use penstock::{self as sdk, Json};

use crate::base64;
use crate::jwk::Algorithm;

/// How long a token may be, in bytes.
pub(crate) const MAX_TOKEN: usize = 16 << 10;
/// How long its header may be: it is read before anything is known of who sends it.
const MAX_HEADER: usize = 4 << 10;

/// A token whose signature is still to be verified.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    pub(crate) signature: Vec<u8>,
    /// What is signed.
    pub(crate) message: &'a [u8],
    payload: &'a [u8],
}

impl Token<'_> {
    /// Returns what the token says; None: it is no base64url.
    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        base64::decode(self.payload)
    }
}

/// Reads a token's form and its header. Of that only alg, kid and typ count: a key that a
/// token brings along, or says where it lies, is never looked at.
pub(crate) fn read(text: &[u8]) -> Result<Token<'_>, &'static str> {
    const MALFORMED: &str = "the token is malformed";
    if text.len() > MAX_TOKEN {
        return Err("the token is too long");
    }
    let mut dots = text
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'.')
        .map(|(i, _)| i);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(MALFORMED);
    };
    let header = &text[..first];
    if header.len() > MAX_HEADER {
        return Err("the token's header is too long");
    }
    let header = base64::decode(header)
        .and_then(|b| object(&b))
        .ok_or(MALFORMED)?;
    let member = |name: &str| header.iter().find(|f| f.0 == name).map(|f| &f.1);
    let text_of = |name: &str| match member(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(MALFORMED),
    };
    if member("crit").is_some() {
        return Err("the token has critical extensions, which are not understood");
    }
    let algorithm = text_of("alg")?.ok_or(MALFORMED)?;
    let algorithm = Algorithm::parse(algorithm).ok_or("the token's algorithm is not permitted")?;
    Ok(Token {
        algorithm,
        kid: text_of("kid")?.map(String::from),
        typ: text_of("typ")?.map(String::from),
        signature: base64::decode(&text[second + 1..])
            .filter(|s| !s.is_empty())
            .ok_or(MALFORMED)?,
        message: &text[..second],
        payload: &text[first + 1..second],
    })
}

/// Reads a JSON object strictly: each member once. None: it is none.
pub(crate) fn object(text: &[u8]) -> Option<Vec<(String, Json)>> {
    match sdk::parse_config(text, Json::Null) {
        Ok(Json::Object(fields)) => Some(fields),
        _ => None,
    }
}

/// Says whether two types of tokens are one: in upper and lower case alike, with "application/"
/// before them or not (RFC 7515, 4.1.9).
pub(crate) fn same_type(a: &str, b: &str) -> bool {
    fn short(t: &str) -> &str {
        const PREFIX: &str = "application/";
        match t.get(..PREFIX.len()) {
            Some(p) if p.eq_ignore_ascii_case(PREFIX) => &t[PREFIX.len()..],
            _ => t,
        }
    }
    short(a).eq_ignore_ascii_case(short(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token of a header's text.
    fn of(header: &str) -> Vec<u8> {
        format!("{}.e30.AQ", crate::tests::encode(header.as_bytes())).into_bytes()
    }

    #[test]
    fn tokens_are_read() {
        let text = of(
            r#"{"alg":"RS256","kid":"k","typ":"JWT","jwk":{"kty":"oct"},"jku":"http://evil","x5c":[]}"#,
        );
        let t = read(&text).unwrap();
        assert_eq!(
            (t.algorithm.name(), t.kid.as_deref(), t.typ.as_deref()),
            ("RS256", Some("k"), Some("JWT"))
        );
        assert_eq!(
            (t.payload().unwrap(), &t.signature[..]),
            (b"{}".to_vec(), &[1][..])
        );
        assert_eq!(t.message, &text[..text.len() - 3]);
    }

    #[test]
    fn what_is_none_is_refused() {
        for header in [
            "{}",
            "[]",
            "null",
            "",
            "{\"alg\":1}",
            r#"{"alg":null}"#,
            r#"{"alg":"none"}"#,
            r#"{"alg":"NONE"}"#,
            r#"{"alg":"rs256"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"RS256","alg":"HS256"}"#,
            r#"{"alg":"RS256","\u0061lg":"none"}"#,
            r#"{"alg":"RS256","crit":[]}"#,
            r#"{"alg":"RS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"RS256","crit":null}"#,
            r#"{"alg":"RS256","kid":1}"#,
            r#"{"alg":"RS256","typ":{}}"#,
            r#"{"alg":"RS256"}x"#,
            r#"{"alg":"RS256","#,
            r#"{"alg":"A128GCM"}"#,
        ] {
            assert!(read(&of(header)).is_err(), "{header}");
        }
        let right = String::from_utf8(of(r#"{"alg":"RS256"}"#)).unwrap();
        let header = right.split('.').next().unwrap();
        for text in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            header,
            &format!("{header}.e30"),
            &format!("{header}.e30."),
            &format!("{right}."),
            &format!("{right}.a.b"),
            &format!("{right}="),
            &format!(" {right}"),
            &format!("{right} "),
            &format!("{header}=.e30.AQ"),
            &format!("{header}.e30.AR"),
            ".e30.AQ",
            &format!("{right}\0"),
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        let long = format!("{header}.{}.AQ", "e".repeat(MAX_TOKEN));
        assert_eq!(read(long.as_bytes()).unwrap_err(), "the token is too long");
        let long = of(&format!(
            r#"{{"alg":"RS256","x":"{}"}}"#,
            "x".repeat(MAX_HEADER)
        ));
        assert_eq!(read(&long).unwrap_err(), "the token's header is too long");
        assert!(read(right.as_bytes()).is_ok());
    }

    /// Whatever is sent: reading it ends, without a panic.
    #[test]
    fn any_bytes_are_read() {
        let right = of(r#"{"alg":"ES256","kid":"\u00e9"}"#);
        for at in 0..right.len() {
            for byte in 0..=255 {
                let mut text = right.clone();
                text[at] = byte;
                let _ = read(&text).map(|t| t.payload());
            }
            assert!(read(&right[..at]).is_err());
        }
    }

    #[test]
    fn types_compare() {
        assert!(
            same_type("JWT", "jwt")
                && same_type("application/at+jwt", "AT+JWT")
                && same_type("Application/x", "x")
        );
        assert!(
            !same_type("JWT", "at+jwt")
                && !same_type("applicationx", "x")
                && !same_type("\u{e9}", "e")
        );
    }
}
