// A plugin for raw connections: what conformance/tcp's guest lines does, with the functions
// of the SDK. It holds what the client says until a line is whole, and hands it on in upper
// case. What the upstream says is put into brackets. Its configuration is a client that is
// refused.
import * as sdk from "@penstock/sdk";
export * from "@penstock/sdk/exports";

class Lines extends sdk.Plugin {
  refused: string = "";
  waiting: sdk.Context[] = [];

  configure(config: Uint8Array): Error | null {
    this.refused = sdk.text(config);
    return sdk.setTickPeriod(20 * sdk.Millisecond);
  }

  newStream(): sdk.Stream {
    return new Connection(this);
  }

  /** The connections go on that said "later". */
  tick(): void {
    for (let i = 0; i < this.waiting.length; i++) {
      must(sdk.setEffectiveContext(this.waiting[i]));
      must(sdk.resume(sdk.StreamType.Downstream));
    }
    this.waiting = [];
  }
}

sdk.register((): sdk.Plugin => new Lines());

class Connection extends sdk.Connection {
  constructor(private readonly plugin: Lines) {
    super();
  }

  newConnection(): sdk.Action {
    const source = sdk.propertyString(["source", "address"]);
    if (!source) throw new Error("no source");
    const refused = this.plugin.refused;
    if (refused.length > 0 && source.startsWith(refused)) must(sdk.reset(sdk.StreamType.Downstream));
    return sdk.Action.Continue;
  }

  downstreamData(size: i32, end: bool): sdk.Action {
    if (size == 0) return sdk.Action.Continue;
    const line = sdk.text(sdk.DownstreamData.get(0, size)!);
    if (line.startsWith("trap")) throw new Error("asked for");
    if (line.startsWith("close")) {
      must(sdk.reset(sdk.StreamType.Downstream));
    } else if (line.startsWith("later")) {
      this.plugin.waiting.push(sdk.effectiveContext());
      return sdk.Action.Pause;
    } else if (!end && !line.endsWith("\n")) {
      return sdk.Action.Pause;
    }
    must(sdk.DownstreamData.set(sdk.bytes(line.toUpperCase())));
    return sdk.Action.Continue;
  }

  upstreamData(size: i32, end: bool): sdk.Action {
    if (size > 0) {
      must(sdk.UpstreamData.prepend(sdk.bytes("[")));
      must(sdk.UpstreamData.append(sdk.bytes("]")));
    }
    return sdk.Action.Continue;
  }

  downstreamClose(by: sdk.Peer): void {
    sdk.log(sdk.Level.Warn, "client closed by " + by.toString());
  }

  upstreamClose(by: sdk.Peer): void {
    sdk.log(sdk.Level.Warn, "upstream closed by " + by.toString());
  }

  done(): void {
    sdk.log(sdk.Level.Warn, "stream done");
  }
}

function must(err: Error | null): void {
  if (err) throw new Error(err.message);
}
