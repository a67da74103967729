//! The configuration, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use penstock as sdk;

use crate::names::{Names, kept, of_a_hop};

sdk::config! {
    /// As schema.json says it.
    struct Config {
        http: Option<HttpConfig>,
        grpc: Option<GrpcConfig>,
        timeout: String,
        request_headers as "requestHeaders": Option<Vec<String>>,
        response_headers as "responseHeaders": Option<Vec<String>>,
        client_headers as "clientHeaders": ClientConfig,
        body: Option<BodyConfig>,
        on_failure as "onFailure": String,
        consumer: Option<ConsumerConfig>,
    }

    #[derive(Default)]
    struct HttpConfig {
        url: String,
        method: Option<String>,
        path_prefix as "pathPrefix": Option<String>,
    }

    #[derive(Default)]
    struct GrpcConfig {
        upstream: String,
        tls: bool,
        extensions as "contextExtensions": BTreeMap<String, String>,
    }

    struct ClientConfig {
        denied: Vec<String>,
        allowed: Vec<String>,
    }

    #[derive(Default)]
    struct BodyConfig {
        max as "maxBytes": u32,
        partial: bool,
    }

    #[derive(Default)]
    struct ConsumerConfig {
        header: String,
        groups: Option<String>,
    }
}

/// An HTTP service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Http {
    pub(crate) secure: bool,
    /// What the proxy calls it, and its hostname and port in requests.
    pub(crate) upstream: String,
    pub(crate) authority: String,
    pub(crate) path: String,
    /// None: the request's own.
    pub(crate) method: Option<String>,
    /// The request's own path follows, and its hostname is sent.
    pub(crate) original: bool,
}

/// A gRPC service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grpc {
    pub(crate) upstream: String,
    pub(crate) tls: bool,
    pub(crate) extensions: BTreeMap<String, String>,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Http(Http),
    Grpc(Grpc),
}

/// What of a request's body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) max: usize,
    pub(crate) partial: bool,
}

/// A configuration, ready for requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) service: Service,
    pub(crate) timeout: Duration,
    pub(crate) sent: Names,
    /// Fields of the answer for the upstream; None: all that a gRPC service sets.
    pub(crate) upstream: Option<Names>,
    pub(crate) denied: Names,
    pub(crate) allowed: Names,
    pub(crate) body: Option<Body>,
    /// A request passes that nothing was said about.
    pub(crate) open: bool,
    /// Fields that name the consumer, and its groups.
    pub(crate) consumer: Option<(String, Option<String>)>,
}

const MAX_NAMES: usize = 64;
const MAX_NAME: usize = 128;
const MAX_BODY: u32 = 1 << 20;
const MAX_URL: usize = 1024;
const MAX_PREFIX: usize = 512;
/// So that a GrpcService with it has lengths below 128, and is a text.
const MAX_UPSTREAM: usize = 120;
const MAX_EXTENSIONS: usize = 64;
const MAX_EXTENSION: usize = 1024;

/// Reads a configuration strictly.
pub(crate) fn parse(text: &[u8]) -> Result<Settings, String> {
    let c = sdk::parse_config(
        text,
        Config {
            http: None,
            grpc: None,
            timeout: "1s".into(),
            request_headers: None,
            response_headers: None,
            client_headers: ClientConfig {
                denied: vec!["*".into()],
                allowed: vec![],
            },
            body: None,
            on_failure: "deny".into(),
            consumer: None,
        },
    )
    .map_err(|e| e.to_string())?;
    let body = c.body.map(body).transpose()?;
    let service = match (c.http, c.grpc) {
        (Some(h), None) => Service::Http(http(h, body.is_some())?),
        (None, Some(g)) => Service::Grpc(grpc(g)?),
        _ => return Err("config: want one of http and grpc".into()),
    };
    let is_grpc = matches!(service, Service::Grpc(_));
    let usual: &[&str] = if is_grpc {
        &["*"]
    } else {
        &["authorization", "cookie"]
    };
    let sent = match &c.request_headers {
        Some(list) => names("requestHeaders", list, true)?,
        None => Names::new(usual),
    };
    let upstream = match &c.response_headers {
        Some(list) => Some(upstream_names(list)?),
        None if is_grpc => None,
        None => Some(Names::default()),
    };
    Ok(Settings {
        service,
        timeout: timeout(&c.timeout).ok_or("config.timeout: want 1ms to 9999ms, or 1s to 30s")?,
        sent,
        upstream,
        denied: names("clientHeaders.denied", &c.client_headers.denied, true)?,
        allowed: names("clientHeaders.allowed", &c.client_headers.allowed, true)?,
        body,
        open: match c.on_failure.as_str() {
            "deny" => false,
            "allow" => true,
            _ => return Err("config.onFailure: want deny or allow".into()),
        },
        consumer: c.consumer.map(consumer).transpose()?,
    })
}

fn body(b: BodyConfig) -> Result<Body, String> {
    if !(1..=MAX_BODY).contains(&b.max) {
        return Err(format!("config.body.maxBytes: want 1 to {MAX_BODY}"));
    }
    Ok(Body {
        max: b.max as usize,
        partial: b.partial,
    })
}

fn http(h: HttpConfig, body: bool) -> Result<Http, String> {
    let wrong = || {
        "config.http.url: want http:// or https://, a hostname, and at will :port and a path"
            .to_string()
    };
    if h.url.len() > MAX_URL {
        return Err(format!("config.http.url: want {MAX_URL} bytes at most"));
    }
    let (secure, rest) = match (
        h.url.strip_prefix("http://"),
        h.url.strip_prefix("https://"),
    ) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(wrong()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let upstream = address(authority, Some(if secure { 443 } else { 80 })).ok_or_else(wrong)?;
    if !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(wrong());
    }
    let method = match h.method {
        Some(m) if matches!(m.as_str(), "GET" | "HEAD" | "POST") => Some(m),
        Some(_) => return Err("config.http.method: want GET, HEAD or POST".into()),
        None if h.path_prefix.is_some() => None,
        None => Some(if body { "POST" } else { "GET" }.into()),
    };
    let mut made = Http {
        secure,
        upstream,
        authority: authority.into(),
        path: if path.is_empty() { "/" } else { path }.into(),
        method,
        original: false,
    };
    if let Some(prefix) = h.path_prefix {
        let good = prefix.is_empty() || prefix.starts_with('/');
        if !good
            || prefix.len() > MAX_PREFIX
            || !prefix
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'#' && b != b'?')
        {
            return Err("config.http.pathPrefix: want nothing, or a path without a query".into());
        }
        if !path.is_empty() && path != "/" {
            return Err("config.http.url: there is pathPrefix: write the path there".into());
        }
        made.path = prefix.trim_end_matches('/').into();
        made.original = true;
    }
    Ok(made)
}

fn grpc(g: GrpcConfig) -> Result<Grpc, String> {
    if g.upstream.len() > MAX_UPSTREAM || address(&g.upstream, None).is_none() {
        return Err("config.grpc.upstream: want NAME:PORT".into());
    }
    if g.extensions.len() > MAX_EXTENSIONS {
        return Err(format!(
            "config.grpc.contextExtensions: want {MAX_EXTENSIONS} at most"
        ));
    }
    for (name, value) in &g.extensions {
        if value.chars().count() > MAX_EXTENSION {
            return Err(format!(
                "config.grpc.contextExtensions.{name}: want {MAX_EXTENSION} characters at most"
            ));
        }
    }
    Ok(Grpc {
        upstream: g.upstream,
        tls: g.tls,
        extensions: g.extensions,
    })
}

/// Reads "name" or "name:port" as "name:port".
fn address(text: &str, usual: Option<u16>) -> Option<String> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) if port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) => {
            (name, port.parse().ok()?)
        }
        Some(_) => return None,
        None => (text, usual?),
    };
    let good = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    (good && port > 0).then(|| format!("{name}:{port}"))
}

fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit, most) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1, 9999),
        None => (text.strip_suffix('s')?, 1000, 30),
    };
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    (n <= most).then(|| Duration::from_millis(n * unit))
}

/// Reports whether a name can be listed: as schema.json says it.
fn listed(name: &str) -> bool {
    let begin = name.strip_suffix('*').unwrap_or(name);
    (1..=MAX_NAME).contains(&name.len())
        && begin
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn names(path: &str, list: &[String], any: bool) -> Result<Names, String> {
    if list.len() > MAX_NAMES {
        return Err(format!("config.{path}: want {MAX_NAMES} at most"));
    }
    for (i, name) in list.iter().enumerate() {
        let at = format!("config.{path}[{i}]");
        if !listed(name) || !any && name == "*" {
            return Err(format!(
                "{at}: want the name of a field, or what names begin with and *"
            ));
        }
        if of_a_hop(name) {
            return Err(format!(
                "{at}: it is of the connection or the message's framing, and never sent on"
            ));
        }
        if list[..i].contains(name) {
            return Err(format!("config.{path}: [{i}] stands there twice"));
        }
    }
    Ok(Names::new(list))
}

fn upstream_names(list: &[String]) -> Result<Names, String> {
    let made = names("responseHeaders", list, false)?;
    match list.iter().position(|n| kept(n)) {
        Some(i) => Err(format!(
            "config.responseHeaders[{i}]: who the consumer is, says the proxy: name the field in consumer"
        )),
        None => Ok(made),
    }
}

fn consumer(c: ConsumerConfig) -> Result<(String, Option<String>), String> {
    for (field, name) in [("header", Some(&c.header)), ("groups", c.groups.as_ref())] {
        if name.is_some_and(|n| !listed(n) || n.ends_with('*')) {
            return Err(format!("config.consumer.{field}: want the name of a field"));
        }
    }
    Ok((c.header, c.groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http_of(text: &str) -> Http {
        match parse(text.as_bytes()).unwrap().service {
            Service::Http(h) => h,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn urls_are_read() {
        for (config, upstream, authority, path, method, original) in [
            (
                r#"{"http":{"url":"http://auth"}}"#,
                "auth:80",
                "auth",
                "/",
                Some("GET"),
                false,
            ),
            (
                r#"{"http":{"url":"https://auth.example/v?rd=x"}}"#,
                "auth.example:443",
                "auth.example",
                "/v?rd=x",
                Some("GET"),
                false,
            ),
            (
                r#"{"http":{"url":"http://auth:9000/","pathPrefix":"/check/"}}"#,
                "auth:9000",
                "auth:9000",
                "/check",
                None,
                true,
            ),
            (
                r#"{"http":{"url":"http://auth:9000","pathPrefix":"","method":"HEAD"}}"#,
                "auth:9000",
                "auth:9000",
                "",
                Some("HEAD"),
                true,
            ),
            (
                r#"{"http":{"url":"http://auth/a"},"body":{"maxBytes":10}}"#,
                "auth:80",
                "auth",
                "/a",
                Some("POST"),
                false,
            ),
        ] {
            let h = http_of(config);
            assert_eq!(
                (
                    h.upstream.as_str(),
                    h.authority.as_str(),
                    h.path.as_str(),
                    h.method.as_deref(),
                    h.original
                ),
                (upstream, authority, path, method, original),
                "{config}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (config, want) in [
            ("{}", "config: "),
            (
                r#"{"http":{"url":"http://a"},"grpc":{"upstream":"a:1"}}"#,
                "config: ",
            ),
            (r#"{"http":{"url":"ftp://a"}}"#, "config.http.url: "),
            (r#"{"http":{"url":"http://a:0"}}"#, "config.http.url: "),
            (r#"{"http":{"url":"http://a:99999"}}"#, "config.http.url: "),
            (r#"{"http":{"url":"http://a@b/"}}"#, "config.http.url: "),
            (r#"{"http":{"url":"http://a/\r\nx"}}"#, "config.http.url: "),
            (r#"{"http":{"url":"http://a?x"}}"#, "config.http.url: "),
            (
                r#"{"http":{"url":"http://a/b","pathPrefix":"/c"}}"#,
                "config.http.url: ",
            ),
            (
                r#"{"http":{"url":"http://a","pathPrefix":"c"}}"#,
                "config.http.pathPrefix: ",
            ),
            (
                r#"{"http":{"url":"http://a","method":"CONNECT"}}"#,
                "config.http.method: ",
            ),
            (r#"{"grpc":{"upstream":"a"}}"#, "config.grpc.upstream: "),
            (
                r#"{"http":{"url":"http://a"},"timeout":"0s"}"#,
                "config.timeout: ",
            ),
            (
                r#"{"http":{"url":"http://a"},"timeout":"31s"}"#,
                "config.timeout: ",
            ),
            (
                r#"{"http":{"url":"http://a"},"requestHeaders":["Connection"]}"#,
                "config.requestHeaders[0]: ",
            ),
            (
                r#"{"http":{"url":"http://a"},"responseHeaders":["*"]}"#,
                "config.responseHeaders[0]: ",
            ),
            (
                r#"{"http":{"url":"http://a"},"responseHeaders":["x-a","X-Consumer-Username"]}"#,
                "config.responseHeaders[1]: ",
            ),
            (
                r#"{"http":{"url":"http://a"},"clientHeaders":{"denied":["a b"]}}"#,
                "config.clientHeaders.denied[0]: ",
            ),
            (
                r#"{"http":{"url":"http://a"},"body":{"maxBytes":0}}"#,
                "config.body.maxBytes: ",
            ),
            (
                r#"{"http":{"url":"http://a"},"onFailure":"open"}"#,
                "config.onFailure: ",
            ),
            (
                r#"{"http":{"url":"http://a"},"consumer":{"header":"x-*"}}"#,
                "config.consumer.header: ",
            ),
        ] {
            let got = parse(config.as_bytes()).unwrap_err();
            assert!(got.starts_with(want), "{config}: {got}");
        }
    }
}
