//! Changes of a request's target and of JSON bodies.

use penstock::{self as sdk, Json};

use crate::config::{Body, Changes, NewPath, Rules, Value};
use crate::path::write;
use crate::text::{Coding, Source, decode, encode, split};

/// What is filled into the places of a list's texts, in the order of set and add. None: the
/// place is missing, so that the name goes without.
pub struct Filled(Vec<Option<Vec<u8>>>);

impl Filled {
    /// Fills the texts of header fields that are not fixed.
    pub fn new(c: &Changes, from: &impl Source) -> Filled {
        let texts = c.set.iter().chain(&c.add);
        Filled(
            texts
                .filter(|t| t.1.fixed().is_none())
                .map(|t| Some(t.1.fill(from, Coding::Field)).filter(|v| !v.is_empty()))
                .collect(),
        )
    }

    /// Calls set and add with each name and its value.
    pub fn each(
        &self,
        c: &Changes,
        mut set: impl FnMut(&str, Option<&[u8]>),
        mut add: impl FnMut(&str, &[u8]),
    ) {
        let mut filled = self.0.iter();
        for (name, text) in &c.set {
            match text.fixed() {
                Some(fixed) => set(name, Some(fixed.as_bytes())),
                None => set(name, filled.next().and_then(|v| v.as_deref())),
            }
        }
        for (name, text) in &c.add {
            match text.fixed() {
                Some(fixed) => add(name, fixed.as_bytes()),
                None => {
                    if let Some(value) = filled.next().and_then(|v| v.as_deref()) {
                        add(name, value);
                    }
                }
            }
        }
    }
}

/// Returns a request's target, changed; None: what was filled in would lead elsewhere.
pub fn target(rules: &Rules, target: &[u8], from: &impl Source) -> Option<Vec<u8>> {
    let (path, query) = split(target);
    let mut out = match &rules.path {
        None => path.to_vec(),
        Some(NewPath::Set(text)) => text.fill(from, Coding::Percent),
        Some(NewPath::Prefix(prefix, text)) => {
            replace_start(path, prefix.as_bytes(), &text.fill(from, Coding::Percent))
        }
    };
    let fixed = match &rules.path {
        Some(NewPath::Set(text) | NewPath::Prefix(_, text)) => text.fixed().is_some(),
        None => true,
    };
    if !fixed && out.split(|b| *b == b'/').any(|s| s == b"." || s == b"..") {
        return None;
    }
    let new = if rules.query.is_empty() {
        query.to_vec()
    } else {
        change_query(&rules.query, query, from)
    };
    if !new.is_empty() || path.len() < target.len() && rules.query.remove.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&new);
    }
    Some(out)
}

/// Replaces a prefix of whole segments: /v1 is none of /v11.
fn replace_start(path: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let from = from.strip_suffix(b"/").unwrap_or(from);
    let to = to.strip_suffix(b"/").unwrap_or(to);
    let Some(rest) = path.strip_prefix(from) else {
        return path.to_vec();
    };
    if !rest.is_empty() && rest[0] != b'/' {
        return path.to_vec();
    }
    let mut out = [to, rest].concat();
    if !out.starts_with(b"/") {
        out.insert(0, b'/');
    }
    out
}

/// Keeps the order and the encoding of what it does not change.
fn change_query(c: &Changes, query: &[u8], from: &impl Source) -> Vec<u8> {
    let mut pairs: Vec<Vec<u8>> = Vec::new();
    if !query.is_empty() {
        pairs = query.split(|b| *b == b'&').map(<[u8]>::to_vec).collect();
    }
    let cut = |p: &[u8]| p.iter().position(|b| *b == b'=').unwrap_or(p.len());
    let is = |p: &[u8], name: &str| decode(&p[..cut(p)]) == name.as_bytes();
    for name in &c.remove {
        pairs.retain(|p| !is(p, name));
    }
    for (old, new) in &c.rename {
        for p in pairs.iter_mut().filter(|p| is(p, old)) {
            let mut pair = Vec::new();
            encode(&mut pair, new.as_bytes());
            pair.push(b'=');
            pair.extend_from_slice(p.get(cut(p) + 1..).unwrap_or_default());
            *p = pair;
        }
    }
    let pair = |name: &str, value: &[u8]| {
        let mut pair = Vec::new();
        encode(&mut pair, name.as_bytes());
        pair.push(b'=');
        pair.extend_from_slice(value);
        pair
    };
    for ((name, text), add) in c
        .set
        .iter()
        .map(|s| (s, false))
        .chain(c.add.iter().map(|a| (a, true)))
    {
        if !add {
            pairs.retain(|p| !is(p, name));
        }
        let value = text.fill(from, Coding::Query);
        if text.fixed().is_some() || !value.is_empty() {
            pairs.push(pair(name, &value));
        }
    }
    pairs.join(&b'&')
}

/// Fills the values that a body gets.
pub fn values(c: &Body, from: &impl Source) -> Vec<Json> {
    c.set.iter().map(|(_, v)| value(v, from)).collect()
}

fn value(v: &Value, from: &impl Source) -> Json {
    match v {
        Value::Fixed(json) => json.clone(),
        Value::Text(text) => {
            let filled = text.fill(from, Coding::Plain);
            Json::Text(String::from_utf8_lossy(&filled).into_owned())
        }
        Value::List(list) => Json::List(list.iter().map(|v| value(v, from)).collect()),
        Value::Object(fields) => Json::Object(
            fields
                .iter()
                .map(|(name, v)| (name.clone(), value(v, from)))
                .collect(),
        ),
    }
}

/// Changes a JSON text; None: it is none. Numbers keep their digits, fields their order.
pub fn body(c: &Body, values: &[Json], text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() {
        return None;
    }
    let mut json = sdk::parse_config(text, Json::Null).ok()?;
    for path in &c.remove {
        path.take(&mut json);
    }
    for (from, to) in &c.rename {
        if let Some(taken) = from.take(&mut json) {
            to.put(&mut json, &taken);
        }
    }
    for ((path, _), value) in c.set.iter().zip(values) {
        path.put(&mut json, value);
    }
    let mut out = Vec::with_capacity(text.len());
    write(&mut out, &json);
    Some(out)
}

/// Says whether a content type is JSON (RFC 8259; RFC 6839, 3.1).
pub fn is_json(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|b| *b == b';');
    let media = content_type[..end.unwrap_or(content_type.len())]
        .trim_ascii()
        .to_ascii_lowercase();
    media == b"application/json" || media.starts_with(b"application/") && media.ends_with(b"+json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::text::tests::Values;

    const NONE: Values = Values(&[]);

    fn changed(config: &str, path: &str, from: &Values) -> Option<String> {
        let rules = parse(config.as_bytes()).unwrap();
        target(&rules, path.as_bytes(), from).map(|t| String::from_utf8(t).unwrap())
    }

    #[test]
    fn targets_are_changed() {
        let prefix = r#"{"request":{"path":{"replacePrefix":{"from":"/v1/","to":"/api/v1"}}}}"#;
        let gone = r#"{"request":{"path":{"replacePrefix":{"from":"/v1","to":""}}}}"#;
        let query = r#"{"request":{"query":{"remove":["a"],"rename":{"b":"B c"},"set":{"x":"1&2"},"add":{"y":"3"}}}}"#;
        for (config, path, want) in [
            (r#"{"request":{"path":{"set":"/x"}}}"#, "/a?b", "/x?b"),
            (prefix, "/v1", "/api/v1"),
            (prefix, "/v1/a", "/api/v1/a"),
            (prefix, "/v11", "/v11"),
            (prefix, "/a/v1", "/a/v1"),
            (gone, "/v1", "/"),
            (gone, "/v1/a?", "/a?"),
            (query, "/p", "/p?x=1%262&y=3"),
            (
                query,
                "/p?a=1&b=%20&%61=2&x=7&c",
                "/p?B%20c=%20&c&x=1%262&y=3",
            ),
            (r#"{"request":{"query":{"remove":["a"]}}}"#, "/p?a=1", "/p"),
        ] {
            assert_eq!(
                changed(config, path, &NONE).as_deref(),
                Some(want),
                "{config} {path}"
            );
        }
    }

    #[test]
    fn what_is_filled_in_leads_nowhere_else() {
        let set = r#"{"request":{"path":{"set":"/of/${header.x-user}/${claims.t}"},"query":{"set":{"u":"${header.x-user}","t":"${claims.t}"}}}}"#;
        for (values, want) in [
            (
                Values(&[("header.x-user", "a/../b?c#d"), ("claims.t", "1")]),
                Some("/of/a%2F..%2Fb%3Fc%23d/1?t=1&u=a%2F..%2Fb%3Fc%23d"),
            ),
            (Values(&[("header.x-user", ".."), ("claims.t", "1")]), None),
            (Values(&[("header.x-user", "."), ("claims.t", "1")]), None),
            (
                Values(&[("header.x-user", "%2e%2e"), ("claims.t", "")]),
                Some("/of/%252e%252e/?u=%252e%252e"),
            ),
            (
                Values(&[("header.x-user", "a&b=c")]),
                Some("/of/a%26b%3Dc/?u=a%26b%3Dc"),
            ),
        ] {
            assert_eq!(changed(set, "/?t=old", &values).as_deref(), want);
        }
    }

    #[test]
    fn bodies_are_changed() {
        let config = r#"{"request":{"body":{"remove":["secret","list.*.id","deep.x"],"rename":{"old.name":"new.name"},"set":{"by":"${header.x-user}","n":1,"all":["${header.x-user}$$"]}}}}"#;
        let rules = parse(config.as_bytes()).unwrap();
        let c = &rules.request.body;
        let from = Values(&[("header.x-user", "\"},{\"admin\":true,\"x\":\"")]);
        let filled = values(c, &from);
        for (text, want) in [
            (
                r#"{"secret":1, "old":{"name":12345678901234567890},"list":[{"id":1,"v":1.0},{"id":2}]}"#,
                r#"{"old":{},"list":[{"v":1.0},{}],"new":{"name":12345678901234567890},"all":["\"},{\"admin\":true,\"x\":\"$"],"by":"\"},{\"admin\":true,\"x\":\"","n":1}"#,
            ),
            ("[1]", "[1]"),
        ] {
            let got = body(c, &filled, text.as_bytes()).map(|b| String::from_utf8(b).unwrap());
            assert_eq!(got.as_deref(), Some(want));
        }
        for text in [
            "",
            "{",
            "{}x",
            r#"{"secret":1,"secret":2}"#,
            "\u{feff}{}",
            &"[".repeat(100),
        ] {
            assert_eq!(body(c, &filled, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn json_is_known_by_its_type() {
        for (text, want) in [
            ("application/json", true),
            ("Application/JSON ; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/json", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            assert_eq!(is_json(text.as_bytes()), want, "{text}");
        }
    }
}
