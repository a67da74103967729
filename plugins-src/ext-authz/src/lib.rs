//! A plugin that asks a service whether a request may pass. See README.md.

mod answer;
mod config;
mod names;
mod proto;
mod request;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, Consumer, Level, REQUEST_BODY, REQUEST_HEADER, RESPONSE_HEADER, StreamType};

use answer::{Edit, How, MAX_BODY, Pass, Verdict};
use config::{Service, Settings};
use request::Request;

sdk::register!(Plugin::default);

const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";

/// Callbacks as penstock.set_callbacks has them.
const REQUEST_HEADERS: u32 = 1 << 0;
const REQUEST_BODIES: u32 = 1 << 1;
const REQUEST_TRAILERS: u32 = 1 << 2;
const RESPONSE_HEADERS: u32 = 1 << 3;
/// Headers are held back while callbacks of the body are made.
const HELD_HEADERS: u32 = 1 << 7;

#[derive(Default)]
struct Plugin {
    settings: Option<Rc<Settings>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        let settings = config::parse(text)?;
        let mut wanted = REQUEST_HEADERS | RESPONSE_HEADERS;
        if settings.body.is_some() {
            wanted |= REQUEST_BODIES | REQUEST_TRAILERS | HELD_HEADERS;
            // Elsewhere than in Penstock the body would wait for headers that wait for it.
            sdk::call_foreign("penstock.set_callbacks", wanted.to_le_bytes())
                .map_err(|_| "config.body: the proxy cannot hold headers back for it")?;
        } else {
            let _ = sdk::call_foreign("penstock.set_callbacks", wanted.to_le_bytes());
        }
        self.settings = Some(Rc::new(settings));
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Stream(Rc::new(Part {
            settings: self.settings.clone().expect("it is configured"),
            state: Cell::default(),
            request: RefCell::default(),
            body: RefCell::default(),
            client: RefCell::default(),
        })))
    }
}

/// How far a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Its body is waited for.
    #[default]
    Gathering,
    Asked,
    Decided,
}

/// The plugin's part in an exchange, which the call's callback shares.
struct Part {
    settings: Rc<Settings>,
    state: Cell<State>,
    request: RefCell<Request>,
    /// What has come of the request's body, as far as the service is shown it.
    body: RefCell<Vec<u8>>,
    /// What the client gets with the response.
    client: RefCell<Vec<Edit>>,
}

struct Stream(Rc<Part>);

impl sdk::Stream for Stream {
    fn request_headers(&mut self, end: bool) -> Action {
        let part = &self.0;
        let all = fields();
        *part.request.borrow_mut() = read(&part.settings, &all, end);
        part.strip(&all);
        let size = part.request.borrow().size;
        match part.settings.body {
            Some(b) if !end => {
                if !b.partial && size > b.max as i64 {
                    return too_large();
                }
                Action::Pause
            }
            _ => ask(part, None),
        }
    }

    fn request_body(&mut self, size: usize, end: bool) -> Action {
        let part = &self.0;
        let Some(b) = part.settings.body else {
            return Action::Continue;
        };
        match part.state.get() {
            State::Decided => return Action::Continue,
            State::Asked => return Action::Pause,
            State::Gathering => {}
        }
        if size > b.max && !b.partial {
            return too_large();
        }
        let mut body = part.body.borrow_mut();
        let more = size.min(b.max).saturating_sub(body.len());
        if more > 0 {
            let part = REQUEST_BODY.get(body.len(), more).unwrap_or_default();
            body.extend_from_slice(&part);
        }
        drop(body);
        if !end && size <= b.max {
            return Action::Pause;
        }
        ask(part, Some(size > b.max))
    }

    fn request_trailers(&mut self) -> Action {
        let part = &self.0;
        match part.state.get() {
            State::Decided => Action::Continue,
            State::Asked => Action::Pause,
            State::Gathering => ask(part, Some(false)),
        }
    }

    fn response_headers(&mut self, _end: bool) -> Action {
        for e in self.0.client.take() {
            put(RESPONSE_HEADER, &e);
        }
        Action::Continue
    }
}

/// Returns all fields of the request, pseudo header fields too. If that fails the trap denies:
/// what only the service may say would stay in.
fn fields() -> Vec<(String, String)> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let all = REQUEST_HEADER.all().expect("the fields are read");
    all.iter().map(|(n, v)| (text(n), text(v))).collect()
}

/// Returns what the service is told of the request.
fn read(settings: &Settings, all: &[(String, String)], end: bool) -> Request {
    let field = |name: &str| {
        all.iter()
            .filter(|f| f.0.eq_ignore_ascii_case(name))
            .map(|f| f.1.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let property = |path: &[&str]| sdk::property_string(path).unwrap_or_default();
    let mut q = Request {
        method: field(":method"),
        path: field(":path"),
        authority: field(":authority"),
        scheme: property(&["request", "scheme"]),
        protocol: property(&["request", "protocol"]),
        id: field("x-request-id"),
        time: sdk::now(),
        source: property(&["source", "address"]),
        destination: property(&["destination", "address"]),
        principal: property(&["connection", "uri_san_peer_certificate"]),
        sni: property(&["connection", "requested_server_name"]),
        forwarded_for: field("x-forwarded-for"),
        forwarded_proto: field("x-forwarded-proto"),
        size: if end {
            0
        } else {
            field("content-length").parse().unwrap_or(-1)
        },
        fields: Vec::new(),
    };
    if q.principal.is_empty() {
        q.principal = property(&["connection", "subject_peer_certificate"]);
    }
    q.choose(settings, all);
    q
}

impl Part {
    /// Takes out what only the service may say. If that fails the trap denies.
    fn strip(&self, all: &[(String, String)]) {
        let Some(names) = self.settings.upstream.as_ref().filter(|n| !n.is_empty()) else {
            return;
        };
        for (name, _) in all.iter().filter(|f| names.has(&f.0)) {
            REQUEST_HEADER.del(name).expect("the field is taken out");
        }
    }

    /// Does what the service says.
    fn decide(&self, verdict: Verdict) -> Action {
        self.state.set(State::Decided);
        match verdict {
            Verdict::Allow(pass) => self.pass(pass),
            Verdict::Deny {
                status,
                fields,
                body,
            } => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|f| (f.0.as_str(), f.1.as_str()))
                    .collect();
                respond(status, &fields, body, "the authorization service refuses")
            }
            Verdict::Failure(why) if self.settings.open => {
                sdk::log(
                    Level::Warn,
                    &format!(
                        "the authorization service: {why}: the request passes (onFailure: allow)"
                    ),
                );
                Action::Continue
            }
            Verdict::Failure(why) => {
                sdk::log(Level::Warn, &format!("the authorization service: {why}"));
                plainly(
                    503,
                    "503 Service Unavailable\n",
                    "no answer of the authorization service",
                )
            }
        }
    }

    fn pass(&self, pass: Pass) -> Action {
        if let Some((name, groups)) = &pass.consumer {
            if let Err(status) = sdk::set_consumer(&Consumer::new(name, groups)) {
                sdk::log(Level::Error, &format!("the consumer: {status}"));
                return plainly(500, "500 Internal Server Error\n", "consumer refused");
            }
        }
        for name in &pass.remove {
            REQUEST_HEADER.del(name).expect("the field is taken out");
        }
        for e in &pass.upstream {
            put(REQUEST_HEADER, e);
        }
        if !pass.query_set.is_empty() || !pass.query_remove.is_empty() {
            let path = REQUEST_HEADER
                .get(":path")
                .map(|p| String::from_utf8_lossy(&p).into_owned());
            if let Some(path) = path {
                let path = request::with_query(&path, &pass.query_set, &pass.query_remove);
                REQUEST_HEADER
                    .set(":path", path)
                    .expect("the query is changed");
            }
        }
        *self.client.borrow_mut() = pass.client;
        Action::Continue
    }
}

/// Puts a field in. If that fails the trap denies.
fn put(list: sdk::Header, e: &Edit) {
    let there = || list.get(&e.name).is_some();
    match e.how {
        How::Append => list.add(&e.name, &e.value),
        How::IfAbsent if there() => return,
        How::IfPresent if !there() => return,
        How::Set | How::IfAbsent | How::IfPresent => list.set(&e.name, &e.value),
    }
    .expect("the field is set");
}

/// Asks the service; partial says of the body that has been gathered whether there is more.
fn ask(part: &Rc<Part>, partial: Option<bool>) -> Action {
    part.state.set(State::Asked);
    let s = &part.settings;
    let body = partial.map(|_| part.body.take());
    let mut q = part.request.borrow_mut();
    let asked = match &s.service {
        Service::Http(h) => {
            let head = q.head(h, s.body.map(|_| partial.unwrap_or(false)));
            let head: Vec<_> = head.iter().map(|f| (f.0.as_str(), f.1.as_str())).collect();
            let waits = part.clone();
            sdk::http_call(
                &h.upstream,
                &head,
                body.unwrap_or_default(),
                &[],
                s.timeout,
                move |r| {
                    let verdict = match r {
                        Ok(r) => judge(&waits.settings, r),
                        Err(e) => Verdict::Failure(e.to_string()),
                    };
                    go_on(&waits, verdict);
                },
            )
        }
        Service::Grpc(g) => {
            if let Some(partial) = s.body.and(partial) {
                q.fields
                    .push(("x-envoy-auth-partial-body".into(), partial.to_string()));
            }
            let message = proto::check_request(g, &q, body.as_deref());
            let waits = part.clone();
            let secured;
            let upstream = if g.tls {
                secured = String::from_utf8(proto::secure_service(&g.upstream))
                    .expect("lengths are below 128");
                &secured
            } else {
                &g.upstream
            };
            sdk::grpc_call(
                upstream,
                AUTHORIZATION,
                "Check",
                &[],
                message,
                s.timeout,
                move |r| {
                    let verdict = match (r.status.code, r.message) {
                        (0, Some(message)) => proto::judge(&waits.settings, &message),
                        (0, None) => Verdict::Failure("it sent no answer".into()),
                        (code, _) => Verdict::Failure(format!(
                            "gRPC status {code}: {:.200}",
                            r.status.message
                        )),
                    };
                    go_on(&waits, verdict);
                },
            )
            .map(drop)
        }
    };
    drop(q);
    match asked {
        Ok(()) => Action::Pause,
        Err(status) => part.decide(Verdict::Failure(status.to_string())),
    }
}

/// Judges an answer over HTTP.
fn judge(settings: &Settings, r: sdk::HttpResponse) -> Verdict {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let fields: Vec<(String, String)> = r
        .header
        .all()
        .map(|all| all.iter().map(|(n, v)| (text(n), text(v))).collect())
        .unwrap_or_default();
    let body = r
        .body
        .get(0, MAX_BODY + 1)
        .map(|b| b.to_vec())
        .unwrap_or_default();
    answer::http(settings, r.status(), &fields, body)
}

/// Lets a request that was held go its way. If that fails the trap denies.
fn go_on(part: &Part, verdict: Verdict) {
    if part.decide(verdict) == Action::Continue {
        sdk::resume(StreamType::Request).expect("the request goes on");
    }
}

fn too_large() -> Action {
    plainly(
        413,
        "413 Content Too Large\n",
        "longer than the authorization service is shown",
    )
}

fn plainly(status: u16, body: &str, why: &str) -> Action {
    respond(
        status,
        &[("content-type", "text/plain; charset=utf-8")],
        body,
        why,
    )
}

/// Answers. If even that fails the trap denies.
fn respond(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>, why: &str) -> Action {
    sdk::respond(status, fields, body, why).expect("the answer is given");
    Action::Pause
}
