//! acl lets requests pass by who sent them. See README.md.

mod config;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, Status};

use config::Rules;

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    rules: Option<Rc<Rules>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        self.rules = Some(Rc::new(config::parse(text)?));
        sdk::only(sdk::ON_REQUEST_HEADERS);
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
    fn request_headers(&mut self, _end: bool) -> Action {
        if self.may() {
            return Action::Continue;
        }
        let (status, body) = match self.rules.status {
            404 => (404, "404 Not Found\n"),
            _ => (403, "403 Forbidden\n"),
        };
        let headers = [("content-type", "text/plain; charset=utf-8")];
        // If even that fails the trap denies.
        sdk::respond(status, &headers, body, "consumer not allowed").expect("the answer is given");
        Action::Pause
    }
}

impl Stream {
    /// Says whether who sent the request may. One whom nobody knows may only where no one in
    /// particular does.
    fn may(&self) -> bool {
        let r = &*self.rules;
        match sdk::current_consumer() {
            Ok(c) => {
                !r.deny.has(c.username(), c.groups())
                    && r.allow
                        .as_ref()
                        .is_none_or(|a| a.has(c.username(), c.groups()))
            }
            Err(Status::NotFound) => r.allow.is_none(),
            Err(_) => false, // it cannot be told
        }
    }
}
