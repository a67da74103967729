//! The configuration, checked.

use penstock as sdk;

sdk::config! {
    /// As schema.json says it.
    #[derive(Default)]
    struct Settings {
        header: Option<String>,
        cookie: Option<String>,
        share: Option<u32>,
        sticky: Option<StickySettings>,
        mark: String,
    }

    struct StickySettings {
        cookie: String,
        max_age as "maxAge": u32,
    }
}

impl Default for StickySettings {
    fn default() -> StickySettings {
        StickySettings {
            cookie: "penstock_canary".into(),
            max_age: 86400,
        }
    }
}

const MAX_NAME: usize = 64;
const MAX_AGE: u32 = 365 * 24 * 3600;

/// What decides, ready for requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Rules {
    /// In lower case, as mark.
    pub header: Option<String>,
    pub cookie: Option<String>,
    /// Of 100 requests.
    pub share: u32,
    pub sticky: Option<Sticky>,
    pub mark: String,
}

/// The cookie that keeps a client where it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Sticky {
    pub cookie: String,
    /// In seconds; 0: until the browser is closed.
    pub max_age: u32,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let defaults = Settings {
        mark: "X-Canary".into(),
        ..Settings::default()
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    if s.header.is_none() && s.cookie.is_none() && s.share.is_none() {
        return Err("config: want header, cookie or share".into());
    }
    let share = s.share.unwrap_or(0);
    if share > 100 {
        return Err("config.share: want 0 to 100".into());
    }
    for (name, path) in [
        (s.header.as_ref(), "header"),
        (s.cookie.as_ref(), "cookie"),
        (Some(&s.mark), "mark"),
        (s.sticky.as_ref().map(|k| &k.cookie), "sticky.cookie"),
    ] {
        if name.is_some_and(|n| !is_token(n)) {
            return Err(format!(
                "config.{path}: want 1 to {MAX_NAME} letters, digits and !#$%&'*+-.^_`|~"
            ));
        }
    }
    if s.sticky.as_ref().is_some_and(|k| k.max_age > MAX_AGE) {
        return Err(format!("config.sticky.maxAge: want 0 to {MAX_AGE} seconds"));
    }
    Ok(Rules {
        header: s.header.map(|h| h.to_ascii_lowercase()),
        cookie: s.cookie,
        share,
        sticky: s.sticky.map(|k| Sticky {
            cookie: k.cookie,
            max_age: k.max_age,
        }),
        mark: s.mark.to_ascii_lowercase(),
    })
}

/// Says whether a text is a token (RFC 9110, 5.6.2), and not too long.
fn is_token(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let r = parse(br#"{"share":10,"sticky":{}}"#).unwrap();
        let sticky = Sticky {
            cookie: "penstock_canary".into(),
            max_age: 86400,
        };
        assert_eq!(
            r,
            Rules {
                header: None,
                cookie: None,
                share: 10,
                sticky: Some(sticky),
                mark: "x-canary".into()
            }
        );
        let r = parse(br#"{"header":"X-H","cookie":"c","mark":"X-M"}"#).unwrap();
        assert_eq!(
            (r.header.as_deref(), r.cookie.as_deref(), r.share),
            (Some("x-h"), Some("c"), 0)
        );
        assert_eq!((r.mark.as_str(), r.sticky), ("x-m", None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            ("", "config: want header, cookie or share"),
            (
                r#"{"mark":"X-M","sticky":{}}"#,
                "config: want header, cookie or share",
            ),
            (r#"{"share":101}"#, "config.share: want 0 to 100"),
            (r#"{"share":-1}"#, "config.share"),
            (r#"{"share":1.5}"#, "config.share"),
            (r#"{"share":"5"}"#, "config.share"),
            (r#"{"header":""}"#, "config.header: want 1 to 64"),
            (r#"{"cookie":"a;b"}"#, "config.cookie: want 1 to 64"),
            (r#"{"share":1,"mark":"a\nb"}"#, "config.mark: want 1 to 64"),
            (
                r#"{"share":1,"sticky":{"cookie":"a b"}}"#,
                "config.sticky.cookie: want 1",
            ),
            (
                r#"{"share":1,"sticky":{"maxAge":31536001}}"#,
                "config.sticky.maxAge: want 0",
            ),
            (
                r#"{"share":1,"sticky":{"path":"/"}}"#,
                "config.sticky.path: unknown field",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.contains(want), "{text}: {got}; want {want}");
        }
    }
}
