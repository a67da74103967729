// A plugin that makes the gRPC call that a request's fields describe, and answers with what
// came.
import * as sdk from "@penstock/sdk";
export * from "@penstock/sdk/exports";

class GRPC extends sdk.Plugin {
  configure(config: Uint8Array): Error | null {
    return null;
  }

  newStream(): sdk.Stream {
    return new Stream();
  }
}

sdk.register((): sdk.Plugin => new GRPC());

const service = "grpc.testing.TestService";

class Stream extends sdk.Stream {
  readonly fields: string[][] = [];
  readonly body: string[] = [];

  requestHeaders(end: bool): sdk.Action {
    const messages = get("x-messages").split(",");
    const metadata = [["x-grpc-test-echo-initial", "hello"], ["x-grpc-test-echo-trailing-bin", "q6ur"]];
    const cancel = get("x-cancel");
    let err: Error | null;
    if (get("x-kind") == "unary") {
      const timeout = i64.parse(get("x-timeout")) * sdk.Millisecond;
      const r = sdk.grpcCall(get("x-upstream"), service, get("x-method"), metadata, decode(messages[0]), timeout, this, answered);
      if (!r.err && r.value.send(null, true) != sdk.ErrBadArgument) throw new Error("a unary call has sent two messages");
      err = r.err;
    } else {
      err = this.open(get("x-upstream"), get("x-method"), metadata, cancel, messages);
    }
    if (err instanceof sdk.Status) this.answer("refused " + (err as sdk.Status).code.toString());
    return cancel == "leave" ? sdk.Action.Continue : sdk.Action.Pause; // and what was opened with it
  }

  private open(upstream: string, method: string, metadata: string[][], cancel: string, messages: string[]): Error | null {
    const handler = new Handler(this, cancel);
    const r = sdk.grpcStream(upstream, service, method, metadata, handler);
    if (r.err) return r.err;
    handler.call = r.value;
    for (let i = 0; i < messages.length; i++) must(r.value.send(decode(messages[i]), false));
    if (cancel == "") must(r.value.end());
    return null;
  }

  closed(s: sdk.GRPCStatus): void {
    this.answer(["closed", s.code.toString(), s.code.toString(), s.message].join(" ").trim());
  }

  /** Ends the exchange that the call is for. */
  answer(outcome: string): void {
    must(sdk.respond(200, this.fields.concat([["x-outcome", outcome]]), this.body.join(","), ""));
  }
}

function answered(s: Stream, r: sdk.GRPCResponse): void {
  const list = r.initialMetadata.concat(r.trailingMetadata);
  for (let i = 0; i < list.length; i++) {
    if (list[i][0].startsWith("x-")) s.fields.push(["x-" + list[i][0], list[i][1]]);
  }
  const message = r.message;
  if (message) s.body.push(encode(message));
  s.closed(r.status);
}

class Handler extends sdk.GRPCHandler {
  call: sdk.GRPC = new sdk.GRPC();

  constructor(private readonly self: Stream, private readonly cancel: string) {
    super();
  }

  initialMetadata(h: sdk.Header): void {
    this.note(h, "x-grpc-test-echo-initial");
  }

  trailingMetadata(h: sdk.Header): void {
    this.note(h, "x-grpc-test-echo-trailing-bin");
  }

  message(b: Uint8Array): void {
    this.self.body.push(encode(b));
    if (this.cancel == "yes") {
      must(this.call.cancel());
      if (this.call.send(null, false) != sdk.ErrNotFound) throw new Error("it is not cancelled");
      this.self.answer("cancelled 0");
    }
  }

  close(s: sdk.GRPCStatus): void {
    this.self.closed(s);
  }

  private note(h: sdk.Header, name: string): void {
    const value = h.get(name);
    if (value) this.self.fields.push(["x-" + name, value]);
  }
}

function get(name: string): string {
  const value = sdk.RequestHeader.get(name);
  return value ? value : "";
}

const digits = "0123456789abcdef";

function decode(hex: string): Uint8Array {
  const b = new Uint8Array(hex.length / 2);
  for (let i = 0; i < b.length; i++) b[i] = <u8>(digits.indexOf(hex.charAt(2 * i)) << 4 | digits.indexOf(hex.charAt(2 * i + 1)));
  return b;
}

function encode(b: Uint8Array): string {
  const hex = new Uint8Array(2 * b.length);
  for (let i = 0; i < b.length; i++) {
    hex[2 * i] = <u8>digits.charCodeAt(b[i] >> 4);
    hex[2 * i + 1] = <u8>digits.charCodeAt(b[i] & 15);
  }
  return sdk.text(hex);
}

function must(err: Error | null): void {
  if (err) throw new Error(err.message);
}
