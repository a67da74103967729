// A header plugin on our SDK: four host calls an exchange, as bench/guests/c/header.c makes.
import * as sdk from "@penstock/sdk";
export * from "@penstock/sdk/exports";

sdk.register((): sdk.Plugin => new Plugin());

class Plugin extends sdk.Plugin {
  configure(text: Uint8Array): Error | null {
    sdk.only(sdk.Callbacks.OnRequestHeaders | sdk.Callbacks.OnResponseHeaders);
    return null;
  }

  newStream(): sdk.Stream {
    return new Stream();
  }
}

class Stream extends sdk.Stream {
  requestHeaders(end: bool): sdk.Action {
    const agent = sdk.RequestHeader.get("user-agent");
    must(sdk.RequestHeader.add("x-agent", agent !== null && agent.length > 0 ? "known" : "none"));
    return sdk.Action.Continue;
  }

  responseHeaders(end: bool): sdk.Action {
    must(sdk.ResponseHeader.set("x-served-by", "edge"));
    must(sdk.ResponseHeader.del("server"));
    return sdk.Action.Continue;
  }
}

// must traps: onError decides.
function must(err: Error | null): void {
  if (err) throw new Error(err.message);
}
