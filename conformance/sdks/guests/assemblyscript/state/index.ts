// A plugin that shows what the SDK has beside a message: configuration, properties, shared
// data, queues, metrics, the log and the clock.
import * as sdk from "@penstock/sdk";
export * from "@penstock/sdk/exports";

class Limit {
  constructor(readonly name: string, readonly most: i64) {}
}

class State extends sdk.Plugin {
  greeting: string = "";
  limits: Limit[] = [];
  vm: string = "";
  queue: sdk.Queue = new sdk.Queue();
  seen: sdk.Counter = new sdk.Counter();
  level: sdk.Gauge = new sdk.Gauge();
  sizes: sdk.Histogram = new sdk.Histogram();
  started: sdk.Time = 0;
  private ending: bool = false;

  vmStart(config: Uint8Array): Error | null {
    this.vm = "started " + config.length.toString();
    return null;
  }

  configure(text: Uint8Array): Error | null {
    const config = sdk.parseConfig(text);
    this.greeting = config.get("greeting").string("good day");
    const limits = config.get("limits").list();
    for (let i = 0; i < limits.length; i++) {
      this.limits.push(new Limit(limits[i].get("name").string(), limits[i].get("most").int()));
    }
    const err = config.err();
    if (err) return err;
    if (sdk.resolveQueue("", "nobody's").err != sdk.ErrNotFound) return new Error("a queue that nobody registered");
    this.queue = sdk.registerQueue("paths").value;
    if (sdk.resolveQueue("", "paths").value.id != this.queue.id) return new Error("one queue is two");
    if (this.queue.dequeue().err != sdk.ErrEmpty) return new Error("an empty queue is not empty");
    this.seen = sdk.defineCounter("requests_seen").value;
    this.level = sdk.defineGauge("level").value;
    this.sizes = sdk.defineHistogram("path_bytes").value;
    if (sdk.done() != sdk.ErrNotFound) return new Error("done before it is to end");
    this.started = sdk.now();
    return null;
  }

  newStream(): sdk.Stream {
    return new Stream(this);
  }

  queueReady(q: sdk.Queue): void {
    const path = q.dequeue();
    if (!path.err) must(sdk.setSharedData("last", path.value, 0)); // or another instance was first
  }

  /** The plugin wants a tick more. */
  done(): bool {
    this.ending = true;
    must(sdk.setTickPeriod(20 * sdk.Millisecond));
    return false;
  }

  tick(): void {
    if (this.ending) {
      this.ending = false;
      must(sdk.done());
      sdk.log(sdk.Level.Warn, "the plugin has finished");
    }
  }
}

sdk.register((): sdk.Plugin => new State());

class Stream extends sdk.Stream {
  constructor(private readonly plugin: State) {
    super();
  }

  requestHeaders(end: bool): sdk.Action {
    const p = this.plugin;
    const path = sdk.RequestHeader.get(":path")!;
    must(p.queue.enqueue(sdk.bytes(path)));
    p.seen.increment(1);
    p.seen.increment(-5); // not permitted: nothing happens
    p.level.record(10);
    p.level.increment(-3);
    p.sizes.record(path.length);
    must(sdk.updateSharedData("total", 1, (by: i32, old: Uint8Array | null): Uint8Array => {
      const n = old ? i32.parse(sdk.text(old)) : 0;
      return sdk.bytes((n + by).toString());
    }));
    must(sdk.setProperty(["state", "mark"], sdk.bytes("of " + path)));
    sdk.log(sdk.Level.Info, "an info line");
    if (sdk.logEnabled(sdk.Level.Debug)) sdk.log(sdk.Level.Error, "debug is on");
    const total = sdk.sharedData("total");
    must(total.err);
    const now = sdk.now();
    must(sdk.RequestHeader.set("x-total", sdk.text(total.value)));
    must(sdk.RequestHeader.set("x-cas", swaps()));
    must(sdk.RequestHeader.set("x-vm", p.vm));
    must(sdk.RequestHeader.set("x-greeting", p.greeting + " " + p.limits.length.toString()));
    must(sdk.RequestHeader.set("x-properties", properties()));
    must(sdk.RequestHeader.set("x-metrics", (p.seen.value() > 0).toString() + " " + p.level.value().toString()));
    must(sdk.RequestHeader.set("x-time", (now >= p.started).toString() + " " + (sdk.now() - now < sdk.Minute).toString()));
    return sdk.Action.Continue;
  }

  responseHeaders(end: bool): sdk.Action {
    must(sdk.ResponseHeader.set("x-mark", sdk.propertyString(["state", "mark"])!));
    const last = sdk.sharedData("last");
    if (!last.err) must(sdk.ResponseHeader.set("x-last", sdk.text(last.value)));
    return sdk.Action.Continue;
  }

  log(): void {
    const status = sdk.propertyInt(["response", "code"]);
    const took = sdk.propertyDuration(["request", "duration"]);
    sdk.log(sdk.Level.Warn, "logged " + status.toString() + " " + (took > 0).toString());
  }
}

/** Tries what compare and swap does with a key of the request's own. */
function swaps(): string {
  const key = "key " + sdk.now().toString();
  const missing = sdk.sharedData(key);
  must(sdk.setSharedData(key, sdk.bytes("a"), 0));
  const first = sdk.sharedData(key);
  must(first.err);
  must(sdk.setSharedData(key, sdk.bytes("b"), first.cas));
  const late = sdk.setSharedData(key, sdk.bytes("c"), first.cas);
  const second = sdk.sharedData(key);
  must(second.err);
  return [(missing.err == sdk.ErrNotFound).toString(), (late == sdk.ErrCASMismatch).toString(), sdk.text(second.value)].join(" ");
}

function properties(): string {
  const method = sdk.propertyString(["request", "method"])!;
  const port = sdk.propertyInt(["source", "port"], -1);
  const tls = sdk.propertyBool(["connection", "mtls"]);
  const hasTLS = tls == sdk.propertyBool(["connection", "mtls"], true);
  const at = sdk.propertyTime(["request", "time"]);
  const hasNone = sdk.propertyString(["request", "none"]) != null;
  const wrong = sdk.propertyInt(["request", "method"], -1) != -1;
  const truths = [port > 0 && port < 65536, hasTLS, tls, abs(sdk.now() - at) < sdk.Minute, hasNone, wrong];
  return method + " " + truths.join(" ");
}

function must(err: Error | null): void {
  if (err) throw new Error(err.message);
}
