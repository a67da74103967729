import { Plugin, Stream } from "./plugin";
import { Status, failure } from "./status";

// @ts-ignore: decorator
@external("env", "proxy_set_effective_context")
declare function proxy_set_effective_context(id: u32): u32;

// @ts-ignore: decorator
@external("env", "proxy_done")
declare function proxy_done(): u32;

/** The number of a Plugin or of a Stream; see effectiveContext. */
export type Context = u32;

// What the host knows by number.
export const plugins = new Map<Context, Plugin>();
export const streams = new Map<Context, Stream>();

/** What host functions are about. */
let effective: Context = 0;

/** A callback of a context begins. */
export function begin(c: Context): void {
  effective = c;
}

/**
 * What host functions are about: in its own callbacks the stream, or the Plugin, in those
 * of a call what made it.
 */
export function effectiveContext(): Context {
  return effective;
}

/**
 * Makes host functions be about another stream of the plugin, until the callback returns
 * (proxy_set_effective_context): so that a tick resumes a stream which paused, and kept
 * its effectiveContext. The error is ErrBadArgument: it has ended.
 */
export function setEffectiveContext(c: Context): Status | null {
  const err = failure(proxy_set_effective_context(c));
  if (!err) effective = c;
  return err;
}

/**
 * Says that a Plugin whose done was false may be ended now (proxy_done). The error is
 * ErrNotFound before that.
 */
export function done(): Status | null {
  return failure(proxy_done());
}

/**
 * Makes the context of a call the effective one, for what came for it in a callback of
 * root; false: it has ended.
 */
export function enter(c: Context, root: Context): bool {
  effective = root;
  return c == root || streams.has(c) && !setEffectiveContext(c);
}

/** Says that neither a stream nor a plugin has that number. */
export function ended(c: Context): bool {
  return !streams.has(c) && !plugins.has(c);
}
