//! A plugin for raw connections: what conformance/tcp's guest lines does, with the functions
//! of the SDK. It holds what the client says until a line is whole, and hands it on in upper
//! case. What the upstream says is put into brackets. Its configuration is a client that is
//! refused.

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::str;
use std::time::Duration;

use penstock as sdk;
use sdk::{Action, Context, DOWNSTREAM_DATA, Level, Peer, StreamType, UPSTREAM_DATA};

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    refused: Rc<str>,
    waiting: Rc<RefCell<Vec<Context>>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, config: &[u8]) -> Result<(), Box<dyn Error>> {
        self.refused = str::from_utf8(config)?.into();
        Ok(sdk::set_tick_period(Duration::from_millis(20))?)
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Connection {
            refused: self.refused.clone(),
            waiting: self.waiting.clone(),
        })
    }

    /// The connections go on that said "later".
    fn tick(&mut self) {
        for context in self.waiting.take() {
            sdk::set_effective_context(context).unwrap();
            sdk::resume(StreamType::Downstream).unwrap();
        }
    }
}

struct Connection {
    refused: Rc<str>,
    waiting: Rc<RefCell<Vec<Context>>>,
}

impl sdk::Stream for Connection {
    fn new_connection(&mut self) -> Action {
        let source = sdk::property_string(&["source", "address"]).expect("no source");
        if !self.refused.is_empty() && source.starts_with(&*self.refused) {
            sdk::reset(StreamType::Downstream).unwrap();
        }
        Action::Continue
    }

    fn downstream_data(&mut self, size: usize, end: bool) -> Action {
        if size == 0 {
            return Action::Continue;
        }
        let b = DOWNSTREAM_DATA.get(0, size).unwrap();
        if b.starts_with(b"trap") {
            panic!("asked for");
        } else if b.starts_with(b"close") {
            sdk::reset(StreamType::Downstream).unwrap();
        } else if b.starts_with(b"later") {
            self.waiting.borrow_mut().push(sdk::effective_context());
            return Action::Pause;
        } else if !end && !b.ends_with(b"\n") {
            return Action::Pause;
        }
        DOWNSTREAM_DATA.set(b.to_ascii_uppercase()).unwrap();
        Action::Continue
    }

    fn upstream_data(&mut self, size: usize, _: bool) -> Action {
        if size > 0 {
            UPSTREAM_DATA.prepend("[").unwrap();
            UPSTREAM_DATA.append("]").unwrap();
        }
        Action::Continue
    }

    fn downstream_close(&mut self, by: Peer) {
        sdk::log(Level::Warn, &format!("client closed by {}", by as u32));
    }

    fn upstream_close(&mut self, by: Peer) {
        sdk::log(Level::Warn, &format!("upstream closed by {}", by as u32));
    }

    fn done(&mut self) {
        sdk::log(Level::Warn, "stream done");
    }
}
