import { foreign } from "./host";
import { gotAt, gotNumber, gotSize, gotText, number, place, size } from "./memory";
import { readPairs, writePairs } from "./pairs";
import { Result, Status, failed, failure, ok, statusOf } from "./status";
import { out } from "./wire";

// @ts-ignore: decorator
@external("env", "proxy_get_header_map_size")
declare function proxy_get_header_map_size(kind: u32, size: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_get_header_map_pairs")
declare function proxy_get_header_map_pairs(kind: u32, p: usize, size: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_set_header_map_pairs")
declare function proxy_set_header_map_pairs(kind: u32, p: usize, size: i32): u32;

// @ts-ignore: decorator
@external("env", "proxy_get_header_map_value")
declare function proxy_get_header_map_value(kind: u32, key: usize, n: i32, p: usize, size: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_add_header_map_value")
declare function proxy_add_header_map_value(kind: u32, key: usize, n: i32, value: usize, m: i32): u32;

// @ts-ignore: decorator
@external("env", "proxy_replace_header_map_value")
declare function proxy_replace_header_map_value(kind: u32, key: usize, n: i32, value: usize, m: i32): u32;

// @ts-ignore: decorator
@external("env", "proxy_remove_header_map_value")
declare function proxy_remove_header_map_value(kind: u32, key: usize, n: i32): u32;

/**
 * A header list, or one of trailers or metadata (proxy_map_type_t). Names are found in
 * upper and lower case alike. What changes it allocates nothing. Values that are no UTF-8
 * are read as text says, and written as they were.
 */
export class Header {
  /** See RequestHeader, and the callbacks that hand one over. */
  constructor(private readonly kind: u32) {}

  /**
   * The first value of that name (proxy_get_header_map_value); null: there is none. The
   * string is the one allocation.
   */
  get(name: string): string | null {
    out.clear();
    const n = out.text(name);
    return proxy_get_header_map_value(this.kind, out.at(0), n, place(), size()) == 0 ? gotText() : null;
  }

  /** Appends a field (proxy_add_header_map_value). */
  add(name: string, value: string): Status | null {
    out.clear();
    const n = out.text(name);
    const m = out.text(value);
    return failure(proxy_add_header_map_value(this.kind, out.at(0), n, out.at(n), m));
  }

  /** Replaces all fields of that name by one (proxy_replace_header_map_value). */
  set(name: string, value: string): Status | null {
    out.clear();
    const n = out.text(name);
    const m = out.text(value);
    return failure(proxy_replace_header_map_value(this.kind, out.at(0), n, out.at(n), m));
  }

  /** Removes all fields of that name (proxy_remove_header_map_value). */
  del(name: string): Status | null {
    out.clear();
    const n = out.text(name);
    return failure(proxy_remove_header_map_value(this.kind, out.at(0), n));
  }

  /**
   * The whole list, each field as its name and its value (proxy_get_header_map_pairs);
   * null where it cannot be read.
   */
  all(): string[][] | null {
    if (proxy_get_header_map_pairs(this.kind, place(), size()) != 0) return null;
    const n = gotSize();
    return n == 0 ? [] : readPairs(gotAt(), n);
  }

  /**
   * Replaces the whole list (proxy_set_header_map_pairs). Other proxies replace pseudo
   * header fields too, so that they are to be among pairs, as all has them.
   */
  setAll(pairs: string[][]): Status | null {
    out.clear();
    const n = writePairs(out, pairs);
    return failure(proxy_set_header_map_pairs(this.kind, out.at(0), n));
  }

  /** How many bytes all would read (proxy_get_header_map_size). */
  size(): Result<i32> {
    const code = proxy_get_header_map_size(this.kind, number());
    return code == 0 ? ok<i32>(gotNumber()) : failed<i32>(statusOf(code));
  }
}

// The lists of an exchange. Pseudo header fields (":path", ":method", ":authority",
// ":scheme", ":status") are part of them. A list can be changed until it has gone on:
// headers while their callback runs or pauses them, trailers from the last callback of the
// body on, which may add some where there were none. Changes come too late, or too early,
// with ErrBadArgument.
export const RequestHeader = new Header(0);
export const RequestTrailer = new Header(1);
export const ResponseHeader = new Header(2);
export const ResponseTrailer = new Header(3);

/**
 * Has the response's head get these fields when it passes the plugin, each in place of those
 * of its name: no callback is needed for what is known at the request. Only in
 * requestHeaders, or in what a call of it calls while the request waits; later, and for
 * fields that no response may have, it fails with ErrBadArgument. A plugin that says which
 * callbacks it wants says Callbacks.SetResponseHeaders too. Elsewhere than in Penstock it
 * fails with ErrNotFound.
 */
export function setResponseHeaders(pairs: string[][]): Status | null {
  out.clear();
  const n = writePairs(out, pairs);
  return failure(foreign("penstock.set_response_headers", out.at(0), n));
}

// The lists of calls, which their callbacks get.
export const grpcInitialMetadata = new Header(4);
export const grpcTrailingMetadata = new Header(5);
export const httpCallHeader = new Header(6);
export const httpCallTrailer = new Header(7);
