import { gotNumber, number } from "./memory";
import { out } from "./wire";

// @ts-ignore: decorator
@external("env", "proxy_log")
export declare function proxy_log(level: u32, p: usize, n: i32): u32;

// @ts-ignore: decorator
@external("env", "proxy_get_log_level")
declare function proxy_get_log_level(level: usize): u32;

/** How much a line of the log matters (proxy_log_level_t). */
export enum Level {
  Trace = 0,
  Debug = 1,
  Info = 2,
  Warn = 3,
  Error = 4,
  Critical = 5,
}

/** Writes a line to the proxy's log (proxy_log). */
export function log(level: Level, text: string): void {
  out.clear();
  const n = out.text(text);
  proxy_log(level, out.at(0), n);
}

/** The lowest level that the proxy writes (proxy_get_log_level), Trace if it does not say. */
export function logLevel(): Level {
  return proxy_get_log_level(number()) == 0 ? <Level>gotNumber() : Level.Trace;
}

/**
 * Whether lines of a level are written: to be asked before one is made that costs
 * something to make.
 */
export function logEnabled(level: Level): bool {
  return level >= logLevel();
}
