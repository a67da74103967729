import { gotBytes, gotNumber, number, place, size, wide } from "./memory";
import { Result, Status, failed, failure, ok, statusOf } from "./status";

// @ts-ignore: decorator
@external("env", "proxy_get_buffer_bytes")
declare function proxy_get_buffer_bytes(kind: u32, start: u32, n: u32, p: usize, size: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_get_buffer_status")
declare function proxy_get_buffer_status(kind: u32, size: usize, flags: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_set_buffer_bytes")
declare function proxy_set_buffer_bytes(kind: u32, start: u32, n: u32, p: usize, size: i32): u32;

// @ts-ignore: decorator
@inline
const whole = u32.MAX_VALUE; // to the end, or behind it

/**
 * A body, or what came of a raw connection or a call (proxy_buffer_type_t).
 *
 * A body's callback sees one part after another. With Continue the part goes on as it was
 * left, and the next one begins at 0. With Pause it is held back, and the next callback
 * sees all that is held: so a plugin pauses until end for a whole body. Bytes that are
 * held count against the filter's limit: beyond it the request is answered with 413, the
 * response with 500. What changes a body's length has to take the field content-length
 * away in the callback of the headers.
 */
export class Buffer {
  /** See RequestBody, and the callbacks that hand one over. */
  constructor(private readonly kind: u32) {}

  /**
   * n bytes from start on (proxy_get_buffer_bytes), fewer if there are no more; null where
   * the buffer cannot be read. They are a copy, which stays.
   */
  get(start: i32, n: i32): Uint8Array | null {
    return this.read(start, n);
  }

  /** The whole buffer, as get. */
  all(): Uint8Array | null {
    return this.read(0, whole);
  }

  private read(start: u32, n: u32): Uint8Array | null {
    return proxy_get_buffer_bytes(this.kind, start, n, place(), size()) == 0 ? gotBytes() : null;
  }

  /**
   * How many bytes there are (proxy_get_buffer_status); ErrNotFound where the buffer cannot
   * be read.
   */
  size(): Result<i32> {
    const code = proxy_get_buffer_status(this.kind, number(), wide());
    return code == 0 ? ok<i32>(gotNumber()) : failed<i32>(statusOf(code));
  }

  /** Replaces the whole buffer (proxy_set_buffer_bytes). */
  set(data: Uint8Array): Status | null {
    return this.write(0, whole, data);
  }

  /** Puts data behind the buffer. */
  append(data: Uint8Array): Status | null {
    return this.write(whole, 0, data);
  }

  /** Puts data before the buffer. */
  prepend(data: Uint8Array): Status | null {
    return this.write(0, 0, data);
  }

  /**
   * Puts data in the place of n bytes from start on. Envoy refuses, with ErrBadArgument,
   * what neither set, append nor prepend could do.
   */
  replace(start: i32, n: i32, data: Uint8Array): Status | null {
    return this.write(start, n, data);
  }

  private write(start: u32, n: u32, data: Uint8Array): Status | null {
    return failure(proxy_set_buffer_bytes(this.kind, start, n, data.dataStart, data.length));
  }
}

// The buffers of a stream: there in their own callbacks, and while these pause.
export const RequestBody = new Buffer(0);
export const ResponseBody = new Buffer(1);
export const DownstreamData = new Buffer(2);
export const UpstreamData = new Buffer(3);

// The buffers that callbacks are handed.
export const httpCallBody = new Buffer(4);
export const grpcMessage = new Buffer(5);
export const vmConfiguration = new Buffer(6);
export const pluginConfiguration = new Buffer(7);
export const foreignArguments = new Buffer(8);
