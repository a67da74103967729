//! A plugin that does what the field X-Do says, step by step, and tells in X-Said what came
//! of each.

use std::error::Error;
use std::net::IpAddr;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, Consumer, Identity, REQUEST_HEADER, Status};

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    somebody: Option<Rc<Consumer>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, _: &[u8]) -> Result<(), Box<dyn Error>> {
        sdk::only(sdk::ON_REQUEST_HEADERS | sdk::SET_RESPONSE_HEADERS);
        self.somebody = Some(Rc::new(Consumer::new("somebody", &["g", "h"])));
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Stream {
            somebody: self.somebody.clone().unwrap(),
        })
    }
}

struct Stream {
    somebody: Rc<Consumer>,
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        let field = |name| {
            REQUEST_HEADER
                .get(name)
                .map_or(String::new(), |b| b.to_string())
        };
        let (kind, key) = (field("x-kind"), field("x-key"));
        let said: Vec<String> = field("x-do")
            .split_whitespace()
            .map(|step| self.step(step, &kind, &key))
            .collect();
        REQUEST_HEADER.set("x-said", said.join("; ")).unwrap();
        Action::Continue
    }
}

impl Stream {
    fn step(&self, step: &str, kind: &str, key: &str) -> String {
        match step {
            "set" => told(sdk::set_consumer(&self.somebody)),
            "find" => shown(sdk::find_consumer(kind, key, &["partners"])),
            "own" => shown(sdk::find_consumer(kind, key, &[])),
            "use" => told(sdk::use_consumer()),
            "identify" => told(sdk::identify_consumer(kind, key, &["partners"])),
            "claim" => told(sdk::set_claims(key)),
            "claims" => sdk::property_string(&["penstock", "claims"]).unwrap_or_default(),
            "client" => sdk::client_address().map_or("unknown".into(), hex),
            "fields" => told(sdk::set_response_headers(&[
                ("x-set", "at the request"),
                ("x-got-x-kind", key),
            ])),
            "pseudo" => told(sdk::set_response_headers(&[
                ("x-unset", "1"),
                (":status", "200"),
            ])),
            _ => shown(sdk::current_consumer()),
        }
    }
}

fn hex(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn told(result: Result<(), Status>) -> String {
    result.map_or_else(|status| status.to_string(), |()| "ok".into())
}

fn shown(who: Result<Identity, Status>) -> String {
    match who {
        Ok(who) => {
            let groups: Vec<&str> = who.groups().collect();
            let data = String::from_utf8_lossy(who.data()).replace('\0', " ");
            format!("{}/{data} [{}]", who.username(), groups.join(" "))
        }
        Err(status) => status.to_string(),
    }
}
