//! Values of fields.

/// Says whether a list names something, whatever the case and what stands after = or ;.
pub fn lists(field: &[u8], name: &[u8]) -> bool {
    field.split(|b| *b == b',').any(|part| {
        let end = part.iter().position(|b| matches!(b, b'=' | b';'));
        part[..end.unwrap_or(part.len())]
            .trim_ascii()
            .eq_ignore_ascii_case(name)
    })
}

/// Reads a number of bytes; None: it is none.
pub fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Says whether If-None-Match has the weak form of a strong tag, and not the tag itself.
pub fn weakened(known: &[u8], tag: &[u8]) -> bool {
    if !tag.starts_with(b"\"") {
        return false;
    }
    let mut weak = false;
    let mut rest = known;
    loop {
        rest = rest.trim_ascii_start();
        let (is_weak, at) = match rest.strip_prefix(b"W/") {
            Some(at) => (true, at),
            None => (false, rest),
        };
        let ends = |after: &[u8]| matches!(after.trim_ascii_start().first(), None | Some(b','));
        if at.strip_prefix(tag).is_some_and(ends) {
            if !is_weak {
                return false;
            }
            weak = true;
        }
        // A tag may have commas in it: the next one begins behind the quote.
        let Some(open) = at.strip_prefix(b"\"") else {
            return weak;
        };
        let Some(close) = open.iter().position(|b| *b == b'"') else {
            return weak;
        };
        match open[close + 1..].trim_ascii_start().strip_prefix(b",") {
            Some(next) => rest = next,
            None => return weak,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        for (field, want) in [
            ("no-transform", true),
            ("max-age=1, No-Transform", true),
            ("no-transform=1", true),
            ("no-transforms", false),
            ("x=no-transform", false),
            ("", false),
        ] {
            assert_eq!(lists(field.as_bytes(), b"no-transform"), want, "{field}");
        }
        assert!(lists(b"Accept, accept-ENCODING", b"accept-encoding"));
        assert_eq!(number(b"12"), Some(12));
        assert_eq!(number(b"1x"), None);
        assert_eq!(number(b"\xff"), None);
    }

    #[test]
    fn weak_tags_are_found() {
        for (known, want) in [
            (r#"W/"a""#, true),
            (r#""b", W/"a""#, true),
            (r#"W/"a", "b""#, true),
            (r#"W/"x,y" , W/"a""#, true),
            (r#"W/"a", "a""#, false),
            (r#""a""#, false),
            ("*", false),
            ("", false),
            (r#"W/"ab""#, false),
            (r#"W/"b,W/"a""#, false),
            (r#"W/"#, false),
            (r#"W/"a"#, false),
        ] {
            assert_eq!(weakened(known.as_bytes(), br#""a""#), want, "{known}");
        }
        assert!(!weakened(br#"W/"a""#, br#"W/"a""#));
    }
}
