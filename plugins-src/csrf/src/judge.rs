//! Whether a request may be one that its site's own pages have made.

use std::hint::black_box;

use crate::config::Rules;

/// What a request says of where it comes from.
pub struct Request<'a> {
    pub method: &'a [u8],
    pub upgrade: bool,
    pub authority: &'a [u8],
    pub site: Option<&'a [u8]>, // Sec-Fetch-Site
    pub origin: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
}

/// Says whether a request changes nothing by its method (RFC 9110, 9.2.1). One that asks for
/// another protocol does: what a WebSocket carries has no origin any more.
pub fn safe(method: &[u8], upgrade: bool) -> bool {
    !upgrade && matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE")
}

impl Rules {
    /// Says why a request may not; None: it may. The first thing that is said counts: what a
    /// browser says of the site cannot be changed by a page, and is most precise.
    pub fn refuse(&self, q: &Request) -> Option<&'static str> {
        if safe(q.method, q.upgrade) {
            return None;
        }
        let named = q.origin.is_some_and(|o| self.origins.allow(o));
        if let Some(site) = q.site {
            return match site {
                b"same-origin" | b"none" => None, // none: the user, not a page
                _ if named => None,
                _ => Some("cross-site request"),
            };
        }
        if let Some(origin) = q.origin {
            return if named || same(origin, q.authority) {
                None
            } else {
                Some("origin not allowed")
            };
        }
        match q.referer.map(origin_of) {
            Some(Some(origin)) if self.origins.allow(origin) || same(origin, q.authority) => None,
            Some(_) => Some("referer not allowed"),
            None if self.refuse_unknown => Some("origin unknown"),
            None => None,
        }
    }
}

/// The origin of an absolute URL: all before its path.
fn origin_of(url: &[u8]) -> Option<&[u8]> {
    let host = find(url, b"://")? + 3;
    let end = url[host..]
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#' | b'\\'))
        .map_or(url.len(), |n| host + n);
    Some(&url[..end])
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|w| w == part)
}

/// Says whether an origin is the one that a request went to. The scheme is not compared: a
/// proxy in front may have ended TLS.
fn same(origin: &[u8], authority: &[u8]) -> bool {
    let (host, port) = if let Some(host) = origin.strip_prefix(b"https://") {
        (host, b":443".as_slice())
    } else if let Some(host) = origin.strip_prefix(b"http://") {
        (host, b":80".as_slice())
    } else {
        return false;
    };
    let authority = authority.strip_suffix(port).unwrap_or(authority);
    !host.is_empty()
        && host
            .strip_suffix(port)
            .unwrap_or(host)
            .eq_ignore_ascii_case(authority)
}

/// The least length of a token.
const TOKEN: usize = 16;

/// Says whether a token is the cookie's, in a time that does not tell how much of it is.
pub fn repeats(cookies: &[u8], name: &str, token: &[u8]) -> bool {
    let mut found = None;
    for pair in cookies.split(|b| *b == b';').map(<[u8]>::trim_ascii) {
        let Some(value) = pair
            .strip_prefix(name.as_bytes())
            .and_then(|p| p.strip_prefix(b"="))
        else {
            continue;
        };
        if found.is_some() {
            return false; // somebody else may have set one of both
        }
        found = Some(value);
    }
    let Some(cookie) = found else { return false };
    if cookie.len() < TOKEN || cookie.len() != token.len() {
        return false;
    }
    let different = cookie
        .iter()
        .zip(token)
        .fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    different == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn requests_are_judged() {
        let rules =
            parse(br#"{"origins":["https://app.example","https://*.partner.example"]}"#).unwrap();
        let strict = parse(br#"{"withoutOrigin":"refuse"}"#).unwrap();
        // method, Sec-Fetch-Site, Origin, Referer; may by rules, by strict
        #[rustfmt::skip]
        let tests: &[(&str, &str, &str, &str, bool, bool)] = &[
            ("GET", "cross-site", "https://evil.example", "", true, true),
            ("HEAD", "", "https://evil.example", "", true, true),
            ("POST", "same-origin", "", "", true, true),
            ("POST", "none", "", "", true, true),
            ("POST", "same-origin", "null", "", true, true), // a page with no-referrer
            ("POST", "same-site", "https://other.example", "", false, false),
            ("POST", "cross-site", "https://evil.example", "", false, false),
            ("POST", "cross-site", "https://app.example", "", true, false),
            ("POST", "cross-site", "", "https://app.example/", false, false),
            ("POST", "same-origin, cross-site", "", "", false, false),
            ("POST", "", "https://shop.example", "", true, true),
            ("POST", "", "http://shop.example:80", "", true, true),
            ("POST", "", "https://shop.example:8443", "", false, false),
            ("POST", "", "https://SHOP.example", "", true, true),
            ("POST", "", "https://eu.partner.example", "", true, false),
            ("POST", "", "https://evil.example", "https://shop.example/", false, false),
            ("POST", "", "null", "", false, false),
            ("POST", "", "file://shop.example", "", false, false),
            ("POST", "", "https://", "", false, false),
            ("DELETE", "", "", "https://shop.example/cart?a", true, true),
            ("DELETE", "", "", "https://shop.example", true, true),
            ("DELETE", "", "", "https://app.example/x", true, false),
            ("DELETE", "", "", "https://evil.example/?https://shop.example/", false, false),
            ("DELETE", "", "", "https://shop.example@evil.example/", false, false),
            ("DELETE", "", "", "https://shop.example.evil.example/", false, false),
            ("DELETE", "", "", "https://evil.example\\@shop.example", false, false),
            ("DELETE", "", "", "shop.example", false, false),
            ("PUT", "", "", "", true, false),
            ("post", "", "https://evil.example", "", false, false),
            ("CONNECT", "", "https://evil.example", "", false, false),
        ];
        for (method, site, origin, referer, may, strictly) in tests {
            let some = |s: &'static str| (!s.is_empty()).then_some(s.as_bytes());
            let q = Request {
                method: method.as_bytes(),
                upgrade: false,
                authority: b"shop.example",
                site: some(site),
                origin: some(origin),
                referer: some(referer),
            };
            assert_eq!(
                rules.refuse(&q).is_none(),
                *may,
                "{method} {site} {origin} {referer}"
            );
            assert_eq!(
                strict.refuse(&q).is_none(),
                *strictly,
                "strict: {method} {site} {origin} {referer}"
            );
        }
        let q = Request {
            method: b"GET",
            upgrade: true,
            authority: b"shop.example:443",
            site: None,
            origin: Some(b"https://evil.example"),
            referer: None,
        };
        assert_eq!(rules.refuse(&q), Some("origin not allowed"));
        assert_eq!(
            rules.refuse(&Request {
                origin: Some(b"https://shop.example"),
                ..q
            }),
            None
        );
    }

    #[test]
    fn tokens_are_compared() {
        let t = "0123456789abcdef";
        for (cookies, token, want) in [
            (format!("a=b; t={t}; c=d"), t, true),
            (format!("t={t}"), t, true),
            (format!("t={t}"), "0123456789abcdeF", false),
            (format!("t={t}"), "0123456789abcde", false),
            (format!("t={t}; t={t}"), t, false),
            (format!("tt={t}"), t, false),
            (format!("T={t}"), t, false),
            ("t=short".into(), "short", false),
            ("t=".into(), "", false),
            (String::new(), "", false),
        ] {
            assert_eq!(
                repeats(cookies.as_bytes(), "t", token.as_bytes()),
                want,
                "{cookies} {token}"
            );
        }
    }
}
