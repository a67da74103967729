//! A request, as the service is told of it.

use std::time::SystemTime;

use crate::config::{Http, Settings};
use crate::names::{named_by_connection, of_a_hop};

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authority: String,
    pub(crate) scheme: String,
    pub(crate) protocol: String,
    pub(crate) id: String,
    pub(crate) time: SystemTime,
    /// "address:port" of the client and of the proxy.
    pub(crate) source: String,
    pub(crate) destination: String,
    /// The client's certificate names it so.
    pub(crate) principal: String,
    pub(crate) sni: String,
    /// X-Forwarded-For and X-Forwarded-Proto as they came: only trusted proxies' do.
    pub(crate) forwarded_for: String,
    pub(crate) forwarded_proto: String,
    /// Of the body; -1: it is not told.
    pub(crate) size: i64,
    /// Those that the service gets.
    pub(crate) fields: Vec<(String, String)>,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            method: String::new(),
            path: String::new(),
            authority: String::new(),
            scheme: String::new(),
            protocol: String::new(),
            id: String::new(),
            time: SystemTime::UNIX_EPOCH,
            source: String::new(),
            destination: String::new(),
            principal: String::new(),
            sni: String::new(),
            forwarded_for: String::new(),
            forwarded_proto: String::new(),
            size: 0,
            fields: Vec::new(),
        }
    }
}

/// Fields that tell where a request is from, which the proxy says itself.
fn told_anew(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("x-forwarded-")
        || name.starts_with("x-original-")
        || name == "forwarded"
        || name == "x-real-ip"
        || name.starts_with("x-envoy-auth-")
}

impl Request {
    /// Chooses those of all fields that the service gets.
    pub(crate) fn choose(&mut self, settings: &Settings, all: &[(String, String)]) {
        let hop = named_by_connection(
            all.iter()
                .filter(|f| f.0.eq_ignore_ascii_case("connection"))
                .map(|f| f.1.as_str()),
        );
        let wanted = |name: &str| {
            settings.sent.has(name)
                || settings.body.is_some() && name.eq_ignore_ascii_case("content-type")
        };
        self.fields = all
            .iter()
            .filter(|f| {
                wanted(&f.0)
                    && !of_a_hop(&f.0)
                    && !told_anew(&f.0)
                    && !hop.contains(&f.0.to_ascii_lowercase())
            })
            .cloned()
            .collect();
    }

    fn client(&self) -> &str {
        let ip = self
            .source
            .rsplit_once(':')
            .map_or(self.source.as_str(), |s| s.0);
        ip.trim_start_matches('[').trim_end_matches(']')
    }

    /// Returns the header list of the request over HTTP; partial: whether its body is the
    /// beginning only, None without one.
    pub(crate) fn head(&self, h: &Http, partial: Option<bool>) -> Vec<(String, String)> {
        let own = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        let method = match (&h.method, self.method.as_str()) {
            (Some(m), _) => m.as_str(),
            (None, "CONNECT") => "GET", // which would open a tunnel
            (None, m) => m,
        };
        let scheme = if self.forwarded_proto.is_empty() {
            &self.scheme
        } else {
            &self.forwarded_proto
        };
        let chain = match self.forwarded_for.as_str() {
            "" => self.client().to_string(),
            before => format!("{before}, {}", self.client()),
        };
        let path = if h.original {
            format!("{}{own}", h.path)
        } else {
            h.path.clone()
        };
        let authority = if h.original && !self.authority.is_empty() {
            &self.authority
        } else {
            &h.authority
        };
        let mut all: Vec<(String, String)> = [
            (":method", method),
            (":scheme", if h.secure { "https" } else { "http" }),
            (":authority", authority),
            (":path", &path),
            ("x-forwarded-method", &self.method),
            ("x-forwarded-proto", scheme),
            ("x-forwarded-host", &self.authority),
            ("x-forwarded-uri", own),
            ("x-forwarded-for", &chain),
            ("x-real-ip", self.client()),
            ("x-original-method", &self.method),
            (
                "x-original-url",
                &format!("{scheme}://{}{own}", self.authority),
            ),
        ]
        .into_iter()
        .map(|(n, v)| (n.to_string(), v.to_string()))
        .collect();
        if let Some(partial) = partial {
            all.push(("x-envoy-auth-partial-body".into(), partial.to_string()));
        }
        all.extend(self.fields.iter().cloned());
        all
    }
}

/// Returns a path with query parameters set and taken out.
pub(crate) fn with_query(path: &str, set: &[(String, String)], remove: &[String]) -> String {
    let (before, query) = path.split_once('?').unwrap_or((path, ""));
    let gone = |name: &str| {
        let name = decoded(name);
        set.iter().any(|s| s.0.as_bytes() == name) || remove.iter().any(|r| r.as_bytes() == name)
    };
    let mut parts: Vec<String> = query
        .split('&')
        .filter(|p| !p.is_empty() && !gone(p.split_once('=').map_or(p, |kv| kv.0)))
        .map(String::from)
        .collect();
    for (name, value) in set {
        parts.push(format!("{}={}", encoded(name), encoded(value)));
    }
    if parts.is_empty() {
        return before.into();
    }
    format!("{before}?{}", parts.join("&"))
}

/// Takes a name of a form apart: "%41" and "+" (WHATWG URL, 5.1).
fn decoded(text: &str) -> Vec<u8> {
    let b = text.as_bytes();
    let mut out = Vec::with_capacity(b.len());
    let mut i = 0;
    while i < b.len() {
        let hex = b
            .get(i + 1..i + 3)
            .and_then(|h| std::str::from_utf8(h).ok())
            .filter(|h| h.bytes().all(|c| c.is_ascii_hexdigit()));
        match (b[i], hex) {
            (b'%', Some(h)) => {
                out.push(u8::from_str_radix(h, 16).unwrap_or(0));
                i += 2;
            }
            (b'+', _) => out.push(b' '),
            (c, _) => out.push(c),
        }
        i += 1;
    }
    out
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Service, parse};

    fn request() -> Request {
        Request {
            method: "PUT".into(),
            path: "/a/b?c=d".into(),
            authority: "shop.example".into(),
            scheme: "https".into(),
            source: "192.0.2.9:1234".into(),
            ..Request::default()
        }
    }

    fn head(config: &str, q: &Request) -> Vec<(String, String)> {
        let Service::Http(h) = parse(config.as_bytes()).unwrap().service else {
            panic!()
        };
        q.head(&h, None)
    }

    fn value<'a>(list: &'a [(String, String)], name: &str) -> &'a str {
        list.iter().find(|f| f.0 == name).map_or("", |f| &f.1)
    }

    #[test]
    fn a_request_is_told_of() {
        let got = head(r#"{"http":{"url":"http://auth:9000/verify"}}"#, &request());
        for (name, want) in [
            (":method", "GET"),
            (":path", "/verify"),
            (":authority", "auth:9000"),
            ("x-forwarded-method", "PUT"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-uri", "/a/b?c=d"),
            ("x-forwarded-for", "192.0.2.9"),
            ("x-original-url", "https://shop.example/a/b?c=d"),
        ] {
            assert_eq!(value(&got, name), want, "{name}");
        }
        let mut q = request();
        q.forwarded_for = "198.51.100.1".into();
        let got = head(
            r#"{"http":{"url":"https://auth","pathPrefix":"/check"}}"#,
            &q,
        );
        for (name, want) in [
            (":method", "PUT"),
            (":path", "/check/a/b?c=d"),
            (":authority", "shop.example"),
            (":scheme", "https"),
            ("x-forwarded-for", "198.51.100.1, 192.0.2.9"),
        ] {
            assert_eq!(value(&got, name), want, "{name}");
        }
        q.method = "CONNECT".into();
        q.path.clear();
        let got = head(r#"{"http":{"url":"https://auth","pathPrefix":""}}"#, &q);
        assert_eq!(
            (
                value(&got, ":method"),
                value(&got, ":path"),
                value(&got, "x-forwarded-method")
            ),
            ("GET", "/", "CONNECT")
        );
    }

    #[test]
    fn fields_are_chosen() {
        let all: Vec<(String, String)> = [
            "Authorization",
            "cookie",
            "x-other",
            "x-hop",
            "te",
            "content-length",
            "X-Forwarded-User",
            "x-forwarded-host",
        ]
        .iter()
        .map(|n| (n.to_string(), "1".to_string()))
        .chain([("Connection".to_string(), "X-Hop".to_string())])
        .collect();
        let mut q = request();
        q.choose(&parse(br#"{"http":{"url":"http://a"}}"#).unwrap(), &all);
        assert_eq!(
            q.fields.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(),
            ["Authorization", "cookie"]
        );
        q.choose(
            &parse(br#"{"http":{"url":"http://a"},"requestHeaders":["*"]}"#).unwrap(),
            &all,
        );
        assert_eq!(
            q.fields.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(),
            ["Authorization", "cookie", "x-other"]
        );
    }

    #[test]
    fn queries_change() {
        let set = [("a b".to_string(), "1&2".to_string())];
        for (path, want) in [
            ("/x", "/x?a%20b=1%262"),
            ("/x?a+b=0&c", "/x?c&a%20b=1%262"),
            ("/x?a%20b&t%6Fken=1&&d=2", "/x?d=2&a%20b=1%262"),
            ("/x?%zz=1", "/x?%zz=1&a%20b=1%262"),
        ] {
            assert_eq!(with_query(path, &set, &["token".into()]), want, "{path}");
        }
        assert_eq!(with_query("/x?token=1", &[], &["token".into()]), "/x");
    }
}
