// A plugin that asks another Service by HTTP what becomes of a request, as its field x-do
// says: the calls, pauses and resets of the SDK.
import * as sdk from "@penstock/sdk";
export * from "@penstock/sdk/exports";

class Calls extends sdk.Plugin {
  private upstream: string = "";
  answers: sdk.Counter = new sdk.Counter();
  waiting: sdk.Context[] = [];
  private beats: i32 = 0;

  configure(config: Uint8Array): Error | null {
    this.upstream = sdk.text(config);
    const answers = sdk.defineCounter("answers");
    if (answers.err) return answers.err;
    this.answers = answers.value;
    return sdk.setTickPeriod(20 * sdk.Millisecond);
  }

  newStream(): sdk.Stream {
    return new Stream(this);
  }

  /** A call of its own, once; and those that wait go on. */
  tick(): void {
    if (++this.beats == 1) { // before the tick is about a stream
      must(this.ask("beat", "/beat", 0, this, (p: Calls, r: sdk.HTTPResponse): void => sdk.log(sdk.Level.Warn, "the beat's answer: " + r.status().toString())));
      must(sdk.callForeign("resolve_lua", sdk.bytes("localhost")).err);
    }
    for (let i = 0; i < this.waiting.length; i++) {
      const c = this.waiting[i];
      if (sdk.setEffectiveContext(c) == sdk.ErrBadArgument) continue; // it has ended
      must(sdk.RequestHeader.set("x-ticked", (sdk.effectiveContext() == c).toString()));
      must(sdk.resume(sdk.StreamType.Request));
    }
    this.waiting = [];
  }

  /** How long an address is, the address, its name. */
  foreignFunction(id: u32, args: Uint8Array): void {
    sdk.log(sdk.Level.Warn, "function " + id.toString() + " found " + sdk.text(args.subarray(1 + args[0])));
  }

  ask<T>(token: string, path: string, timeout: sdk.Duration, self: T, answered: (self: T, r: sdk.HTTPResponse) => void): sdk.Status | null {
    const headers = [[":method", "POST"], [":path", path], [":authority", "auth.example"], ["x-token", token]];
    return sdk.httpCall(this.upstream, headers, sdk.bytes("is this one allowed?"), [["x-end", "of the question"]], timeout, self, answered);
  }
}

sdk.register((): sdk.Plugin => new Calls());

class Stream extends sdk.Stream {
  constructor(readonly plugin: Calls) {
    super();
  }

  requestHeaders(end: bool): sdk.Action {
    const field = sdk.RequestHeader.get("x-do");
    const todo = field ? field : "";
    if (todo == "tick") {
      this.plugin.waiting.push(sdk.effectiveContext());
      return sdk.Action.Pause;
    }
    if (todo == "reset") {
      must(sdk.reset(sdk.StreamType.Request));
    } else if (todo == "resume") { // wins over the Pause
      must(sdk.resume(sdk.StreamType.Request));
      return sdk.Action.Pause;
    } else if (todo == "unknown") {
      const headers = [[":method", "GET"], [":path", "/"], [":authority", "a"]];
      const err = sdk.httpCall("outbound|80||nobody.default.svc.cluster.local", headers, null, null, sdk.Second, 0, (none: i32, r: sdk.HTTPResponse): void => {});
      this.answer(400, [(err == sdk.ErrBadArgument).toString(), (err instanceof sdk.ErrHost).toString(), err!.message].join(" "));
    } else if (todo == "never") {
      const err = this.plugin.ask("", "/", -1, 0, (none: i32, r: sdk.HTTPResponse): void => {});
      this.answer(400, err!.message);
    } else if (todo == "leave") { // and do not wait for the answer
      must(this.plugin.ask("held", "/", 0, this, (s: Stream, r: sdk.HTTPResponse): void => s.plugin.answers.increment(1)));
    } else if (todo == "twice") {
      must(this.plugin.ask("good", "/", 0, this, (s: Stream, r: sdk.HTTPResponse): void => must(s.plugin.ask("good", "/again", 0, s, answered))));
      return sdk.Action.Pause;
    } else {
      must(this.plugin.ask(todo, "/check?a=b", 500 * sdk.Millisecond, this, answered));
      return sdk.Action.Pause;
    }
    return sdk.Action.Continue;
  }

  answer(status: u32, body: string): void {
    must(sdk.respond(status, [["x-by", "calls"]], body, "asked"));
  }
}

/** What a call calls. */
function answered(s: Stream, r: sdk.HTTPResponse): void {
  s.plugin.answers.increment(1);
  const err = r.err;
  if (err) {
    const broken = err.status == sdk.ErrBrokenConnection;
    s.answer(502, [broken.toString(), r.status().toString(), (r.body.all() == null).toString(), (err.detail.length > 0).toString()].join(" "));
    return;
  }
  if (r.status() != 200) {
    s.answer(403, sdk.text(r.body.all()!));
    return;
  }
  const user = r.header.get("x-user");
  const sum = r.trailer.get("x-sum");
  if (r.header.set("x-user", "forged") != sdk.ErrBadArgument) throw new Error("a response is changed");
  must(sdk.RequestHeader.set("x-user", user!));
  must(sdk.RequestHeader.set("x-answer", [sum!, r.body.size().value.toString(), sdk.text(r.body.get(1, 3)!)].join(" ")));
  must(sdk.resume(sdk.StreamType.Request));
}

function must(err: Error | null): void {
  if (err) throw new Error(err.message);
}
