// A plugin on the AssemblyScript SDK of Solo: what its README and its types
// describe, headers, bodies, local responses and configuration.
export * from "@solo-io/proxy-runtime/proxy";
import {
  Context, FilterDataStatusValues, FilterHeadersStatusValues, GrpcStatusValues, Counter, HeaderPair, LogLevelValues,
  RootContext, log, registerRootContext, send_local_response, stream_context,
} from "@solo-io/proxy-runtime";
import { BufferTypeValues, get_buffer_bytes } from "@solo-io/proxy-runtime/runtime";

let seen: Counter | null = null;

class Root extends RootContext {
  onConfigure(size: u32): bool {
    let ok = super.onConfigure(size); // reads the configuration
    seen = new Counter("assemblyscript_requests");
    return ok && this.getConfiguration() != "refuse me";
  }

  createContext(id: u32): Context {
    return new Stream(id, this);
  }
}

class Stream extends Context {
  root: Root;
  size: u32;

  constructor(id: u32, root: Root) {
    super(id, root);
    this.root = root;
    this.size = 0;
  }

  onRequestHeaders(n: u32, end: bool): FilterHeadersStatusValues {
    seen!.increment(1);
    let request = stream_context.headers.request;
    log(LogLevelValues.info, "assemblyscript saw " + request.get(":path"));
    if (request.get("x-deny") != "") {
      let headers = new Array<HeaderPair>(0);
      headers.push(new HeaderPair(String.UTF8.encode("x-why"), String.UTF8.encode("asked for")));
      send_local_response(403, "denied", String.UTF8.encode("denied by the plugin\n"), headers, -1 as GrpcStatusValues);
      return FilterHeadersStatusValues.StopIteration;
    }
    request.add("x-added", "by assemblyscript");
    request.replace("x-replace", "new");
    request.remove("x-remove");
    request.add("x-count", (request.get_headers().length).toString());
    return FilterHeadersStatusValues.Continue;
  }

  // The SDK can read bodies; it has no call that changes them.
  onRequestBody(size: usize, end: bool): FilterDataStatusValues {
    if (!end) {
      return FilterDataStatusValues.StopIterationAndBuffer;
    }
    let body = String.UTF8.decode(get_buffer_bytes(BufferTypeValues.HttpRequestBody, 0, size as u32));
    this.size = body.length;
    if (body.includes("forbidden")) {
      send_local_response(400, "forbidden word", String.UTF8.encode("a forbidden word\n"), new Array<HeaderPair>(0), -1 as GrpcStatusValues);
      return FilterDataStatusValues.StopIterationNoBuffer;
    }
    return FilterDataStatusValues.Continue;
  }

  onResponseHeaders(n: u32, end: bool): FilterHeadersStatusValues {
    let response = stream_context.headers.response;
    let configuration = this.root.getConfiguration();
    response.add("hello", configuration == "" ? "world!" : configuration);
    response.add("x-body-size", this.size.toString());
    response.add("x-status", response.get(":status"));
    return FilterHeadersStatusValues.Continue;
  }
}

registerRootContext((id: u32) => { return new Root(id); }, "assemblyscript");
