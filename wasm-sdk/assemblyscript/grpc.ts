import { grpcMessage } from "./buffer";
import { Context, effectiveContext, ended, enter } from "./context";
import { Header, grpcInitialMetadata, grpcTrailingMetadata } from "./header";
import { callStatus } from "./httpcall";
import { at, gotNumber, lengthOf, number } from "./memory";
import { writePairs } from "./pairs";
import { ErrBadArgument, GRPCStatus, Result, Status, failed, failure, ok, statusOf } from "./status";
import { Duration } from "./time";
import { milliseconds, out } from "./wire";

// @ts-ignore: decorator
@external("env", "proxy_grpc_call")
declare function proxy_grpc_call(upstream: usize, n: i32, service: usize, m: i32, method: usize, k: i32, metadata: usize, l: i32, message: usize, o: i32, timeout: u32, id: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_grpc_stream")
declare function proxy_grpc_stream(upstream: usize, n: i32, service: usize, m: i32, method: usize, k: i32, metadata: usize, l: i32, id: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_grpc_send")
declare function proxy_grpc_send(id: u32, message: usize, n: i32, end: u32): u32;

// @ts-ignore: decorator
@external("env", "proxy_grpc_cancel")
declare function proxy_grpc_cancel(id: u32): u32;

// @ts-ignore: decorator
@external("env", "proxy_grpc_close")
declare function proxy_grpc_close(id: u32): u32;

/** A gRPC call, or stream, under way. */
export class GRPC {
  constructor(private readonly id: u32 = 0) {}

  /**
   * Sends a message on a stream (proxy_grpc_send); end says that it is the last. The error
   * is ErrNotFound once the stream has ended, ErrBadArgument for a unary call.
   */
  send(message: Uint8Array | null, end: bool): Status | null {
    return failure(proxy_grpc_send(this.id, at(message), lengthOf(message), end));
  }

  /**
   * Says that no more messages are sent on a stream (proxy_grpc_close); those of the other
   * side still come. A unary call is cancelled.
   */
  end(): Status | null {
    return failure(proxy_grpc_close(this.id));
  }

  /** Gives the call up (proxy_grpc_cancel): no callback follows. */
  cancel(): Status | null {
    calls.delete(this.id);
    return failure(proxy_grpc_cancel(this.id));
  }
}

/**
 * What a gRPC stream calls, with the context that opened it as the effective one; a class
 * has the callbacks that it needs.
 */
export abstract class GRPCHandler {
  /** h is readable within the callback only. */
  initialMetadata(h: Header): void {}
  message(b: Uint8Array): void {}
  /** As initialMetadata. */
  trailingMetadata(h: Header): void {}
  close(s: GRPCStatus): void {}
}

/** What came of a unary call. */
export class GRPCResponse {
  status: GRPCStatus = new GRPCStatus(0, "");
  /** null: none. */
  message: Uint8Array | null = null;
  initialMetadata: string[][] = [];
  trailingMetadata: string[][] = [];
}

class Unary<T> extends GRPCHandler {
  private readonly r: GRPCResponse = new GRPCResponse();

  constructor(readonly self: T, readonly answered: (self: T, r: GRPCResponse) => void) {
    super();
  }

  initialMetadata(h: Header): void {
    const list = h.all();
    if (list) this.r.initialMetadata = list;
  }

  message(b: Uint8Array): void {
    this.r.message = b;
  }

  trailingMetadata(h: Header): void {
    const list = h.all();
    if (list) this.r.trailingMetadata = list;
  }

  close(s: GRPCStatus): void {
    this.r.status = s;
    this.answered(this.self, this.r);
  }
}

/** A gRPC call under way; context is what made it. */
class Call {
  constructor(readonly context: Context, readonly stream: bool, readonly handler: GRPCHandler) {}
}

const calls = new Map<u32, Call>();

/**
 * Sends one message to a method, as "EmptyCall" of the service "grpc.testing.TestService",
 * and gets one (proxy_grpc_call). For upstream, timeout, self, answered and errors see
 * httpCall.
 */
export function grpcCall<T>(upstream: string, service: string, method: string, metadata: string[][] | null, message: Uint8Array | null, timeout: Duration, self: T, answered: (self: T, r: GRPCResponse) => void): Result<GRPC> {
  const ms = milliseconds(timeout);
  if (ms < 0) return failed<GRPC>(ErrBadArgument);
  out.clear();
  const n = out.text(upstream);
  const m = out.text(service);
  const k = out.text(method);
  const l = metadata ? writePairs(out, metadata) : 0;
  const code = proxy_grpc_call(out.at(0), n, out.at(n), m, out.at(n + m), k, out.at(n + m + k), l, at(message), lengthOf(message), ms, number());
  return begun(code, false, new Unary<T>(self, answered));
}

/**
 * Opens a stream to a method (proxy_grpc_stream), as grpcCall. One that a stream of the
 * plugin opened is cancelled when that ends: what is to last is opened in configure or
 * tick.
 */
export function grpcStream(upstream: string, service: string, method: string, metadata: string[][] | null, h: GRPCHandler): Result<GRPC> {
  out.clear();
  const n = out.text(upstream);
  const m = out.text(service);
  const k = out.text(method);
  const l = metadata ? writePairs(out, metadata) : 0;
  const code = proxy_grpc_stream(out.at(0), n, out.at(n), m, out.at(n + m), k, out.at(n + m + k), l, number());
  return begun(code, true, h);
}

function begun(code: u32, stream: bool, h: GRPCHandler): Result<GRPC> {
  if (code != 0) return failed<GRPC>(statusOf(code));
  const id = gotNumber();
  calls.set(id, new Call(effectiveContext(), stream, h));
  return ok<GRPC>(new GRPC(id));
}

/**
 * Enters the context of a call that something came for; null: it has ended, or the call was
 * cancelled.
 */
function came(root: Context, id: u32): GRPCHandler | null {
  if (!calls.has(id)) return null;
  const c = calls.get(id);
  return enter(c.context, root) ? c.handler : null;
}

/** Metadata came (proxy_on_grpc_receive_initial_metadata). */
export function initialMetadata(root: Context, id: u32): void {
  const h = came(root, id);
  if (h) h.initialMetadata(grpcInitialMetadata);
}

/** A message came (proxy_on_grpc_receive). */
export function message(root: Context, id: u32): void {
  const h = came(root, id);
  if (!h) return;
  const b = grpcMessage.all();
  h.message(b ? b : new Uint8Array(0));
}

/** Metadata came (proxy_on_grpc_receive_trailing_metadata). */
export function trailingMetadata(root: Context, id: u32): void {
  const h = came(root, id);
  if (h) h.trailingMetadata(grpcTrailingMetadata);
}

/** A call has ended (proxy_on_grpc_close). */
export function close(root: Context, id: u32, code: u32): void {
  const h = came(root, id);
  calls.delete(id);
  if (h) h.close(new GRPCStatus(code, callStatus()));
}

/**
 * Cancels the streams of a context that ends. Its unary calls go on: their message may be
 * all that they are for.
 */
export function leaveGRPC(c: Context): void {
  if (calls.size == 0) return;
  const ids = calls.keys();
  for (let i = 0; i < ids.length; i++) {
    const call = calls.get(ids[i]);
    if (call.context == c && call.stream) new GRPC(ids[i]).cancel(); // it may be over already
  }
}

/** Drops the calls of contexts that have ended. */
export function forgetGRPC(): void {
  const ids = calls.keys();
  for (let i = 0; i < ids.length; i++) {
    if (ended(calls.get(ids[i]).context)) calls.delete(ids[i]);
  }
}
