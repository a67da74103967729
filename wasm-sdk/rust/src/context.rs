//! The context that host functions are about.

use std::cell::Cell;

use crate::Status;
use crate::host;
use crate::plugin::STREAMS;
use crate::status::failure;

/// The number of a Plugin or of a Stream; see effective_context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context(pub(crate) u32);

thread_local! {
    pub(crate) static EFFECTIVE: Cell<u32> = const { Cell::new(0) };
}

/// Returns what host functions are about: in its own callbacks the stream,
/// or the Plugin, in those of a call what made it.
pub fn effective_context() -> Context {
    Context(EFFECTIVE.get())
}

/// Makes host functions be about another stream of the plugin, until
/// the callback returns (proxy_set_effective_context): so that a tick resumes a stream which
/// paused, and kept its effective_context. The error is Status::BadArgument: it has ended.
pub fn set_effective_context(context: Context) -> Result<(), Status> {
    failure(host::proxy_set_effective_context(context.0))?;
    EFFECTIVE.set(context.0);
    Ok(())
}

/// Says that a Plugin whose done was false may be ended now (proxy_done). The error is
/// Status::NotFound before that.
pub fn done() -> Result<(), Status> {
    failure(host::proxy_done())
}

/// Makes the context of a call the effective one, for what came for it in a callback
/// of root; false: it has ended.
pub(crate) fn enter(context: u32, root: u32) -> bool {
    EFFECTIVE.set(root);
    context == root
        || STREAMS.with(|s| s.contains(context)) && set_effective_context(Context(context)).is_ok()
}
