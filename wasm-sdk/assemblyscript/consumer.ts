import { foreign } from "./host";
import { Callbacks } from "./plugin";
import { Status, failure } from "./status";
import { out, Writer } from "./wire";

/** Who sent a request, ready to be handed to the proxy; see newConsumer. */
export class Consumer {
  constructor(readonly json: Uint8Array) {}
}

/** Prepares a consumer; make it once, in configure. */
export function newConsumer(name: string, groups: string[]): Consumer {
  const w = new Writer();
  w.text('{"name":');
  quote(w, name);
  for (let i = 0; i < groups.length; i++) {
    w.text(i == 0 ? ',"groups":[' : ",");
    quote(w, groups[i]);
  }
  w.text(groups.length == 0 ? "}" : "]}");
  return new Consumer(w.take());
}

/** Writes a text as JSON has it. */
function quote(w: Writer, s: string): void {
  w.u8(0x22);
  for (let i = 0; i < s.length; i++) {
    const c = s.codePointAt(i);
    if (c >= 0x10000) i++;
    if (c < 0x20) {
      w.text(c < 0x10 ? "\\u000" : "\\u00");
      w.text(c.toString(16));
    } else if (c == 0x22 || c == 0x5c) {
      w.u8(0x5c);
      w.u8(<u8>c);
    } else if (c < 0x80) {
      w.u8(<u8>c);
    } else if (c >= 0xd800 && c < 0xe000) { // a byte that is no UTF-8
      w.text("\ufffd");
    } else {
      w.text(String.fromCodePoint(c));
    }
  }
  w.u8(0x22);
}

/**
 * Says who sent the request. It needs the capability consumer; elsewhere than in Penstock
 * it fails, and the plugin may set a header.
 */
export function setConsumer(c: Consumer): Status | null {
  return failure(foreign("penstock.set_consumer", c.json.dataStart, c.json.length));
}

/**
 * Says in configure that just these callbacks of a Stream are of use with this
 * configuration. The proxy then does not make the others, and holds no body up for them;
 * those of a Plugin, of calls and of raw connections it makes all the same. Elsewhere than
 * in Penstock all are made, as if nothing was said.
 */
export function only(c: Callbacks): void {
  out.clear();
  out.u32(c);
  foreign("penstock.set_callbacks", out.at(0), out.length);
}
