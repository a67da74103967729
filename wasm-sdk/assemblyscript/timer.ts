import { gotWide, wide } from "./memory";
import { ErrBadArgument, Status, failure } from "./status";
import { Duration, Time } from "./time";
import { milliseconds } from "./wire";

// @ts-ignore: decorator
@external("env", "proxy_get_current_time_nanoseconds")
declare function proxy_get_current_time_nanoseconds(at: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_set_tick_period_milliseconds")
declare function proxy_set_tick_period_milliseconds(ms: u32): u32;

/** The time by the proxy's clock (proxy_get_current_time_nanoseconds); 0: it has none. */
export function now(): Time {
  return proxy_get_current_time_nanoseconds(wide()) == 0 ? <Time>gotWide() : 0;
}

/**
 * Has the Plugin's tick called each time so much has passed, in whole milliseconds
 * (proxy_set_tick_period_milliseconds); 0 ends it. Usually called in configure. Each
 * instance of the plugin ticks on its own.
 */
export function setTickPeriod(d: Duration): Status | null {
  const ms = milliseconds(d);
  return ms < 0 ? ErrBadArgument : failure(proxy_set_tick_period_milliseconds(ms));
}
