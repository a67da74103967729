//! Data that instances share.

use crate::host;
use crate::memory::returned;
use crate::status::failure;
use crate::{Bytes, Status};

/// Returns what is kept under a key (proxy_get_shared_data), and the number of
/// that state for set_shared_data; Status::NotFound: there is nothing. All instances of the
/// plugin with the same vmId share the data.
pub fn shared_data(key: &str) -> Result<(Bytes, u32), Status> {
    let mut cas = 0;
    let value =
        returned(|p, n| host::proxy_get_shared_data(key.as_ptr(), key.len(), p, n, &mut cas))?;
    Ok((value, cas))
}

/// Keeps a value under a key (proxy_set_shared_data). With a cas other than
/// 0 it fails with Status::CasMismatch if the value there is not the one that had this
/// number.
pub fn set_shared_data(key: &str, value: impl AsRef<[u8]>, cas: u32) -> Result<(), Status> {
    let value = value.as_ref();
    failure(host::proxy_set_shared_data(
        key.as_ptr(),
        key.len(),
        value.as_ptr(),
        value.len(),
        cas,
    ))
}

/// A number that no state has: what it sets is only set if there is nothing.
const NO_CAS: u32 = u32::MAX;
const MAX_UPDATES: usize = 64;

/// Replaces the value under a key by what change makes of it, None if
/// there is none, so that no instance's change is lost: change is called again if another
/// one came between. The error is Status::CasMismatch if others came between too often.
pub fn update_shared_data<V: AsRef<[u8]>>(
    key: &str,
    mut change: impl FnMut(Option<&[u8]>) -> V,
) -> Result<(), Status> {
    for _ in 0..MAX_UPDATES {
        let (value, cas) = match shared_data(key) {
            Ok((old, cas)) => (change(Some(&old)), cas),
            Err(Status::NotFound) => (change(None), NO_CAS),
            Err(e) => return Err(e),
        };
        match set_shared_data(key, value, cas) {
            Err(Status::CasMismatch) => {}
            result => return result,
        }
    }
    Err(Status::CasMismatch)
}
