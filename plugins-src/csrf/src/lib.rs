//! csrf refuses requests that a page of another site makes a browser send. See README.md.

mod config;
mod judge;
mod origin;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, REQUEST_HEADER};

use config::Rules;
use judge::Request;

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
        let Some(why) = self.refuse() else {
            return Action::Continue;
        };
        // If it cannot be answered the trap refuses it.
        sdk::respond(
            403,
            &[("content-type", "text/plain; charset=utf-8")],
            "403 Forbidden\n",
            why,
        )
        .unwrap();
        Action::Pause
    }
}

impl Stream {
    /// Says why the request may not.
    fn refuse(&self) -> Option<&'static str> {
        let get = |name| REQUEST_HEADER.get(name);
        let method = get(":method").unwrap_or_default();
        let upgrade = get("upgrade").is_some();
        if judge::safe(&method, upgrade) {
            return None; // most requests
        }
        let (authority, site, origin, referer) = (
            get(":authority").unwrap_or_default(),
            get("sec-fetch-site"),
            get("origin"),
            get("referer"),
        );
        let q = Request {
            method: &method,
            upgrade,
            authority: &authority,
            site: site.as_deref(),
            origin: origin.as_deref(),
            referer: referer.as_deref(),
        };
        if let Some(why) = self.rules.refuse(&q) {
            return Some(why);
        }
        let token = self.rules.token.as_ref()?;
        let (cookies, sent) = (
            get("cookie").unwrap_or_default(),
            get(&token.header).unwrap_or_default(),
        );
        (!judge::repeats(&cookies, &token.cookie, &sent)).then_some("token missing or wrong")
    }
}
