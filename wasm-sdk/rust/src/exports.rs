//! What the host calls (Proxy-Wasm 0.2.1, "Callbacks implemented in the Wasm module").
#![allow(unsafe_code)] // the names that the host finds them by: no_mangle
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))] // nobody calls them there

use std::error::Error;

use crate::buffer::{FOREIGN_ARGUMENTS, PLUGIN_CONFIGURATION, VM_CONFIGURATION};
use crate::context::EFFECTIVE;
use crate::grpc;
use crate::header::{GRPC_INITIAL_METADATA, GRPC_TRAILING_METADATA};
use crate::httpcall::{self, HTTP_CALLS};
use crate::memory;
use crate::plugin::{PLUGINS, STREAMS, WANTED, new_plugin};
use crate::{Action, Bytes, Callbacks, Level, Peer, Plugin, Queue, Stream, log};

macro_rules! exports {
    ($(fn $name:ident($($argument:ident),*) $(-> $result:ident)? $body:block)*) => {
        $(#[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
        extern "C-unwind" fn $name($($argument: u32),*) $(-> $result)? $body)*
    };
}

/// What penstock_on_request_headers returns with Continue for a stream that is dropped.
const CONTEXT_GONE: u32 = 1 << 8;

exports! {
    fn proxy_abi_version_0_2_1() {}

    fn proxy_on_memory_allocate(size) -> usize {
        memory::allocate(size as usize)
    }

    fn proxy_on_context_create(id, parent) {
        EFFECTIVE.set(id);
        if parent == 0 {
            PLUGINS.with(|p| p.insert(id, new_plugin()));
            return;
        }
        let stream = plugin(parent, |p| p.new_stream());
        STREAMS.with(|s| s.insert(id, stream));
    }

    fn proxy_on_vm_start(root, size) -> u32 {
        EFFECTIVE.set(root);
        let config = VM_CONFIGURATION.get(0, size as usize).unwrap_or_default();
        accepted(plugin(root, |p| p.vm_start(&config)))
    }

    fn proxy_on_configure(root, size) -> u32 {
        EFFECTIVE.set(root);
        let config = configuration(size);
        accepted(plugin(root, |p| p.configure(&config)))
    }

    fn proxy_on_tick(root) {
        EFFECTIVE.set(root);
        plugin(root, |p| p.tick());
    }

    fn proxy_on_queue_ready(root, queue) {
        EFFECTIVE.set(root);
        plugin(root, |p| p.queue_ready(Queue(queue)));
    }

    fn proxy_on_foreign_function(root, function, size) {
        EFFECTIVE.set(root);
        let arguments = FOREIGN_ARGUMENTS.get(0, size as usize).unwrap_or_default();
        plugin(root, |p| p.foreign_function(function, &arguments));
    }

    fn proxy_on_request_headers(id, _fields, end) -> u32 {
        action(id, |s| s.request_headers(end != 0))
    }

    // Penstock's own: proxy_on_context_create of a stream and proxy_on_request_headers in
    // one; before it, if ended is not 0, what is left of proxy_on_delete of another stream.
    fn penstock_on_request_headers(root, id, _fields, end, ended) -> u32 {
        if ended != 0 {
            STREAMS.with(|s| s.remove(ended));
        }
        EFFECTIVE.set(id);
        let mut stream = plugin(root, |p| p.new_stream());
        let last = WANTED.with(|w| w.borrow().get(&root).is_some_and(Callbacks::end_with_request_headers));
        if !last {
            STREAMS.with(|s| s.insert(id, stream));
            return action(id, |s| s.request_headers(end != 0));
        }
        let action = stream.request_headers(end != 0);
        if action == Action::Continue && !HTTP_CALLS.with(|c| c.of(id)) && !grpc::calls_of(id) {
            return CONTEXT_GONE; // no callback is to come: it is not worth a place
        }
        STREAMS.with(|s| s.insert(id, stream));
        action as u32
    }

    fn proxy_on_request_body(id, size, end) -> u32 {
        action(id, |s| s.request_body(size as usize, end != 0))
    }

    fn proxy_on_request_trailers(id, _fields) -> u32 {
        action(id, |s| s.request_trailers())
    }

    fn proxy_on_response_headers(id, _fields, end) -> u32 {
        action(id, |s| s.response_headers(end != 0))
    }

    fn proxy_on_response_body(id, size, end) -> u32 {
        action(id, |s| s.response_body(size as usize, end != 0))
    }

    fn proxy_on_response_trailers(id, _fields) -> u32 {
        action(id, |s| s.response_trailers())
    }

    fn proxy_on_new_connection(id) -> u32 {
        action(id, |s| s.new_connection())
    }

    fn proxy_on_downstream_data(id, size, end) -> u32 {
        action(id, |s| s.downstream_data(size as usize, end != 0))
    }

    fn proxy_on_upstream_data(id, size, end) -> u32 {
        action(id, |s| s.upstream_data(size as usize, end != 0))
    }

    fn proxy_on_downstream_connection_close(id, by) {
        EFFECTIVE.set(id);
        STREAMS.with(|s| s.run(id, |s| s.downstream_close(Peer::of(by))));
    }

    fn proxy_on_upstream_connection_close(id, by) {
        EFFECTIVE.set(id);
        STREAMS.with(|s| s.run(id, |s| s.upstream_close(Peer::of(by))));
    }

    fn proxy_on_http_call_response(root, id, headers, _body, _trailers) {
        httpcall::answered(root, id, headers);
    }

    fn proxy_on_grpc_receive_initial_metadata(root, id, _fields) {
        grpc::event(root, id, |h, call| h.initial_metadata(call, GRPC_INITIAL_METADATA));
    }

    fn proxy_on_grpc_receive(root, id, _size) {
        grpc::message(root, id);
    }

    fn proxy_on_grpc_receive_trailing_metadata(root, id, _fields) {
        grpc::event(root, id, |h, call| h.trailing_metadata(call, GRPC_TRAILING_METADATA));
    }

    fn proxy_on_grpc_close(root, id, code) {
        grpc::close(root, id, code);
    }

    fn proxy_on_done(id) -> u32 {
        EFFECTIVE.set(id);
        if STREAMS.with(|s| s.run(id, |s| s.done())).is_some() {
            return 1;
        }
        PLUGINS.with(|p| p.run(id, |p| p.done())).unwrap_or(true).into()
    }

    fn proxy_on_log(id) {
        EFFECTIVE.set(id);
        STREAMS.with(|s| s.run(id, |s| s.log()));
    }

    fn proxy_on_delete(id) {
        EFFECTIVE.set(id);
        if !STREAMS.with(|s| s.remove(id)) {
            PLUGINS.with(|p| p.remove(id));
            WANTED.with(|w| w.borrow_mut().remove(&id));
        }
        grpc::leave(id);
        drop(HTTP_CALLS.with(|c| c.leave(id)));
    }
}

/// Runs a callback of a Plugin.
fn plugin<R>(root: u32, callback: impl FnOnce(&mut (dyn Plugin + 'static)) -> R) -> R {
    PLUGINS
        .with(|p| p.run(root, callback))
        .expect("BUG: a callback of a context that there is not")
}

/// Runs a callback of a Stream. One that there is not traps: a request must not pass
/// without its filter.
fn action(id: u32, callback: impl FnOnce(&mut (dyn Stream + 'static)) -> Action) -> u32 {
    EFFECTIVE.set(id);
    STREAMS
        .with(|s| s.run(id, callback))
        .expect("BUG: a callback of a context that there is not") as u32
}

/// Returns that of a Plugin, of which nothing may be missing.
fn configuration(size: u32) -> Bytes {
    if size == 0 {
        return Bytes::default();
    }
    PLUGIN_CONFIGURATION
        .get(0, size as usize)
        .expect("BUG: the host does not hand the configuration over")
}

/// What a start returns, which logs why it failed.
fn accepted(result: Result<(), Box<dyn Error>>) -> u32 {
    match result {
        Ok(()) => 1,
        Err(e) => {
            log(Level::Error, &e.to_string());
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;
    use crate::effective_context;

    thread_local! {
        static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
        static MADE: Cell<u32> = const { Cell::new(0) };
    }

    fn see(what: String) {
        SEEN.with_borrow_mut(|s| s.push(what));
    }

    fn seen() -> Vec<String> {
        SEEN.take()
    }

    struct Test(u32);

    impl Plugin for Test {
        fn configure(&mut self, config: &[u8]) -> Result<(), Box<dyn Error>> {
            see(format!("configure {} {}", self.0, config.len()));
            if self.0 == 2 {
                Err("refused".into())
            } else {
                Ok(())
            }
        }

        fn new_stream(&mut self) -> Box<dyn Stream> {
            Box::new(Part(self.0))
        }

        fn done(&mut self) -> bool {
            self.0 == 2
        }
    }

    struct Part(u32);

    impl Stream for Part {
        fn request_headers(&mut self, end: bool) -> Action {
            see(format!(
                "headers {} {end} {:?}",
                self.0,
                effective_context()
            ));
            Action::Pause
        }

        fn request_trailers(&mut self) -> Action {
            action(9, |s| s.request_headers(true)); // the host, within a callback
            Action::Continue
        }
    }

    impl Drop for Part {
        fn drop(&mut self) {
            // It may look; but not once the test has ended.
            if let Ok(other) = STREAMS.try_with(|s| s.contains(9)) {
                let _ = SEEN.try_with(|s| s.borrow_mut().push(format!("drop {} {other}", self.0)));
            }
        }
    }

    /// start makes two configurations, 1 and 2, and a stream of each, 8 and 9.
    fn start() {
        crate::register(|| {
            MADE.set(MADE.get() + 1);
            Box::new(Test(MADE.get()))
        });
        for root in [1, 2] {
            proxy_on_context_create(root, 0);
        }
        proxy_on_context_create(8, 1);
        proxy_on_context_create(9, 2);
    }

    #[test]
    fn configurations_keep_apart() {
        start();
        assert_eq!(
            (
                proxy_on_vm_start(1, 0),
                proxy_on_configure(1, 0),
                proxy_on_configure(2, 0)
            ),
            (1, 1, 0)
        );
        assert_eq!(seen(), ["configure 1 0", "configure 2 0"]);
        assert_eq!(
            (
                proxy_on_request_headers(8, 3, 0),
                proxy_on_request_headers(9, 3, 1)
            ),
            (1, 1)
        );
        assert_eq!(
            seen(),
            ["headers 1 false Context(8)", "headers 2 true Context(9)"]
        );
        assert_eq!(
            (proxy_on_request_body(8, 3, 1), proxy_on_new_connection(9)),
            (0, 0)
        );
        assert_eq!([8, 1, 2, 77].map(|id| proxy_on_done(id)), [1, 0, 1, 1]);
        proxy_on_delete(9);
        proxy_on_delete(2);
        assert_eq!(seen(), ["drop 2 false"]);
        proxy_on_log(9); // too late
        assert_eq!(proxy_on_request_headers(8, 3, 1), 1);
    }

    #[test]
    #[should_panic = "a context that there is not"]
    fn a_request_does_not_pass_without_its_stream() {
        start();
        proxy_on_request_headers(7, 0, 1);
    }

    #[test]
    #[should_panic = "within another one"]
    fn callbacks_do_not_nest() {
        start();
        proxy_on_request_trailers(9, 0);
    }

    #[test]
    #[should_panic = "hand the configuration over"]
    fn a_configuration_does_not_get_lost() {
        start();
        proxy_on_configure(1, 10);
    }

    #[test]
    fn what_a_call_would_call_ends_with_its_exchange() {
        start();
        let kept = Rc::new(());
        for (id, context) in [(1, 8), (2, 9), (3, 8), (4, 1)] {
            let kept = kept.clone();
            HTTP_CALLS.with(|c| {
                c.insert(
                    id,
                    context,
                    Box::new(move |_| see(format!("answer {}", Rc::strong_count(&kept)))),
                )
            });
        }
        proxy_on_delete(8);
        assert_eq!(
            (Rc::strong_count(&kept), seen()),
            (3, vec!["drop 1 true".into()])
        );
        proxy_on_http_call_response(1, 1, 0, 0, 0); // its exchange has ended
        proxy_on_http_call_response(1, 77, 0, 0, 0); // nobody made it
        assert!(seen().is_empty());
        proxy_on_http_call_response(1, 4, 3, 0, 0);
        proxy_on_http_call_response(1, 4, 3, 0, 0); // a second time
        assert_eq!(
            (Rc::strong_count(&kept), seen()),
            (2, vec!["answer 3".into()])
        );
        proxy_on_delete(9);
        assert_eq!(Rc::strong_count(&kept), 1);
    }
}
