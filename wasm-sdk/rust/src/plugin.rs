//! What a plugin is made of.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::ops::BitOr;
use std::panic;

use crate::table::{NumberMap, Table};
use crate::{Level, Queue, log};

/// What a callback tells the proxy (proxy_action_t).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// Hands headers, the part of the body or trailers on.
    Continue = 0,
    /// Holds them back. Of a body, the next callback sees all of it so far. Of headers and
    /// trailers, no callback of that direction follows until resume or respond is called,
    /// by what a call calls, or by tick.
    Pause = 1,
}

/// One configuration of the plugin. Only configure and new_stream have to be
/// there.
pub trait Plugin {
    /// Is called once, before any stream. An error refuses the configuration; its
    /// text is logged, so that it must hold no secret.
    fn configure(&mut self, config: &[u8]) -> Result<(), Box<dyn Error>>;

    /// Makes the plugin's part in one exchange.
    fn new_stream(&mut self) -> Box<dyn Stream>;

    /// Is told the VM's configuration, before configure. Where several
    /// configurations share an instance, only the first one's Plugin is. An error refuses
    /// it.
    fn vm_start(&mut self, _config: &[u8]) -> Result<(), Box<dyn Error>> {
        Ok(())
    }

    /// Is called as set_tick_period says.
    fn tick(&mut self) {}

    /// Is told that something was put into a queue which the plugin registered,
    /// once each time; another instance may have taken it by then.
    fn queue_ready(&mut self, _queue: Queue) {}

    /// Is told that the plugin is to end. If it returns false the plugin goes on, with
    /// its ticks and calls, until it calls the function done, or the proxy waits no longer.
    fn done(&mut self) -> bool {
        true
    }

    /// Is called back by a function that call_foreign called.
    fn foreign_function(&mut self, _function: u32, _arguments: &[u8]) {}
}

/// The plugin's part in one exchange, or in one raw connection. A callback that
/// it does not have continues.
pub trait Stream {
    /// Sees the request's head; end says that no body follows.
    fn request_headers(&mut self, _end: bool) -> Action {
        Action::Continue
    }

    /// Sees size bytes, all that were held back so far; end says that they are
    /// the last.
    fn request_body(&mut self, _size: usize, _end: bool) -> Action {
        Action::Continue
    }

    /// Sees the request's trailers, if it has some.
    fn request_trailers(&mut self) -> Action {
        Action::Continue
    }

    /// Sees the response's head, as request_headers.
    fn response_headers(&mut self, _end: bool) -> Action {
        Action::Continue
    }

    /// Sees a part of the response's body, as request_body.
    fn response_body(&mut self, _size: usize, _end: bool) -> Action {
        Action::Continue
    }

    /// Sees the response's trailers, if it has some.
    fn response_trailers(&mut self) -> Action {
        Action::Continue
    }

    /// The last call; the exchange can be read, not changed.
    fn done(&mut self) {}

    /// Is called when proxies write their access logs. It comes after done in Penstock,
    /// and before it in others; only's ON_DONE stands for it too.
    fn log(&mut self) {}

    /// Is called for a raw connection: TCP, or what TLS carries. In Penstock
    /// the image's manifest has to say `"connections": true`.
    fn new_connection(&mut self) -> Action {
        Action::Continue
    }

    /// Sees what the client sent, size bytes, all that were held back so
    /// far, in DOWNSTREAM_DATA; end says that this side sends no more.
    fn downstream_data(&mut self, _size: usize, _end: bool) -> Action {
        Action::Continue
    }

    /// Sees what the client gets, in UPSTREAM_DATA, as downstream_data.
    fn upstream_data(&mut self, _size: usize, _end: bool) -> Action {
        Action::Continue
    }

    /// Is told who closed the client's side.
    fn downstream_close(&mut self, _by: Peer) {}

    /// Is told who closed the upstream's side.
    fn upstream_close(&mut self, _by: Peer) {}
}

/// Who closed a connection (proxy_peer_type_t).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The proxy does not say.
    Unknown,
    /// The proxy itself.
    Local,
    /// The other side.
    Remote,
}

impl Peer {
    pub(crate) fn of(number: u32) -> Peer {
        match number {
            1 => Peer::Local,
            2 => Peer::Remote,
            _ => Peer::Unknown,
        }
    }
}

/// A direction of a stream, for resume and reset (proxy_stream_type_t).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum StreamType {
    /// Of an exchange, to the upstream.
    Request = 0,
    /// Of an exchange, to the client.
    Response = 1,
    /// Of a raw connection, the client's side.
    Downstream = 2,
    /// Of a raw connection, the upstream's side.
    Upstream = 3,
}

/// A set of callbacks, for only; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callbacks(pub(crate) u32);

/// The callback request_headers.
pub const ON_REQUEST_HEADERS: Callbacks = Callbacks(1 << 0);
/// The callback request_body.
pub const ON_REQUEST_BODY: Callbacks = Callbacks(1 << 1);
/// The callback request_trailers.
pub const ON_REQUEST_TRAILERS: Callbacks = Callbacks(1 << 2);
/// The callback response_headers.
pub const ON_RESPONSE_HEADERS: Callbacks = Callbacks(1 << 3);
/// The callback response_body.
pub const ON_RESPONSE_BODY: Callbacks = Callbacks(1 << 4);
/// The callback response_trailers.
pub const ON_RESPONSE_TRAILERS: Callbacks = Callbacks(1 << 5);
/// The callbacks done and log.
pub const ON_DONE: Callbacks = Callbacks(1 << 6);
/// No callback: set_response_headers is called.
pub const SET_RESPONSE_HEADERS: Callbacks = Callbacks(1 << 8);

impl Callbacks {
    /// Says that no other callback follows request_headers.
    pub(crate) fn end_with_request_headers(&self) -> bool {
        self.0 & !SET_RESPONSE_HEADERS.0 == ON_REQUEST_HEADERS.0
    }
}

impl BitOr for Callbacks {
    type Output = Callbacks;

    fn bitor(self, other: Callbacks) -> Callbacks {
        Callbacks(self.0 | other.0)
    }
}

type NewPlugin = fn() -> Box<dyn Plugin>;

thread_local! {
    static REGISTERED: Cell<Option<NewPlugin>> = const { Cell::new(None) };
    pub(crate) static PLUGINS: Table<dyn Plugin> = Table::new();
    pub(crate) static STREAMS: Table<dyn Stream> = Table::new();
    /// What a Plugin has said by only, by its number.
    pub(crate) static WANTED: RefCell<NumberMap<Callbacks>> = RefCell::default();
}

/// Says how a Plugin is made. It is called by the macro of that name.
pub fn register(new_plugin: fn() -> Box<dyn Plugin>) {
    REGISTERED.set(Some(new_plugin));
    if cfg!(target_arch = "wasm32") {
        panic::set_hook(Box::new(|p| log(Level::Critical, &p.to_string())));
    }
}

pub(crate) fn new_plugin() -> Box<dyn Plugin> {
    REGISTERED
        .get()
        .expect("BUG: no plugin is registered, or the host did not call _initialize")()
}

/// Says how a Plugin is made for each configuration: by a function without arguments, such
/// as `Plugin::default`. To be called once, outside of any function.
#[macro_export]
macro_rules! register {
    ($new_plugin:expr) => {
        #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
        #[doc(hidden)]
        pub extern "C" fn _initialize() {
            $crate::register(|| ::std::boxed::Box::new($new_plugin()))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is set at the request needs no context for the response.
    #[test]
    fn callbacks_end_with_the_request() {
        let set = SET_RESPONSE_HEADERS;
        for (callbacks, want) in [
            (ON_REQUEST_HEADERS, true),
            (ON_REQUEST_HEADERS | set, true),
            (set, false),
            (ON_REQUEST_HEADERS | ON_RESPONSE_HEADERS | set, false),
            (ON_REQUEST_HEADERS | ON_DONE, false),
        ] {
            assert_eq!(callbacks.end_with_request_headers(), want, "{callbacks:?}");
        }
    }
}
