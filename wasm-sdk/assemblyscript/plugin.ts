import { Queue } from "./queue";

/** What a callback tells the proxy (proxy_action_t). */
export enum Action {
  /** Hands headers, the part of the body or trailers on. */
  Continue = 0,
  /**
   * Holds them back. Of a body, the next callback sees all of it so far. Of headers and
   * trailers, no callback of that direction follows until resume or respond is called, by
   * what a call calls, or by tick.
   */
  Pause = 1,
}

/** Who closed a connection (proxy_peer_type_t). */
export enum Peer {
  Unknown = 0,
  /** The proxy. */
  Local = 1,
  Remote = 2,
}

/** A direction of an exchange, or of a raw connection, for resume and reset (proxy_stream_type_t). */
export enum StreamType {
  Request = 0,
  Response = 1,
  Downstream = 2,
  Upstream = 3,
}

/** Callbacks of a Stream, for only: `Callbacks.OnRequestHeaders | Callbacks.OnDone`. */
export enum Callbacks {
  OnRequestHeaders = 1,
  OnRequestBody = 2,
  OnRequestTrailers = 4,
  OnResponseHeaders = 8,
  OnResponseBody = 16,
  OnResponseTrailers = 32,
  /** Also log. */
  OnDone = 64,
  /** No callback: setResponseHeaders is called. */
  SetResponseHeaders = 256,
}

/**
 * One configuration of the plugin. The proxy runs one callback of an instance at a time.
 */
export abstract class Plugin {
  /**
   * Called once, before any stream. An error refuses the configuration; its text is
   * logged, so that it must hold no secret.
   */
  abstract configure(config: Uint8Array): Error | null;

  /** Makes the plugin's part in one exchange. */
  abstract newStream(): Stream;

  /**
   * The VM's configuration, before the plugin's own. Where several configurations share an
   * instance, only the first one's Plugin is told. An error refuses it.
   */
  vmStart(config: Uint8Array): Error | null {
    return null;
  }

  /** Called as setTickPeriod says. */
  tick(): void {}

  /**
   * Something was put into a queue which the plugin registered. It is told once each time;
   * another instance may have taken it by then.
   */
  queueReady(q: Queue): void {}

  /**
   * The plugin is to end. With false it goes on, with its ticks and calls, until it calls
   * the function done, or the proxy waits no longer.
   */
  done(): bool {
    return true;
  }

  /** A function called by callForeign calls back. */
  foreignFunction(id: u32, args: Uint8Array): void {}
}

/** The plugin's part in one exchange; a class has the callbacks that it needs. */
export abstract class Stream {
  /** The request's head; end says that no body follows. */
  requestHeaders(end: bool): Action {
    return Action.Continue;
  }

  /** size bytes, all that were held back so far; end says that they are the last. */
  requestBody(size: i32, end: bool): Action {
    return Action.Continue;
  }

  requestTrailers(): Action {
    return Action.Continue;
  }

  responseHeaders(end: bool): Action {
    return Action.Continue;
  }

  responseBody(size: i32, end: bool): Action {
    return Action.Continue;
  }

  responseTrailers(): Action {
    return Action.Continue;
  }

  /** The last call; the exchange can be read, not changed. */
  done(): void {}

  /**
   * Called when proxies write their access logs. It comes after done in Penstock, and
   * before it in others.
   */
  log(): void {}
}

/**
 * A Stream that is also there for raw connections: TCP, or what TLS carries.
 * downstreamData sees what the client sent, upstreamData what it gets, each size bytes,
 * all that were held back so far, in the Buffers of the same names; end says that this
 * side sends no more. In Penstock the image's manifest has to say "connections": true.
 */
export abstract class Connection extends Stream {
  newConnection(): Action {
    return Action.Continue;
  }

  downstreamData(size: i32, end: bool): Action {
    return Action.Continue;
  }

  upstreamData(size: i32, end: bool): Action {
    return Action.Continue;
  }

  downstreamClose(by: Peer): void {}

  upstreamClose(by: Peer): void {}
}

function nobody(): Plugin {
  throw new Error("no plugin is registered");
}

/** Makes a Plugin for each configuration. */
let registered: () => Plugin = nobody;

/**
 * Says how a Plugin is made. To be called once, where the module begins: there no other
 * function works yet.
 */
export function register(newPlugin: () => Plugin): void {
  registered = newPlugin;
}

/** Makes the Plugin of a configuration. */
export function newPlugin(): Plugin {
  return registered();
}
