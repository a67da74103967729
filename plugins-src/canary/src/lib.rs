//! canary sends some requests to another version of a Service. See README.md.

mod choose;
mod config;
mod cookie;

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, REQUEST_HEADER, RESPONSE_HEADER};

use choose::{Draws, choose};
use config::Rules;

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    shared: Option<Rc<Shared>>,
}

struct Shared {
    rules: Rules,
    draws: RefCell<Draws>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        let rules = config::parse(text)?;
        sdk::only(match rules.sticky {
            Some(_) => sdk::ON_REQUEST_HEADERS | sdk::ON_RESPONSE_HEADERS,
            None => sdk::ON_REQUEST_HEADERS,
        });
        self.shared = Some(Rc::new(Shared {
            rules,
            draws: RefCell::new(Draws::new(seed())),
        }));
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let shared = self
            .shared
            .clone()
            .expect("BUG: a stream before the configuration");
        Box::new(Stream { shared, tell: None })
    }
}

struct Stream {
    shared: Rc<Shared>,
    /// The cookie that the client is to have.
    tell: Option<String>,
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        let rules = &self.shared.rules;
        let header = rules.header.as_ref().and_then(|h| REQUEST_HEADER.get(h));
        let cookies = match (&rules.cookie, &rules.sticky) {
            (None, None) => None,
            _ => REQUEST_HEADER.get("cookie"),
        };
        let choice = choose(
            rules,
            header.as_deref(),
            cookies.as_deref().unwrap_or_default(),
            || self.shared.draws.borrow_mut().next(),
        );
        // A mark that stayed, or got lost, would send a request elsewhere than is said here.
        if choice.canary {
            REQUEST_HEADER.set(&rules.mark, "true").expect("it is set");
        } else {
            REQUEST_HEADER.del(&rules.mark).expect("it is removed");
        }
        if choice.told
            && let Some(sticky) = &rules.sticky
        {
            let place = if choice.canary { "canary" } else { "stable" };
            let mut cookie = format!("{}={place}; Path=/; HttpOnly; SameSite=Lax", sticky.cookie);
            if sticky.max_age > 0 {
                cookie.push_str(&format!("; Max-Age={}", sticky.max_age));
            }
            if REQUEST_HEADER.get(":scheme").as_deref() == Some(b"https") {
                cookie.push_str("; Secure");
            }
            self.tell = Some(cookie);
        }
        Action::Continue
    }

    fn response_headers(&mut self, _end: bool) -> Action {
        if let Some(cookie) = self.tell.take() {
            let _ = RESPONSE_HEADER.add("set-cookie", cookie); // a client that is not told is drawn again
        }
        Action::Continue
    }
}

/// The time to the nanosecond.
fn seed() -> u64 {
    let since = sdk::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_nanos() as u64)
}
