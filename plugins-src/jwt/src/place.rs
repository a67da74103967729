//! Where tokens are in a request.

use std::borrow::Cow;

use penstock::{REQUEST_HEADER, Status};

use crate::extract;

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A header field, with a scheme before the token unless that is empty.
    Header {
        name: String,
        scheme: String,
    },
    Query(String),
    Cookie(String),
}

/// What a place holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen<'a> {
    /// No token.
    Nothing,
    /// Something where a token would be, which is none, or more than one.
    Bad,
    Token(Cow<'a, [u8]>),
}

impl Place {
    /// Returns the field that the place is in.
    pub(crate) fn field(&self) -> &str {
        match self {
            Place::Header { name, .. } => name,
            Place::Query(_) => ":path",
            Place::Cookie(_) => "cookie",
        }
    }

    /// Looks for the token in the field's value.
    pub(crate) fn look<'a>(&self, field: &'a [u8]) -> Seen<'a> {
        match self {
            Place::Header { scheme, .. } => header(field, scheme.as_bytes()),
            Place::Query(name) => match extract::from_query(field, name.as_bytes()) {
                Some(token) => Seen::Token(Cow::Owned(token)),
                None if extract::without_query(field, name.as_bytes()) == field => Seen::Nothing,
                None => Seen::Bad,
            },
            Place::Cookie(name) => match extract::from_cookie(field, name.as_bytes()) {
                Some(token) => Seen::Token(Cow::Borrowed(token)),
                None if has_cookie(field, name.as_bytes()) => Seen::Bad,
                None => Seen::Nothing,
            },
        }
    }

    /// Takes the token out of the field that has this value.
    pub(crate) fn remove(&self, field: &[u8]) -> Result<(), Status> {
        let left = match self {
            Place::Header { .. } => None,
            Place::Query(name) => Some(extract::without_query(field, name.as_bytes())),
            Place::Cookie(name) => extract::without_cookie(field, name.as_bytes()),
        };
        match left {
            Some(left) => REQUEST_HEADER.set(self.field(), left),
            None => REQUEST_HEADER.del(self.field()),
        }
    }

    /// Makes the value that was looked at the only one of its field: who comes later must not
    /// take another one for it.
    pub(crate) fn pin(&self, field: &[u8]) -> Result<(), Status> {
        match self {
            Place::Query(_) => Ok(()),
            _ => REQUEST_HEADER.set(self.field(), field),
        }
    }

    /// Says whether the place may be in several fields of one request, of which the first alone
    /// is looked at. Cookies may be: in HTTP/1.1 nobody joins them.
    pub(crate) fn split(&self) -> bool {
        let Place::Cookie(_) = self else {
            return false;
        };
        let count = |p: penstock::Pairs| {
            p.iter()
                .filter(|f| f.0.eq_ignore_ascii_case(b"cookie"))
                .count()
        };
        REQUEST_HEADER.all().is_none_or(|p| count(p) > 1)
    }
}

fn header<'a>(field: &'a [u8], scheme: &[u8]) -> Seen<'a> {
    if scheme.is_empty() {
        return Seen::Token(Cow::Borrowed(field));
    }
    match field.split_at_checked(scheme.len()) {
        Some((s, rest)) if s.eq_ignore_ascii_case(scheme) => match rest {
            [b' ', ..] => Seen::Token(Cow::Borrowed(rest.trim_ascii_start())),
            [] => Seen::Bad,
            _ => Seen::Nothing,
        },
        _ => Seen::Nothing,
    }
}

fn has_cookie(field: &[u8], name: &[u8]) -> bool {
    field.split(|b| *b == b';').any(|part| {
        let part = part.trim_ascii();
        part.strip_prefix(name)
            .is_some_and(|rest| rest.first() == Some(&b'='))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(place: &Place, field: &str) -> String {
        match place.look(field.as_bytes()) {
            Seen::Nothing => "nothing".into(),
            Seen::Bad => "bad".into(),
            Seen::Token(t) => String::from_utf8_lossy(&t).into_owned(),
        }
    }

    #[test]
    fn tokens_are_found() {
        let header = |scheme: &str| Place::Header {
            name: "Authorization".into(),
            scheme: scheme.into(),
        };
        for (place, field, want) in [
            (header("Bearer"), "Bearer abc", "abc"),
            (header("Bearer"), "bearer  abc", "abc"),
            (header("Bearer"), "BEARER a b", "a b"),
            (header("Bearer"), "Bearer", "bad"),
            (header("Bearer"), "Bearer ", ""),
            (header("Bearer"), "Bearerabc", "nothing"),
            (header("Bearer"), "Bearer\tabc", "nothing"),
            (header("Bearer"), "Basic abc", "nothing"),
            (header("Bearer"), "", "nothing"),
            (header("Bearer"), "Be", "nothing"),
            (header(""), "abc", "abc"),
            (header(""), "", ""),
            (Place::Query("t".into()), "/a?t=abc", "abc"),
            (Place::Query("t".into()), "/a?t=abc&t=abc", "bad"),
            (Place::Query("t".into()), "/a?%74=%zz", "bad"),
            (Place::Query("t".into()), "/a?x=%zz", "nothing"),
            (Place::Cookie("t".into()), "x=1; t=abc", "abc"),
            (Place::Cookie("t".into()), "t=abc; t=def", "bad"),
            (Place::Cookie("t".into()), "tt=abc; t", "nothing"),
        ] {
            assert_eq!(seen(&place, field), want, "{place:?} {field}");
        }
    }
}
