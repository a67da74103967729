import { Buffer, httpCallBody } from "./buffer";
import { Context, effectiveContext, ended, enter } from "./context";
import { Header, httpCallHeader, httpCallTrailer } from "./header";
import { foreign } from "./host";
import { at, gotAt, gotNumber, gotSize, gotText, lengthOf, number, place, size } from "./memory";
import { writePairs } from "./pairs";
import { CallError, ErrBadArgument, ErrBrokenConnection, ErrResultMismatch, Result, Status, failed, failure, ok, statusOf } from "./status";
import { Duration } from "./time";
import { bytesAt, milliseconds, out } from "./wire";

// @ts-ignore: decorator
@external("env", "proxy_http_call")
declare function proxy_http_call(upstream: usize, n: i32, headers: usize, m: i32, body: usize, k: i32, trailers: usize, l: i32, timeout: u32, id: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_get_status")
declare function proxy_get_status(code: usize, p: usize, size: usize): u32;

/**
 * What came of an httpCall. Its lists and its body can be read in the callback, and only
 * there.
 */
export class HTTPResponse {
  /** With ":status". */
  readonly header: Header = httpCallHeader;
  readonly body: Buffer = httpCallBody;
  readonly trailer: Header = httpCallTrailer;

  constructor(
    /**
     * Why there is no response: no connection, no answer in time; then the rest is empty. A
     * response with a status of 400 and above is no error.
     */
    readonly err: CallError | null,
  ) {}

  /** The response's status; 0: there is none. */
  status(): i32 {
    const text = this.header.get(":status");
    if (!text || text.length != 3) return 0;
    let n = 0;
    for (let i = 0; i < 3; i++) {
      const digit = text.charCodeAt(i) - 0x30;
      if (<u32>digit > 9) return 0;
      n = 10 * n + digit;
    }
    return n;
  }
}

/** An HTTP call under way. */
abstract class Call {
  /** context is what made it. */
  constructor(readonly context: Context) {}

  abstract answer(r: HTTPResponse): void;
}

class CallOf<T> extends Call {
  constructor(context: Context, readonly self: T, readonly answered: (self: T, r: HTTPResponse) => void) {
    super(context);
  }

  answer(r: HTTPResponse): void {
    this.answered(this.self, r);
  }
}

const calls = new Map<u32, Call>();

/**
 * Sends a request to an upstream (proxy_http_call): "NAME" or "NAME:PORT", a Service of the
 * plugin's namespace, "outbound|80||NAME.NAMESPACE.svc.cluster.local", as Envoy says it, or
 * in these forms a hostname that a policy's egress lists; other proxies have names of their own.
 * headers has ":method", ":path" and ":authority". timeout, in whole milliseconds, is for
 * all of it; 0: none.
 *
 * answered is called once, with self, which is usually the stream, as functions keep nothing
 * of where they are written, and with the context that made the call as the effective one;
 * not at all if that has ended meanwhile. A callback that waits for it returns Pause;
 * answered then calls resume, or respond. It needs the capability http-call: without it
 * httpCall fails with ErrInternal, for an upstream that is not known with ErrBadArgument.
 */
export function httpCall<T>(upstream: string, headers: string[][], body: Uint8Array | null, trailers: string[][] | null, timeout: Duration, self: T, answered: (self: T, r: HTTPResponse) => void): Status | null {
  const ms = milliseconds(timeout);
  if (ms < 0) return ErrBadArgument;
  out.clear();
  const n = out.text(upstream);
  const m = writePairs(out, headers);
  const l = trailers ? writePairs(out, trailers) : 0;
  const code = proxy_http_call(out.at(0), n, out.at(n), m, at(body), lengthOf(body), out.at(n + m), l, ms, number());
  if (code == 0) calls.set(gotNumber(), new CallOf<T>(effectiveContext(), self, answered));
  return failure(code);
}

/** A call of callLater. */
class Later<T> extends Call {
  constructor(context: Context, readonly self: T, readonly answered: (self: T, answer: Uint8Array | null, err: CallError | null) => void) {
    super(context);
  }

  answer(r: HTTPResponse): void {
    const err = r.err;
    if (err) {
      this.answered(this.self, null, err);
      return;
    }
    const all = r.body.all();
    this.answered(this.self, all ? all : new Uint8Array(0), null);
  }
}

/**
 * Calls a foreign function, with its arguments in out, whose answer is there now, or comes
 * as that of an HTTP call does, and is null now: it returns a number, and after 0 the answer.
 */
export function callLater<T>(name: string, self: T, answered: (self: T, answer: Uint8Array | null, err: CallError | null) => void): Result<Uint8Array | null> {
  const code = foreign(name, out.at(0), out.length);
  if (code != 0) return failed<Uint8Array | null>(statusOf(code));
  const n = gotSize();
  if (n < 4) return failed<Uint8Array | null>(ErrResultMismatch);
  const id = load<u32>(gotAt());
  if (id == 0) return ok<Uint8Array | null>(bytesAt(gotAt() + 4, n - 4));
  calls.set(id, new Later<T>(effectiveContext(), self, answered));
  return ok<Uint8Array | null>(null);
}

/** A call has a response, with so many fields; 0: it has none (proxy_on_http_call_response). */
export function answer(root: Context, id: u32, fields: u32): void {
  if (!calls.has(id)) return;
  const c = calls.get(id);
  calls.delete(id);
  if (enter(c.context, root)) c.answer(new HTTPResponse(fields == 0 ? callError() : null));
}

/** Drops the calls of contexts that have ended. */
export function forgetHTTP(): void {
  const ids = calls.keys();
  for (let i = 0; i < ids.length; i++) {
    if (ended(calls.get(ids[i]).context)) calls.delete(ids[i]);
  }
}

/** The proxy's text on how the last call ended; its status is in gotNumber. */
export function callStatus(): string {
  if (proxy_get_status(number(), place(), size()) == 0) return gotText();
  number();
  return "";
}

function callError(): CallError {
  const detail = callStatus();
  const code = gotNumber();
  return new CallError(code == 0 ? ErrBrokenConnection : statusOf(code), detail); // 0: a proxy that does not say
}
