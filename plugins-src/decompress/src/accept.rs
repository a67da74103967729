//! Accept-Encoding (RFC 9110, 12.5.3).

/// Says whether a client takes a content with these codings, as Content-Encoding lists them. A
/// client that does not say what it takes gets it as it is.
pub fn takes(accept: Option<&[u8]>, codings: &[u8]) -> bool {
    let Some(accept) = accept else { return true };
    codings
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|c| !c.is_empty() && !c.eq_ignore_ascii_case(b"identity"))
        .all(|c| one(accept, c))
}

fn one(accept: &[u8], coding: &[u8]) -> bool {
    let mut other = false;
    for part in accept.split(|b| *b == b',') {
        let mut pieces = part.splitn(2, |b| *b == b';');
        let name = pieces.next().unwrap_or_default().trim_ascii();
        let wanted = pieces.next().is_none_or(|weight| !zero(weight));
        if same(name, coding) {
            return wanted;
        }
        if name == b"*" {
            other = wanted;
        }
    }
    other
}

fn same(name: &[u8], coding: &[u8]) -> bool {
    let plain = |n: &[u8]| n.eq_ignore_ascii_case(b"gzip") || n.eq_ignore_ascii_case(b"x-gzip");
    name.eq_ignore_ascii_case(coding) || plain(name) && plain(coding)
}

/// Says whether a weight is 0, or none that can be read: then the coding is not relied on.
fn zero(weight: &[u8]) -> bool {
    match weight.trim_ascii() {
        [b'q' | b'Q', b'=', value @ ..] => {
            !value.iter().all(|b| b.is_ascii_digit() || *b == b'.')
                || !value.iter().any(|b| (b'1'..=b'9').contains(b))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_take() {
        assert!(takes(None, b"br"));
        for (accept, codings, want) in [
            ("", "gzip", false),
            ("", "identity", true),
            ("gzip", "gzip", true),
            ("x-GZIP", "gzip", true),
            ("gzip", "x-gzip", true),
            ("gzip, br", "gzip, br", true),
            ("gzip", "gzip, br", false),
            ("gzip;q=0", "gzip", false),
            ("gzip;q=0.000", "gzip", false),
            ("gzip;q=0.001", "gzip", true),
            ("gzip;q=x", "gzip", false),
            ("gzip;x", "gzip", false),
            ("*", "br", true),
            ("*;q=0", "br", false),
            ("br;q=0, *", "br", false),
            ("*, br;q=0", "br", false),
            ("identity", "br", false),
            ("\u{ff}", "br", false),
        ] {
            assert_eq!(
                takes(Some(accept.as_bytes()), codings.as_bytes()),
                want,
                "{accept:?} {codings}"
            );
        }
    }
}
