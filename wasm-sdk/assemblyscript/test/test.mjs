// Tests of the SDK's own code: what it reads and writes against what JavaScript has of the
// same, and the whole against hosts that misbehave. MODULE is what index.ts was built to.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { test } from "node:test";

const module = new WebAssembly.Module(readFileSync(process.env.MODULE));

/** An instance, with a host that knows what these tests need; functions are of the test. */
class Guest {
  log = [];
  written = new Map();
  values = new Map([["x-do", "work"]]);
  body = Buffer.alloc(0);
  calls = 0;
  resumed = 0;

  constructor(functions = {}) {
    const at = (p, n) => Buffer.from(this.memory(), p, n);
    const known = {
      proxy_log: (level, p, n) => (this.log.push(at(p, n).toString()), 0),
      proxy_get_log_level: (p) => this.number(p, 0),
      proxy_get_header_map_value: (kind, k, n, p, size) => {
        const value = this.values.get(at(k, n).toString());
        return value === undefined ? 1 : this.hand(Buffer.from(value), p, size);
      },
      proxy_get_header_map_pairs: (kind, p, size) => this.hand(list([...this.values]), p, size),
      proxy_replace_header_map_value: (kind, k, n, v, m) => (this.written.set(at(k, n).toString(), Buffer.from(at(v, m))), 0),
      proxy_get_buffer_bytes: (kind, start, n, p, size) => this.hand(this.body.subarray(start, start + (n >>> 0)), p, size),
      proxy_set_buffer_bytes: (kind, start, n, p, size) => (this.written.set("body", Buffer.from(at(p, size))), 0),
      proxy_get_property: (path, n, p, size) => this.hand(Buffer.from("127.0.0.1:80"), p, size),
      proxy_http_call: (...args) => this.number(args[9], ++this.calls),
      proxy_set_effective_context: () => 0,
      proxy_continue_stream: () => (this.resumed++, 0),
      random_get: (p, n) => (at(p, n).fill(7), 0),
      ...functions,
    };
    const imports = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      (imports[from] ??= {})[name] = known[name]?.bind(this) ?? (() => 12);
    }
    this.exports = new WebAssembly.Instance(module, imports).exports;
    this.exports._initialize();
    this.exports.proxy_on_context_create(1, 0);
  }

  memory() {
    return this.exports.memory.buffer;
  }

  number(p, n) {
    new DataView(this.memory()).setUint32(p, n, true);
    return 0;
  }

  /** Returns bytes as hosts do it. */
  hand(b, p, size) {
    const place = b.length === 0 ? 0 : this.exports.proxy_on_memory_allocate(b.length) >>> 0;
    new Uint8Array(this.memory()).set(b, place);
    this.number(p, place);
    return this.number(size, b.length);
  }

  /** Calls a function of index.ts on bytes, and returns what it leaves; false: it refused them. */
  run(name, b = Buffer.alloc(0)) {
    const at = this.exports.give(b.length) >>> 0;
    new Uint8Array(this.memory()).set(b, at);
    if (this.exports[name]() === 0) return false;
    return Buffer.from(new Uint8Array(this.memory(), this.exports.tookAt() >>> 0, this.exports.tookSize()));
  }

  /** One exchange. */
  exchange(id) {
    const e = this.exports;
    e.proxy_on_context_create(id, 1);
    e.proxy_on_request_headers(id, 1, 0);
    e.proxy_on_http_call_response(1, this.calls, 1, 1, 0);
    e.proxy_on_request_body(id, this.body.length, 1);
    e.proxy_on_done(id);
    e.proxy_on_log(id);
    e.proxy_on_delete(id);
  }
}

/** A list as Proxy-Wasm has it. */
function list(pairs) {
  if (pairs.length === 0) return Buffer.alloc(0);
  const sizes = Buffer.alloc(4 + 8 * pairs.length);
  sizes.writeUInt32LE(pairs.length);
  const parts = [sizes];
  pairs.flat().forEach((s, i) => {
    const b = Buffer.from(s);
    sizes.writeUInt32LE(b.length, 4 + 4 * i);
    parts.push(b, Buffer.alloc(1));
  });
  return Buffer.concat(parts);
}

let seed = 1;
/** A number below n: the same ones in each run. */
function random(n) {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor((seed / 2 ** 32) * n);
}

const guest = new Guest();

test("texts are read and written", () => {
  const pieces = ["a", "é", "€", "😀", "\0", "\ufffd", "\uffff", "\u0080", "\u07ff", "\u0800", "\u{10ffff}"].map((s) => Buffer.from(s));
  for (const odd of [[0x80], [0xc0, 0xaf], [0xc1, 0xbf], [0xe0, 0x9f, 0xbf], [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf], [0xf0, 0x8f, 0xbf, 0xbf], [0xf4, 0x90, 0x80, 0x80], [0xf5], [0xff], [0xe2, 0x82], [0xf0, 0x9f, 0x98], [0xc3]]) {
    pieces.push(Buffer.from(odd));
  }
  for (let i = 0; i < 20_000; i++) {
    const b = Buffer.concat(Array.from({ length: random(6) }, () => (random(4) === 0 ? Buffer.from([random(256)]) : pieces[random(pieces.length)])));
    const units = guest.run("decode", b);
    const s = units.toString("utf16le");
    let valid = true;
    try {
      assert.equal(s, new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(b));
    } catch (err) {
      if (err.code !== "ERR_ENCODING_INVALID_ENCODED_DATA") throw err;
      valid = false;
    }
    assert.equal(s.isWellFormed(), valid, b.toString("hex"));
    assert.deepEqual(guest.run("encode", units), b, "what was read is written again");
  }
  for (const [s, want] of [["\ud800", "efbfbd"], ["\udc00a", "efbfbd61"], ["\ud800\udc80", "f0908280"], ["\ud800\ud800\udc00", "efbfbdf0908080"], ["\udc80\udcff", "80ff"], ["\udbff\udfff", "f48fbfbf"]]) {
    assert.equal(guest.run("encode", Buffer.from(s, "utf16le")).toString("hex"), want);
  }
});

test("lists are read and written", () => {
  for (const pairs of [[["a", "1"]], [[":path", "/"], ["x", ""], ["", "é"]], Array.from({ length: 1000 }, (_, i) => ["x-" + i, "v".repeat(i)])]) {
    assert.deepEqual(guest.run("pairs", list(pairs)), list(pairs));
  }
  const whole = list([["name", "value"], ["x", "y"]]);
  for (let n = 0; n < whole.length; n++) assert.equal(guest.run("pairs", whole.subarray(0, n)), false, `${n} bytes`);
  for (const hex of ["ffffffff", "ffffff7f00000000", "01000000ffffffff0000000000", "01000000fffffffffeffffff0000", "0100000000000000ffffffff0000", "02000000000000000000000000000000000000000000"]) {
    assert.equal(guest.run("pairs", Buffer.from(hex, "hex")), false, hex);
  }
  for (let i = 0; i < 20_000; i++) {
    const b = Buffer.from(whole);
    for (let k = random(4); k >= 0; k--) b[random(b.length)] = random(3) === 0 ? random(256) : random(20);
    guest.run("pairs", b); // must not trap
  }
});

test("the response's fields go as a list", () => {
  const asked = [];
  let status = 0;
  const g = new Guest({ proxy_call_foreign_function: (k, n, a, m) => (asked.push(Buffer.from(g.memory(), k, n).toString(), Buffer.from(Buffer.from(g.memory(), a, m))), status) });
  const fields = list([["a", "1"], ["b", ""]]);
  assert.notEqual(g.run("setFields", fields), false);
  status = 1;
  assert.equal(g.run("setFields", fields), false);
  assert.deepEqual(asked, ["penstock.set_response_headers", fields, "penstock.set_response_headers", fields]);
});

const v4 = "c0000207";
const v6 = "20010db8000000000000000000000001";

test("addresses are read", () => {
  for (const [bytes, want] of [[v4, v4], [v6, v6], ["00000000000000000000ffff" + v4, v4], ["", false], ["7f", false], ["7f00000100", false], [v6.slice(2), false], [v6 + "00", false]]) {
    const got = guest.run("readAddress", Buffer.from(bytes, "hex"));
    assert.equal(got && got.toString("hex"), want, bytes);
  }
  const accepted = {
    "192.0.2.7:40000": v4, "192.0.2.7": v4, "255.255.255.255:65535": "ffffffff", "[2001:db8::1]:40000": v6, "[2001:DB8::1]": v6, "2001:0db8:0:0:0:0:0:1": v6,
    "[::ffff:192.0.2.7]:80": v4, "::ffff:c000:207": v4, "[::1]:0": "00".repeat(15) + "01", "64:ff9b::192.0.2.7": "0064ff9b0000000000000000" + v4,
  };
  for (const [text, want] of Object.entries(accepted)) assert.equal(guest.run("readAddressText", Buffer.from(text)).toString("hex"), want, text);
  for (const text of ["", "@", "localhost:80", "192.0.2.7:", "192.0.2.7:65536", "192.0.2.7:4294967376", "192.0.2.7:+80", "192.0.2.7:80 ", "[192.0.2.7]:80", "[192.0.2.7]", "2001:db8::1:40000", "[2001:db8::1]:", "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]80", "[[2001:db8::1]]:80", "[]", "[", "[fe80::1%eth0]:80", "fe80::1%1"]) {
    assert.equal(guest.run("readAddressText", Buffer.from(text)), false, text);
  }
  assert.equal(guest.run("readAddressText", Buffer.from([0xff])), false);
});

test("addresses are those of Node.js", () => {
  const pieces = ["0", "1", "25", "255", "256", "07", "a", "ffff", "c000", "12345", "g", ".", ".", ".", ":", ":", ":", "::", "::", " ", "-"];
  const seeds = ["192.0.2.7", "1:2:3:4:5:6:7:8", "2001:db8::1", "::ffff:192.0.2.7", "1:2:3:4:5:6:192.0.2.7", "::", "1::8"];
  let accepted = 0;
  for (let i = 0; i < 50_000; i++) {
    let text = seeds[random(seeds.length)];
    for (let k = random(4); k > 0; k--) {
      const at = random(text.length + 1);
      text = text.slice(0, at) + pieces[random(pieces.length)] + text.slice(at + random(4));
    }
    if (text.split(":").length === 2) continue; // a port
    const family = isIP(text);
    const got = guest.run("readAddressText", Buffer.from(text));
    assert.equal(got !== false, family !== 0, text);
    if (family === 0) continue;
    accepted++;
    // What URL makes of it says which groups there are.
    const groups = family === 4 ? null : new URL(`http://[${text}]`).hostname.slice(1, -1).split("::").map((s) => (s === "" ? [] : s.split(":")));
    let want = family === 4 ? Buffer.from(text.split(".")) : Buffer.from(groups.flatMap((g, j) => [...(j > 0 ? Array(8 - groups.flat().length).fill("0") : []), ...g]).map((g) => g.padStart(4, "0")).join(""), "hex");
    if (want.length === 16 && want.subarray(0, 12).toString("hex") === "00000000000000000000ffff") want = want.subarray(12);
    assert.deepEqual(got, want, text);
  }
  assert.ok(accepted > 5_000, `${accepted} addresses: the test shows little`);
});

test("only a property that is missing leaves the client's address to the source", () => {
  const client = (properties) => {
    const g = new Guest({
      proxy_get_property: (path, n, p, size) => {
        const value = properties[Buffer.from(g.memory(), path, n).toString()];
        if (typeof value === "number") return value;
        return value === undefined ? 1 : g.hand(Buffer.from(value, "latin1"), p, size);
      },
    });
    const got = g.run("client");
    return got && got.toString("hex");
  };
  const own = "penstock\0client_address";
  const source = "source\0address";
  const bytes = Buffer.from(v6, "hex").toString("latin1");
  assert.equal(client({ [own]: bytes, [source]: "192.0.2.7:80" }), v6);
  assert.equal(client({ [source]: "192.0.2.7:80" }), v4);
  assert.equal(client({ [own]: "", [source]: "192.0.2.7:80" }), false); // it is known to be unknown
  assert.equal(client({ [own]: 2, [source]: "192.0.2.7:80" }), false); // refused
  assert.equal(client({ [own]: "192.0.2.7:80", [source]: "192.0.2.7:80" }), false);
  assert.equal(client({ [source]: "@" }), false);
  assert.equal(client({}), false);
});

test("JSON is read", () => {
  const accepts = (text) => {
    const got = guest.run("json", Buffer.from(text));
    let want;
    try {
      want = JSON.parse(text, (name, v) => (typeof v === "string" ? v.toWellFormed() : v));
    } catch {
      assert.equal(got, false, text);
      return;
    }
    assert.notEqual(got, false, text);
    assert.deepEqual(JSON.parse(got.toString()), want, text);
  };
  for (const text of ['{"a":[1,-0.5e+3,true,false,null,"x\\n\\u00e9\\ud83d\\ude00\\/"],"":{}}', "[]", " \t\r\n0 ", '"\\ud800"', '"\\ud800\\u0041"', '"\\udc80"', "01", "-", "1.", ".5", "1e", "+1", "tru", "nul", "[1,]", "[,1]", '{"a"}', '{"a":1,}', "{1:2}", '"\t"', '"\\x"', '"\\u12"', '"', '"\\', "[", "{", "[1 2]", "\u00a01", "{}{}", "\ufeff1"]) {
    accepts(text);
  }
  assert.notEqual(guest.run("json", Buffer.from("[".repeat(64) + "]".repeat(64))), false);
  assert.equal(guest.run("json", Buffer.from("[".repeat(65) + "]".repeat(65))), false);
  assert.equal(guest.run("json", Buffer.from("[".repeat(1_000_000))), false);
  const tokens = ["{", "}", "[", "]", ",", ":", '"a"', '"b\\u0041"', "1", "-2.5", "1e3", "true", "false", "null", " ", '"', "\\", "0", "e", "."];
  for (let i = 0; i < 50_000; i++) accepts(Array.from({ length: random(9) }, () => tokens[random(tokens.length)]).join(""));
});

test("configurations are strict", () => {
  const all = '{"name":"n","keys":[{"consumer":"c","groups":["g","h"],"labels":{"l":1,"m":-2}}],"on":true,"size":255,"big":-9223372036854775808,"share":1.5}';
  const tests = {
    "": "none false 3 0 0.5",
    " \n": "none false 3 0 0.5",
    "{}": "none false 3 0 0.5",
    [all]: "n c g+h l=1 m=-2 true 255 -9223372036854775808 1.5",
    '{"keys":null,"on":null,"size":null}': "none false 3 0 0.5",
    '{"kyes":[]}': "config.kyes: unknown field",
    '{"kyes":null}': "config.kyes: unknown field",
    '{"keys":[{},{"labels":{},"lables":1}]}': "config.keys[1].lables: unknown field",
    '{"b":1,"a":{"c":1},"keys":[{"d":1}]}': "config.b: unknown field; config.a: unknown field; config.keys[0].d: unknown field",
    '{"keys":[{"consumer":"c"},{"consumer":12345}]}': "config.keys[1].consumer: a number; want a text",
    '{"keys":{}}': "config.keys: an object; want a list",
    '{"keys":["secret"]}': "config.keys[0]: a text; want an object",
    '{"keys":[{"labels":[1]}]}': "config.keys[0].labels: a list; want an object",
    '{"keys":[{"labels":{"l":"secret"}}]}': "config.keys[0].labels.l: a text; want a number",
    '{"keys":[{"groups":["a",1]}]}': "config.keys[0].groups[1]: a number; want a text",
    '{"on":"yes"}': "config.on: a text; want true or false",
    '{"size":true}': "config.size: true or false; want a number",
    "[]": "config: a list; want an object",
    '{"size":12345}': "config.size: out of range",
    '{"size":-1}': "config.size: out of range",
    '{"size":1.0}': "config.size: want a whole number",
    '{"size":1e2}': "config.size: want a whole number",
    '{"big":9223372036854775807}': "none false 3 9223372036854775807 0.5",
    '{"big":9223372036854775808}': "config.big: out of range",
    '{"big":-9223372036854775809}': "config.big: out of range",
    '{"big":99999999999999999999999999}': "config.big: out of range",
    '{"big":-0}': "none false 3 0 0.5",
    '{"share":1e999}': "config.share: out of range",
    '{"on":true,"on":false}': "config.on: it is there twice",
    '{"forbidden":"secret"}': "config.forbidden: is forbidden",
    '{"on":tru}': "config: no JSON: at byte 10",
    '{"on":': "config: no JSON: at byte 6",
    "{} {}": "config: more follows the JSON value",
  };
  for (const [text, want] of Object.entries(tests)) assert.equal(guest.run("config", Buffer.from(text)).toString(), want, text);
  const garbage = ['"keys"', '"size"', "{", "}", "[", "]", ",", ":", "1", "null", '"consumer"', '"groups"'];
  for (let i = 0; i < 20_000; i++) guest.run("config", Buffer.from(Array.from({ length: random(12) }, () => garbage[random(garbage.length)]).join(""))); // must not trap
});

test("a configuration whose error nobody asks for is refused", () => {
  for (const [text, accepted] of [['{"known":"x"}', 1], ['{"unknown":"x"}', 0], ["plain", 1], ["", 1]]) {
    const g = new Guest();
    g.body = Buffer.from(text);
    assert.equal(g.exports.proxy_on_configure(1, g.body.length), accepted, text);
    assert.deepEqual(g.log, accepted ? [] : ["config.unknown: unknown field"]);
  }
});

test("units", () => assert.equal(guest.run("units").toString(), ""));

test("memory does not grow, and what is read stays", () => {
  const g = new Guest();
  let largest = 0;
  for (let i = 0; i < 60_000; i++) {
    g.values.set("x-do", "é".repeat(i % 100)).set("x-" + (i % 7), "v".repeat(i % 5000));
    g.body = Buffer.alloc((i * 37) % 30_000, i);
    g.exchange(i + 2);
    assert.deepEqual(g.written.get("x-done").toString(), "é".repeat(i % 100));
    assert.ok(g.written.get("body").equals(g.body));
    if (i === 10_000) largest = g.memory().byteLength;
  }
  assert.equal(g.resumed, 60_000);
  assert.equal(g.memory().byteLength, largest);
  assert.ok(largest <= 1 << 20, `${largest} bytes`);
});

test("many exchanges at a time, and those that end before their calls", () => {
  const g = new Guest();
  let largest = 0;
  for (let i = 0; i < 60_000; i++) {
    g.exports.proxy_on_context_create(i + 2, 1);
    g.exports.proxy_on_request_headers(i + 2, 1, 0);
    if (i >= 300) {
      g.exports.proxy_on_delete(i + 2 - 300);
      g.exports.proxy_on_http_call_response(1, i + 1 - 300, 1, 1, 0);
    }
    if (i === 20_000) largest = g.memory().byteLength;
  }
  assert.equal(g.resumed, 0);
  assert.equal(g.memory().byteLength, largest);
});

test("a host that hands over other memory than it was given", () => {
  const lies = {
    "an address of its own": (g, p, size) => g.number(p, 64) || g.number(size, 4),
    "more than there was room for": (g, p, size) => g.number(p, g.exports.proxy_on_memory_allocate(4)) || g.number(size, 1 << 20),
    "beyond the memory": (g, p, size) => g.number(p, 0xfffffff0) || g.number(size, 0x7fffffff),
    "a negative size": (g, p, size) => g.number(p, g.exports.proxy_on_memory_allocate(4)) || g.number(size, 0xffffffff),
  };
  for (const [name, lie] of Object.entries(lies)) {
    const g = new Guest({ proxy_get_header_map_value: (kind, k, n, p, size) => lie(g, p, size) });
    assert.throws(() => g.exchange(2), WebAssembly.RuntimeError, name);
    assert.match(g.log.at(-1), /^the proxy returns memory that it was not given, at ~lib\/@penstock\/sdk\/memory.ts:\d+:\d+$/, name);
  }
  const g = new Guest({ proxy_get_header_map_pairs: (kind, p, size) => g.hand(Buffer.from("01000000ffffffffffffffff0000", "hex"), p, size) });
  g.exchange(2); // no list
  const silent = new Guest({ proxy_get_header_map_value: () => 0, proxy_get_header_map_pairs: () => 0, proxy_get_buffer_bytes: () => 0, proxy_get_property: () => 0 });
  silent.exchange(2); // all is empty
  assert.equal(silent.written.get("x-done").toString(), "");
  assert.equal(g.exports.proxy_on_memory_allocate(0x7fffffff), 0);
  assert.equal(g.exports.proxy_on_memory_allocate(-1), 0);
});

test("answers to calls that nobody made, and for contexts that nobody knows", () => {
  const g = new Guest();
  for (const id of [0, 1, 77, -1]) {
    g.exports.proxy_on_http_call_response(1, id, 1, 1, 1);
    g.exports.proxy_on_grpc_receive(1, id, 1);
    g.exports.proxy_on_grpc_close(1, id, 0);
    g.exports.proxy_on_delete(id === 1 ? 5 : id);
    g.exports.proxy_on_log(id);
  }
  assert.throws(() => g.exports.proxy_on_request_headers(99, 0, 1), WebAssembly.RuntimeError);
});

test("many configurations in one instance", () => {
  const g = new Guest();
  g.values.set("x-do", "config");
  const e = g.exports;
  for (const [root, config] of [[1, "one"], [2, "two"], [3, "three"]]) {
    if (root > 1) e.proxy_on_context_create(root, 0);
    g.body = Buffer.from(config);
    assert.equal(e.proxy_on_configure(root, g.body.length), 1);
  }
  for (const [stream, root] of [[10, 1], [11, 2], [12, 3]]) e.proxy_on_context_create(stream, root);
  assert.equal(e.proxy_on_done(2), 1);
  e.proxy_on_delete(11);
  e.proxy_on_delete(2);
  for (const stream of [12, 10]) e.proxy_on_request_headers(stream, 1, 0);
  assert.deepEqual(g.log, ["three", "one"]);
});

test("an error that is thrown is logged with its place", () => {
  const g = new Guest();
  g.values.set("x-do", "trap");
  assert.throws(() => g.exchange(2), WebAssembly.RuntimeError);
  assert.match(g.log[0], /^asked for, at index.ts:\d+:\d+$/);
});

test("random numbers begin with the host's", () => {
  const g = new Guest();
  g.values.set("x-do", "random");
  g.exchange(2);
  assert.ok(Number(g.log[0]) > 0 && Number(g.log[0]) < 1, g.log[0]);
});
