//! The configuration, checked.

use penstock as sdk;

use crate::accept::{ALL, Coding};

sdk::config! {
    /// As schema.json says it.
    struct Settings {
        codings: Vec<String>,
        types: Vec<String>,
        min_length as "minLength": u64,
        level: Levels,
        unless_credentials as "unlessCredentials": bool,
    }

    /// The fields of level.
    struct Levels {
        zstd: u8,
        br: u8,
        gzip: u8,
    }
}

const MAX_TYPES: usize = 64;
const MAX_TYPE: usize = 128;
const MAX_MIN_LENGTH: u64 = 1 << 30;
const MAX_LEVEL: u8 = 9;

const TYPES: [&str; 12] = [
    "text/*",
    "application/javascript",
    "application/json",
    "application/*+json",
    "application/xml",
    "application/*+xml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/svg+xml",
    "image/x-icon",
];

/// What is compressed, and how.
#[derive(Debug)]
pub struct Rules {
    pub codings: Vec<Coding>,
    pub min_length: u64,
    pub unless_credentials: bool,
    exact: Vec<String>, // in lower case
    patterns: Vec<Pattern>,
    levels: [u8; 3], // by coding
}

/// All types between a beginning and an end: "text/" and "", "application/" and "+json".
#[derive(Debug)]
struct Pattern {
    start: String,
    end: String,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let defaults = Settings {
        codings: ALL.map(|c| c.name().into()).into(),
        types: TYPES.map(String::from).into(),
        min_length: 1024,
        level: Levels {
            zstd: 3,
            br: 4,
            gzip: 5,
        },
        unless_credentials: false,
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    if s.min_length > MAX_MIN_LENGTH {
        return Err(format!("config.minLength: want 0 to {MAX_MIN_LENGTH}"));
    }
    for (name, level) in [
        ("zstd", s.level.zstd),
        ("br", s.level.br),
        ("gzip", s.level.gzip),
    ] {
        if level == 0 || level > MAX_LEVEL {
            return Err(format!("config.level.{name}: want 1 to {MAX_LEVEL}"));
        }
    }
    let mut rules = Rules {
        codings: codings(&s.codings)?,
        min_length: s.min_length,
        unless_credentials: s.unless_credentials,
        exact: Vec::new(),
        patterns: Vec::new(),
        levels: [s.level.zstd, s.level.br, s.level.gzip],
    };
    rules.add(&s.types)?;
    Ok(rules)
}

fn codings(names: &[String]) -> Result<Vec<Coding>, String> {
    let mut all = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let known = ALL.into_iter().find(|c| c.name() == name);
        let Some(c) = known else {
            return Err(format!("config.codings[{i}]: want zstd, br or gzip"));
        };
        if all.contains(&c) {
            return Err(format!("config.codings[{i}]: it is there twice"));
        }
        all.push(c);
    }
    if all.is_empty() {
        return Err("config.codings: none; want 1 to 3".into());
    }
    Ok(all)
}

impl Rules {
    /// Returns how hard a coding tries.
    pub fn level(&self, c: Coding) -> u8 {
        self.levels[c as usize]
    }

    fn add(&mut self, types: &[String]) -> Result<(), String> {
        if types.is_empty() || types.len() > MAX_TYPES {
            return Err(format!(
                "config.types: {} of them; want 1 to {MAX_TYPES}",
                types.len()
            ));
        }
        for (i, text) in types.iter().enumerate() {
            if types[..i].contains(text) {
                return Err(format!("config.types[{i}]: it is there twice"));
            }
            let name = text.to_ascii_lowercase();
            let parts = name.split_once('/').filter(|_| name.len() <= MAX_TYPE);
            match parts {
                Some((a, b)) if token(a) && token(b) => self.exact.push(name),
                Some((a, b)) if token(a) && pattern(b) => self.patterns.push(Pattern {
                    start: format!("{a}/"),
                    end: b[1..].into(),
                }),
                _ => {
                    return Err(format!(
                        "config.types[{i}]: want type/subtype, type/* or type/*+suffix, of {MAX_TYPE} characters at most"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Says whether responses with this Content-Type are compressed.
    pub fn takes(&self, content_type: &[u8]) -> bool {
        let end = content_type.iter().position(|b| *b == b';');
        let name = content_type[..end.unwrap_or(content_type.len())].trim_ascii();
        if has_prefix(name, b"application/grpc") {
            return false;
        }
        self.exact
            .iter()
            .any(|t| name.eq_ignore_ascii_case(t.as_bytes()))
            || !name.eq_ignore_ascii_case(b"text/event-stream")
                && self.patterns.iter().any(|p| p.matches(name))
    }
}

impl Pattern {
    fn matches(&self, name: &[u8]) -> bool {
        let (start, end) = (self.start.as_bytes(), self.end.as_bytes());
        name.len() > start.len() + end.len()
            && has_prefix(name, start)
            && name[name.len() - end.len()..].eq_ignore_ascii_case(end)
    }
}

fn has_prefix(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len() && name[..prefix.len()].eq_ignore_ascii_case(prefix)
}

/// Says whether a text is a name of a type (RFC 6838, 4.2).
fn token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(of_name)
}

fn of_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b)
}

fn pattern(text: &str) -> bool {
    match text.strip_prefix('*') {
        Some("") => true,
        Some(end) => end
            .strip_prefix('+')
            .is_some_and(|s| token(s) && !s.contains('+')),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_apart() {
        let r = parse(b"{}").unwrap();
        for yes in [
            "text/html",
            "text/html; charset=utf-8",
            "TEXT/Plain",
            "application/json",
            "application/problem+json",
            "application/JSON ;a=b",
            "image/svg+xml",
            "application/wasm",
        ] {
            assert!(r.takes(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "text",
            "text/",
            "image/png",
            "application/octet-stream",
            "text/event-stream",
            "text/event-stream;charset=utf-8",
            "application/grpc",
            "application/grpc+json",
            "application/grpc-web+xml",
            "application/+json",
            "xtext/html",
            "application/jsonx",
        ] {
            assert!(!r.takes(no.as_bytes()), "{no}");
        }
        assert!(!r.takes(b"\xff\xfe"));
        let r = parse(br#"{"types":["text/event-stream","image/*","application/*"]}"#).unwrap();
        assert!(r.takes(b"text/event-stream") && r.takes(b"image/png"));
        assert!(!r.takes(b"text/html") && !r.takes(b"application/grpc"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let r = parse(br#"{"codings":["gzip"],"level":{"gzip":9}}"#).unwrap();
        assert_eq!(
            (r.codings.as_slice(), r.level(Coding::Gzip)),
            (&[Coding::Gzip][..], 9)
        );
        assert_eq!((r.level(Coding::Br), r.min_length), (4, 1024));
        let long = format!(r#"{{"types":["text/{}"]}}"#, "x".repeat(MAX_TYPE));
        for (text, want) in [
            (r#"{"codings":[]}"#, "config.codings: none"),
            (
                r#"{"codings":["gzip","deflate"]}"#,
                "config.codings[1]: want zstd, br or gzip",
            ),
            (r#"{"codings":["GZIP"]}"#, "config.codings[0]: want"),
            (
                r#"{"codings":["br","br"]}"#,
                "config.codings[1]: it is there twice",
            ),
            (r#"{"codings":"br"}"#, "config.codings: a text; want a list"),
            (r#"{"types":[]}"#, "config.types: 0 of them"),
            (r#"{"types":["text"]}"#, "config.types[0]: want"),
            (r#"{"types":["*/*"]}"#, "config.types[0]: want"),
            (r#"{"types":["text/*x"]}"#, "config.types[0]: want"),
            (r#"{"types":["text/*+"]}"#, "config.types[0]: want"),
            (r#"{"types":["text/a;b"]}"#, "config.types[0]: want"),
            (
                r#"{"types":["a/b","a/b"]}"#,
                "config.types[1]: it is there twice",
            ),
            (&long, "config.types[0]: want"),
            (r#"{"minLength":1073741825}"#, "config.minLength: want 0 to"),
            (r#"{"minLength":-1}"#, "config.minLength: does not fit u64"),
            (r#"{"level":{"br":10}}"#, "config.level.br: want 1 to 9"),
            (r#"{"level":{"gzip":0}}"#, "config.level.gzip: want 1 to 9"),
            (r#"{"level":{"deflate":1}}"#, "config.level.deflate: "),
            (r#"{"level":3}"#, "config.level: a number"),
            (
                r#"{"unlessCredentials":1}"#,
                "config.unlessCredentials: a number",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.starts_with(want), "{text}: {got}");
        }
    }
}
