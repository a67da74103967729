//! cors says which pages of other origins may use a Service, and answers their preflights.
//! See README.md.

mod config;
mod origin;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, Bytes, REQUEST_HEADER, RESPONSE_HEADER};

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
            allowed: None,
            answered: false,
        })
    }
}

struct Stream {
    rules: Rc<Rules>,
    allowed: Option<Bytes>, // the request's origin, if it may
    answered: bool,         // a preflight, by this plugin
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        let Some(origin) = REQUEST_HEADER.get("origin") else {
            return Action::Continue;
        };
        let allowed = self.rules.origins.allow(&origin);
        if preflight() {
            self.answered = true;
            // If it cannot be answered the trap refuses it.
            self.answer(allowed.then_some(&origin)).unwrap();
            return Action::Pause;
        }
        if allowed {
            self.allowed = Some(origin);
        }
        Action::Continue
    }

    fn response_headers(&mut self, _end: bool) -> Action {
        if !self.answered {
            self.tell().unwrap(); // or a trap: a page must not read what it may not
        }
        Action::Continue
    }
}

/// Says whether the request asks what another one may (Fetch, 3.3.1).
fn preflight() -> bool {
    REQUEST_HEADER
        .get(":method")
        .is_some_and(|m| m == "OPTIONS")
        && REQUEST_HEADER
            .get("access-control-request-method")
            .is_some()
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

impl Stream {
    /// Answers a preflight: the browser compares, and tells its console what is missing.
    fn answer(&self, allowed: Option<&Bytes>) -> Result<(), sdk::Status> {
        let r = &*self.rules;
        let vary = (
            "vary",
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        );
        let origin = match allowed {
            None => {
                let text = ("content-type", "text/plain; charset=utf-8");
                return sdk::respond(
                    403,
                    &[text, vary],
                    "403 Forbidden: this origin may not\n",
                    "origin not allowed",
                );
            }
            Some(_) if r.origins.any() => "*",
            Some(origin) => origin.to_str().unwrap_or_default(), // it equals one that is a text
        };
        let mut headers = vec![
            (ALLOW_ORIGIN, origin),
            ("access-control-allow-methods", &r.methods),
            ("access-control-max-age", &r.max_age),
            vary,
        ];
        if !r.headers.is_empty() {
            headers.push(("access-control-allow-headers", &r.headers));
        }
        if r.credentials {
            headers.push(("access-control-allow-credentials", "true"));
        }
        if r.private_network
            && REQUEST_HEADER
                .get("access-control-request-private-network")
                .is_some_and(|v| v == "true")
        {
            headers.push(("access-control-allow-private-network", "true"));
        }
        sdk::respond(204, &headers, "", "preflight")
    }

    /// Puts what may be done with a response in the place of what the upstream says of it.
    fn tell(&self) -> Result<(), sdk::Status> {
        let r = &*self.rules;
        let mut varies = false;
        let all = RESPONSE_HEADER.all().ok_or(sdk::Status::Internal)?;
        let mut before = Vec::new();
        for (name, value) in &all {
            if name.len() > 15 && name[..15].eq_ignore_ascii_case(b"access-control-") {
                before.push(name);
            }
            varies |= name.eq_ignore_ascii_case(b"vary") && lists_origin(value);
        }
        for name in before {
            if let Ok(name) = std::str::from_utf8(name) {
                RESPONSE_HEADER.del(name)?;
            }
        }
        if r.origins.any() {
            RESPONSE_HEADER.set(ALLOW_ORIGIN, "*")?; // to all alike
        } else {
            if let Some(origin) = &self.allowed {
                RESPONSE_HEADER.set(ALLOW_ORIGIN, origin)?;
            }
            if !varies {
                RESPONSE_HEADER.add("vary", "Origin")?;
            }
        }
        if r.origins.any() || self.allowed.is_some() {
            if r.credentials {
                RESPONSE_HEADER.set("access-control-allow-credentials", "true")?;
            }
            if !r.expose.is_empty() {
                RESPONSE_HEADER.set("access-control-expose-headers", &r.expose)?;
            }
        }
        Ok(())
    }
}

/// Says whether a Vary field names Origin, or everything.
fn lists_origin(vary: &[u8]) -> bool {
    vary.split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}

#[cfg(test)]
mod tests {
    use super::lists_origin;

    #[test]
    fn vary_is_read() {
        for (field, want) in [
            ("Origin", true),
            ("accept, origin", true),
            ("*", true),
            ("Accept,\tORIGIN ,x", true),
            ("", false),
            ("x-origin", false),
            ("origin-x, accept", false),
        ] {
            assert_eq!(lists_origin(field.as_bytes()), want, "{field}");
        }
    }
}
