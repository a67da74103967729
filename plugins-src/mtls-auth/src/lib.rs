//! A plugin that lets a request pass only with a known client certificate, and says whose it
//! is. See README.md.

mod config;
mod names;
mod namespaces;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, Json, Level, Status};

use config::Settings;

sdk::register!(Plugin::default);

/// The type of its credentials in Consumer objects.
const KIND: &str = "mtls-auth";

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
        // There only if its chain was verified.
        let Some(certificate) = sdk::property(&["penstock", "client_certificate"]) else {
            return deny(
                "client certificate missing",
                "a client certificate is needed",
            );
        };
        let names = sdk::parse_config(&certificate, Json::Null)
            .ok()
            .and_then(|c| names::of(&c));
        let Some(names) = names else {
            return deny(
                "client certificate unreadable",
                "the client certificate has too many names",
            );
        };
        match self.settings.identify(&names) {
            Ok(()) => Action::Continue,
            Err(Status::NotFound) => deny(
                "client certificate unknown",
                "the client certificate is of nobody who is known",
            ),
            Err(status) => {
                // Who the consumer is must not get lost: other filters decide by it.
                sdk::log(Level::Error, &format!("the consumer: {status}"));
                respond(500, "500 Internal Server Error\n", "consumer refused")
            }
        }
    }
}

/// Answers 403: a 401 would have to name an authentication scheme (RFC 9110, 15.5.2), and
/// there is none for certificates.
fn deny(why: &str, body: &str) -> Action {
    respond(403, &format!("403 Forbidden: {body}\n"), why)
}

/// Answers. If even that fails the trap denies.
fn respond(status: u16, body: &str, why: &str) -> Action {
    let headers = [("content-type", "text/plain; charset=utf-8")];
    sdk::respond(status, &headers, body, why).expect("the answer is given");
    Action::Pause
}
