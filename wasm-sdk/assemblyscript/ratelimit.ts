import { foreign } from "./host";
import { callLater } from "./httpcall";
import { gotAt, gotSize } from "./memory";
import { CallError, ErrBadArgument, ErrResultMismatch, Result, failed, ok, statusOf } from "./status";
import { Duration, Hour, Millisecond } from "./time";
import { Writer, out } from "./wire";

const maxRateKey = 1 << 10;
const maxRateWindow: Duration = 31 * 24 * Hour;

/** A limit on how often something may happen. */
export class Rate {
  /**
   * How many may come at once, where limit ones are gained evenly over each window (a token
   * bucket); 0: limit. Not with sliding.
   */
  burst: u32 = 0;
  /** Counts the events of the last window, those of the one before by share. */
  sliding: bool = false;

  constructor(
    /** How many events a window allows, at least 1. */
    readonly limit: u32,
    /** In whole milliseconds, to 31 days. */
    readonly window: Duration,
  ) {}

  /**
   * Writes the argument of penstock.rate_limit: a byte of flags (1 sliding, 2 shared), the
   * limit, the milliseconds, the burst, the cost in 32 bits each, the key; false: it passes
   * a bound.
   */
  write(w: Writer, shared: bool, key: string, cost: u32): bool {
    if (this.limit == 0 || this.window < Millisecond || this.window > maxRateWindow || this.window % Millisecond != 0) return false;
    if (this.sliding && this.burst != 0) return false;
    w.u8((this.sliding ? 1 : 0) | (shared ? 2 : 0));
    w.u32(this.limit);
    w.u32(<u32>(this.window / Millisecond));
    w.u32(this.burst);
    w.u32(cost);
    const n = w.text(key);
    return n > 0 && n <= maxRateKey;
  }
}

/** Says whether events are within a Rate. */
export class RateAnswer {
  constructor(
    /** They are, and were counted. */
    readonly allowed: bool,
    /** How many more would be allowed now. */
    readonly remaining: u32,
    /** Until all of the limit is there again. */
    readonly reset: Duration,
    /** Until the same would be allowed, if it is not. */
    readonly retry: Duration,
  ) {}
}

/** Reads an answer: a byte, and three numbers of 32 bits. */
export function readRate(at: usize, n: i32): RateAnswer | null {
  if (n != 13) return null;
  return new RateAnswer(load<u8>(at) != 0, load<u32>(at, 1), <i64>load<u32>(at, 5) * Millisecond, <i64>load<u32>(at, 9) * Millisecond);
}

/**
 * Counts cost events of a key if they are within a rate, on this proxy alone. Filters of a
 * namespace with the same vmId share keys. With cost 0 it only asks. It needs the capability
 * ratelimit: without it, and elsewhere than in Penstock, it fails with an ErrHost.
 */
export function takeRate(r: Rate, key: string, cost: u32): Result<RateAnswer> {
  out.clear();
  if (!r.write(out, false, key, cost)) return failed<RateAnswer>(ErrBadArgument);
  const code = foreign("penstock.rate_limit", out.at(0), out.length);
  if (code != 0) return failed<RateAnswer>(statusOf(code));
  const n = gotSize();
  const a = readRate(gotAt(), n);
  return a ? ok<RateAnswer>(a) : failed<RateAnswer>(ErrResultMismatch);
}

class Waiting<T> {
  constructor(readonly self: T, readonly answered: (self: T, answer: RateAnswer | null, err: CallError | null) => void) {}
}

/**
 * takeRate by what all proxies count together, in the Redis of the Gateway's parameters. A
 * value that is null, without an error: answered is called once, as that of httpCall is,
 * with an error if Redis did not answer; else that is the answer. Without a Redis it fails
 * with ErrUnimplemented.
 */
export function takeSharedRate<T>(r: Rate, key: string, cost: u32, self: T, answered: (self: T, answer: RateAnswer | null, err: CallError | null) => void): Result<RateAnswer | null> {
  out.clear();
  if (!r.write(out, true, key, cost)) return failed<RateAnswer | null>(ErrBadArgument);
  const begun = callLater<Waiting<T>>("penstock.rate_limit", new Waiting<T>(self, answered), (w: Waiting<T>, b: Uint8Array | null, err: CallError | null) => {
    const a = b ? readRate(b.dataStart, b.length) : null;
    w.answered(w.self, a, err || a ? err : new CallError(ErrResultMismatch, ""));
  });
  if (begun.err) return failed<RateAnswer | null>(begun.err!);
  const b = begun.value;
  if (!b) return ok<RateAnswer | null>(null);
  const a = readRate(b.dataStart, b.length);
  return a ? ok<RateAnswer | null>(a) : failed<RateAnswer | null>(ErrResultMismatch);
}
