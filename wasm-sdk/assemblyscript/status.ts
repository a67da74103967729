/** What each error of a host function is: `err instanceof ErrHost`. */
export abstract class ErrHost extends Error {}

const texts: string[] = [
  "ok", "not found", "bad argument", "serialization failure", "parse failure", "bad expression", "invalid memory access",
  "empty", "compare and swap mismatch", "result mismatch", "internal failure", "broken connection", "unimplemented",
];

/**
 * The error of a host function: why the proxy refused (proxy_status_t). There is one of
 * each that is named here, so that `err == ErrNotFound` tells them apart; a failure
 * allocates nothing.
 */
export class Status extends ErrHost {
  constructor(readonly code: u32) {
    super("the proxy refused: " + (code < <u32>texts.length ? texts[code] : "status " + code.toString()));
  }
}

// The statuses that hosts give.
export const ErrNotFound = new Status(1);
export const ErrBadArgument = new Status(2);
export const ErrSerialization = new Status(3);
export const ErrParse = new Status(4);
export const ErrBadExpression = new Status(5);
export const ErrInvalidMemory = new Status(6);
export const ErrEmpty = new Status(7);
export const ErrCASMismatch = new Status(8);
export const ErrResultMismatch = new Status(9);
/** Also: the plugin lacks the capability. */
export const ErrInternal = new Status(10);
export const ErrBrokenConnection = new Status(11);
export const ErrUnimplemented = new Status(12);

const statuses: Status[] = [
  ErrNotFound, ErrBadArgument, ErrSerialization, ErrParse, ErrBadExpression, ErrInvalidMemory,
  ErrEmpty, ErrCASMismatch, ErrResultMismatch, ErrInternal, ErrBrokenConnection, ErrUnimplemented,
];

/** The error of a code that is not 0. */
export function statusOf(code: u32): Status {
  return code - 1 < <u32>statuses.length ? unchecked(statuses[code - 1]) : new Status(code);
}

/** A host function's status as an error; null: it went well. */
export function failure(code: u32): Status | null {
  return code == 0 ? null : statusOf(code);
}

/** Why an HTTP call that was begun has no response. */
export class CallError extends ErrHost {
  constructor(
    readonly status: Status,
    /** The proxy's text, for the log. */
    readonly detail: string,
  ) {
    super(detail.length == 0 ? status.message : status.message + ": " + detail);
  }
}

/** How a gRPC call ended: the code is 0 if it went well. */
export class GRPCStatus {
  constructor(readonly code: u32, readonly message: string) {}
}

/** A value, or why there is none. */
export class Result<T> {
  /** See ok and failed. */
  constructor(private readonly got: T, readonly err: Error | null) {}

  /** The value. It traps, with the error's text, if there is none. */
  get value(): T {
    const err = this.err;
    if (err) throw new Error(err.message);
    return this.got;
  }
}

/** The Result of what went well. */
export function ok<T>(value: T): Result<T> {
  return new Result<T>(value, null);
}

/** The Result of what did not. */
export function failed<T>(err: Error): Result<T> {
  return new Result<T>(isReference<T>() ? changetype<T>(0) : <T>0, err);
}
