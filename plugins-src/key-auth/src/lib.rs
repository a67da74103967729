//! A plugin that lets a request pass only with a known API key, and says whose key it is.
//! See README.md.

mod config;
mod extract;
mod keyring;
mod namespaces;
mod sha256;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, Bytes, Level, REQUEST_HEADER, Status};

use config::{Place, Settings};

sdk::register!(Plugin::default);

/// The type of its credentials in Consumer objects.
const KIND: &str = "key-auth";

#[derive(Default)]
struct Plugin {
    settings: Rc<Settings>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        self.settings = Rc::new(config::parse(text)?);
        sdk::only(sdk::ON_REQUEST_HEADERS);
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Stream {
            settings: self.settings.clone(),
        })
    }
}

struct Stream {
    settings: Rc<Settings>,
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        let s = &*self.settings;
        let Some(field) = REQUEST_HEADER.get(s.field()) else {
            return deny("key missing");
        };
        let decoded;
        let key: &[u8] = match s.place {
            Place::Header => &field,
            Place::Query => match extract::from_query(&field, s.name.as_bytes()) {
                Some(value) => {
                    decoded = value;
                    &decoded
                }
                None => return deny("key missing"),
            },
            Place::Cookie => match extract::from_cookie(&field, s.name.as_bytes()) {
                Some(value) => value,
                None => return deny("key missing"),
            },
        };
        match s.identify(key) {
            Ok(()) => {}
            Err(Status::NotFound) => return deny("key unknown"),
            Err(status) => {
                // Who the consumer is must not get lost: other filters decide by it.
                sdk::log(Level::Error, &format!("the consumer: {status}"));
                return respond(500, &[], "500 Internal Server Error\n", "consumer refused");
            }
        }
        if s.hide {
            self.hide(&field);
        }
        Action::Continue
    }
}

impl Stream {
    /// Takes the key out of what is sent on. If that fails the trap denies.
    fn hide(&self, field: &Bytes) {
        let (name, own) = (self.settings.field(), self.settings.name.as_bytes());
        let left = match self.settings.place {
            Place::Header => None,
            Place::Query => Some(extract::without_query(field, own)),
            Place::Cookie => extract::without_cookie(field, own),
        };
        match left {
            Some(left) => REQUEST_HEADER.set(name, left),
            None => REQUEST_HEADER.del(name),
        }
        .expect("the key is hidden");
    }
}

/// Answers 401 (RFC 9110, 15.5.2).
fn deny(why: &str) -> Action {
    respond(
        401,
        &[("www-authenticate", "Key")],
        "401 Unauthorized\n",
        why,
    )
}

/// Answers. If even that fails the trap denies.
fn respond(status: u16, headers: &[(&str, &str)], body: &str, why: &str) -> Action {
    let mut all = headers.to_vec();
    all.push(("content-type", "text/plain; charset=utf-8"));
    sdk::respond(status, &all, body, why).expect("the answer is given");
    Action::Pause
}
