//! The configuration, checked.

use std::time::Duration;

use penstock::{self as sdk, Rate};

/// What is counted apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Address,
    Consumer,
    /// The value of a field of this name.
    Header(String),
    Route,
    All,
}

/// What a request gets that cannot be counted with the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unavailable {
    #[default]
    Deny,
    Allow,
    Proxy,
}

sdk::config! {
    /// As schema.json says it.
    #[derive(Default)]
    struct Settings {
        limit: u32,
        window: String,
        burst: Option<u32>,
        by: Vec<String>,
        ipv6_prefix as "ipv6Prefix": u8,
        scope: String,
        unavailable as "whenUnavailable": String,
        headers: bool,
        status: u16,
        message: Option<String>,
    }
}

const MOST: u32 = 1_000_000_000;
const MAX_WINDOW: u64 = 31 * 24 * 3600;
const MAX_MESSAGE: usize = 1024;

/// A limit, ready for requests.
#[derive(Debug)]
pub struct Limit {
    pub rate: Rate,
    pub by: Vec<By>,
    pub ipv6_prefix: u8,
    pub global: bool,
    pub unavailable: Unavailable,
    /// The value of RateLimit-Policy; "": clients are told nothing.
    pub policy: String,
    pub status: u16,
    pub message: String,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Limit, String> {
    let word = String::from;
    let defaults = Settings {
        by: vec![word("address")],
        ipv6_prefix: 64,
        scope: word("proxy"),
        unavailable: word("deny"),
        headers: true,
        status: 429,
        ..Settings::default()
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    let window = window(&s.window)?;
    within("limit", s.limit, 1, MOST)?;
    within("ipv6Prefix", s.ipv6_prefix.into(), 32, 128)?;
    within("status", s.status.into(), 400, 599)?;
    if let Some(burst) = s.burst {
        within("burst", burst, 1, MOST)?;
    }
    let by = by(&s.by)?;
    if s.message
        .as_ref()
        .is_some_and(|m| m.is_empty() || m.len() > MAX_MESSAGE)
    {
        return Err(format!("config.message: want 1 to {MAX_MESSAGE} bytes"));
    }
    let rate = Rate {
        limit: s.limit,
        window: Duration::from_secs(window),
        burst: s.burst.unwrap_or(0),
        sliding: s.burst.is_none(),
    };
    Ok(Limit {
        by,
        ipv6_prefix: s.ipv6_prefix,
        global: one_of("scope", &s.scope, &[("proxy", false), ("global", true)])?,
        unavailable: one_of(
            "whenUnavailable",
            &s.unavailable,
            &[
                ("deny", Unavailable::Deny),
                ("allow", Unavailable::Allow),
                ("proxy", Unavailable::Proxy),
            ],
        )?,
        policy: policy(s.headers, &rate),
        rate,
        status: s.status,
        message: s.message.unwrap_or_default(),
    })
}

/// Returns what a word stands for.
fn one_of<T: Copy>(path: &str, text: &str, words: &[(&str, T)]) -> Result<T, String> {
    match words.iter().find(|w| w.0 == text) {
        Some(word) => Ok(word.1),
        None => {
            let all: Vec<&str> = words.iter().map(|w| w.0).collect();
            Err(format!("config.{path}: want {}", all.join(", ")))
        }
    }
}

/// The policy as clients are told it (draft-ietf-httpapi-ratelimit-headers, 3).
fn policy(told: bool, rate: &Rate) -> String {
    if !told {
        return String::new();
    }
    format!("\"default\";q={};w={}", rate.limit, rate.window.as_secs())
}

fn within(path: &str, n: u32, least: u32, most: u32) -> Result<(), String> {
    if n < least || n > most {
        return Err(format!("config.{path}: want {least} to {most}"));
    }
    Ok(())
}

/// Reads a time as whole seconds.
fn window(text: &str) -> Result<u64, String> {
    let wrong = || {
        "config.window: want a number with s, m, h or d, as 1m, of 1 second to 31 days".to_string()
    };
    let (digits, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wrong()),
    };
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) || digits.len() > 9 {
        return Err(wrong());
    }
    let seconds = digits.parse::<u64>().map_err(|_| wrong())? * unit;
    if seconds > MAX_WINDOW {
        return Err(wrong());
    }
    Ok(seconds)
}

fn by(list: &[String]) -> Result<Vec<By>, String> {
    if list.is_empty() || list.len() > 4 {
        return Err(format!("config.by: {} of them; want 1 to 4", list.len()));
    }
    let mut all = Vec::new();
    for (i, text) in list.iter().enumerate() {
        let one = match (text.as_str(), text.strip_prefix("header:")) {
            ("address", _) => By::Address,
            ("consumer", _) => By::Consumer,
            ("route", _) => By::Route,
            ("all", _) => By::All,
            (_, Some(name)) if !name.is_empty() && name.len() <= 128 && name.bytes().all(token) => {
                By::Header(name.to_ascii_lowercase())
            }
            _ => {
                return Err(format!(
                    "config.by[{i}]: want address, consumer, route, all or header:NAME"
                ));
            }
        };
        if all.contains(&one) {
            return Err(format!("config.by[{i}]: it is there twice"));
        }
        all.push(one);
    }
    if all.len() > 1 && all.contains(&By::All) {
        return Err("config.by: all stands alone".into());
    }
    Ok(all)
}

/// Says whether a name may have the character (RFC 9110, 5.6.2).
fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_schema() {
        let l = parse(br#"{"limit":10,"window":"1m"}"#).unwrap();
        assert_eq!(
            l.rate,
            Rate {
                limit: 10,
                window: Duration::from_secs(60),
                burst: 0,
                sliding: true
            }
        );
        assert_eq!(l.by, [By::Address]);
        assert_eq!(
            (l.ipv6_prefix, l.global, l.unavailable, l.status),
            (64, false, Unavailable::Deny, 429)
        );
        assert_eq!(l.policy, "\"default\";q=10;w=60");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (more, want) in [
            (r#""limit":0"#, "config.limit: want 1 to 1000000000"),
            (r#""limit":1000000001"#, "config.limit: want 1"),
            (r#""limit":-1"#, "config.limit"),
            (r#""window":"""#, "config.window: want a number"),
            (r#""window":"m""#, "config.window: want a number"),
            (r#""window":"0s""#, "config.window: want a number"),
            (r#""window":"1w""#, "config.window: want a number"),
            (r#""window":"1.5s""#, "config.window: want a number"),
            (r#""window":"32d""#, "config.window: want a number"),
            (r#""window":"99999999999s""#, "config.window: want a number"),
            (r#""window":"1é""#, "config.window: want a number"),
            (r#""window":60"#, "config.window: a number; want a text"),
            (r#""burst":0"#, "config.burst: want 1"),
            (r#""by":[]"#, "config.by: 0 of them; want 1 to 4"),
            (
                r#""by":["address","address"]"#,
                "config.by[1]: it is there twice",
            ),
            (
                r#""by":["header:X-A","header:x-a"]"#,
                "config.by[1]: it is there twice",
            ),
            (r#""by":["address","all"]"#, "config.by: all stands alone"),
            (r#""by":["user"]"#, "config.by[0]: want address, consumer"),
            (r#""by":["header:"]"#, "config.by[0]: want address"),
            (r#""by":["header:a b"]"#, "config.by[0]: want address"),
            (r#""message":"""#, "config.message: want 1"),
            (r#""ipv6Prefix":31"#, "config.ipv6Prefix: want 32 to 128"),
            (r#""ipv6Prefix":129"#, "config.ipv6Prefix: want 32 to 128"),
            (r#""scope":"redis""#, "config.scope: want proxy, global"),
            (
                r#""whenUnavailable":"open""#,
                "config.whenUnavailable: want deny, allow, proxy",
            ),
            (r#""status":200"#, "config.status: want 400 to 599"),
            (r#""extra":1"#, "config.extra: unknown field"),
        ] {
            let limit = if more.contains("\"limit\"") {
                ""
            } else {
                r#""limit":10,"#
            };
            let window = if more.contains("\"window\"") {
                ""
            } else {
                r#""window":"1m","#
            };
            let got = parse(format!("{{{limit}{window}{more}}}").as_bytes()).unwrap_err();
            assert!(got.contains(want), "{more}: {got}; want {want}");
        }
        assert!(parse(b"").is_err());
    }
}
