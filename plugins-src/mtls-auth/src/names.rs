//! The names by which a certificate is known. Each is a text with its kind before it, as
//! "uri:spiffe://shop.example/cart": what Consumer objects are looked up by, too.

use penstock::Json;

/// So many names a certificate may have: each may cost a lookup.
pub(crate) const MAX_NAMES: usize = 64;

/// The kinds, in the order in which they count, with what the proxy calls them.
const KINDS: [(&str, &str); 5] = [
    ("sha256", "sha256"),
    ("uri", "uris"),
    ("dns", "dns"),
    ("email", "emails"),
    ("commonName", "commonName"),
];

/// Returns the names of a certificate as the proxy describes it, the one that counts first
/// before the others. None: it is no such description, or there are too many of them.
pub(crate) fn of(certificate: &Json) -> Option<Vec<String>> {
    let Json::Object(fields) = certificate else {
        return None;
    };
    let mut names = Vec::new();
    for (kind, field) in KINDS {
        match fields.iter().find(|(name, _)| name == field) {
            None => {}
            Some((_, Json::Text(text))) => names.push(name(kind, text)),
            Some((_, Json::List(list))) => {
                for one in list {
                    let Json::Text(text) = one else { return None };
                    names.push(name(kind, text));
                }
            }
            Some(_) => return None,
        }
    }
    (names.len() <= MAX_NAMES).then_some(names)
}

/// Returns the text for a name of a kind. Only hostnames and digests are written in several
/// ways (RFC 5280, 7.2).
pub(crate) fn name(kind: &str, text: &str) -> String {
    match kind {
        "dns" | "sha256" => format!("{kind}:{}", text.to_ascii_lowercase()),
        _ => format!("{kind}:{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Json {
        penstock::parse_config(text.as_bytes(), Json::Null).unwrap()
    }

    #[test]
    fn the_order_of_names_is_that_of_kinds_then_the_certificates() {
        let certificate = r#"{"commonName":"cart","dns":["B.Example","a.example"],"emails":["A@b.example"],
            "serial":"1f","uris":["spiffe://a/b","urn:x"],"sha256":"AB","ips":["::1"]}"#;
        assert_eq!(
            of(&read(certificate)).unwrap(),
            [
                "sha256:ab",
                "uri:spiffe://a/b",
                "uri:urn:x",
                "dns:b.example",
                "dns:a.example",
                "email:A@b.example",
                "commonName:cart",
            ]
        );
        assert!(of(&read("{}")).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_description_has_no_names() {
        for text in ["[]", r#"{"uris":[1]}"#, r#"{"dns":{}}"#, "7"] {
            assert!(of(&read(text)).is_none(), "{text}");
        }
        let many = |n| format!(r#"{{"dns":["a"{}]}}"#, r#","a""#.repeat(n - 1));
        assert!(of(&read(&many(MAX_NAMES))).is_some());
        assert!(of(&read(&many(MAX_NAMES + 1))).is_none());
    }
}
