//! Properties of the exchange, the connection and the plugin.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::host;
use crate::memory::{returned, with_room};
use crate::status::failure;
use crate::wire::{append_path, read_bool, read_int};
use crate::{Bytes, Status};

/// Returns a property by its path, such as `&["source", "address"]`, as the proxy
/// has it (proxy_get_property).
pub fn property(path: &[&str]) -> Option<Bytes> {
    with_room(|room| {
        append_path(room, path);
        returned(|p, n| host::proxy_get_property(room.as_ptr(), room.len(), p, n)).ok()
    })
}

/// Returns a property that is a text, such as `&["request", "protocol"]`;
/// None also if it is none. It is the one of these that allocates.
pub fn property_string(path: &[&str]) -> Option<String> {
    property(path)?.to_str().ok().map(String::from)
}

/// Returns a property that is a number, such as `&["source", "port"]`; None
/// also if it is none.
pub fn property_int(path: &[&str]) -> Option<i64> {
    read_int(&property(path)?)
}

/// Returns a property that is true or false, such as `&["connection",
/// "mtls"]`; None also if it is neither.
pub fn property_bool(path: &[&str]) -> Option<bool> {
    read_bool(&property(path)?)
}

/// Returns a property that is a time, such as `&["request", "time"]`; None
/// also if it is none, or before 1970.
pub fn property_time(path: &[&str]) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(property_duration(path)?)
}

/// Returns a property that is a time span, such as `&["request",
/// "duration"]`; None also if it is none, or negative.
pub fn property_duration(path: &[&str]) -> Option<Duration> {
    property_int(path)?
        .try_into()
        .ok()
        .map(Duration::from_nanos)
}

/// Keeps a value for the rest of the exchange (proxy_set_property): this
/// plugin and the others of the exchange read it by property with the same path. It fails
/// with Status::NotFound where there is no exchange.
pub fn set_property(path: &[&str], value: impl AsRef<[u8]>) -> Result<(), Status> {
    let value = value.as_ref();
    with_room(|room| {
        append_path(room, path);
        failure(host::proxy_set_property(
            room.as_ptr(),
            room.len(),
            value.as_ptr(),
            value.len(),
        ))
    })
}
