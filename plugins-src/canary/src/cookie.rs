//! Cookies of a Cookie field (RFC 6265, 4.2.1). The plugin transform has this file too.

/// Returns the value of the first cookie of a name.
pub fn cookie<'a>(field: &'a [u8], name: &str) -> Option<&'a [u8]> {
    field.split(|b| *b == b';').find_map(|part| {
        let part = part.trim_ascii();
        let at = part.iter().position(|b| *b == b'=')?;
        (&part[..at] == name.as_bytes()).then(|| &part[at + 1..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_is_found() {
        for (field, name, want) in [
            ("a=b; c=d=e;c=f", "c", Some("d=e")),
            ("a; cc=1", "c", None),
            ("=1; c=", "c", Some("")),
            ("", "c", None),
        ] {
            let got = cookie(field.as_bytes(), name);
            assert_eq!(got, want.map(str::as_bytes), "{field}");
        }
    }
}
