//! Header lists.

use crate::host;
use crate::memory::{returned, with_room};
use crate::pairs::append_pairs;
use crate::status::failure;
use crate::{Bytes, Pairs, Status, call_foreign};

/// A header list, or one of trailers or metadata (proxy_map_type_t). Names are
/// found in upper and lower case alike. Reading and changing fields allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: u32,
}

/// The request's fields. Pseudo header fields (":path", ":method", ":authority", ":scheme")
/// are part of them. Headers can be changed while their callback runs or pauses them.
/// Changes come too late, or too early, with Status::BadArgument.
pub const REQUEST_HEADER: Header = Header { kind: 0 };
/// The request's trailers. They can be changed from the last callback of the body on,
/// which may add some where there were none.
pub const REQUEST_TRAILER: Header = Header { kind: 1 };
/// The response's fields, as REQUEST_HEADER; ":status" is part of them.
pub const RESPONSE_HEADER: Header = Header { kind: 2 };
/// The response's trailers, as REQUEST_TRAILER.
pub const RESPONSE_TRAILER: Header = Header { kind: 3 };

// The lists of calls, which their callbacks get.
pub(crate) const GRPC_INITIAL_METADATA: Header = Header { kind: 4 };
pub(crate) const GRPC_TRAILING_METADATA: Header = Header { kind: 5 };
pub(crate) const HTTP_CALL_HEADER: Header = Header { kind: 6 };
pub(crate) const HTTP_CALL_TRAILER: Header = Header { kind: 7 };

/// Has the response's head get these fields when it passes the plugin, each in place of
/// those of its name: no callback is needed for what is known at the request. Only in
/// request_headers, or in what a call of it calls while the request waits; later, and for
/// fields that no response may have, it fails with Status::BadArgument. A plugin that says
/// which callbacks it wants says SET_RESPONSE_HEADERS too. Elsewhere than in Penstock it
/// fails with Status::NotFound.
pub fn set_response_headers<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    pairs: &[(K, V)],
) -> Result<(), Status> {
    with_room(|room| {
        append_pairs(room, pairs);
        call_foreign("penstock.set_response_headers", room).map(drop)
    })
}

impl Header {
    /// Returns the first value of that name (proxy_get_header_map_value); None: there
    /// is none, or the list cannot be read.
    pub fn get(self, name: &str) -> Option<Bytes> {
        returned(|p, n| {
            host::proxy_get_header_map_value(self.kind, name.as_ptr(), name.len(), p, n)
        })
        .ok()
    }

    /// Appends a field (proxy_add_header_map_value).
    pub fn add(self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Status> {
        let value = value.as_ref();
        failure(host::proxy_add_header_map_value(
            self.kind,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        ))
    }

    /// Replaces all fields of that name by one (proxy_replace_header_map_value).
    pub fn set(self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Status> {
        let value = value.as_ref();
        failure(host::proxy_replace_header_map_value(
            self.kind,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        ))
    }

    /// Removes all fields of that name (proxy_remove_header_map_value).
    pub fn del(self, name: &str) -> Result<(), Status> {
        failure(host::proxy_remove_header_map_value(
            self.kind,
            name.as_ptr(),
            name.len(),
        ))
    }

    /// Returns the whole list (proxy_get_header_map_pairs); None where it cannot be
    /// read.
    pub fn all(self) -> Option<Pairs> {
        Pairs::read(returned(|p, n| host::proxy_get_header_map_pairs(self.kind, p, n)).ok()?)
    }

    /// Replaces the whole list (proxy_set_header_map_pairs). Other proxies replace
    /// pseudo header fields too, so that they are to be among pairs, as all has them.
    pub fn set_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(self, pairs: &[(K, V)]) -> Result<(), Status> {
        with_room(|room| {
            append_pairs(room, pairs);
            failure(host::proxy_set_header_map_pairs(
                self.kind,
                room.as_ptr(),
                room.len(),
            ))
        })
    }

    /// Returns how many bytes all would read (proxy_get_header_map_size).
    pub fn size(self) -> Result<usize, Status> {
        let mut size = 0;
        failure(host::proxy_get_header_map_size(self.kind, &mut size)).map(|()| size as usize)
    }
}
