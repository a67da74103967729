//! A header plugin on our SDK: four host calls an exchange, as bench/guests/c/header.c makes.

use std::error::Error;

use penstock as sdk;
use sdk::{Action, REQUEST_HEADER, RESPONSE_HEADER};

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin;

impl sdk::Plugin for Plugin {
    fn configure(&mut self, _text: &[u8]) -> Result<(), Box<dyn Error>> {
        sdk::only(sdk::ON_REQUEST_HEADERS | sdk::ON_RESPONSE_HEADERS);
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Stream)
    }
}

struct Stream;

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        let known = REQUEST_HEADER
            .get("user-agent")
            .is_some_and(|v| !v.is_empty());
        let agent = if known { "known" } else { "none" };
        REQUEST_HEADER.add("x-agent", agent).unwrap();
        Action::Continue
    }

    fn response_headers(&mut self, _end: bool) -> Action {
        RESPONSE_HEADER.set("x-served-by", "edge").unwrap();
        RESPONSE_HEADER.del("server").unwrap();
        Action::Continue
    }
}
