//! security-headers puts header fields into responses that make browsers careful, and takes
//! away what servers tell of themselves. See README.md.

mod config;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, RESPONSE_HEADER};

use config::Rules;

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    rules: Option<Rc<Rules>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        self.rules = Some(Rc::new(config::parse(text)?));
        sdk::only(sdk::ON_RESPONSE_HEADERS);
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let rules = self
            .rules
            .clone()
            .expect("BUG: a stream before the configuration");
        Box::new(Stream { rules })
    }
}

struct Stream {
    rules: Rc<Rules>,
}

impl sdk::Stream for Stream {
    fn response_headers(&mut self, _end: bool) -> Action {
        self.change().unwrap(); // or a trap: onError decides
        Action::Continue
    }
}

const HSTS: &str = "strict-transport-security";

impl Stream {
    fn change(&self) -> Result<(), sdk::Status> {
        let r = &*self.rules;
        // One call finds out what is there, so that few are needed to change it.
        let there = RESPONSE_HEADER.all();
        let has = |name: &str| there.as_ref().is_none_or(|all| all.get(name).is_some());
        for name in r.remove.iter().filter(|name| has(name)) {
            RESPONSE_HEADER.del(name)?;
        }
        let set = |name: &str, value: &str| {
            let known = has(name);
            if known && r.keep && !r.remove.iter().any(|n| n == name) {
                Ok(())
            } else if known {
                RESPONSE_HEADER.set(name, value)
            } else {
                RESPONSE_HEADER.add(name, value)
            }
        };
        for (name, value) in &r.set {
            set(name, value)?;
        }
        match &r.hsts {
            Some(value) if over_tls() => set(HSTS, value),
            // Without TLS the field says nothing, and is not to be sent (RFC 6797, 7.2).
            Some(_) if has(HSTS) => RESPONSE_HEADER.del(HSTS),
            _ => Ok(()),
        }
    }
}

/// Says whether the client uses TLS, with this proxy or with a trusted one in front of it,
/// which alone can have sent the field.
fn over_tls() -> bool {
    sdk::property(&["request", "scheme"]).is_some_and(|s| s == "https")
        || sdk::property(&["request", "headers", "x-forwarded-proto"]).is_some_and(|s| s == "https")
}
