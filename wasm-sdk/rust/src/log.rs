//! The proxy's log.

use crate::host;

/// Says how much a line of the log matters (proxy_log_level_t).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // they say it all
#[repr(u32)]
pub enum Level {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Critical = 5,
}

/// Writes a line to the proxy's log (proxy_log).
pub fn log(level: Level, text: &str) {
    host::proxy_log(level as u32, text.as_ptr(), text.len());
}

/// Returns the lowest level that the proxy writes (proxy_get_log_level),
/// Level::Trace if it does not say.
pub fn log_level() -> Level {
    let mut level = 0;
    if host::proxy_get_log_level(&mut level) != 0 {
        return Level::Trace;
    }
    match level {
        0 => Level::Trace,
        1 => Level::Debug,
        2 => Level::Info,
        3 => Level::Warn,
        4 => Level::Error,
        _ => Level::Critical,
    }
}

/// Says whether lines of a level are written: to be asked before one is made
/// that costs something to make.
pub fn log_enabled(level: Level) -> bool {
    level >= log_level()
}
