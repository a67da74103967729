//! gRPC calls.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::buffer::GRPC_MESSAGE;
use crate::calls::Calls;
use crate::context::{EFFECTIVE, enter};
use crate::host;
use crate::httpcall::call_status;
use crate::memory::with_room;
use crate::pairs::append_pairs;
use crate::status::failure;
use crate::wire::milliseconds;
use crate::{GrpcStatus, Header, Pairs, Status};

/// A gRPC call, or stream, under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grpc(u32);

/// What a gRPC stream calls, with the context that opened it as the effective
/// one. Lists can be read within the callback only.
pub trait GrpcHandler {
    /// Sees what comes before any message.
    fn initial_metadata(&mut self, _call: Grpc, _metadata: Header) {}

    /// Sees a message.
    fn message(&mut self, _call: Grpc, _message: &[u8]) {}

    /// Sees what comes after the last message.
    fn trailing_metadata(&mut self, _call: Grpc, _metadata: Header) {}

    /// The last call.
    fn close(&mut self, _status: GrpcStatus) {}
}

/// What came of a unary call.
#[derive(Debug, Default)]
pub struct GrpcResponse {
    /// How it ended.
    pub status: GrpcStatus,
    /// None: there is none.
    pub message: Option<Vec<u8>>,
    /// What came before it.
    pub initial_metadata: Pairs,
    /// What came after it.
    pub trailing_metadata: Pairs,
}

/// Gathers what comes of a unary call.
struct Unary<F> {
    response: GrpcResponse,
    answered: Option<F>,
}

impl<F: FnOnce(GrpcResponse)> GrpcHandler for Unary<F> {
    fn initial_metadata(&mut self, _: Grpc, metadata: Header) {
        self.response.initial_metadata = metadata.all().unwrap_or_default();
    }

    fn message(&mut self, _: Grpc, message: &[u8]) {
        self.response.message = Some(message.to_vec());
    }

    fn trailing_metadata(&mut self, _: Grpc, metadata: Header) {
        self.response.trailing_metadata = metadata.all().unwrap_or_default();
    }

    fn close(&mut self, status: GrpcStatus) {
        let response = GrpcResponse {
            status,
            ..std::mem::take(&mut self.response)
        };
        if let Some(answered) = self.answered.take() {
            answered(response);
        }
    }
}

#[derive(Clone)]
pub(crate) struct Call {
    stream: bool,
    handler: Rc<RefCell<dyn GrpcHandler>>,
}

thread_local! {
    pub(crate) static GRPC_CALLS: Calls<Call> = Calls::new();
}

/// Sends one message to a method, as "EmptyCall" of the service
/// "grpc.testing.TestService", and gets one (proxy_grpc_call). For upstream, timeout,
/// answered and errors see http_call.
pub fn grpc_call(
    upstream: &str,
    service: &str,
    method: &str,
    metadata: &[(&str, &str)],
    message: impl AsRef<[u8]>,
    timeout: Duration,
    answered: impl FnOnce(GrpcResponse) + 'static,
) -> Result<Grpc, Status> {
    let (ms, message) = (milliseconds(timeout)?, message.as_ref());
    let mut id = 0;
    with_room(|room| {
        append_pairs(room, metadata);
        failure(host::proxy_grpc_call(
            upstream.as_ptr(),
            upstream.len(),
            service.as_ptr(),
            service.len(),
            method.as_ptr(),
            method.len(),
            room.as_ptr(),
            room.len(),
            message.as_ptr(),
            message.len(),
            ms,
            &mut id,
        ))
    })?;
    Ok(begun(
        id,
        false,
        Unary {
            response: GrpcResponse::default(),
            answered: Some(answered),
        },
    ))
}

/// Opens a stream to a method (proxy_grpc_stream), as grpc_call. One that a
/// stream of the plugin opened is cancelled when that ends: what is to last is opened in
/// configure or tick.
pub fn grpc_stream(
    upstream: &str,
    service: &str,
    method: &str,
    metadata: &[(&str, &str)],
    handler: impl GrpcHandler + 'static,
) -> Result<Grpc, Status> {
    let mut id = 0;
    with_room(|room| {
        append_pairs(room, metadata);
        failure(host::proxy_grpc_stream(
            upstream.as_ptr(),
            upstream.len(),
            service.as_ptr(),
            service.len(),
            method.as_ptr(),
            method.len(),
            room.as_ptr(),
            room.len(),
            &mut id,
        ))
    })?;
    Ok(begun(id, true, handler))
}

fn begun(id: u32, stream: bool, handler: impl GrpcHandler + 'static) -> Grpc {
    let handler = Rc::new(RefCell::new(handler));
    GRPC_CALLS.with(|c| c.insert(id, EFFECTIVE.get(), Call { stream, handler }));
    Grpc(id)
}

impl Grpc {
    /// Sends a message on a stream (proxy_grpc_send); end says that it is the last. The
    /// error is Status::NotFound once the stream has ended, Status::BadArgument for a unary
    /// call.
    pub fn send(self, message: impl AsRef<[u8]>, end: bool) -> Result<(), Status> {
        let message = message.as_ref();
        failure(host::proxy_grpc_send(
            self.0,
            message.as_ptr(),
            message.len(),
            end.into(),
        ))
    }

    /// Says that no more messages are sent on a stream (proxy_grpc_close); those of the
    /// other side still come. A unary call is cancelled.
    pub fn end(self) -> Result<(), Status> {
        failure(host::proxy_grpc_close(self.0))
    }

    /// Gives the call up (proxy_grpc_cancel): no callback follows.
    pub fn cancel(self) -> Result<(), Status> {
        drop(GRPC_CALLS.with(|c| c.remove(self.0)));
        failure(host::proxy_grpc_cancel(self.0))
    }
}

/// Runs a callback of a call that something came for, unless its context has ended,
/// or it was cancelled.
pub(crate) fn event(root: u32, id: u32, callback: impl FnOnce(&mut dyn GrpcHandler, Grpc)) {
    if let Some((context, call)) = GRPC_CALLS.with(|c| c.get(id)) {
        if enter(context, root) {
            callback(&mut *call.handler.borrow_mut(), Grpc(id));
        }
    }
}

/// This is proxy_on_grpc_receive.
pub(crate) fn message(root: u32, id: u32) {
    event(root, id, |h, call| {
        h.message(call, &GRPC_MESSAGE.all().unwrap_or_default())
    });
}

/// This is proxy_on_grpc_close.
pub(crate) fn close(root: u32, id: u32, code: u32) {
    if let Some((context, call)) = GRPC_CALLS.with(|c| c.remove(id)) {
        if enter(context, root) {
            let (_, message) = call_status();
            call.handler
                .borrow_mut()
                .close(GrpcStatus { code, message });
        }
    }
}

/// Says whether a context has made a call that goes on.
pub(crate) fn calls_of(context: u32) -> bool {
    GRPC_CALLS.with(|c| c.of(context))
}

/// Drops the calls of a context that ends, and cancels its streams. Its unary calls go
/// on: their message may be all that they are for.
pub(crate) fn leave(context: u32) {
    for (id, call) in GRPC_CALLS.with(|c| c.leave(context)) {
        if call.stream {
            let _ = Grpc(id).cancel(); // it may be over already
        }
    }
}
