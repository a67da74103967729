//! compress has the proxy encode responses for clients that take it. See README.md.

mod accept;
mod config;
mod field;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, REQUEST_HEADER, RESPONSE_BODY, RESPONSE_HEADER, Status};

use accept::Coding;
use config::Rules;

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    rules: Option<Rc<Rules>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        self.rules = Some(Rc::new(config::parse(text)?));
        sdk::only(sdk::ON_REQUEST_HEADERS | sdk::ON_RESPONSE_HEADERS);
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let rules = self
            .rules
            .clone()
            .expect("BUG: a stream before the configuration");
        Box::new(Stream {
            rules,
            coding: None,
            known: None,
        })
    }
}

struct Stream {
    rules: Rc<Rules>,
    coding: Option<Coding>,    // that the client takes
    known: Option<sdk::Bytes>, // If-None-Match
}

impl sdk::Stream for Stream {
    // What the client asks for is read here: plugins that follow may change it for the Service.
    fn request_headers(&mut self, _end: bool) -> Action {
        if let Some(field) = REQUEST_HEADER.get("accept-encoding") {
            self.coding = accept::choose(&field, &self.rules.codings);
        }
        if self.rules.unless_credentials && credentials() {
            self.coding = None;
        }
        if self.coding.is_some() {
            self.known = REQUEST_HEADER.get("if-none-match");
        }
        Action::Continue
    }

    fn response_headers(&mut self, _end: bool) -> Action {
        self.compress().unwrap();
        Action::Continue
    }
}

/// Says whether the request tells who sends it.
fn credentials() -> bool {
    REQUEST_HEADER.get("cookie").is_some() || REQUEST_HEADER.get("authorization").is_some()
}

impl Stream {
    /// Has a response encoded, if it is one of those that are.
    fn compress(&self) -> Result<(), Status> {
        let status = RESPONSE_HEADER.get(":status").ok_or(Status::Internal)?;
        match &*status {
            b"204" | b"205" | b"206" => return Ok(()),
            b"304" => return self.not_modified(),
            _ => {}
        }
        if !self.eligible() {
            return Ok(());
        }
        vary()?;
        if let Some(c) = self.coding {
            encode(c, self.rules.level(c));
        }
        Ok(())
    }

    /// Says whether responses such as this one are encoded, for those who take it.
    fn eligible(&self) -> bool {
        let typed = RESPONSE_HEADER
            .get("content-type")
            .is_some_and(|t| self.rules.takes(&t));
        if !typed || RESPONSE_HEADER.get("content-encoding").is_some() {
            return false;
        }
        let kept = |v: sdk::Bytes| field::lists(&v, b"no-transform");
        if RESPONSE_HEADER.get("cache-control").is_some_and(kept) {
            return false;
        }
        match RESPONSE_HEADER.get("content-length") {
            Some(n) => field::number(&n).is_none_or(|n| n >= self.rules.min_length),
            None => true,
        }
    }

    /// Says of a response that the client has what it would say of the response itself: which
    /// that was is known by its tag alone, which was weakened when it was encoded.
    fn not_modified(&self) -> Result<(), Status> {
        let other = |t: sdk::Bytes| !self.rules.takes(&t);
        if RESPONSE_HEADER.get("content-type").is_some_and(other) {
            return Ok(());
        }
        vary()?;
        let (Some(coding), Some(known)) = (self.coding, &self.known) else {
            return Ok(());
        };
        if RESPONSE_HEADER
            .get("etag")
            .is_some_and(|tag| field::weakened(known, &tag))
        {
            encode(coding, self.rules.level(coding));
        }
        Ok(())
    }
}

/// Has the response encoded. One that has no body, or for which the proxy has no room, goes on
/// as it is, and so do all where the proxy has no encoders.
fn encode(coding: Coding, level: u8) {
    let _ = sdk::encode_body(RESPONSE_BODY, coding.name(), level);
}

/// Says that the response depends on what the client takes (RFC 9110, 12.5.5).
fn vary() -> Result<(), Status> {
    let said = |v: sdk::Bytes| field::lists(&v, b"accept-encoding") || field::lists(&v, b"*");
    if RESPONSE_HEADER.get("vary").is_some_and(said) {
        return Ok(());
    }
    RESPONSE_HEADER.add("vary", "Accept-Encoding")
}
