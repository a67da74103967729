//! What a service's answer means.

use crate::config::Settings;
use crate::names::{is_name, is_value, kept, named_by_connection, of_a_consumer, of_a_hop};

/// How a field is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Beside those that are there.
    Append,
    /// In place of them.
    Set,
    /// If there is none.
    IfAbsent,
    /// In place of them, if there are some.
    IfPresent,
}

/// A change of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) how: How,
}

/// What becomes of a request that passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) upstream: Vec<Edit>,
    pub(crate) remove: Vec<String>,
    pub(crate) client: Vec<Edit>,
    pub(crate) query_set: Vec<(String, String)>,
    pub(crate) query_remove: Vec<String>,
    /// Name and groups.
    pub(crate) consumer: Option<(String, Vec<String>)>,
}

/// What a service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow(Pass),
    Deny {
        status: u16,
        fields: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Nothing, or nothing that can be made sense of: why.
    Failure(String),
}

/// Bounds on what is taken over from an answer.
const MAX_FIELDS: usize = 100;
const MAX_FIELD_BYTES: usize = 32 << 10;
/// The longest body of a refusal that clients are shown.
pub(crate) const MAX_BODY: usize = 64 << 10;
const MAX_CONSUMER: usize = 256;

/// Reports whether there is more than can be taken over.
pub(crate) fn too_many<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let (n, bytes) = fields.fold((0, 0), |(n, bytes), (name, value)| {
        (n + 1, bytes + name.len() + value.len())
    });
    n > MAX_FIELDS || bytes > MAX_FIELD_BYTES
}

/// The groups and the name of a consumer, of the fields that have them; Err: they are no
/// names.
pub(crate) fn consumer(
    settings: &Settings,
    get: impl Fn(&str) -> Option<String>,
) -> Result<Option<(String, Vec<String>)>, String> {
    let Some((header, groups)) = &settings.consumer else {
        return Ok(None);
    };
    let Some(name) = get(header) else {
        return Ok(None);
    };
    let groups: Vec<String> = groups
        .as_ref()
        .and_then(|g| get(g))
        .map(|g| {
            g.split(',')
                .map(|one| one.trim().to_string())
                .filter(|one| !one.is_empty())
                .collect()
        })
        .unwrap_or_default();
    let wrong = |n: &String| n.len() > MAX_CONSUMER || n.bytes().any(|b| b < b' ' || b == 0x7f);
    if name.is_empty() || wrong(&name) || groups.iter().any(wrong) {
        return Err("the consumer that it names is none".into());
    }
    Ok(Some((name, groups)))
}

/// Judges an answer over HTTP: 2xx passes; 301, 302, 303, 307, 308 and 4xx refuse as they
/// are; all else is none.
pub(crate) fn http(
    settings: &Settings,
    status: u16,
    fields: &[(String, String)],
    body: Vec<u8>,
) -> Verdict {
    let pairs = || fields.iter().map(|f| (f.0.as_str(), f.1.as_str()));
    let hop = named_by_connection(
        pairs()
            .filter(|f| f.0.eq_ignore_ascii_case("connection"))
            .map(|f| f.1),
    );
    let ours = |name: &str| name.starts_with(':') || hop.contains(&name.to_ascii_lowercase());
    match status {
        200..=299 => {}
        301..=303 | 307 | 308 | 400..=499 => {
            let always = ["location", "www-authenticate", "content-type"];
            let fields: Vec<_> = fields
                .iter()
                .filter(|f| {
                    !ours(&f.0)
                        && (settings.denied.has(&f.0)
                            || always.iter().any(|a| f.0.eq_ignore_ascii_case(a)))
                })
                .cloned()
                .collect();
            return deny(status, fields, body);
        }
        _ => return Verdict::Failure(format!("it answered {status}")),
    }
    if too_many(pairs()) {
        return Verdict::Failure("it sent too many fields".into());
    }
    let get = |name: &str| {
        fields
            .iter()
            .find(|f| f.0.eq_ignore_ascii_case(name))
            .map(|f| f.1.clone())
    };
    let consumer = match consumer(settings, get) {
        Ok(c) => c,
        Err(why) => return Verdict::Failure(why),
    };
    let mut pass = Pass {
        consumer,
        ..Pass::default()
    };
    for (name, value) in fields {
        if ours(name) || !is_name(name) || !is_value(value) {
            continue;
        }
        let edit = Edit {
            name: name.clone(),
            value: value.clone(),
            how: How::Append, // what the client sent under these names is gone
        };
        if settings.allowed.has(name) && !of_a_hop(name) && !of_a_consumer(name) {
            pass.client.push(edit.clone());
        }
        if settings.upstream.as_ref().is_some_and(|n| n.has(name)) && !kept(name) {
            pass.upstream.push(edit);
        }
    }
    Verdict::Allow(pass)
}

/// A refusal with those of the fields that a client can be sent. What is too much of them,
/// or of the body, is left out: the refusal stands.
pub(crate) fn deny(status: u16, mut fields: Vec<(String, String)>, mut body: Vec<u8>) -> Verdict {
    fields.retain(|f| is_name(&f.0) && is_value(&f.1) && !of_a_hop(&f.0) && !of_a_consumer(&f.0));
    if too_many(fields.iter().map(|f| (f.0.as_str(), f.1.as_str()))) {
        fields.clear();
    }
    if body.len() > MAX_BODY {
        body.clear();
    }
    Verdict::Deny {
        status,
        fields,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn settings(more: &str) -> Settings {
        parse(format!(r#"{{"http":{{"url":"http://a"}}{more}}}"#).as_bytes()).unwrap()
    }

    fn fields(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|f| (f.0.into(), f.1.into())).collect()
    }

    #[test]
    fn statuses_decide() {
        let s = settings("");
        for status in [200, 201, 204, 299] {
            assert!(
                matches!(http(&s, status, &[], vec![]), Verdict::Allow(_)),
                "{status}"
            );
        }
        for status in [301, 302, 303, 307, 308, 400, 401, 403, 404, 499] {
            assert!(
                matches!(http(&s, status, &[], vec![]), Verdict::Deny { status: got, .. } if got == status),
                "{status}"
            );
        }
        for status in [
            0, 100, 101, 103, 199, 300, 304, 305, 306, 309, 399, 500, 503, 599, 600, 999,
        ] {
            assert!(
                matches!(http(&s, status, &[], vec![]), Verdict::Failure(_)),
                "{status}"
            );
        }
    }

    #[test]
    fn a_refusal_has_what_clients_may_have() {
        let all = fields(&[
            (":status", "302"),
            ("location", "https://login.example/"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("transfer-encoding", "chunked"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("x_consumer_username", "root"),
            ("bad name", "1"),
            ("x-bad", "a\r\nb: c"),
        ]);
        let Verdict::Deny {
            fields: got, body, ..
        } = http(&settings(""), 302, &all, b"go".to_vec())
        else {
            panic!()
        };
        assert_eq!(
            got,
            fields(&[
                ("location", "https://login.example/"),
                ("set-cookie", "a=b"),
                ("set-cookie", "c=d")
            ])
        );
        assert_eq!(body, b"go");
        let some = settings(r#","clientHeaders":{"denied":["x-a"]}"#);
        let Verdict::Deny { fields: got, .. } = http(
            &some,
            401,
            &fields(&[("x-a", "1"), ("x-b", "2"), ("WWW-Authenticate", "Basic")]),
            vec![],
        ) else {
            panic!()
        };
        assert_eq!(got, fields(&[("x-a", "1"), ("WWW-Authenticate", "Basic")]));
    }

    #[test]
    fn too_much_is_left_out_and_refuses_all_the_same() {
        let many = vec![("x-a".to_string(), "b".repeat(1024)); 40];
        let got = http(&settings(""), 403, &many, vec![b'x'; MAX_BODY + 1]);
        assert_eq!(
            got,
            Verdict::Deny {
                status: 403,
                fields: vec![],
                body: vec![]
            }
        );
        assert!(matches!(
            http(&settings(""), 200, &many, vec![]),
            Verdict::Failure(_)
        ));
    }

    #[test]
    fn the_upstream_gets_what_is_listed() {
        let s = settings(
            r#","responseHeaders":["x-user","x-auth-*"],"clientHeaders":{"allowed":["set-cookie"]},"consumer":{"header":"x-user","groups":"x-groups"}"#,
        );
        let all = fields(&[
            ("X-User", "ann"),
            ("x-auth-a", "1"),
            ("x-auth-a", "2"),
            ("x-groups", "a, b,,"),
            ("set-cookie", "s=1"),
            ("x-other", "1"),
        ]);
        let Verdict::Allow(p) = http(&s, 200, &all, vec![]) else {
            panic!()
        };
        let names: Vec<_> = p
            .upstream
            .iter()
            .map(|e| (e.name.as_str(), e.value.as_str()))
            .collect();
        assert_eq!(
            names,
            [("X-User", "ann"), ("x-auth-a", "1"), ("x-auth-a", "2")]
        );
        assert_eq!(p.client.len(), 1);
        assert_eq!(
            p.consumer,
            Some(("ann".into(), vec!["a".into(), "b".into()]))
        );
        assert!(matches!(
            http(&s, 200, &fields(&[("x-user", "")]), vec![]),
            Verdict::Failure(_)
        ));
        assert!(matches!(
            http(&s, 200, &fields(&[("x-user", "a\u{1}")]), vec![]),
            Verdict::Failure(_)
        ));
    }
}
