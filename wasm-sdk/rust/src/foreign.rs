//! Functions that are not part of the ABI.

use crate::host;
use crate::memory::returned;
use crate::{Bytes, Status};

/// Calls a function that is not part of the ABI (proxy_call_foreign_function).
/// The error is Status::NotFound where the proxy has none of that name.
pub fn call_foreign(name: &str, arguments: impl AsRef<[u8]>) -> Result<Bytes, Status> {
    let a = arguments.as_ref();
    returned(|p, n| {
        host::proxy_call_foreign_function(name.as_ptr(), name.len(), a.as_ptr(), a.len(), p, n)
    })
}
