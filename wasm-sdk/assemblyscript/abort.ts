// What AssemblyScript calls by itself; asconfig.json puts these in the place of imports
// that no proxy has.
import { Level, proxy_log } from "./log";
import { encode } from "./wire";

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "random_get")
declare function random_get(p: usize, size: usize): u32;

/**
 * Logs why the plugin ends, and where, and traps: what `throw` and failed checks do. It
 * allocates nothing, as it may be called because nothing is left.
 */
// @ts-ignore: decorator
@global
function penstock_abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const begin: usize = memory.data(4096); // three bytes for each unit, and more
  let to = begin;
  if (message) to += encode(message, min(message.length, 600), to);
  to += encode(", at ", 5, to);
  if (file) to += encode(file, min(file.length, 600), to);
  to = writeNumber(writeNumber(to, line), column);
  proxy_log(Level.Critical, begin, <i32>(to - begin));
  unreachable();
}

/** Writes a colon and a number, and returns the address behind. */
function writeNumber(to: usize, n: u32): usize {
  store<u8>(to++, 0x3a);
  let unit: u32 = 1;
  while (n / unit >= 10) unit *= 10;
  for (; unit > 0; unit /= 10) store<u8>(to++, 0x30 + n / unit % 10);
  return to;
}

/** What Math.random begins with. */
// @ts-ignore: decorator
@global
function penstock_seed(): f64 {
  const at: usize = memory.data(8, 8);
  random_get(at, 8);
  return load<f64>(at);
}
