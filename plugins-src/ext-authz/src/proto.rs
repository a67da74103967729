//! Messages of envoy.service.auth.v3, as far as they are of use (protobuf's wire format).

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use crate::answer::{Edit, How, Pass, Verdict, consumer, deny, too_many};
use crate::config::{Grpc, Settings};
use crate::names::{is_name, is_value, kept, of_a_consumer, of_a_hop};
use crate::request::Request;

const VARINT: u64 = 0;
const BYTES: u64 = 2;

fn varint(to: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        to.push(n as u8 | 0x80);
        n >>= 7;
    }
    to.push(n as u8);
}

fn number(to: &mut Vec<u8>, field: u64, n: u64) {
    if n != 0 {
        varint(to, field << 3 | VARINT);
        varint(to, n);
    }
}

fn bytes(to: &mut Vec<u8>, field: u64, b: &[u8]) {
    varint(to, field << 3 | BYTES);
    varint(to, b.len() as u64);
    to.extend_from_slice(b);
}

fn text(to: &mut Vec<u8>, field: u64, s: &str) {
    if !s.is_empty() {
        bytes(to, field, s.as_bytes());
    }
}

fn entry(to: &mut Vec<u8>, field: u64, key: &str, value: &str) {
    let mut e = Vec::new();
    text(&mut e, 1, key);
    text(&mut e, 2, value);
    bytes(to, field, &e);
}

fn peer(to: &mut Vec<u8>, field: u64, address: &str, principal: &str) {
    let mut p = Vec::new();
    let (ip, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let mut socket = Vec::new();
    text(
        &mut socket,
        2,
        ip.trim_start_matches('[').trim_end_matches(']'),
    );
    number(&mut socket, 3, port.parse::<u16>().unwrap_or(0).into());
    let mut a = Vec::new();
    bytes(&mut a, 1, &socket);
    bytes(&mut p, 1, &a);
    text(&mut p, 4, principal);
    bytes(to, field, &p);
}

/// Returns a serialised envoy.config.core.v3.GrpcService: google_grpc with ssl_credentials.
pub(crate) fn secure_service(upstream: &str) -> Vec<u8> {
    let mut credentials = Vec::new();
    bytes(&mut credentials, 1, &[]);
    let mut google = Vec::new();
    text(&mut google, 1, upstream);
    bytes(&mut google, 2, &credentials);
    let mut service = Vec::new();
    bytes(&mut service, 2, &google);
    service
}

/// Returns a CheckRequest.
pub(crate) fn check_request(g: &Grpc, q: &Request, body: Option<&[u8]>) -> Vec<u8> {
    let mut http = Vec::new();
    text(&mut http, 1, &q.id);
    text(&mut http, 2, &q.method);
    for (name, value) in headers(q) {
        entry(&mut http, 3, &name, &value);
    }
    text(&mut http, 4, &q.path);
    text(&mut http, 5, &q.authority);
    text(&mut http, 6, &q.scheme);
    number(&mut http, 9, q.size as u64); // -1 is ten bytes
    text(&mut http, 10, &q.protocol);
    if let Some(b) = body {
        let field = if std::str::from_utf8(b).is_ok() {
            11
        } else {
            12
        };
        bytes(&mut http, field, b);
    }
    let mut time = Vec::new();
    let since = q.time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    number(&mut time, 1, since.as_secs());
    number(&mut time, 2, since.subsec_nanos().into());
    let mut request = Vec::new();
    bytes(&mut request, 1, &time);
    bytes(&mut request, 2, &http);
    let mut attributes = Vec::new();
    peer(&mut attributes, 1, &q.source, &q.principal);
    peer(&mut attributes, 2, &q.destination, "");
    bytes(&mut attributes, 4, &request);
    for (key, value) in &g.extensions {
        entry(&mut attributes, 10, key, value);
    }
    if !q.sni.is_empty() {
        let mut session = Vec::new();
        text(&mut session, 1, &q.sni);
        bytes(&mut attributes, 12, &session);
    }
    let mut all = Vec::new();
    bytes(&mut all, 1, &attributes);
    all
}

/// The fields by name; several of one name are one, as Envoy joins them.
fn headers(q: &Request) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in [
        (":method", &q.method),
        (":path", &q.path),
        (":authority", &q.authority),
        (":scheme", &q.scheme),
    ] {
        all.insert(name.to_string(), value.clone());
    }
    for (name, value) in &q.fields {
        let name = name.to_ascii_lowercase();
        let between = if name == "cookie" { "; " } else { "," };
        all.entry(name)
            .and_modify(|v: &mut String| {
                v.push_str(between);
                v.push_str(value);
            })
            .or_insert_with(|| value.clone());
    }
    all
}

/// What a field holds.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Reads a message's fields one by one; None: it is malformed.
fn each<'a>(mut b: &'a [u8], mut field: impl FnMut(u64, Value<'a>) -> Option<()>) -> Option<()> {
    while !b.is_empty() {
        let tag = read_varint(&mut b)?;
        let value = match tag & 7 {
            VARINT => Value::Number(read_varint(&mut b)?),
            1 => {
                b = b.get(8..)?;
                Value::Other
            }
            BYTES => {
                let n = usize::try_from(read_varint(&mut b)?).ok()?;
                let (content, rest) = b.split_at_checked(n)?;
                b = rest;
                Value::Bytes(content)
            }
            5 => {
                b = b.get(4..)?;
                Value::Other
            }
            _ => return None, // groups: nobody sends them
        };
        if tag >> 3 == 0 {
            return None;
        }
        field(tag >> 3, value)?;
    }
    Some(())
}

fn read_varint(b: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&first, rest) = b.split_first()?;
        *b = rest;
        if shift == 63 && first > 1 {
            return None;
        }
        n |= u64::from(first & 0x7f) << shift;
        if first < 0x80 {
            return Some(n);
        }
    }
    None
}

fn utf8(b: &[u8]) -> Option<String> {
    String::from_utf8(b.to_vec()).ok()
}

/// A HeaderValueOption as it came.
#[derive(Default)]
struct Field {
    name: String,
    value: String,
    append: Option<bool>,
    action: u64,
}

impl Field {
    fn read(b: &[u8]) -> Option<Field> {
        let mut f = Field::default();
        each(b, |n, v| {
            match (n, v) {
                (1, Value::Bytes(b)) => each(b, |n, v| {
                    match (n, v) {
                        (1, Value::Bytes(b)) => f.name = utf8(b)?,
                        (2 | 3, Value::Bytes(b)) => f.value = utf8(b)?,
                        _ => {}
                    }
                    Some(())
                })?,
                (2, Value::Bytes(b)) => {
                    f.append = Some(false);
                    each(b, |n, v| {
                        if let (1, Value::Number(on)) = (n, v) {
                            f.append = Some(on != 0);
                        }
                        Some(())
                    })?;
                }
                (3, Value::Number(action)) => f.action = action,
                _ => {}
            }
            Some(())
        })?;
        Some(f)
    }

    /// How it is put in; absent is what neither append nor append_action means.
    fn edit(self, absent: How) -> Edit {
        let how = match (self.append, self.action) {
            (Some(true), _) => How::Append,
            (Some(false), _) => How::Set,
            (None, 1) => How::IfAbsent,
            (None, 2) => How::Set,
            (None, 3) => How::IfPresent,
            (None, _) => absent,
        };
        Edit {
            name: self.name,
            value: self.value,
            how,
        }
    }
}

/// A CheckResponse as it came.
#[derive(Default)]
struct Response {
    code: Option<u64>,
    denied: bool,
    denied_status: Option<u64>,
    denied_fields: Vec<Field>,
    denied_body: Vec<u8>,
    ok: bool,
    fields: Vec<Field>,
    remove: Vec<String>,
    client: Vec<Field>,
    query_set: Vec<(String, String)>,
    query_remove: Vec<String>,
}

impl Response {
    fn read(b: &[u8]) -> Option<Response> {
        let mut r = Response::default();
        each(b, |n, v| {
            match (n, v) {
                (1, Value::Bytes(b)) => {
                    let code = r.code.get_or_insert(0);
                    each(b, |n, v| {
                        if let (1, Value::Number(c)) = (n, v) {
                            *code = c;
                        }
                        Some(())
                    })?;
                }
                (2, Value::Bytes(b)) => r.read_denied(b)?,
                (3, Value::Bytes(b)) => r.read_ok(b)?,
                (1..=3, _) => return None,
                _ => {}
            }
            Some(())
        })?;
        Some(r)
    }

    fn read_denied(&mut self, b: &[u8]) -> Option<()> {
        self.denied = true;
        each(b, |n, v| {
            match (n, v) {
                (1, Value::Bytes(b)) => each(b, |n, v| {
                    if let (1, Value::Number(status)) = (n, v) {
                        self.denied_status = Some(status);
                    }
                    Some(())
                })?,
                (2, Value::Bytes(b)) => self.denied_fields.push(Field::read(b)?),
                (3, Value::Bytes(b)) => self.denied_body = b.to_vec(),
                _ => {}
            }
            Some(())
        })
    }

    fn read_ok(&mut self, b: &[u8]) -> Option<()> {
        self.ok = true;
        each(b, |n, v| {
            match (n, v) {
                (2, Value::Bytes(b)) => self.fields.push(Field::read(b)?),
                (5, Value::Bytes(b)) => self.remove.push(utf8(b)?),
                (6, Value::Bytes(b)) => self.client.push(Field::read(b)?),
                (7, Value::Bytes(b)) => {
                    let (mut key, mut value) = (String::new(), String::new());
                    each(b, |n, v| {
                        match (n, v) {
                            (1, Value::Bytes(b)) => key = utf8(b)?,
                            (2, Value::Bytes(b)) => value = utf8(b)?,
                            _ => {}
                        }
                        Some(())
                    })?;
                    self.query_set.push((key, value));
                }
                (8, Value::Bytes(b)) => self.query_remove.push(utf8(b)?),
                _ => {}
            }
            Some(())
        })
    }
}

/// Judges a CheckResponse. A request passes if the status is there and OK, or an
/// ok_response is, and nothing is there that refuses.
pub(crate) fn judge(settings: &Settings, message: &[u8]) -> Verdict {
    let Some(r) = Response::read(message) else {
        return Verdict::Failure("its answer is no CheckResponse".into());
    };
    if r.denied || r.code.is_some_and(|c| c != 0) {
        let status = match r.denied_status {
            Some(s @ 200..=599) => s as u16,
            _ => 403,
        };
        let fields = r
            .denied_fields
            .into_iter()
            .map(|f| (f.name, f.value))
            .collect();
        return deny(status, fields, r.denied_body);
    }
    if r.code.is_none() && !r.ok {
        return Verdict::Failure("its answer says nothing".into());
    }
    pass(settings, r)
}

fn pass(settings: &Settings, r: Response) -> Verdict {
    let all = || r.fields.iter().chain(&r.client);
    if too_many(all().map(|f| (f.name.as_str(), f.value.as_str())))
        || r.remove.len() + r.query_set.len() + r.query_remove.len() > 100
    {
        return Verdict::Failure("it sent too many fields".into());
    }
    if all().any(|f| !f.name.starts_with(':') && !is_name(&f.name) || !is_value(&f.value)) {
        return Verdict::Failure("a field that it sets is none".into());
    }
    let get = |name: &str| {
        r.fields
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name))
            .map(|f| f.value.clone())
    };
    let consumer = match consumer(settings, get) {
        Ok(c) => c,
        Err(why) => return Verdict::Failure(why),
    };
    let listed = |name: &str| settings.upstream.as_ref().is_none_or(|n| n.has(name));
    let mut client: Vec<Edit> = Vec::new();
    for f in r.client {
        if !of_a_hop(&f.name) && !of_a_consumer(&f.name) {
            client.push(f.edit(How::Append));
        }
    }
    let mut upstream = Vec::new();
    for f in r.fields {
        if settings.allowed.has(&f.name) && !of_a_hop(&f.name) && !of_a_consumer(&f.name) {
            client.push(Edit {
                name: f.name.clone(),
                value: f.value.clone(),
                how: How::Append,
            });
        }
        if listed(&f.name) && !kept(&f.name) {
            upstream.push(f.edit(How::Set));
        }
    }
    Verdict::Allow(Pass {
        upstream,
        remove: r
            .remove
            .into_iter()
            .filter(|n| is_name(n) && !kept(n))
            .collect(),
        client,
        query_set: r.query_set,
        query_remove: r.query_remove,
        consumer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Service, parse};

    fn settings(more: &str) -> Settings {
        parse(
            format!(
                r#"{{"grpc":{{"upstream":"auth:9001","contextExtensions":{{"a":"b"}}}}{more}}}"#
            )
            .as_bytes(),
        )
        .unwrap()
    }

    fn message(list: &[(u64, &[u8])]) -> Vec<u8> {
        let mut b = Vec::new();
        for (field, content) in list {
            bytes(&mut b, *field, content);
        }
        b
    }

    /// A HeaderValueOption.
    fn option(name: &str, value: &str, rest: &[u8]) -> Vec<u8> {
        let mut h = Vec::new();
        text(&mut h, 1, name);
        text(&mut h, 2, value);
        let mut o = message(&[(1, &h)]);
        o.extend_from_slice(rest);
        o
    }

    const OK: (u64, &[u8]) = (1, b"");
    const REFUSED: (u64, &[u8]) = (1, b"\x08\x07");

    #[test]
    fn answers_are_judged() {
        let s = settings("");
        let allowed = |b: &[u8]| matches!(judge(&s, b), Verdict::Allow(_));
        let status = |b: &[u8]| match judge(&s, b) {
            Verdict::Deny { status, .. } => status,
            other => panic!("{other:?}"),
        };
        assert!(allowed(&message(&[OK])));
        assert!(allowed(&message(&[(3, b"")])));
        assert!(allowed(&message(&[OK, (4, b"\x0a\x00"), (9, b"x")])));
        assert_eq!(status(&message(&[REFUSED])), 403);
        assert_eq!(status(&message(&[REFUSED, (3, b"")])), 403);
        assert_eq!(status(&message(&[OK, (2, b"")])), 403);
        assert_eq!(
            status(&message(&[REFUSED, (2, b"\x0a\x03\x08\x91\x03")])),
            401
        );
        assert_eq!(status(&message(&[REFUSED, (2, b"\x0a\x02\x08\x63")])), 403); // 99
        assert_eq!(
            status(&message(&[REFUSED, (2, b"\x0a\x03\x08\xe8\x07")])),
            403
        ); // 1000
        for garbage in [
            &b""[..],
            b"\x0a",
            b"\x0a\x05x",
            b"\x08\x00",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x00\x00",
            b"\x0b\x0c",
            b"<html>",
        ] {
            assert!(
                matches!(judge(&s, garbage), Verdict::Failure(_)),
                "{garbage:?}"
            );
        }
    }

    #[test]
    fn fields_are_put_in() {
        let ok = message(&[
            (2, &option("x-user", "ann", b"")),
            (2, &option("x-more", "1", b"\x12\x02\x08\x01")),
            (2, &option("x-new", "1", b"\x18\x01")),
            (2, &option("x-old", "1", b"\x18\x03")),
            (2, &option("content-length", "0", b"")),
            (2, &option(":path", "/root", b"")),
            (2, &option("X_Consumer_Username", "root", b"")),
            (5, b"x-secret"),
            (5, b"host"),
            (6, &option("set-cookie", "a=b", b"")),
            (6, &option("transfer-encoding", "chunked", b"")),
            (7, b"\x0a\x01q\x12\x01v"),
            (8, b"token"),
        ]);
        let Verdict::Allow(p) = judge(
            &settings(r#","consumer":{"header":"x-user"}"#),
            &message(&[OK, (3, &ok)]),
        ) else {
            panic!()
        };
        let got: Vec<_> = p
            .upstream
            .iter()
            .map(|e| (e.name.as_str(), e.how))
            .collect();
        assert_eq!(
            got,
            [
                ("x-user", How::Set),
                ("x-more", How::Append),
                ("x-new", How::IfAbsent),
                ("x-old", How::IfPresent)
            ]
        );
        assert_eq!(
            (p.remove, p.client.len()),
            (vec!["x-secret".to_string()], 1)
        );
        assert_eq!(
            (p.query_set, p.query_remove),
            (
                vec![("q".to_string(), "v".to_string())],
                vec!["token".to_string()]
            )
        );
        assert_eq!(p.consumer, Some(("ann".into(), vec![])));
        for (name, value) in [("a b", "1"), ("x-a", "1\r\nx: y"), ("", "1")] {
            let ok = message(&[(2, &option(name, value, b""))]);
            assert!(
                matches!(
                    judge(&settings(""), &message(&[OK, (3, &ok)])),
                    Verdict::Failure(_)
                ),
                "{name:?}"
            );
        }
    }

    #[test]
    fn requests_are_written() {
        let s = settings("");
        let Service::Grpc(g) = &s.service else {
            panic!()
        };
        let q = Request {
            method: "GET".into(),
            path: "/a?b".into(),
            source: "[2001:db8::1]:443".into(),
            fields: vec![
                ("Cookie".into(), "a=b".into()),
                ("cookie".into(), "c=d".into()),
                ("x".into(), "1".into()),
                ("X".into(), "2".into()),
            ],
            size: -1,
            ..Request::default()
        };
        let b = check_request(g, &q, Some(b"\xff"));
        assert!(each(&b, |_, _| Some(())).is_some());
        let all = headers(&q);
        assert_eq!(
            (
                all["cookie"].as_str(),
                all["x"].as_str(),
                all[":path"].as_str()
            ),
            ("a=b; c=d", "1,2", "/a?b")
        );
        let has = |part: &[u8]| b.windows(part.len()).any(|w| w == part);
        assert!(
            has(b"2001:db8::1\x18\xbb\x03")
                && has(b"\x62\x01\xff")
                && has(b"\x52\x06\x0a\x01a\x12\x01b")
        );
        assert_eq!(
            secure_service("a:1"),
            b"\x12\x09\x0a\x03a:1\x12\x02\x0a\x00"
        );
    }

    /// Whatever bytes come, it ends, and what is cut off never passes.
    #[test]
    fn garbage_is_no_answer() {
        let whole = message(&[
            OK,
            (
                3,
                &message(&[
                    (2, &option("x-user", "ann", b"\x12\x02\x08\x01")),
                    (5, b"x"),
                ]),
            ),
        ]);
        let s = settings("");
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let mut b = whole.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = seed as usize >> 8;
                let n = b.len();
                b[at % n] = seed as u8;
            }
            let _ = judge(&s, &b);
        }
        for n in 3..whole.len() {
            assert!(matches!(judge(&s, &whole[..n]), Verdict::Failure(_)), "{n}");
        }
    }
}
