// A plugin that does what the field X-Do says, step by step, and tells in X-Said what came
// of each.
import * as sdk from "@penstock/sdk";
export * from "@penstock/sdk/exports";

const somebody = sdk.newConsumer("somebody", ["g", "h"]);

class Consumers extends sdk.Plugin {
  configure(text: Uint8Array): Error | null {
    sdk.only(sdk.Callbacks.OnRequestHeaders | sdk.Callbacks.SetResponseHeaders);
    return null;
  }

  newStream(): sdk.Stream {
    return new Stream();
  }
}

class Stream extends sdk.Stream {
  requestHeaders(end: bool): sdk.Action {
    const steps = field("x-do").split(" ");
    const kind = field("x-kind");
    const key = field("x-key");
    const said: string[] = [];
    for (let i = 0; i < steps.length; i++) said.push(step(steps[i], kind, key));
    const err = sdk.RequestHeader.set("x-said", said.join("; "));
    if (err) throw new Error(err.message);
    return sdk.Action.Continue;
  }
}

function field(name: string): string {
  const value = sdk.RequestHeader.get(name);
  return value === null ? "" : value;
}

function step(name: string, kind: string, key: string): string {
  if (name == "set") return told(sdk.setConsumer(somebody));
  if (name == "find") return shown(sdk.findConsumer(kind, key, ["partners"]));
  if (name == "own") return shown(sdk.findConsumer(kind, key));
  if (name == "use") return told(sdk.useConsumer());
  if (name == "identify") return told(sdk.identifyConsumer(kind, key, ["partners"]));
  if (name == "claim") return told(sdk.setClaims(Uint8Array.wrap(String.UTF8.encode(key))));
  if (name == "claims") {
    const claims = sdk.propertyString(["penstock", "claims"]);
    return claims === null ? "" : claims;
  }
  if (name == "client") {
    const address = sdk.clientAddress();
    return address ? hex(address) : "unknown";
  }
  if (name == "fields") return told(sdk.setResponseHeaders([["x-set", "at the request"], ["x-got-x-kind", key]]));
  if (name == "pseudo") return told(sdk.setResponseHeaders([["x-unset", "1"], [":status", "200"]]));
  return shown(sdk.currentConsumer());
}

function hex(b: Uint8Array): string {
  let s = "";
  for (let i = 0; i < b.length; i++) s += b[i].toString(16).padStart(2, "0");
  return s;
}

function told(err: Error | null): string {
  return err ? err.message : "ok";
}

function shown(r: sdk.Result<sdk.Identity>): string {
  const err = r.err;
  if (err) return err.message;
  const who = r.value;
  return who.username + "/" + sdk.text(who.data).replaceAll("\0", " ") + " [" + who.groups.join(" ") + "]";
}

sdk.register((): sdk.Plugin => new Consumers());
