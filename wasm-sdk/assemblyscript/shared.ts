import { gotBytes, gotNumber, number, place, size } from "./memory";
import { ErrCASMismatch, ErrNotFound, Status, failure } from "./status";
import { out } from "./wire";

// @ts-ignore: decorator
@external("env", "proxy_get_shared_data")
declare function proxy_get_shared_data(key: usize, n: i32, p: usize, size: usize, cas: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_set_shared_data")
declare function proxy_set_shared_data(key: usize, n: i32, value: usize, m: i32, cas: u32): u32;

/** What sharedData finds. */
export class Shared {
  constructor(
    /** Empty with an error. */
    readonly value: Uint8Array,
    /** The number of that state, for setSharedData. */
    readonly cas: u32,
    /** ErrNotFound: there is nothing. */
    readonly err: Status | null,
  ) {}
}

/**
 * What is kept under a key (proxy_get_shared_data). All instances of the plugin with the
 * same vmId share the data.
 */
export function sharedData(key: string): Shared {
  out.clear();
  const n = out.text(key);
  const err = failure(proxy_get_shared_data(out.at(0), n, place(), size(), number()));
  return err ? new Shared(new Uint8Array(0), 0, err) : new Shared(gotBytes(), gotNumber(), null);
}

/**
 * Keeps a value under a key (proxy_set_shared_data). With a cas other than 0 it fails with
 * ErrCASMismatch if the value there is not the one that had this number.
 */
export function setSharedData(key: string, value: Uint8Array, cas: u32): Status | null {
  out.clear();
  const n = out.text(key);
  return failure(proxy_set_shared_data(out.at(0), n, value.dataStart, value.length, cas));
}

// A number that no state has: what it sets is only set if there is nothing.
// @ts-ignore: decorator
@inline
const noCAS = u32.MAX_VALUE;
// @ts-ignore: decorator
@inline
const maxUpdates = 64;

/**
 * Replaces the value under a key by what change makes of it, null if there is none, so
 * that no instance's change is lost: change is called again, with self as for httpCall, if
 * another one came between. The error is ErrCASMismatch if others came between too often.
 */
export function updateSharedData<T>(key: string, self: T, change: (self: T, old: Uint8Array | null) => Uint8Array): Status | null {
  for (let i = 0; i < maxUpdates; i++) {
    const now = sharedData(key);
    const missing = now.err == ErrNotFound;
    if (now.err && !missing) return now.err;
    const value = change(self, missing ? null : now.value);
    const err = setSharedData(key, value, missing ? noCAS : now.cas);
    if (err != ErrCASMismatch) return err;
  }
  return ErrCASMismatch;
}
