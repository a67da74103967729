//! jwt lets a request pass only with a token that is signed with a key of its issuer's, and
//! says whose it is. See README.md.

mod answer;
mod base64;
mod checks;
mod claims;
#[cfg(test)]
mod claims_test;
mod config;
mod extract;
mod fields;
mod gate;
mod jwk;
mod memo;
mod place;
mod settings;
mod source;
mod texts;
mod token;
mod url;

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::Action;

use config::Keys;
use gate::{Gate, State};
use source::Source;

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    gate: Option<Rc<Gate>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        let (rules, keys) = config::parse(text)?;
        let mut state = State::default();
        match keys {
            Keys::Inline(mut keys) => {
                keys.prepare(&rules.checks.algorithms)
                    .map_err(|why| format!("config.jwks.keys: {why}"))?;
                state.keys = Some(Rc::new(keys));
                state.usable = u64::MAX;
            }
            Keys::Uri(url) => state.source = Some(Source::new(url, false)),
            Keys::Discovery(url) => state.source = Some(Source::new(url, true)),
        }
        let gate = Rc::new(Gate {
            rules,
            root: sdk::effective_context(),
            state: RefCell::new(state),
        });
        sdk::only(sdk::ON_REQUEST_HEADERS);
        gate.fetch(gate::clock());
        self.gate = Some(gate);
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let gate = self.gate.clone();
        Box::new(Stream(
            gate.expect("BUG: a stream before the configuration"),
        ))
    }

    fn tick(&mut self) {
        if let Some(gate) = &self.gate {
            gate.tick();
        }
    }
}

struct Stream(Rc<Gate>);

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        self.0.request(false)
    }
}

#[cfg(test)]
mod tests {
    /// Encodes bytes as base64url.
    pub(crate) fn encode(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for c in bytes.chunks(3) {
            let n = c.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - c.len()));
            for i in 0..=c.len() {
                text.push(ALPHABET[(n >> (18 - 6 * i) & 63) as usize] as char);
            }
        }
        text
    }
}
