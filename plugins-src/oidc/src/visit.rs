//! A request as far as it counts here.

use penstock::REQUEST_HEADER;

use crate::config::Rules;
use crate::cookies::Cookies;
use crate::url::Url;

/// How long a path may be that a login comes back to.
const MAX_BACK: usize = 2 << 10;

/// What is known of a request.
#[derive(Debug)]
pub(crate) struct Visit {
    /// GET or HEAD, as navigations are; the callback takes GET alone.
    pub(crate) method: Vec<u8>,
    /// The path without its query,
    pub(crate) path: String,
    /// and both.
    pub(crate) target: String,
    pub(crate) cookies: Cookies,
    /// Scheme and authority as the browser has them.
    pub(crate) origin: String,
    pub(crate) secure: bool,
}

/// Why a request cannot be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Odd {
    Cookies,
    Authority,
    Path,
}

impl Visit {
    /// Looks at the request of the effective context.
    pub(crate) fn read(rules: &Rules) -> Result<Visit, Odd> {
        let field = |name: &str| REQUEST_HEADER.get(name).map(|v| v.to_vec());
        let text = |name: &str| field(name).and_then(|v| String::from_utf8(v).ok());
        let target = text(":path").ok_or(Odd::Path)?;
        let path = target.split('?').next().unwrap_or_default().into();
        let (origin, secure) = match &rules.redirect {
            Some(r) => (r.origin.clone(), r.secure),
            None => {
                // Only trusted proxies' field gets here.
                let scheme = text("x-forwarded-proto").or_else(|| text(":scheme"));
                let scheme = if scheme.as_deref() == Some("https") {
                    "https"
                } else {
                    "http"
                };
                let authority = text(":authority").ok_or(Odd::Authority)?;
                // It goes into addresses: a hostname and a port, and nothing else.
                let origin = format!("{scheme}://{authority}");
                Url::parse(&format!("{origin}/"))
                    .filter(|u| u.path == "/")
                    .ok_or(Odd::Authority)?;
                (origin, scheme == "https")
            }
        };
        Ok(Visit {
            method: field(":method").unwrap_or_default(),
            path,
            target,
            cookies: cookies(rules).ok_or(Odd::Cookies)?,
            origin,
            secure,
        })
    }

    /// Returns the redirect URI that the provider is told.
    pub(crate) fn redirect_uri(&self, rules: &Rules) -> String {
        match &rules.redirect {
            Some(r) => r.uri.clone(),
            None => format!("{}{}", self.origin, rules.callback_path),
        }
    }

    /// Returns where the browser comes back to: the path of the request itself, never another
    /// origin.
    pub(crate) fn back(&self) -> &str {
        match crate::config::local(&self.target) && self.target.len() <= MAX_BACK {
            true => &self.target,
            false => "/",
        }
    }

    /// Returns the query.
    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |t| t.1)
    }

    /// Says whether a person waits for a page, who can be led elsewhere to log in.
    pub(crate) fn navigates(&self) -> bool {
        let field = |name: &str| REQUEST_HEADER.get(name);
        navigates(
            &self.method,
            field("sec-fetch-mode").as_deref(),
            field("accept").as_deref(),
            field("x-requested-with").is_some(),
        )
    }
}

/// Browsers say it (Fetch Metadata); of others that they take HTML has to do.
fn navigates(method: &[u8], mode: Option<&[u8]>, accept: Option<&[u8]>, script: bool) -> bool {
    let page = accept.is_some_and(|a| {
        a.split(|b| *b == b',').any(|t| {
            let kind = t.split(|b| *b == b';').next().unwrap_or_default();
            kind.trim_ascii().eq_ignore_ascii_case(b"text/html")
        })
    });
    matches!(method, b"GET" | b"HEAD")
        && match mode {
            Some(mode) => mode == b"navigate",
            None => page && !script,
        }
}

/// Reads the cookies of all fields that there are: HTTP/2 may split them.
fn cookies(rules: &Rules) -> Option<Cookies> {
    let all = REQUEST_HEADER.all()?;
    let fields: Vec<&[u8]> = all
        .iter()
        .filter(|f| f.0.eq_ignore_ascii_case(b"cookie"))
        .map(|f| f.1)
        .collect();
    rules.jar.read(&fields.join(&b"; "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn navigations_are_told() {
        let accept = Some(&b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"[..]);
        for (method, mode, accept, script, want) in [
            (&b"GET"[..], None, accept, false, true),
            (b"HEAD", None, accept, false, true),
            (b"GET", None, accept, true, false),
            (b"POST", None, accept, false, false),
            (b"GET", None, Some(&b"*/*"[..]), false, false),
            (
                b"GET",
                None,
                Some(b"application/json, TEXT/HTML;q=0.1"),
                false,
                true,
            ),
            (b"GET", None, Some(b"text/htmlx"), false, false),
            (b"GET", None, None, false, false),
            (b"GET", Some(&b"navigate"[..]), None, false, true),
            (b"GET", Some(b"cors"), accept, false, false),
            (b"GET", Some(b"no-cors"), accept, false, false),
            (b"POST", Some(b"navigate"), accept, false, false),
        ] {
            assert_eq!(
                navigates(method, mode, accept, script),
                want,
                "{mode:?} {accept:?}"
            );
        }
    }
}
