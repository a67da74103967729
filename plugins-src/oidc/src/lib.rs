//! oidc logs people in with OpenID Connect before their browsers reach a Service, and says who
//! they are. See README.md.

mod answer;
mod config;
mod cookies;
mod encode;
mod gate;
mod idtoken;
mod login;
mod logout;
mod provider;
mod query;
mod random;
mod refresh;
mod seal;
mod session;
mod settings;
mod visit;
mod wire;

// Of the plugin jwt: tokens are checked, and their keys found, by the same code.
#[path = "../jwt/base64.rs"]
mod base64;
#[allow(dead_code)] // other rules than these are its own
#[path = "../jwt/checks.rs"]
mod checks;
#[path = "../jwt/claims.rs"]
mod claims;
#[allow(dead_code)]
#[path = "../jwt/fields.rs"]
mod fields;
#[allow(dead_code)] // keys in its configuration, and secrets
#[path = "../jwt/jwk.rs"]
mod jwk;
#[path = "../jwt/memo.rs"]
mod memo;
#[path = "../jwt/source.rs"]
mod source;
#[allow(dead_code)]
#[path = "../jwt/texts.rs"]
mod texts;
#[path = "../jwt/token.rs"]
mod token;
#[path = "../jwt/url.rs"]
mod url;

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, RESPONSE_HEADER};

use gate::{Gate, Slot, State};
use seal::Seals;
use source::Source;

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    gate: Option<Rc<Gate>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        let parsed = config::parse(text)?;
        let rules = parsed.rules;
        let seals = Seals::new(&parsed.secrets, &rules.issuer, &rules.client_id)
            .map_err(|why| format!("config.secret: {why}"))?;
        let gate = Rc::new(Gate {
            rules,
            root: sdk::effective_context(),
            seals,
            state: RefCell::new(State {
                source: Some(Source::new(parsed.discovery, true)),
                ..State::default()
            }),
        });
        sdk::only(sdk::ON_REQUEST_HEADERS | sdk::ON_RESPONSE_HEADERS);
        gate.fetch(gate::clock());
        self.gate = Some(gate);
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let gate = self.gate.clone();
        Box::new(Stream {
            gate: gate.expect("BUG: a stream before the configuration"),
            slot: Rc::default(),
        })
    }

    fn tick(&mut self) {
        if let Some(gate) = &self.gate {
            gate.poll();
            gate.tick();
        }
    }
}

struct Stream {
    gate: Rc<Gate>,
    slot: Rc<Slot>,
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        self.gate.request(&self.slot, false)
    }

    fn response_headers(&mut self, _end: bool) -> Action {
        let cookies = self.slot.0.take();
        if cookies.is_empty() {
            return Action::Continue;
        }
        for cookie in &cookies {
            let added = RESPONSE_HEADER.add("set-cookie", cookie);
            added.expect("the session's cookie is set");
        }
        // The cookie is one person's.
        let set = RESPONSE_HEADER.set("cache-control", "no-store");
        set.expect("no cache keeps the cookie");
        Action::Continue
    }
}

#[cfg(test)]
mod tests {
    pub(crate) use crate::encode::base64url as encode;
}
