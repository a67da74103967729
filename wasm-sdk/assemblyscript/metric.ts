import { gotNumber, gotWide, number, wide } from "./memory";
import { Result, failed, ok, statusOf } from "./status";
import { out } from "./wire";

// @ts-ignore: decorator
@external("env", "proxy_define_metric")
declare function proxy_define_metric(kind: u32, name: usize, n: i32, id: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_increment_metric")
declare function proxy_increment_metric(id: u32, delta: i64): u32;

// @ts-ignore: decorator
@external("env", "proxy_record_metric")
declare function proxy_record_metric(id: u32, value: i64): u32;

// @ts-ignore: decorator
@external("env", "proxy_get_metric")
declare function proxy_get_metric(id: u32, value: usize): u32;

/**
 * A metric that only grows. Its methods, as those of the other metrics, allocate nothing
 * and do not fail: what the ABI does not permit changes nothing.
 */
export class Counter {
  constructor(private readonly id: u32 = 0) {}

  /** Adds delta, which is above 0 (proxy_increment_metric). */
  increment(delta: i64): void {
    proxy_increment_metric(this.id, delta);
  }

  /** How much it is (proxy_get_metric). */
  value(): i64 {
    return metric(this.id);
  }
}

/** A metric that goes up and down. */
export class Gauge {
  constructor(private readonly id: u32 = 0) {}

  /** Adds delta, which may be negative (proxy_increment_metric). */
  increment(delta: i64): void {
    proxy_increment_metric(this.id, delta);
  }

  /** Sets it (proxy_record_metric). */
  record(value: i64): void {
    proxy_record_metric(this.id, value);
  }

  /** How much it is (proxy_get_metric). */
  value(): i64 {
    return metric(this.id);
  }
}

/** A metric that counts samples by their size. */
export class Histogram {
  constructor(private readonly id: u32 = 0) {}

  /** Adds a sample (proxy_record_metric). */
  record(value: u64): void {
    proxy_record_metric(this.id, value);
  }
}

/**
 * The counter of that name (proxy_define_metric); all instances have the same one. Define
 * metrics once, in configure.
 */
export function defineCounter(name: string): Result<Counter> {
  const code = define(0, name);
  return code == 0 ? ok<Counter>(new Counter(gotNumber())) : failed<Counter>(statusOf(code));
}

/** The gauge of that name, as defineCounter. */
export function defineGauge(name: string): Result<Gauge> {
  const code = define(1, name);
  return code == 0 ? ok<Gauge>(new Gauge(gotNumber())) : failed<Gauge>(statusOf(code));
}

/** The histogram of that name, as defineCounter. */
export function defineHistogram(name: string): Result<Histogram> {
  const code = define(2, name);
  return code == 0 ? ok<Histogram>(new Histogram(gotNumber())) : failed<Histogram>(statusOf(code));
}

function define(kind: u32, name: string): u32 {
  out.clear();
  const n = out.text(name);
  return proxy_define_metric(kind, out.at(0), n, number());
}

function metric(id: u32): i64 {
  return proxy_get_metric(id, wide()) == 0 ? gotWide() : 0;
}
