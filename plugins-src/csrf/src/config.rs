//! The configuration, checked.

use penstock as sdk;

use crate::origin::Origins;

sdk::config! {
    /// As schema.json says it.
    #[derive(Default)]
    struct Settings {
        origins: Vec<String>,
        without as "withoutOrigin": String,
        token: Option<Token>,
    }

    /// Where a token is.
    #[derive(Debug)]
    pub struct Token {
        pub cookie: String,
        pub header: String,
    }
}

const MAX_ORIGINS: usize = 256;

impl Default for Token {
    fn default() -> Token {
        Token {
            cookie: "XSRF-TOKEN".into(),
            header: "X-XSRF-TOKEN".into(),
        }
    }
}

/// Who may.
#[derive(Debug)]
pub struct Rules {
    pub origins: Origins,
    /// Requests that say nothing of their origin may not.
    pub refuse_unknown: bool,
    pub token: Option<Token>,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let s = sdk::parse_config(
        text,
        Settings {
            without: "allow".into(),
            ..Settings::default()
        },
    )
    .map_err(|e| e.to_string())?;
    if s.origins.len() > MAX_ORIGINS {
        return Err(format!(
            "config.origins: {} of them; want {MAX_ORIGINS} at most",
            s.origins.len()
        ));
    }
    let origins = Origins::parse(&s.origins)?;
    if origins.any() {
        return Err("config.origins[0]: with * nothing is refused: leave the plugin out".into());
    }
    if s.without != "allow" && s.without != "refuse" {
        return Err("config.withoutOrigin: want allow or refuse".into());
    }
    if let Some(t) = &s.token {
        for (field, name) in [("cookie", &t.cookie), ("header", &t.header)] {
            if name.is_empty()
                || name.len() > 128
                || !name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
            {
                return Err(format!(
                    "config.token.{field}: want a name (RFC 9110, 5.6.2) of 1 to 128 characters"
                ));
            }
        }
    }
    Ok(Rules {
        origins,
        refuse_unknown: s.without == "refuse",
        token: s.token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            (r#"{"origins":["*"]}"#, "config.origins[0]: with * nothing"),
            (r#"{"origins":["null"]}"#, "config.origins[0]: null is sent"),
            (
                r#"{"origins":["https://a.example",7]}"#,
                "config.origins[1]: a number; want a text",
            ),
            (
                r#"{"withoutOrigin":"deny"}"#,
                "config.withoutOrigin: want allow or refuse",
            ),
            (
                r#"{"withoutOrigin":true}"#,
                "config.withoutOrigin: true or false; want a text",
            ),
            (
                r#"{"token":true}"#,
                "config.token: true or false; want an object",
            ),
            (
                r#"{"token":{"cookie":""}}"#,
                "config.token.cookie: want a name",
            ),
            (
                r#"{"token":{"header":"a b"}}"#,
                "config.token.header: want a name",
            ),
            (
                r#"{"token":{"name":"a"}}"#,
                "config.token.name: unknown field",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.starts_with(want), "{text}: {got}");
        }
        let r = parse(br#"{"token":{"cookie":"t"}}"#).unwrap();
        assert_eq!(r.token.unwrap().header, "X-XSRF-TOKEN");
        assert!(!parse(b"").unwrap().refuse_unknown);
    }
}
