//! Bodies, and other bytes that come in parts.

use crate::host;
use crate::memory::returned;
use crate::status::failure;
use crate::{Bytes, Status};

/// A body, or what came of a raw connection or a call (proxy_buffer_type_t).
///
/// A body's callback sees one part after another. With Continue the part goes on as it
/// was left, and the next one begins at 0. With Pause it is held back, and the next
/// callback sees all that is held: so a plugin pauses until `end` for a whole body. Bytes
/// that are held count against the filter's limit: beyond it the request is answered with
/// 413, the response with 500. What changes a body's length has to take the field
/// content-length away in the callback of the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    kind: u32,
}

/// The request's body: there in its own callback, and while that pauses.
pub const REQUEST_BODY: Buffer = Buffer { kind: 0 };
/// The response's body, as REQUEST_BODY.
pub const RESPONSE_BODY: Buffer = Buffer { kind: 1 };
/// What the client of a raw connection sent, as REQUEST_BODY.
pub const DOWNSTREAM_DATA: Buffer = Buffer { kind: 2 };
/// What the client of a raw connection gets, as REQUEST_BODY.
pub const UPSTREAM_DATA: Buffer = Buffer { kind: 3 };

// The buffers that callbacks are handed.
pub(crate) const HTTP_CALL_BODY: Buffer = Buffer { kind: 4 };
pub(crate) const GRPC_MESSAGE: Buffer = Buffer { kind: 5 };
pub(crate) const VM_CONFIGURATION: Buffer = Buffer { kind: 6 };
pub(crate) const PLUGIN_CONFIGURATION: Buffer = Buffer { kind: 7 };
pub(crate) const FOREIGN_ARGUMENTS: Buffer = Buffer { kind: 8 };

const ALL: u32 = u32::MAX; // to the end, or behind it

/// Returns a number of bytes as the ABI has it.
fn place(n: usize) -> u32 {
    n.try_into().unwrap_or(ALL)
}

impl Buffer {
    /// Returns size bytes from start on (proxy_get_buffer_bytes), fewer if there are no
    /// more; None where the buffer cannot be read.
    pub fn get(self, start: usize, size: usize) -> Option<Bytes> {
        returned(|p, n| host::proxy_get_buffer_bytes(self.kind, place(start), place(size), p, n))
            .ok()
    }

    /// Returns the whole buffer, as get.
    pub fn all(self) -> Option<Bytes> {
        self.get(0, ALL as usize)
    }

    /// Returns how many bytes there are (proxy_get_buffer_status); Status::NotFound
    /// where the buffer cannot be read.
    pub fn size(self) -> Result<usize, Status> {
        let (mut size, mut flags) = (0, 0);
        failure(host::proxy_get_buffer_status(
            self.kind, &mut size, &mut flags,
        ))
        .map(|()| size as usize)
    }

    /// Replaces the whole buffer (proxy_set_buffer_bytes).
    pub fn set(self, data: impl AsRef<[u8]>) -> Result<(), Status> {
        self.replace(0, ALL as usize, data)
    }

    /// Puts data behind the buffer.
    pub fn append(self, data: impl AsRef<[u8]>) -> Result<(), Status> {
        self.replace(ALL as usize, 0, data)
    }

    /// Puts data before the buffer.
    pub fn prepend(self, data: impl AsRef<[u8]>) -> Result<(), Status> {
        self.replace(0, 0, data)
    }

    /// Puts data in the place of size bytes from start on. Envoy refuses, with
    /// Status::BadArgument, what neither set, append nor prepend could do.
    pub fn replace(self, start: usize, size: usize, data: impl AsRef<[u8]>) -> Result<(), Status> {
        let data = data.as_ref();
        failure(host::proxy_set_buffer_bytes(
            self.kind,
            place(start),
            place(size),
            data.as_ptr(),
            data.len(),
        ))
    }
}
