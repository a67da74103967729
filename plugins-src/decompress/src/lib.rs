//! decompress has the proxy decode bodies. See README.md.

mod accept;
mod config;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, Bytes, REQUEST_BODY, REQUEST_HEADER, RESPONSE_BODY, RESPONSE_HEADER, Status};

use config::{Responses, Rules};

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    rules: Option<Rc<Rules>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        let rules = config::parse(text)?;
        let mut callbacks = sdk::ON_REQUEST_HEADERS;
        if rules.response != Responses::Off {
            callbacks = callbacks | sdk::ON_RESPONSE_HEADERS;
        }
        sdk::only(callbacks);
        self.rules = Some(Rc::new(rules));
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let rules = self
            .rules
            .clone()
            .expect("BUG: a stream before the configuration");
        Box::new(Stream {
            rules,
            accept: None,
            refused: false,
        })
    }
}

struct Stream {
    rules: Rc<Rules>,
    accept: Option<Bytes>, // what the client takes
    refused: bool,         // by this plugin
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, end: bool) -> Action {
        if self.rules.response != Responses::Off {
            self.accept = REQUEST_HEADER.get("accept-encoding");
            if let Some(ask) = &self.rules.ask {
                REQUEST_HEADER.set("accept-encoding", ask).unwrap();
            }
        }
        if !self.rules.request || end || REQUEST_HEADER.get("content-encoding").is_none() {
            return Action::Continue;
        }
        match sdk::decode_body(REQUEST_BODY, self.rules.max, "") {
            Ok(()) | Err(Status::Empty) => return Action::Continue,
            Err(Status::Internal) => busy(), // what comes after must not see what it cannot read
            Err(_) => refuse(),
        }
        self.refused = true;
        Action::Pause
    }

    fn response_headers(&mut self, _end: bool) -> Action {
        if self.refused {
            return Action::Continue;
        }
        match self.rules.response {
            Responses::Off => Action::Continue,
            Responses::Always => decode(self.rules.max),
            Responses::Unaccepted => self.unaccepted(),
        }
    }
}

impl Stream {
    /// Decodes what the client does not take; what it gets depends on that.
    fn unaccepted(&self) -> Action {
        let Some(codings) = RESPONSE_HEADER.get("content-encoding") else {
            return Action::Continue;
        };
        let said = |v: Bytes| lists(&v, b"accept-encoding") || lists(&v, b"*");
        if !RESPONSE_HEADER.get("vary").is_some_and(said) {
            RESPONSE_HEADER.add("vary", "Accept-Encoding").unwrap();
        }
        if accept::takes(self.accept.as_deref(), &codings) {
            return Action::Continue;
        }
        decode(self.rules.max)
    }
}

/// Has the response decoded. One whose coding the proxy does not know, that is a part or that
/// nobody may change goes on as it is.
fn decode(max: u64) -> Action {
    let kept = |v: Bytes| lists(&v, b"no-transform");
    if RESPONSE_HEADER.get("cache-control").is_some_and(kept) {
        return Action::Continue;
    }
    if let Err(Status::Internal) = sdk::decode_body(RESPONSE_BODY, max, "") {
        busy();
        return Action::Pause;
    }
    Action::Continue
}

/// Says whether a list names something, whatever the case.
fn lists(field: &[u8], name: &[u8]) -> bool {
    field
        .split(|b| *b == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(name))
}

/// Answers a request whose coding cannot be taken away (RFC 9110, 15.5.16).
fn refuse() {
    let codings = config::CODINGS.join(", ");
    let text = format!(
        "415 Unsupported Media Type: want Content-Encoding of {codings}, and no part of a content\n"
    );
    let headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("accept-encoding", codings.as_str()),
    ];
    sdk::respond(415, &headers, &text, "content coding").unwrap();
}

/// Answers when decoders take as much memory as they may.
fn busy() {
    let headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("retry-after", "1"),
    ];
    let text = "503 Service Unavailable: too many bodies are decoded\n";
    sdk::respond(503, &headers, text, "decoders").unwrap();
}

#[cfg(test)]
mod tests {
    use super::lists;

    #[test]
    fn lists_are_read() {
        for (field, want) in [
            ("no-transform", true),
            ("max-age=1,\tNo-Transform", true),
            ("no-transforms", false),
            ("", false),
        ] {
            assert_eq!(lists(field.as_bytes(), b"no-transform"), want, "{field}");
        }
    }
}
