// The callbacks of Proxy-Wasm 0.2.1. A plugin exports them:
//
//   export * from "@penstock/sdk/exports";
import { Buffer, foreignArguments, pluginConfiguration, vmConfiguration } from "./buffer";
import { unread } from "./config";
import { begin, plugins, streams } from "./context";
import { close, forgetGRPC, initialMetadata, leaveGRPC, message, trailingMetadata } from "./grpc";
import { answer, forgetHTTP } from "./httpcall";
import { Level, log } from "./log";
import { allocate } from "./memory";
import { Connection, Stream, newPlugin } from "./plugin";
import { Queue } from "./queue";
import "./abort";

export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_memory_allocate(size: u32): usize {
  return allocate(size);
}

export function proxy_on_context_create(id: u32, parent: u32): void {
  begin(id);
  if (parent == 0) {
    plugins.set(id, newPlugin());
  } else {
    streams.set(id, plugins.get(parent).newStream());
  }
}

export function proxy_on_vm_start(root: u32, size: u32): u32 {
  begin(root);
  return accepted(plugins.get(root).vmStart(bytesOf(vmConfiguration, size)));
}

export function proxy_on_configure(root: u32, size: u32): u32 {
  begin(root);
  return accepted(plugins.get(root).configure(bytesOf(pluginConfiguration, size)));
}

function bytesOf(b: Buffer, size: u32): Uint8Array {
  if (size > 0) { // a host may have nothing to read from otherwise
    const all = b.get(0, size);
    if (all) return all;
  }
  return new Uint8Array(0);
}

/** What a start returns, which logs why it failed. */
function accepted(err: Error | null): u32 {
  const left = unread();
  if (!err) err = left;
  if (!err) return 1;
  log(Level.Error, err.message);
  return 0;
}

function stream(id: u32): Stream {
  begin(id);
  return streams.get(id);
}

export function proxy_on_request_headers(id: u32, count: u32, end: u32): u32 {
  return stream(id).requestHeaders(end != 0);
}

// penstock_on_request_headers is Penstock's own: proxy_on_context_create of a stream and
// proxy_on_request_headers in one call; before it, if ended is not 0, what is left of
// proxy_on_delete of another stream.
export function penstock_on_request_headers(root: u32, id: u32, count: u32, end: u32, ended: u32): u32 {
  if (ended != 0) streams.delete(ended);
  begin(id);
  const s = plugins.get(root).newStream();
  streams.set(id, s);
  return s.requestHeaders(end != 0);
}

export function proxy_on_request_body(id: u32, size: u32, end: u32): u32 {
  return stream(id).requestBody(size, end != 0);
}

export function proxy_on_request_trailers(id: u32, count: u32): u32 {
  return stream(id).requestTrailers();
}

export function proxy_on_response_headers(id: u32, count: u32, end: u32): u32 {
  return stream(id).responseHeaders(end != 0);
}

export function proxy_on_response_body(id: u32, size: u32, end: u32): u32 {
  return stream(id).responseBody(size, end != 0);
}

export function proxy_on_response_trailers(id: u32, count: u32): u32 {
  return stream(id).responseTrailers();
}

export function proxy_on_done(id: u32): u32 {
  begin(id);
  if (streams.has(id)) {
    streams.get(id).done();
    return 1;
  }
  return !plugins.has(id) || plugins.get(id).done() ? 1 : 0;
}

export function proxy_on_log(id: u32): void {
  begin(id);
  if (streams.has(id)) streams.get(id).log();
}

export function proxy_on_delete(id: u32): void {
  begin(id);
  leaveGRPC(id);
  streams.delete(id);
  if (plugins.delete(id)) { // a Plugin that has ended too is not told what came of its calls
    forgetHTTP();
    forgetGRPC();
  }
}

export function proxy_on_tick(root: u32): void {
  begin(root);
  plugins.get(root).tick();
}

export function proxy_on_queue_ready(root: u32, queue: u32): void {
  begin(root);
  plugins.get(root).queueReady(new Queue(queue));
}

export function proxy_on_foreign_function(root: u32, id: u32, size: u32): void {
  begin(root);
  plugins.get(root).foreignFunction(id, bytesOf(foreignArguments, size));
}

export function proxy_on_http_call_response(root: u32, id: u32, headers: u32, size: u32, trailers: u32): void {
  answer(root, id, headers);
}

export function proxy_on_grpc_receive_initial_metadata(root: u32, id: u32, count: u32): void {
  initialMetadata(root, id);
}

export function proxy_on_grpc_receive(root: u32, id: u32, size: u32): void {
  message(root, id);
}

export function proxy_on_grpc_receive_trailing_metadata(root: u32, id: u32, count: u32): void {
  trailingMetadata(root, id);
}

export function proxy_on_grpc_close(root: u32, id: u32, code: u32): void {
  close(root, id, code);
}

function connection(id: u32): Connection | null {
  const s = stream(id);
  return s instanceof Connection ? s as Connection : null;
}

export function proxy_on_new_connection(id: u32): u32 {
  const c = connection(id);
  return c ? c.newConnection() : 0;
}

export function proxy_on_downstream_data(id: u32, size: u32, end: u32): u32 {
  const c = connection(id);
  return c ? c.downstreamData(size, end != 0) : 0;
}

export function proxy_on_upstream_data(id: u32, size: u32, end: u32): u32 {
  const c = connection(id);
  return c ? c.upstreamData(size, end != 0) : 0;
}

export function proxy_on_downstream_connection_close(id: u32, by: u32): void {
  const c = connection(id);
  if (c) c.downstreamClose(by);
}

export function proxy_on_upstream_connection_close(id: u32, by: u32): void {
  const c = connection(id);
  if (c) c.upstreamClose(by);
}
