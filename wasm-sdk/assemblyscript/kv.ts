import { foreign } from "./host";
import { gotAt, gotSize } from "./memory";
import { ErrBadArgument, ErrResultMismatch, Result, Status, failed, failure, ok, statusOf } from "./status";
import { Duration, Hour, Millisecond, Second } from "./time";
import { bytesAt, out } from "./wire";

// Bounds of the key-value store; lengths are bytes of UTF-8.
export const MaxKVKey = 1 << 10; // at least 1
export const MaxKVValue = 64 << 10;

const maxKVTTL: Duration = 31 * 24 * Hour;

/** What kvGet finds. */
export class KVValue {
  constructor(
    readonly value: Uint8Array,
    /** How long it lives on. */
    readonly left: Duration,
  ) {}
}

function isKey(length: i32): bool {
  return length > 0 && length <= MaxKVKey;
}

function isTTL(ttl: Duration): bool {
  return ttl >= Second && ttl <= maxKVTTL;
}

/**
 * The value that was put under key on this proxy by filters of this namespace with the same
 * vmId, without one by this filter; null: there is none, or without the capability kv, and
 * elsewhere than in Penstock.
 */
export function kvGet(key: string): KVValue | null {
  out.clear();
  if (!isKey(out.text(key)) || foreign("penstock.kv_get", out.at(0), out.length) != 0) return null;
  const n = gotSize();
  if (n < 8) return null;
  return new KVValue(bytesAt(gotAt() + 8, n - 8), load<i64>(gotAt()) * Millisecond);
}

/**
 * Stores a value for ttl, in whole seconds from 1 s to 31 days; absent: only where there is
 * none, ErrCASMismatch else. Nothing else takes its place before: it fails with ErrInternal
 * when the namespace's room is full, and what was there is untouched. It needs the
 * capability kv.
 */
export function kvPut(key: string, value: Uint8Array, ttl: Duration, absent: bool = false): Status | null {
  if (value.length > MaxKVValue || !isTTL(ttl)) return ErrBadArgument;
  out.clear();
  out.u8(absent ? 1 : 0);
  out.u32(<u32>(ttl / Second));
  if (!isKey(out.text16(key))) return ErrBadArgument;
  out.raw(value);
  return failure(foreign("penstock.kv_put", out.at(0), out.length));
}

/** Removes a value, if it is there. It needs the capability kv. */
export function kvDelete(key: string): Status | null {
  out.clear();
  if (!isKey(out.text(key))) return ErrBadArgument;
  return failure(foreign("penstock.kv_delete", out.at(0), out.length));
}

/**
 * Adds to a number, which is 0 where there is none and lives for ttl from then on, and
 * returns the sum. Its value is 8 bytes, little endian: ErrParse for another one, and for a
 * sum beyond 64 bits. Else it is as kvPut.
 */
export function kvAdd(key: string, delta: i64, ttl: Duration): Result<i64> {
  if (!isTTL(ttl)) return failed<i64>(ErrBadArgument);
  out.clear();
  out.u32(<u32>(ttl / Second));
  out.u64(delta);
  if (!isKey(out.text(key))) return failed<i64>(ErrBadArgument);
  const code = foreign("penstock.kv_add", out.at(0), out.length);
  if (code != 0) return failed<i64>(statusOf(code));
  return gotSize() == 8 ? ok<i64>(load<i64>(gotAt())) : failed<i64>(ErrResultMismatch);
}
