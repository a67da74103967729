//! The configuration, checked.

use penstock as sdk;

sdk::config! {
    /// As schema.json says it.
    #[derive(Default)]
    struct Settings {
        allow: Option<Vec<String>>,
        deny: Option<Vec<String>>,
        status: u16,
    }
}

const MAX_EXPRESSIONS: usize = 64;
const MAX_TEXT: usize = 4096;
const MAX_ALL: usize = 32 << 10;

/// Who may: the texts of expressions.
#[derive(Debug)]
pub struct Rules {
    /// None: all may that are not denied.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
    pub status: u16,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let defaults = Settings {
        status: 403,
        ..Settings::default()
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    if s.allow.is_none() && s.deny.is_none() {
        return Err("config: want allow or deny: without both all may".into());
    }
    if s.status != 403 && s.status != 404 {
        return Err("config.status: want 403 or 404".into());
    }
    let mut all = 0;
    for (list, field) in [(&s.allow, "allow"), (&s.deny, "deny")] {
        let Some(list) = list else { continue };
        if list.is_empty() || list.len() > MAX_EXPRESSIONS {
            return Err(format!(
                "config.{field}: {} of them; want 1 to {MAX_EXPRESSIONS}",
                list.len()
            ));
        }
        for (i, text) in list.iter().enumerate() {
            if text.is_empty() || text.len() > MAX_TEXT {
                return Err(format!("config.{field}[{i}]: want 1 to {MAX_TEXT} bytes"));
            }
            all += text.len();
        }
    }
    if all > MAX_ALL {
        return Err(format!(
            "config: {all} bytes of expressions; want {MAX_ALL} at most"
        ));
    }
    Ok(Rules {
        allow: s.allow,
        deny: s.deny.unwrap_or_default(),
        status: s.status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let r = parse(br#"{"deny":["a","b"]}"#).unwrap();
        assert!(r.allow.is_none() && r.deny == ["a", "b"] && r.status == 403);
        let r = parse(br#"{"allow":["a"],"status":404}"#).unwrap();
        assert!(r.allow.unwrap() == ["a"] && r.deny.is_empty() && r.status == 404);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = format!(r#"{{"allow":[{}"a"]}}"#, r#""a","#.repeat(64));
        let long = format!(r#"{{"allow":["a","{}"]}}"#, "a".repeat(4097));
        let all = format!(
            r#"{{"deny":[{}"a"]}}"#,
            format!(r#""{}","#, "a".repeat(4096)).repeat(8)
        );
        for (text, want) in [
            ("", "config: want allow or deny"),
            (r#"{"allow":[]}"#, "config.allow: 0 of them; want 1 to 64"),
            (many.as_str(), "config.allow: 65 of them"),
            (long.as_str(), "config.allow[1]: want 1 to 4096 bytes"),
            (
                all.as_str(),
                "config: 32769 bytes of expressions; want 32768",
            ),
            (r#"{"deny":["a",""]}"#, "config.deny[1]: want 1 to 4096"),
            (r#"{"deny":"a"}"#, "config.deny: a text; want a list"),
            (r#"{"deny":[true]}"#, "config.deny[0]"),
            (r#"{"denied":["a"]}"#, "config.denied: unknown field"),
            (
                r#"{"deny":["a"],"status":401}"#,
                "config.status: want 403 or 404",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.contains(want), "{text}: {got}; want {want}");
        }
    }
}
