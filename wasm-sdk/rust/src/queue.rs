//! Shared queues.

use crate::host;
use crate::memory::returned;
use crate::status::failure;
use crate::{Bytes, Status};

/// A shared queue; see register_queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue(pub(crate) u32);

/// Returns the shared queue of that name, which it makes if there is none
/// (proxy_register_shared_queue). The Plugin that registered it last has its queue_ready
/// called.
pub fn register_queue(name: &str) -> Result<Queue, Status> {
    let mut id = 0;
    failure(host::proxy_register_shared_queue(
        name.as_ptr(),
        name.len(),
        &mut id,
    ))
    .map(|()| Queue(id))
}

/// Returns a shared queue that another plugin registered, with that vmId, ""
/// for the plugin's own (proxy_resolve_shared_queue); Status::NotFound: there is none.
pub fn resolve_queue(vm_id: &str, name: &str) -> Result<Queue, Status> {
    let mut id = 0;
    failure(host::proxy_resolve_shared_queue(
        vm_id.as_ptr(),
        vm_id.len(),
        name.as_ptr(),
        name.len(),
        &mut id,
    ))
    .map(|()| Queue(id))
}

impl Queue {
    /// Puts a value at the end (proxy_enqueue_shared_queue); Status::Internal: it
    /// is full.
    pub fn enqueue(self, value: impl AsRef<[u8]>) -> Result<(), Status> {
        let value = value.as_ref();
        failure(host::proxy_enqueue_shared_queue(
            self.0,
            value.as_ptr(),
            value.len(),
        ))
    }

    /// Takes the oldest value (proxy_dequeue_shared_queue); Status::Empty: there is
    /// none.
    pub fn dequeue(self) -> Result<Bytes, Status> {
        returned(|p, n| host::proxy_dequeue_shared_queue(self.0, p, n))
    }
}
