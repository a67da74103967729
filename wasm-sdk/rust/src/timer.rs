//! The clock, and ticks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Status;
use crate::host;
use crate::status::failure;
use crate::wire::milliseconds;

/// Returns the time by the proxy's clock (proxy_get_current_time_nanoseconds), 1970 if
/// that fails. `SystemTime::now` panics in WebAssembly.
pub fn now() -> SystemTime {
    let mut at = 0;
    if host::proxy_get_current_time_nanoseconds(&mut at) != 0 {
        at = 0;
    }
    UNIX_EPOCH + Duration::from_nanos(at)
}

/// Has the Plugin's tick called each time so much has passed, in whole
/// milliseconds (proxy_set_tick_period_milliseconds); 0 ends it. Usually called in
/// configure. Each instance of the plugin ticks on its own.
pub fn set_tick_period(period: Duration) -> Result<(), Status> {
    failure(host::proxy_set_tick_period_milliseconds(milliseconds(
        period,
    )?))
}
