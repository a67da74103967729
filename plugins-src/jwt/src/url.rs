//! Addresses of key sets and of issuers' metadata.

/// An address that a call goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: &'static str,
    /// The hostname, with the port if it is not the scheme's own.
    pub(crate) authority: String,
    /// The same with a port in any case.
    pub(crate) upstream: String,
    pub(crate) path: String,
}

/// How long an address may be.
const MAX_URL: usize = 512;

impl Url {
    /// Reads an address. None: it is none of http or https with a DNS name, or it has a user
    /// or a fragment.
    pub(crate) fn parse(text: &str) -> Option<Url> {
        if text.len() > MAX_URL || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let (scheme, own) = match scheme {
            "https" => ("https", 443),
            "http" => ("http", 80),
            _ => return None,
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(i) if rest.as_bytes()[i] == b'/' => rest.split_at(i),
            Some(_) => return None,
            None => (rest, "/"),
        };
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) => (name, number(port)?),
            None => (authority, own),
        };
        if !hostname(name) || path.contains(['#', '\\', '"', '<', '>', '^', '`', '{', '|', '}']) {
            return None;
        }
        Some(Url {
            scheme,
            authority: if port == own {
                name.into()
            } else {
                format!("{name}:{port}")
            },
            upstream: format!("{}:{port}", name.to_ascii_lowercase()),
            path: path.into(),
        })
    }

    /// Returns where an issuer's metadata are (OpenID Connect Discovery 1.0, 4.1); None: the
    /// issuer is no address of this kind.
    pub(crate) fn discovery(issuer: &str) -> Option<Url> {
        if issuer.contains('?') {
            return None;
        }
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        Url::parse(&format!("{base}/.well-known/openid-configuration"))
    }
}

fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

fn hostname(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, scheme, authority, upstream, path) in [
            (
                "https://id.example/keys",
                "https",
                "id.example",
                "id.example:443",
                "/keys",
            ),
            (
                "https://Id.Example:443/keys?v=1",
                "https",
                "Id.Example",
                "id.example:443",
                "/keys?v=1",
            ),
            ("http://keys:8080/", "http", "keys:8080", "keys:8080", "/"),
            ("http://keys", "http", "keys", "keys:80", "/"),
            (
                "http://127.0.0.1:9/k",
                "http",
                "127.0.0.1:9",
                "127.0.0.1:9",
                "/k",
            ),
        ] {
            let want = Url {
                scheme,
                authority: authority.into(),
                upstream: upstream.into(),
                path: path.into(),
            };
            assert_eq!(Url::parse(text), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!("https://a/{}", "a".repeat(MAX_URL));
        for text in [
            "",
            "https://",
            "https:///a",
            "ftp://a/",
            "HTTPS://a/",
            "//a/",
            "a/",
            "https://u@a/",
            "https://u:p@a/",
            "https://a:0/",
            "https://a:/",
            "https://a:65536/",
            "https://a:+1/",
            "https://a/#f",
            "https://a?b",
            "https://a#b",
            "https://[::1]/",
            "https://a b/",
            "https://a/ b",
            "https://a/\n",
            "https://-a/",
            "https://a..b/",
            "https://a\\b/",
            "https://a/\u{e9}",
            &long,
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[test]
    fn metadata_are_found() {
        for (issuer, path) in [
            ("https://id.example", "/.well-known/openid-configuration"),
            ("https://id.example/", "/.well-known/openid-configuration"),
            (
                "https://id.example/realms/a",
                "/realms/a/.well-known/openid-configuration",
            ),
            (
                "https://id.example/realms/a/",
                "/realms/a/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(Url::discovery(issuer).unwrap().path, path, "{issuer}");
        }
        for issuer in [
            "joe",
            "https://a?b",
            "https://a/?b",
            "https://a/#b",
            "urn:a:b",
        ] {
            assert_eq!(Url::discovery(issuer), None, "{issuer}");
        }
    }
}
