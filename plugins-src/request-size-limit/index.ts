// request-size-limit refuses requests that are too large. See README.md.
import * as sdk from "@penstock/sdk";
export * from "@penstock/sdk/exports";

sdk.register((): sdk.Plugin => new SizeLimit());

const mostBytes: i64 = 1 << 40;

class SizeLimit extends sdk.Plugin {
  body: i64 = 0; // most bytes of a body
  needsLength: bool = false;

  configure(text: Uint8Array): Error | null {
    const config = sdk.parseConfig(text);
    const body = config.get("maxBodyBytes");
    if (!body.present()) body.refuse("missing: say how many bytes a body may have");
    this.body = body.int(0, 0, mostBytes);
    const without = config.get("withoutLength");
    const what = without.string("allow");
    if (what != "allow" && what != "refuse") without.refuse("want allow or refuse");
    this.needsLength = what == "refuse";
    sdk.only(sdk.Callbacks.OnRequestHeaders | sdk.Callbacks.OnRequestBody);
    return config.err();
  }

  newStream(): sdk.Stream {
    return new Body(this);
  }
}

class Body extends sdk.Stream {
  seen: i64 = 0; // bytes, in parts that went on
  refused: bool = false;

  constructor(readonly plugin: SizeLimit) {
    super();
  }

  requestHeaders(end: bool): sdk.Action {
    if (end) return sdk.Action.Continue;
    const length = sdk.RequestHeader.get("content-length");
    if (length !== null) {
      const n = parseLength(length);
      if (n < 0 || n > this.plugin.body) return this.tooLarge();
    } else if (this.plugin.needsLength) {
      return this.refuse(411, "411 Length Required\n", "length missing");
    }
    return sdk.Action.Continue;
  }

  // requestBody counts: a length that is told is not believed, and one that is not told is
  // known by this alone.
  requestBody(size: i32, end: bool): sdk.Action {
    if (this.refused) return sdk.Action.Pause;
    this.seen += size;
    if (this.seen > this.plugin.body) return this.tooLarge();
    return sdk.Action.Continue;
  }

  tooLarge(): sdk.Action {
    return this.refuse(413, "413 Content Too Large\n", "body too large");
  }

  refuse(status: i32, body: string, why: string): sdk.Action {
    this.refused = true;
    const err = sdk.respond(status, [["content-type", "text/plain; charset=utf-8"]], body, why);
    if (err) sdk.reset(sdk.StreamType.Request); // the response's head has gone on already
    return sdk.Action.Pause;
  }
}

// parseLength reads the digits of Content-Length; -1: it is more than any limit, or none.
function parseLength(text: string): i64 {
  if (text.length == 0 || text.length > 15) return -1;
  let n: i64 = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (<u32>digit > 9) return -1;
    n = 10 * n + digit;
  }
  return n;
}
