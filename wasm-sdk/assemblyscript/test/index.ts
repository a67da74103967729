// Functions of the SDK as test.mjs calls them, and a plugin that uses much of it. Each
// function reads the bytes that give was told of, and leaves its own for took.
import * as sdk from "@penstock/sdk";
import { addressAt, parseAddress } from "@penstock/sdk/address";
import { CacheObject, readObject, writePurge, writePut } from "@penstock/sdk/cache";
import { readIdentity, writeFind } from "@penstock/sdk/identity";
import { Kind, JSONReader, JSONValue } from "@penstock/sdk/json";
import { readPairs, writePairs } from "@penstock/sdk/pairs";
import { failure } from "@penstock/sdk/status";
import { Writer, milliseconds, readBool, readInt, textAt } from "@penstock/sdk/wire";
export * from "@penstock/sdk/exports";

let input = new Uint8Array(0);
let output = new Uint8Array(0);

/** Makes room for the input, and returns where. */
export function give(size: i32): usize {
  input = new Uint8Array(size);
  return input.dataStart;
}

export function tookAt(): usize {
  return output.dataStart;
}

export function tookSize(): i32 {
  return output.length;
}

/** Reads UTF-8, and leaves UTF-16. */
export function decode(): void {
  output = Uint8Array.wrap(String.UTF16.encode(sdk.text(input)));
}

/** Reads UTF-16, and leaves UTF-8. */
export function encode(): void {
  output = sdk.bytes(String.UTF16.decode(input.buffer));
}

/** Reads a list, and writes it again; false: it is none. */
export function pairs(): bool {
  const list = readPairs(input.dataStart, input.length);
  if (!list) return false;
  const w = new Writer();
  writePairs(w, list);
  output = w.take();
  return true;
}

/** Reads an address of bytes, and leaves it; false: it is none. */
export function readAddress(): bool {
  return took(addressAt(input.dataStart, input.length));
}

/** Reads an address of a text, and leaves its bytes; false: it is none. */
export function readAddressText(): bool {
  return took(parseAddress(input.dataStart, input.length));
}

/** Leaves the client's address; false: there is none. */
export function client(): bool {
  return took(sdk.clientAddress());
}

function took(b: Uint8Array | null): bool {
  if (b) output = b;
  return b !== null;
}

/** Sets the fields of a list; false: it was refused. */
export function setFields(): bool {
  return sdk.setResponseHeaders(readPairs(input.dataStart, input.length)!) === null;
}

/** Reads JSON, and writes it again; false: it is none. */
export function json(): bool {
  const r = new JSONReader(input);
  const v = r.value();
  if (!v || !r.done()) return false;
  const parts: string[] = [];
  write(v, parts);
  output = sdk.bytes(parts.join(""));
  return true;
}

function write(v: JSONValue, parts: string[]): void {
  switch (v.kind) {
    case Kind.Null:
      parts.push("null");
      break;
    case Kind.Bool:
      parts.push(v.truth.toString());
      break;
    case Kind.Number:
      parts.push(v.text);
      break;
    case Kind.Text:
      parts.push(quoted(v.text));
      break;
    default:
      parts.push(v.kind == Kind.List ? "[" : "{");
      for (let i = 0; i < v.values.length; i++) {
        if (i > 0) parts.push(",");
        if (v.kind == Kind.Object) parts.push(quoted(v.names[i]) + ":");
        write(v.values[i], parts);
      }
      parts.push(v.kind == Kind.List ? "]" : "}");
  }
}

function quoted(s: string): string {
  const json = sdk.text(sdk.newConsumer(s, []).json);
  return json.slice('{"name":'.length, -1);
}

/** Reads a configuration, and leaves its error, or what it says. */
export function config(): void {
  const c = sdk.parseConfig(input);
  const parts = [c.get("name").string("none")];
  const keys = c.get("keys").list();
  for (let i = 0; i < keys.length; i++) {
    parts.push(keys[i].get("consumer").string());
    parts.push(keys[i].get("groups").strings().join("+"));
    const labels = keys[i].get("labels");
    const names = labels.names();
    for (let k = 0; k < names.length; k++) parts.push(names[k] + "=" + labels.get(names[k]).int().toString());
  }
  parts.push(c.get("on").bool().toString());
  parts.push(c.get("size").int(3, 0, 255).toString());
  parts.push(c.get("big").int().toString());
  parts.push(c.get("share").float(0.5).toString());
  if (c.get("forbidden").present()) c.get("forbidden").refuse("is forbidden");
  const err = c.err();
  output = sdk.bytes(err ? err.message : parts.join(" "));
}

/** What the SDK writes for the host, and reads of it, in lines; each is a fault. */
export function units(): void {
  const faults: string[] = [];
  for (let code: u32 = 1; code <= 12; code++) {
    const err = failure(code);
    if (!err || err.code != code || err != failure(code)) faults.push("status " + code.toString());
  }
  if (failure(0)) faults.push("status 0 is an error");
  if (failure(8) != sdk.ErrCASMismatch || failure(1) == sdk.ErrCASMismatch) faults.push("statuses are not told apart");
  equal(faults, "status 99", failure(99)!.message, "the proxy refused: status 99");
  equal(faults, "status 8", sdk.ErrCASMismatch.message, "the proxy refused: compare and swap mismatch");
  equal(faults, "call error", new sdk.CallError(sdk.ErrBrokenConnection, "no endpoint").message, "the proxy refused: broken connection: no endpoint");
  const errors: Error[] = [sdk.ErrNotFound, new sdk.CallError(sdk.ErrEmpty, "")];
  for (let i = 0; i < errors.length; i++) {
    if (!(errors[i] instanceof sdk.ErrHost)) faults.push("no ErrHost: " + errors[i].message);
  }
  const plain: Error = sdk.ErrCacheArgument;
  if (plain instanceof sdk.ErrHost) faults.push("ErrCacheArgument is an ErrHost");

  const spans: sdk.Duration[] = [0, 1, sdk.Millisecond, sdk.Millisecond + 1, sdk.Second, 2147483647 * sdk.Millisecond, -1, -sdk.Hour, 2147483647 * sdk.Millisecond + 1, i64.MAX_VALUE, i64.MIN_VALUE];
  const want = [0, 1, 1, 2, 1000, 2147483647, -1, -1, -1, -1, -1];
  for (let i = 0; i < spans.length; i++) equal(faults, "milliseconds of " + spans[i].toString(), milliseconds(spans[i]).toString(), want[i].toString());

  const numbers = sdk.bytes("\x01\x02\0\0\0\0\0\0\x01");
  for (let n = 0; n <= 9; n++) {
    equal(faults, "int of " + n.toString(), readInt(numbers.dataStart, n, -7).toString(), n == 8 ? "513" : "-7");
    equal(faults, "bool of " + n.toString(), readBool(numbers.dataStart, n, false).toString(), (n == 1).toString());
  }
  const w = new Writer();
  w.text("before ");
  w.path(["source", "", "address"]);
  equal(faults, "path", sdk.text(w.take(7)), "source\0\0address");

  cache(faults);
  identities(faults);
  equal(faults, "consumer", sdk.text(sdk.newConsumer('a"\\\n\u00e9\ud83d\ude00\udcff', ["x", "y"]).json), '{"name":"a\\"\\\\\\u000a\u00e9\ud83d\ude00\ufffd","groups":["x","y"]}');
  output = sdk.bytes(faults.join("\n"));
}

function equal(faults: string[], what: string, got: string, want: string): void {
  if (got != want) faults.push(what + ": got " + got + "; want " + want);
}

function steering(ttl: sdk.Duration, force: bool, key: string[], tags: string[]): string {
  const s = new sdk.Steering();
  s.bypass = force;
  s.ttl = ttl;
  s.force = force;
  s.key = key;
  s.tags = tags;
  const r = s.bytes();
  return r.err == sdk.ErrCacheArgument ? "refused" : sdk.text(r.value);
}

function identities(faults: string[]): void {
  const w = new Writer();
  const none: string[] = [];
  if (!writeFind(w, 1, "key-auth", "k", ["ab", "c"])) faults.push("find: refused");
  equal(faults, "find", sdk.text(w.take()), "\x01\x08\0key-auth\x01\0k\x02\x02\0ab\x01\0c");
  if (writeFind(w, 0, "", "k", none)) faults.push("find: no kind");
  if (writeFind(w, 0, "t".repeat(65), "k", none)) faults.push("find: a long kind");
  if (writeFind(w, 0, "t", "", none)) faults.push("find: nothing to look up");
  if (writeFind(w, 0, "t", "k".repeat(4097), none)) faults.push("find: a long text");
  if (writeFind(w, 0, "t", "k".repeat(65537), none)) faults.push("find: a text beyond 16 bits");
  if (writeFind(w, 0, "t", "k", new Array<string>(17).fill("n"))) faults.push("find: many namespaces");
  if (writeFind(w, 0, "t", "k", [""])) faults.push("find: an empty namespace");
  if (writeFind(w, 0, "t", "k", ["n".repeat(64)])) faults.push("find: a long namespace");

  const whole = sdk.bytes("\x04\0shop\x02\x01\0a\x02\0bcdata");
  const who = readIdentity(whole.dataStart, whole.length);
  if (!who || who.username != "shop" || who.groups.join(" ") != "a bc" || sdk.text(who.data) != "data") faults.push("identity");
  for (let n = 0; n < whole.length - 4; n++) {
    if (readIdentity(whole.dataStart, n)) faults.push("an identity of " + n.toString() + " bytes");
  }
  const bare = readIdentity(sdk.bytes("\x01\0a\0").dataStart, 4);
  if (!bare || bare.groups.length > 0 || bare.data.length > 0) faults.push("an identity without groups");
}

function cache(faults: string[]): void {
  const none: string[] = [];
  const long = "x".repeat(sdk.MaxCachePart + 1);
  equal(faults, "nothing", steering(0, false, none, none), "\0\0\0\0\0\0\0");
  equal(faults, "all of it", steering(258 * sdk.Second, true, ["ab", ""], ["t"]), "\x03\x02\x01\0\0\x02\x02\0ab\0\0\x01\x01\0t");
  equal(faults, "a part of a second", steering(1500 * sdk.Millisecond, false, none, none), "\0\x01\0\0\0\0\0");
  equal(faults, "less than a second", steering(sdk.Second - 1, false, none, none), "refused");
  equal(faults, "a negative time", steering(-sdk.Second, false, none, none), "refused");
  equal(faults, "more than a year", steering(365 * 24 * sdk.Hour + sdk.Second, false, none, none), "refused");
  equal(faults, "force without a time", steering(0, true, none, none), "refused");
  equal(faults, "too many parts", steering(0, false, new Array<string>(17).fill("x"), none), "refused");
  equal(faults, "a part that is too big", steering(0, false, [long], none), "refused");
  equal(faults, "a part beyond 16 bits", steering(0, false, ["x".repeat(65537)], none), "refused");
  equal(faults, "a part of two bytes each", steering(0, false, ["\u00e9".repeat(513)], none), "refused");
  equal(faults, "too many tags", steering(0, false, none, new Array<string>(33).fill("x")), "refused");
  equal(faults, "an empty tag", steering(0, false, none, [""]), "refused");
  equal(faults, "a tag that is too long", steering(0, false, none, ["x".repeat(257)]), "refused");

  const w = new Writer();
  if (!writePut(w, "k", sdk.bytes("value"), 258 * sdk.Second, ["t"])) faults.push("put: refused");
  equal(faults, "put", sdk.text(w.take()), "\x02\x01\0\0\x01\0k\x01\x01\0tvalue");
  const value = new Uint8Array(0);
  if (writePut(w, "", value, sdk.Minute, none)) faults.push("put: no key");
  if (writePut(w, "k".repeat(1025), value, sdk.Minute, none)) faults.push("put: a long key");
  if (writePut(w, "k", new Uint8Array(sdk.MaxCacheValue + 1), sdk.Minute, none)) faults.push("put: a large value");
  if (writePut(w, "k", value, 0, none)) faults.push("put: no time");
  if (writePut(w, "k", value, 30 * 24 * sdk.Hour + 1, none)) faults.push("put: too long a time");
  if (writePut(w, "k", value, sdk.Minute, [""])) faults.push("put: an empty tag");
  if (writePurge(w, none, false)) faults.push("purge: none");
  w.clear();
  if (!writePurge(w, ["a", "bc"], true)) faults.push("purge: refused");
  equal(faults, "purge", sdk.text(w.take()), "\x01\x02\x01\0a\x02\0bc");
  const b = sdk.bytes("\x01\xdc\x05\0\0\0\0\0\0value");
  const raw = new Uint8Array(14); // the bytes of these code points
  raw.set([1, 0xdc, 5, 0, 0, 0, 0, 0, 0, 0x76, 0x61, 0x6c, 0x75, 0x65]);
  const o = readObject(raw.dataStart, raw.length);
  if (!o || !o.stale || o.left != 1500 * sdk.Millisecond || sdk.text(o.value) != "value") faults.push("object");
  if (readObject(raw.dataStart, 8)) faults.push("an object that ends early");
  if (b.length != 15) faults.push("bytes of a text"); // U+00DC has two
}

class Worker extends sdk.Plugin {
  config: string = "";

  configure(config: Uint8Array): Error | null {
    this.config = sdk.text(config);
    if (this.config.startsWith("{")) sdk.parseConfig(config).get("known").string(); // err is not asked for
    return null;
  }

  newStream(): sdk.Stream {
    return new Work(this);
  }
}

sdk.register((): sdk.Plugin => new Worker());

/** What a stream of the plugin does in requestHeaders, by the field x-do. */
class Work extends sdk.Stream {
  private kept: string[][] | null = null;

  constructor(private readonly plugin: Worker) {
    super();
  }

  requestHeaders(end: bool): sdk.Action {
    const todo = sdk.RequestHeader.get("x-do");
    if (todo == "trap") throw new Error("asked for");
    if (todo == "config") sdk.log(sdk.Level.Info, this.plugin.config);
    if (todo == "random") sdk.log(sdk.Level.Info, Math.random().toString());
    this.kept = sdk.RequestHeader.all();
    const err = sdk.RequestHeader.set("x-done", todo ? todo : "nothing");
    if (err) throw new Error(err.message);
    sdk.propertyString(["source", "address"]);
    sdk.httpCall("auth", [[":method", "GET"]], null, null, 0, this, (w: Work, r: sdk.HTTPResponse): void => {
      r.header.all();
      r.body.all();
      sdk.resume(sdk.StreamType.Request);
    });
    return sdk.Action.Pause;
  }

  requestBody(size: i32, end: bool): sdk.Action {
    const b = sdk.RequestBody.all();
    if (b) sdk.RequestBody.set(b);
    return sdk.Action.Continue;
  }
}
