//! Keys in a path's query and in cookies.

/// Returns the decoded value of a query parameter in a path; None: it is missing, there
/// twice, or badly encoded.
pub(crate) fn from_query(path: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    for pair in query(path)?.split(|b| *b == b'&') {
        if named(pair, name) {
            if found.is_some() {
                return None;
            }
            found = Some(decode(cut(pair, b'=').1)?);
        }
    }
    found
}

/// Returns a path without the query parameters of a name.
pub(crate) fn without_query(path: &[u8], name: &[u8]) -> Vec<u8> {
    let Some(query) = query(path) else {
        return path.to_vec();
    };
    let mut left = path[..path.len() - query.len() - 1].to_vec();
    let mut mark = b'?';
    for pair in query.split(|b| *b == b'&').filter(|p| !named(p, name)) {
        left.push(mark);
        left.extend_from_slice(pair);
        mark = b'&';
    }
    left
}

fn query(path: &[u8]) -> Option<&[u8]> {
    let mark = path.iter().position(|b| *b == b'?')?;
    Some(&path[mark + 1..])
}

/// Says whether a pair is of that name, however it is encoded.
fn named(pair: &[u8], name: &[u8]) -> bool {
    let key = cut(pair, b'=').0;
    key == name
        || key.iter().any(|b| matches!(b, b'%' | b'+')) && decode(key).is_some_and(|k| k == name)
}

/// Cuts at the first byte of that value.
fn cut(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|b| *b == at) {
        Some(i) => (&text[..i], &text[i + 1..]),
        None => (text, &[]),
    }
}

/// Decodes a name or value of a query; None: it is badly encoded.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((b, after)) = rest.split_first() {
        rest = after;
        decoded.push(match b {
            b'+' => b' ',
            b'%' => {
                let ([high, low], after) = rest.split_first_chunk::<2>()?;
                rest = after;
                hex(*high)? << 4 | hex(*low)?
            }
            other => *other,
        });
    }
    Some(decoded)
}

fn hex(b: u8) -> Option<u8> {
    (b as char).to_digit(16).map(|d| d as u8)
}

/// Returns the value of a cookie in a Cookie field (RFC 6265, 4.2.1); None: it is missing,
/// or there twice.
pub(crate) fn from_cookie<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    for (key, value) in cookies(field).filter_map(|(_, c)| c) {
        if key == name {
            if found.is_some() {
                return None;
            }
            found = Some(value);
        }
    }
    found.map(|mut value: &[u8]| {
        while let [b'"', rest @ ..] | [rest @ .., b'"'] = value {
            value = rest;
        }
        value
    })
}

/// Returns a Cookie field without the cookies of a name; None: nothing is left of it.
pub(crate) fn without_cookie(field: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut left = Vec::new();
    for (pair, cookie) in cookies(field) {
        if pair.is_empty() || cookie.is_some_and(|(key, _)| key == name) {
            continue;
        }
        if !left.is_empty() {
            left.extend_from_slice(b"; ");
        }
        left.extend_from_slice(pair);
    }
    (!left.is_empty()).then_some(left)
}

/// A name and a value.
type Cookie<'a> = (&'a [u8], &'a [u8]);

/// Returns the parts of a Cookie field, each with the cookie that it is, if it is one.
fn cookies(field: &[u8]) -> impl Iterator<Item = (&[u8], Option<Cookie<'_>>)> {
    field.split(|b| *b == b';').map(|part| {
        let part = part.trim_ascii();
        (part, part.contains(&b'=').then(|| cut(part, b'=')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found() {
        for (path, want) in [
            ("/a?x=1&key=a%2Bb", Some("a+b")),
            ("/a?key=a+b", Some("a b")),
            ("/a?key", Some("")),
            ("/a?k%65y=1", Some("1")),
            ("/a?key=a=b", Some("a=b")),
            ("/a?%zz=1&key=2", Some("2")),
            ("/a", None),
            ("/a?", None),
            ("/a?key=1&key=2", None),
            ("/a?key=1&k%65y=2", None),
            ("/a?key=%zz", None),
            ("/a?key=%a", None),
            ("/a?monkey=1", None),
            ("/a?KEY=1", None),
        ] {
            let got = from_query(path.as_bytes(), b"key");
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{path}");
        }
    }

    #[test]
    fn parameters_are_taken_out() {
        for (path, want) in [
            ("/a?key=1", "/a"),
            ("/a?x=1&key=2&y=%20", "/a?x=1&y=%20"),
            ("/a?k%65y=1&key=2&x", "/a?x"),
            ("/a?x=1", "/a?x=1"),
            ("/a", "/a"),
            ("/a?&key=1&", "/a?&"),
        ] {
            let got = without_query(path.as_bytes(), b"key");
            assert_eq!(got, want.as_bytes(), "{path}");
            assert_eq!(from_query(&got, b"key"), None);
        }
    }

    #[test]
    fn cookies_are_found_and_taken_out() {
        for (field, want, left) in [
            ("x=1; key=abc; y", Some("abc"), Some("x=1; y")),
            (r#"key="abc""#, Some("abc"), None),
            ("key=a=b", Some("a=b"), None),
            ("key=", Some(""), None),
            ("a=1;key=b;c=2", Some("b"), Some("a=1; c=2")),
            ("key=1; key=2; z=3", None, Some("z=3")),
            ("monkey=1", None, Some("monkey=1")),
            ("key", None, Some("key")),
            ("", None, None),
            ("; ;", None, None),
        ] {
            let got = from_cookie(field.as_bytes(), b"key");
            assert_eq!(got, want.map(str::as_bytes), "{field}");
            let got = without_cookie(field.as_bytes(), b"key");
            assert_eq!(got.as_deref(), left.map(str::as_bytes), "{field}");
        }
    }

    /// Whatever bytes come: nothing of a name is left once it was taken out.
    #[test]
    fn nothing_is_left() {
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let text: Vec<u8> = (0..24)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b"kk%6Bk=;&? \"+a\xff"[(seed >> 24) as usize % 15]
                })
                .collect();
            assert_eq!(from_query(&without_query(&text, b"k"), b"k"), None);
            if let Some(left) = without_cookie(&text, b"k") {
                assert_eq!(from_cookie(&left, b"k"), None);
            }
        }
    }
}
