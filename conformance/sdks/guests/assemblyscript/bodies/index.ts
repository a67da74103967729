// A plugin that changes headers, bodies and trailers as the field x-do of a request says:
// all parts of a message that the SDK has.
import * as sdk from "@penstock/sdk";
export * from "@penstock/sdk/exports";

class Bodies extends sdk.Plugin {
  configure(config: Uint8Array): Error | null {
    return null;
  }

  newStream(): sdk.Stream {
    return new Stream();
  }
}

sdk.register((): sdk.Plugin => new Bodies());

class Stream extends sdk.Stream {
  private todo: string = "";
  private parts: i32 = 0;

  requestHeaders(end: bool): sdk.Action {
    const todo = sdk.RequestHeader.get("x-do");
    if (todo) this.todo = todo;
    must(sdk.RequestHeader.del("content-length"));
    if (this.todo == "all") {
      const list = sdk.RequestHeader.all()!;
      let wanted = 4;
      for (let i = 0; i < list.length; i++) {
        wanted += 8 + sdk.bytes(list[i][0]).length + 1 + sdk.bytes(list[i][1]).length + 1;
        if (list[i][0] == ":path") list[i][1] = "/bodies/set";
      }
      const right = sdk.RequestHeader.size().value == wanted;
      must(sdk.RequestHeader.setAll(list.concat([["x-many", "1"], ["x-many", "2"], ["x-size-right", right.toString()]])));
    } else if (this.todo == "allocations") {
      must(sdk.RequestHeader.set("x-allocations", allocations()));
    } else if (this.todo == "grpc") {
      must(sdk.respondGRPC(7, [["x-why", "asked"]], "not this one", ""));
    }
    if (sdk.RequestBody.size().err != sdk.ErrNotFound || sdk.RequestBody.all()) {
      throw new Error("a body in the callback of the headers");
    }
    return sdk.Action.Continue;
  }

  requestBody(size: i32, end: bool): sdk.Action {
    this.parts++;
    const b = sdk.RequestBody;
    if (b.size().value != size) throw new Error("another size");
    const todo = this.todo;
    if (todo == "upper") { // part by part
      must(b.set(upper(b.all()!)));
      return sdk.Action.Continue;
    }
    const whole = ["append", "prepend", "replace", "range", "whole", "trailers"];
    if (!end && whole.includes(todo)) return sdk.Action.Pause;
    if (todo == "append") {
      must(b.append(sdk.bytes("(end)")));
    } else if (todo == "prepend") {
      must(b.prepend(sdk.bytes("(start)")));
    } else if (todo == "replace") {
      must(b.replace(1, 2, sdk.bytes("-")));
    } else if (todo == "range") {
      const got = sdk.text(b.get(2, 3)!) + "," + sdk.text(b.get(size - 1, 10)!) + "," + sdk.text(b.get(size, 1)!) + ",";
      must(b.set(sdk.bytes(got)));
    } else if (todo == "whole") {
      must(b.set(sdk.bytes(b.all()!.length.toString())));
    } else if (todo == "trailers") {
      must(sdk.RequestTrailer.set("x-added", "by bodies"));
    }
    return sdk.Action.Continue;
  }

  requestTrailers(): sdk.Action {
    const sent = sdk.RequestTrailer.get("x-sent");
    const all = sdk.RequestTrailer.all()!.length.toString();
    must(sdk.RequestTrailer.setAll([["x-sent", (sent ? sent : "") + ", seen"], ["x-all", all]]));
    return sdk.Action.Continue;
  }

  responseHeaders(end: bool): sdk.Action {
    must(sdk.ResponseHeader.del("content-length"));
    must(sdk.ResponseHeader.set("x-parts", (this.parts > 0).toString()));
    if (sdk.RequestHeader.set("x-late", "1") != sdk.ErrBadArgument) throw new Error("the request has gone on, and is changed");
    return sdk.Action.Continue;
  }

  responseBody(size: i32, end: bool): sdk.Action {
    if (end && this.todo == "append") must(sdk.ResponseBody.append(sdk.bytes("!")));
    return sdk.Action.Continue;
  }

  responseTrailers(): sdk.Action {
    must(sdk.ResponseTrailer.add("x-more", "of them"));
    return sdk.Action.Continue;
  }
}

function upper(b: Uint8Array): Uint8Array {
  for (let i = 0; i < b.length; i++) {
    if (b[i] >= 0x61 && b[i] <= 0x7a) b[i] -= 0x20;
  }
  return b;
}

const sourcePort = ["source", "port"];
const requestTime = ["request", "time"];
const mtls = ["connection", "mtls"];

/** Counts those of functions that make none, and those of get, which makes a string. */
function allocations(): string {
  let none = 0;
  let one = 0;
  for (let i = 0; i < 5; i++) {
    none = max(none, counted((): void => {
      must(sdk.RequestHeader.set("x-a", "1"));
      must(sdk.RequestHeader.add("x-a", "2"));
      must(sdk.RequestHeader.del("x-a"));
      sdk.ResponseTrailer.set("x-a", "1"); // too early
      sdk.propertyInt(sourcePort);
      sdk.propertyTime(requestTime);
      sdk.propertyBool(mtls);
      sdk.logEnabled(sdk.Level.Info);
    }));
    one = max(one, counted((): void => {
      sdk.RequestHeader.get("x-long");
    }));
  }
  return none.toString() + " " + one.toString();
}

/** How many objects a function makes: the collector's list has those between two others. */
function counted(f: () => void): i32 {
  __collect(); // or it takes objects from the list meanwhile
  const before = new ArrayBuffer(1);
  f();
  const after = new ArrayBuffer(1);
  let n = 0;
  for (let at = next(changetype<usize>(before) - 20); at != changetype<usize>(after) - 20; at = next(at)) n++;
  return n;
}

/** The object behind another one, by what stands before each (~lib/rt/itcms). */
function next(object: usize): usize {
  return load<usize>(object, 4) & ~3;
}

function must(err: Error | null): void {
  if (err) throw new Error(err.message);
}
