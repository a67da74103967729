//! Answers in the proxy's name, and directions that go on or end.

use crate::host;
use crate::memory::with_room;
use crate::pairs::append_pairs;
use crate::status::failure;
use crate::{Status, StreamType};

/// Answers in the proxy's name (proxy_send_local_response); the callback's action
/// no longer counts. details goes to the access log only. It can be called until the
/// response's head has gone on, also for a paused stream from the callback of a call; later
/// it fails with Status::BadArgument.
pub fn respond(
    status: u16,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
    details: &str,
) -> Result<(), Status> {
    answer(status, headers, body.as_ref(), details, -1)
}

/// As respond, for a gRPC client, which gets that grpc-status, and message as
/// the grpc-message.
pub fn respond_grpc(
    code: u32,
    headers: &[(&str, &str)],
    message: &str,
    details: &str,
) -> Result<(), Status> {
    answer(200, headers, message.as_bytes(), details, code as i32)
}

fn answer(
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
    details: &str,
    grpc: i32,
) -> Result<(), Status> {
    with_room(|room| {
        append_pairs(room, headers);
        failure(host::proxy_send_local_response(
            status.into(),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            room.as_ptr(),
            room.len(),
            grpc,
        ))
    })
}

/// Lets a direction go on that a callback paused (proxy_continue_stream). Within a
/// callback of that direction it wins over Pause. It is for the effective context; without
/// a stream it fails with Status::BadArgument, and for a direction that the stream does not
/// have with Status::Unimplemented.
pub fn resume(direction: StreamType) -> Result<(), Status> {
    failure(host::proxy_continue_stream(direction as u32))
}

/// Ends the effective context's stream without an answer (proxy_close_stream); of a
/// raw connection, that side is closed. It fails as resume does.
pub fn reset(direction: StreamType) -> Result<(), Status> {
    failure(host::proxy_close_stream(direction as u32))
}
