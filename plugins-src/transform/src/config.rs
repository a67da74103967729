//! The configuration, checked.

use std::collections::BTreeMap;

use penstock::{self as sdk, Json, Place, Setting};

use crate::path::Path;
use crate::text::{Text, is_token};

sdk::config! {
    /// As schema.json says it.
    #[derive(Default)]
    struct Settings {
        request: RequestSettings,
        response: ResponseSettings,
        max_body as "maxBody": i64,
        unchanged: String,
    }

    #[derive(Default)]
    struct RequestSettings {
        headers: ChangeSettings,
        query: ChangeSettings,
        path: PathSettings,
        body: BodySettings,
    }

    #[derive(Default)]
    struct ResponseSettings {
        headers: ChangeSettings,
        status: Option<u16>,
        body: BodySettings,
    }

    #[derive(Default)]
    struct ChangeSettings {
        remove: Vec<String>,
        rename: BTreeMap<String, String>,
        set: BTreeMap<String, String>,
        add: BTreeMap<String, String>,
    }

    #[derive(Default)]
    struct PathSettings {
        set: Option<String>,
        replace as "replacePrefix": Option<PrefixSettings>,
    }

    #[derive(Default)]
    struct PrefixSettings {
        from: String,
        to: Option<String>,
    }

    #[derive(Default)]
    struct BodySettings {
        remove: Vec<String>,
        rename: BTreeMap<String, String>,
        set: BTreeMap<String, Any>,
    }
}

/// Any JSON value, also null.
struct Any(Json);

impl Default for Any {
    fn default() -> Any {
        Any(Json::Null)
    }
}

impl Setting for Any {
    fn read(&mut self, value: &Json, _: &mut Place) {
        self.0.clone_from(value);
    }
}

const MAX_BODY: i64 = 512 << 10;
const MOST_BODY: i64 = 64 << 20; // what an entry may hold back

/// What is changed.
#[derive(Debug, Default)]
pub struct Rules {
    pub request: Message,
    pub path: Option<NewPath>,
    pub query: Changes,
    pub response: Message,
    pub status: Option<String>,
    /// Bytes of a body up to which it is changed.
    pub max_body: usize,
    /// Bodies that cannot be changed pass.
    pub pass: bool,
    /// What the response's head gets, where all of it is known at the request.
    pub known: Vec<(String, String)>,
}

/// How many fields the proxy sets for a request's response.
const MOST_KNOWN: usize = 64;

impl Rules {
    /// Returns all that the response gets if it is known at the request: fields with fixed
    /// values, in place of what is there. Else none.
    fn known(&self) -> Vec<(String, String)> {
        let h = &self.response.headers;
        let only_set = h.remove.is_empty() && h.rename.is_empty() && h.add.is_empty();
        let head_only = self.status.is_none() && self.response.body.is_empty();
        if !only_set || !head_only || h.set.len() > MOST_KNOWN {
            return Vec::new();
        }
        let fields = h.set.iter();
        let fixed = fields.map(|(name, text)| Some((name.clone(), text.fixed()?.to_string())));
        fixed.collect::<Option<_>>().unwrap_or_default()
    }
}

/// What is changed of a request and of a response.
#[derive(Debug, Default)]
pub struct Message {
    pub headers: Changes,
    pub body: Body,
}

/// Changes of a list of names and values, made in the order of the fields.
#[derive(Debug, Default)]
pub struct Changes {
    pub remove: Vec<String>,
    pub rename: Vec<(String, String)>,
    pub set: Vec<(String, Text)>,
    pub add: Vec<(String, Text)>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.set.is_empty()
            && self.add.is_empty()
    }
}

/// Another path.
#[derive(Debug)]
pub enum NewPath {
    Set(Text),
    /// Another beginning, of whole segments.
    Prefix(String, Text),
}

/// Changes of a JSON body.
#[derive(Debug, Default)]
pub struct Body {
    pub remove: Vec<Path>,
    pub rename: Vec<(Path, Path)>,
    pub set: Vec<(Path, Value)>,
}

impl Body {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.rename.is_empty() && self.set.is_empty()
    }
}

/// A JSON value whose texts may have places.
#[derive(Clone, Debug)]
pub enum Value {
    Fixed(Json),
    Text(Text),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// Reads a configuration. The error names all that is wrong.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    if text.is_empty() {
        return Err("config: empty: say what to change under request or response".into());
    }
    let defaults = Settings {
        max_body: MAX_BODY,
        unchanged: "refuse".into(),
        ..Settings::default()
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    let mut c = Check::default();
    let mut rules = Rules {
        request: Message {
            headers: c.changes("config.request.headers", s.request.headers, true, false),
            body: c.body("config.request.body", s.request.body, false),
        },
        query: c.changes("config.request.query", s.request.query, false, false),
        path: c.path("config.request.path", s.request.path),
        response: Message {
            headers: c.changes("config.response.headers", s.response.headers, true, true),
            body: c.body("config.response.body", s.response.body, true),
        },
        status: s.response.status.map(|n| n.to_string()),
        max_body: usize::try_from(s.max_body).unwrap_or(0),
        pass: s.unchanged == "pass",
        known: Vec::new(),
    };
    rules.known = rules.known();
    if s.response.status.is_some_and(|n| !(200..=599).contains(&n)) {
        c.fault("config.response.status", "want 200 to 599");
    }
    if !(0..=MOST_BODY).contains(&s.max_body) {
        c.fault("config.maxBody", "want 0 to 67108864");
    }
    if s.unchanged != "refuse" && s.unchanged != "pass" {
        c.fault("config.unchanged", "want refuse or pass");
    }
    match c.faults.is_empty() {
        true => Ok(rules),
        false => Err(c.faults.join("; ")),
    }
}

/// Gathers what is wrong.
#[derive(Default)]
struct Check {
    faults: Vec<String>,
}

impl Check {
    fn fault(&mut self, at: &str, why: &str) {
        self.faults.push(format!("{at}: {why}"));
    }

    fn text(&mut self, at: &str, text: &str, response: bool) -> Option<Text> {
        match Text::read(text) {
            Ok(t) if !response && t.of_response() => {
                self.fault(at, "a request has no status and no response.NAME");
                None
            }
            Ok(t) => Some(t),
            Err(why) => {
                self.fault(at, &why);
                None
            }
        }
    }

    fn changes(&mut self, at: &str, s: ChangeSettings, header: bool, response: bool) -> Changes {
        let right = |name: &str| {
            if header {
                is_token(name)
            } else {
                !name.is_empty()
            }
        };
        const NONE: &str = "this is no name";
        for (i, name) in s.remove.iter().enumerate() {
            if !right(name) {
                self.fault(&format!("{at}.remove[{i}]"), NONE);
            }
        }
        for (from, to) in &s.rename {
            if !right(from) || !right(to) {
                self.fault(&format!("{at}.rename.{from}"), NONE);
            }
        }
        let mut texts = |kind: &str, map: BTreeMap<String, String>| {
            let mut all = Vec::new();
            for (name, text) in map {
                let at = format!("{at}.{kind}.{name}");
                if !right(&name) {
                    self.fault(&at, NONE);
                }
                if header && text.contains(['\r', '\n', '\0']) {
                    self.fault(&at, "the value holds a line break or NUL");
                }
                if let Some(text) = self.text(&at, &text, response) {
                    all.push((name, text));
                }
            }
            all
        };
        let (set, add) = (texts("set", s.set), texts("add", s.add));
        Changes {
            remove: s.remove,
            rename: s.rename.into_iter().collect(),
            set,
            add,
        }
    }

    fn path(&mut self, at: &str, s: PathSettings) -> Option<NewPath> {
        match (s.set, s.replace) {
            (Some(_), Some(_)) => {
                self.fault(at, "set and replacePrefix exclude each other");
                None
            }
            (Some(set), None) => {
                let at = format!("{at}.set");
                if !set.starts_with('/') || set.contains('?') {
                    self.fault(&at, "want a path that starts with / and has no query");
                }
                self.text(&at, &set, false).map(NewPath::Set)
            }
            (None, Some(prefix)) => {
                let at = format!("{at}.replacePrefix");
                if prefix.from.is_empty() {
                    self.fault(&format!("{at}.from"), "missing");
                }
                let at = format!("{at}.to");
                let Some(to) = prefix.to else {
                    self.fault(&at, "missing; \"\" removes the prefix");
                    return None;
                };
                let to = self.text(&at, &to, false)?;
                Some(NewPath::Prefix(prefix.from, to))
            }
            (None, None) => None,
        }
    }

    fn place(&mut self, at: &str, text: &str) -> Option<Path> {
        let path = Path::read(text);
        if path.is_none() {
            self.fault(at, "want 1 to 32 names with dots between them");
        }
        path
    }

    fn body(&mut self, at: &str, s: BodySettings, response: bool) -> Body {
        let mut body = Body::default();
        for (i, text) in s.remove.iter().enumerate() {
            body.remove
                .extend(self.place(&format!("{at}.remove[{i}]"), text));
        }
        for (from, to) in &s.rename {
            let at = format!("{at}.rename.{from}");
            if let (Some(from), Some(to)) = (self.place(&at, from), self.place(&at, to)) {
                if !from.single() || !to.single() {
                    self.fault(&at, "* leads to more than one place");
                }
                body.rename.push((from, to));
            }
        }
        for (path, value) in s.set {
            let at = format!("{at}.set.{path}");
            if let Some(path) = self.place(&at, &path) {
                body.set
                    .extend(self.value(&at, value.0, response).map(|v| (path, v)));
            }
        }
        body
    }

    fn value(&mut self, at: &str, value: Json, response: bool) -> Option<Value> {
        Some(match value {
            Json::Text(text) => {
                let text = self.text(at, &text, response)?;
                match text.fixed() {
                    Some(fixed) => Value::Fixed(Json::Text(fixed.into())),
                    None => Value::Text(text),
                }
            }
            Json::List(list) => Value::List(
                list.into_iter()
                    .map(|v| self.value(at, v, response))
                    .collect::<Option<_>>()?,
            ),
            Json::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .map(|(name, v)| Some((name, self.value(at, v, response)?)))
                    .collect::<Option<_>>()?,
            ),
            other => Value::Fixed(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let r = parse(
            br#"{"request":{"headers":{"set":{"b":"1","a":"${path}"},"rename":{"x":"y"}},"path":{"replacePrefix":{"from":"/v1","to":""}},
            "query":{"add":{"a b":"c\n"}},"body":{"set":{"a.b":[null,{"c":"$$"}]}}},"response":{"status":204,"headers":{"add":{"s":"${status}"}}},"maxBody":7,"unchanged":"pass"}"#,
        )
        .unwrap();
        let names: Vec<&str> = r.request.headers.set.iter().map(|s| s.0.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(matches!(&r.path, Some(NewPath::Prefix(from, _)) if from == "/v1"));
        assert_eq!(
            (r.status.as_deref(), r.max_body, r.pass),
            (Some("204"), 7, true)
        );
        assert!(!r.query.is_empty() && !r.request.body.is_empty() && r.response.body.is_empty());
        let r = parse(b"{}").unwrap();
        assert_eq!((r.max_body, r.pass), (512 << 10, false));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            ("", "config: empty"),
            (r#"{"requests":{}}"#, "config.requests: unknown field"),
            (
                r#"{"request":{"header":{}}}"#,
                "config.request.header: unknown field",
            ),
            (
                r#"{"request":{"headers":{"remove":["a","b c"]}}}"#,
                "config.request.headers.remove[1]: this is no name",
            ),
            (
                r#"{"request":{"headers":{"rename":{"a":""}}}}"#,
                "config.request.headers.rename.a: this is no name",
            ),
            (
                r#"{"request":{"headers":{"set":{":path":"/"}}}}"#,
                "config.request.headers.set.:path: this is no name",
            ),
            (
                r#"{"response":{"headers":{"add":{"a":"b\nc"}}}}"#,
                "config.response.headers.add.a: the value holds a line break",
            ),
            (
                r#"{"response":{"headers":{"add":{"a":"${b}"}}}}"#,
                "config.response.headers.add.a: want ${method}",
            ),
            (
                r#"{"request":{"headers":{"add":{"a":"${status}"}}}}"#,
                "config.request.headers.add.a: a request has no status",
            ),
            (
                r#"{"request":{"body":{"set":{"a":{"b":["${status}"]}}}}}"#,
                "config.request.body.set.a: a request has no status",
            ),
            (
                r#"{"request":{"query":{"remove":[""]}}}"#,
                "config.request.query.remove[0]: this is no name",
            ),
            (
                r#"{"request":{"path":{"set":"a"}}}"#,
                "config.request.path.set: want a path",
            ),
            (
                r#"{"request":{"path":{"set":"/a?b"}}}"#,
                "config.request.path.set: want a path",
            ),
            (
                r#"{"request":{"path":{"set":"/","replacePrefix":{"from":"/","to":"/"}}}}"#,
                "config.request.path: set and replacePrefix exclude",
            ),
            (
                r#"{"request":{"path":{"replacePrefix":{"to":"/"}}}}"#,
                "config.request.path.replacePrefix.from: missing",
            ),
            (
                r#"{"request":{"path":{"replacePrefix":{"from":"/"}}}}"#,
                "config.request.path.replacePrefix.to: missing",
            ),
            (
                r#"{"request":{"body":{"remove":["a."]}}}"#,
                "config.request.body.remove[0]: want 1 to 32 names",
            ),
            (
                r#"{"request":{"body":{"rename":{"a":""}}}}"#,
                "config.request.body.rename.a: want 1 to 32 names",
            ),
            (
                r#"{"request":{"body":{"rename":{"a.*":"b"}}}}"#,
                "config.request.body.rename.a.*: * leads",
            ),
            (
                r#"{"request":{"body":{"set":{"":1}}}}"#,
                "config.request.body.set.: want 1 to 32 names",
            ),
            (
                r#"{"response":{"status":199}}"#,
                "config.response.status: want 200 to 599",
            ),
            (r#"{"maxBody":-1}"#, "config.maxBody: want 0 to"),
            (
                r#"{"unchanged":"drop"}"#,
                "config.unchanged: want refuse or pass",
            ),
            (r#"{"maxBody":-1,"unchanged":"drop"}"#, "; config.unchanged"),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.contains(want), "{text}: {got}; want {want}");
        }
    }
}
