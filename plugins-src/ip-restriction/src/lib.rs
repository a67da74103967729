//! ip-restriction lets requests pass by the address of their client. See README.md.

mod client;
mod config;
mod networks;

use std::error::Error;
use std::net::IpAddr;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, REQUEST_HEADER};

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
        let client = self.client();
        if client.is_some_and(|c| self.rules.permit(c)) {
            return Action::Continue;
        }
        // One whose address is not known is not let in.
        let why = if client.is_some() {
            "address not permitted"
        } else {
            "address unknown"
        };
        let body = if self.rules.status == 404 {
            "404 Not Found\n"
        } else {
            "403 Forbidden\n"
        };
        // If it cannot be answered the trap refuses it.
        sdk::respond(
            self.rules.status,
            &[("content-type", "text/plain; charset=utf-8")],
            body,
            why,
        )
        .unwrap();
        Action::Pause
    }
}

impl Stream {
    /// The client's address. X-Forwarded-For is there only if a trusted proxy sent it: the
    /// proxy removes that of others.
    fn client(&self) -> Option<IpAddr> {
        let hops = self.rules.hops;
        if hops == 1 {
            return sdk::client_address();
        }
        if hops > 1
            && let Some(field) = REQUEST_HEADER.get("x-forwarded-for")
        {
            return client::forwarded(&field, hops);
        }
        client::connection(&sdk::property(&["source", "address"])?)
    }
}
