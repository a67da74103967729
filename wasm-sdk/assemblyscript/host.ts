import { at, gotBytes, lengthOf, place, size } from "./memory";
import { writePairs } from "./pairs";
import { StreamType } from "./plugin";
import { Result, Status, failed, failure, ok, statusOf } from "./status";
import { Writer, out } from "./wire";

/** Names of foreign functions, whose arguments are in out. */
const names: Writer = new Writer();

// @ts-ignore: decorator
@external("env", "proxy_send_local_response")
declare function proxy_send_local_response(status: u32, details: usize, n: i32, body: usize, m: i32, headers: usize, k: i32, grpc: i32): u32;

// @ts-ignore: decorator
@external("env", "proxy_call_foreign_function")
declare function proxy_call_foreign_function(name: usize, n: i32, args: usize, m: i32, p: usize, size: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_continue_stream")
declare function proxy_continue_stream(stream: u32): u32;

// @ts-ignore: decorator
@external("env", "proxy_close_stream")
declare function proxy_close_stream(stream: u32): u32;

/**
 * Answers in the proxy's name (proxy_send_local_response); the callback's action no longer
 * counts. details goes to the access log only. It can be called until the response's head
 * has gone on, also for a paused stream from the callback of a call; later it fails with
 * ErrBadArgument.
 */
export function respond(status: u32, headers: string[][], body: string, details: string): Status | null {
  return send(status, headers, body, details, -1);
}

/** respond for a gRPC client, which gets that grpc-status, and message as the grpc-message. */
export function respondGRPC(code: u32, headers: string[][], message: string, details: string): Status | null {
  return send(200, headers, message, details, code);
}

function send(status: u32, headers: string[][], body: string, details: string, grpc: i32): Status | null {
  out.clear();
  const n = out.text(details);
  const m = out.text(body);
  const k = writePairs(out, headers);
  return failure(proxy_send_local_response(status, out.at(0), n, out.at(n), m, out.at(n + m), k, grpc));
}

/**
 * Lets a direction go on that a callback paused (proxy_continue_stream). Within a callback
 * of that direction it wins over Pause. It is for the effective context; without a stream
 * it fails with ErrBadArgument, and for a direction that the stream does not have with
 * ErrUnimplemented.
 */
export function resume(t: StreamType): Status | null {
  return failure(proxy_continue_stream(t));
}

/**
 * Ends the effective context's stream without an answer (proxy_close_stream); of a raw
 * connection, that side is closed. It fails as resume does.
 */
export function reset(t: StreamType): Status | null {
  return failure(proxy_close_stream(t));
}

/**
 * Calls a function that is not part of the ABI (proxy_call_foreign_function). The error is
 * ErrNotFound where the proxy has none of that name.
 */
export function callForeign(name: string, args: Uint8Array | null): Result<Uint8Array> {
  const code = foreign(name, at(args), lengthOf(args));
  return code == 0 ? ok<Uint8Array>(gotBytes()) : failed<Uint8Array>(statusOf(code));
}

/** callForeign, without what it makes for its arguments and result. */
export function foreign(name: string, args: usize, m: i32): u32 {
  names.clear();
  const n = names.text(name);
  return proxy_call_foreign_function(names.at(0), n, args, m, place(), size());
}
