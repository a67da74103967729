// A plugin that does what the field X-Do says, and answers with what came of it.
import * as sdk from "@penstock/sdk";
export * from "@penstock/sdk/exports";

class Capabilities extends sdk.Plugin {
  configure(text: Uint8Array): Error | null {
    return null;
  }

  newStream(): sdk.Stream {
    return new Stream();
  }
}

// Of "open sesame".
const passwordHash = "$2a$04$FssefhEog8zzlV77fK6iD.fbSuvarTdzAUxZhIWrS2924pwmOidQS";

class Stream extends sdk.Stream {
  requestHeaders(end: bool): sdk.Action {
    const step = field("x-do");
    const with_ = field("x-with");
    const bucket = new sdk.Rate(2, sdk.Minute);
    bucket.burst = 2;
    if (step == "rate") {
      answer(rated(sdk.takeRate(bucket, with_, 1)));
    } else if (step == "window") {
      const window = new sdk.Rate(1, sdk.Hour);
      window.sliding = true;
      answer(rated(sdk.takeRate(window, with_, 1)));
    } else if (step == "shared") {
      const begun = sdk.takeSharedRate<Stream>(bucket, with_, 1, this, (s: Stream, a: sdk.RateAnswer | null, err: sdk.CallError | null) => {
        answer(err ? err.message : rate(a!));
      });
      const err = begun.err;
      if (err) answer(err.message);
      else if (begun.value) answer(rate(begun.value!));
    } else if (step == "kv") {
      answer(kv(with_));
    } else if (step == "encode") {
      answer(refused());
    } else if (step == "crypto") {
      answer(crypto(sdk.bytes(with_)));
    } else if (step == "password") {
      const begun = sdk.checkPassword<Stream>(passwordHash, sdk.bytes(with_), this, (s: Stream, right: bool, err: sdk.CallError | null) => {
        answer(err ? err.message : truth(right));
      });
      const err = begun.err;
      if (err) answer(err.message);
      else if (begun.value.now) answer(truth(begun.value.right));
    }
    return sdk.Action.Pause;
  }

  responseHeaders(end: bool): sdk.Action {
    if (field("x-do") == "encode") {
      const err = sdk.ResponseHeader.set("x-said", told(sdk.encodeBody(sdk.ResponseBody, field("x-with"), 5)));
      if (err) throw new Error(err.message);
    }
    return sdk.Action.Continue;
  }
}

function refused(): string {
  const body = sdk.RequestBody;
  const said: string[] = [told(sdk.encodeBody(body, "gzip")), told(sdk.encodeBody(body, "foo")), told(sdk.encodeBody(body, "gzip", 10))];
  said.push(told(sdk.decodeBody(body, 100)));
  said.push(told(sdk.decodeBody(body, 0)));
  said.push(told(sdk.encodeBody(sdk.ResponseBody, "gzip")));
  return said.join("; ");
}

function field(name: string): string {
  const value = sdk.RequestHeader.get(name);
  return value === null ? "" : value;
}

function answer(text: string): void {
  const err = sdk.respond(200, [], text, "");
  if (err) throw new Error(err.message);
}

function truth(is: bool): string {
  return is ? "true" : "false";
}

function told(err: Error | null): string {
  return err ? err.message : "ok";
}

function yes(r: sdk.Result<bool>): string {
  const err = r.err;
  return err ? err.message : truth(r.value);
}

function rate(a: sdk.RateAnswer): string {
  return truth(a.allowed) + " " + a.remaining.toString() + " " + truth(a.reset > 0) + " " + truth(a.retry > 0);
}

function rated(r: sdk.Result<sdk.RateAnswer>): string {
  const err = r.err;
  return err ? err.message : rate(r.value);
}

function kv(key: string): string {
  const said: string[] = [told(sdk.kvPut(key, sdk.bytes("value"), sdk.Minute, true))];
  const v = sdk.kvGet(key);
  said.push(v ? sdk.text(v.value) : "");
  said.push(truth(v != null && v.left > 50 * sdk.Second && v.left <= sdk.Minute));
  said.push(told(sdk.kvPut(key, sdk.bytes("other"), sdk.Minute, true)));
  said.push(told(sdk.kvAdd(key, 1, sdk.Minute).err));
  said.push(told(sdk.kvDelete(key)));
  said.push(truth(sdk.kvGet(key) != null));
  const deltas: i64[] = [5, -7];
  for (let i = 0; i < deltas.length; i++) {
    const sum = sdk.kvAdd(key, deltas[i], sdk.Minute);
    said.push((sum.err ? "0" : sum.value.toString()) + " " + told(sum.err));
  }
  said.push(told(sdk.kvDelete(key)));
  said.push(told(sdk.kvPut("", new Uint8Array(0), sdk.Minute)));
  return said.join("; ");
}

function hex(b: Uint8Array): string {
  let said = "";
  for (let i = 0; i < b.length; i++) said += (b[i] < 16 ? "0" : "") + b[i].toString(16);
  return said;
}

function crypto(message: Uint8Array): string {
  const made = sdk.newKey("HS256", sdk.KeyFormat.Raw, sdk.bytes("s".repeat(32)));
  if (made.err) return told(made.err);
  const key = made.value;
  const signature = key.sign(message);
  if (signature.err) return told(signature.err);
  const said: string[] = [signature.value.length.toString() + " ok"];
  said.push(yes(key.verify(signature.value, message)));
  said.push(yes(key.verify(signature.value, sdk.bytes("else"))));
  said.push(told(key.seal(message, new Uint8Array(0)).err));
  key.delete();
  said.push(told(key.sign(message).err));
  said.push(told(sdk.newKey("HS256", sdk.KeyFormat.Raw, sdk.bytes("short")).err));
  const made2 = sdk.newKey("A256GCM", sdk.KeyFormat.Raw, sdk.bytes("k".repeat(32)));
  if (made2.err) return told(made2.err);
  const sealer = made2.value;
  const sealed = sealer.seal(message, sdk.bytes("with"));
  if (sealed.err) return told(sealed.err);
  said.push((sealed.value.length - message.length).toString() + " ok");
  const opened = sealer.open(sealed.value, sdk.bytes("with"));
  said.push(opened.err ? told(opened.err) : sdk.text(opened.value.data) + " " + truth(opened.value.right));
  const other = sealer.open(sealed.value, sdk.bytes("else"));
  said.push(other.err ? told(other.err) : truth(other.value.right));
  sealer.delete();
  const sum = sdk.hash("sha256", message);
  said.push((sum.err ? "" : hex(sum.value)) + " " + told(sum.err));
  said.push(told(sdk.hash("md5", message).err));
  return said.join("; ");
}

sdk.register((): sdk.Plugin => new Capabilities());
