//! HTTP calls.

use std::time::Duration;

use crate::buffer::HTTP_CALL_BODY;
use crate::calls::Calls;
use crate::context::{EFFECTIVE, enter};
use crate::header::{HTTP_CALL_HEADER, HTTP_CALL_TRAILER};
use crate::host;
use crate::memory::{returned, with_room};
use crate::pairs::append_pairs;
use crate::status::failure;
use crate::wire::{milliseconds, read_u32};
use crate::{Buffer, CallError, Header, Status, call_foreign};

/// What came of an http_call. Its lists and its body can be read in the
/// callback, and only there.
#[derive(Clone, Copy, Debug)]
pub struct HttpResponse {
    /// With ":status".
    pub header: Header,
    /// All of it.
    pub body: Buffer,
    /// Empty if there are none.
    pub trailer: Header,
}

impl HttpResponse {
    /// Returns the response's status; 0: it has none.
    pub fn status(&self) -> u16 {
        self.header
            .get(":status")
            .and_then(|s| s.to_str().ok()?.parse().ok())
            .unwrap_or(0)
    }
}

type Answered = Box<dyn FnOnce(Result<HttpResponse, CallError>)>;

thread_local! {
    pub(crate) static HTTP_CALLS: Calls<Answered> = Calls::new();
}

/// Sends a request to an upstream (proxy_http_call): "NAME" or "NAME:PORT", a Service of
/// the plugin's namespace, "outbound|80||NAME.NAMESPACE.svc.cluster.local", as Envoy says
/// it, or in these forms a hostname that a policy's egress lists; other proxies have names
/// of their own. headers has ":method", ":path" and ":authority". timeout, in whole
/// milliseconds, is for all of it; 0: none.
///
/// answered is called once, with the context that made the call as the effective one, and
/// dropped without a call if that has ended meanwhile. Its error says why there is no
/// response: no connection, no answer in time; a status of 400 and above is none. A
/// callback that waits for it returns Pause; answered then calls resume, or respond. It
/// needs the capability http-call: without it http_call fails with Status::Internal, for an
/// upstream that is not known, and for a timeout beyond 24 days, with Status::BadArgument.
pub fn http_call(
    upstream: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
    trailers: &[(&str, &str)],
    timeout: Duration,
    answered: impl FnOnce(Result<HttpResponse, CallError>) + 'static,
) -> Result<(), Status> {
    let (ms, body) = (milliseconds(timeout)?, body.as_ref());
    let mut id = 0;
    with_room(|room| {
        append_pairs(room, headers);
        let headers = room.len();
        append_pairs(room, trailers);
        let (h, t) = room.split_at(headers);
        failure(host::proxy_http_call(
            upstream.as_ptr(),
            upstream.len(),
            h.as_ptr(),
            h.len(),
            body.as_ptr(),
            body.len(),
            t.as_ptr(),
            t.len(),
            ms,
            &mut id,
        ))
    })?;
    HTTP_CALLS.with(|c| c.insert(id, EFFECTIVE.get(), Box::new(answered)));
    Ok(())
}

/// Calls a foreign function whose answer is there now, or comes as that of an
/// HTTP call does: it returns a number, and after 0 the answer.
pub(crate) fn call_later(
    name: &str,
    arguments: &[u8],
    answered: impl FnOnce(Result<Vec<u8>, CallError>) + 'static,
) -> Result<Option<Vec<u8>>, Status> {
    let answer = call_foreign(name, arguments)?;
    let id = read_u32(&answer, 0).ok_or(Status::ResultMismatch)?;
    if id == 0 {
        return Ok(Some(answer[4..].to_vec()));
    }
    let answered = move |r: Result<HttpResponse, CallError>| {
        answered(r.map(|r| r.body.all().unwrap_or_default().to_vec()))
    };
    HTTP_CALLS.with(|c| c.insert(id, EFFECTIVE.get(), Box::new(answered)));
    Ok(None)
}

/// This is proxy_on_http_call_response.
pub(crate) fn answered(root: u32, id: u32, headers: u32) {
    let Some((context, answered)) = HTTP_CALLS.with(|c| c.remove(id)) else {
        return;
    };
    if !enter(context, root) {
        return;
    }
    if headers == 0 {
        let (code, message) = call_status();
        let status = if code == 0 {
            Status::BrokenConnection
        } else {
            Status::of(code)
        };
        return answered(Err(CallError { status, message }));
    }
    answered(Ok(HttpResponse {
        header: HTTP_CALL_HEADER,
        body: HTTP_CALL_BODY,
        trailer: HTTP_CALL_TRAILER,
    }));
}

/// Returns how the last call ended (proxy_get_status), 0 if the proxy does not
/// say.
pub(crate) fn call_status() -> (u32, String) {
    let mut code = 0;
    match returned(|p, n| host::proxy_get_status(&mut code, p, n)) {
        Ok(message) => (code, message.to_string()),
        Err(_) => (0, String::new()),
    }
}
