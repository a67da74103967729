import { gotBytes, gotNumber, number, place, size } from "./memory";
import { Result, Status, failed, failure, ok, statusOf } from "./status";
import { out } from "./wire";

// @ts-ignore: decorator
@external("env", "proxy_register_shared_queue")
declare function proxy_register_shared_queue(name: usize, n: i32, id: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_resolve_shared_queue")
declare function proxy_resolve_shared_queue(vm: usize, n: i32, name: usize, m: i32, id: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_enqueue_shared_queue")
declare function proxy_enqueue_shared_queue(id: u32, p: usize, n: i32): u32;

// @ts-ignore: decorator
@external("env", "proxy_dequeue_shared_queue")
declare function proxy_dequeue_shared_queue(id: u32, p: usize, size: usize): u32;

/** A shared queue; see registerQueue. */
export class Queue {
  constructor(readonly id: u32 = 0) {}

  /** Puts a value at the end (proxy_enqueue_shared_queue); ErrInternal: it is full. */
  enqueue(value: Uint8Array): Status | null {
    return failure(proxy_enqueue_shared_queue(this.id, value.dataStart, value.length));
  }

  /** Takes the oldest value (proxy_dequeue_shared_queue); ErrEmpty: there is none. */
  dequeue(): Result<Uint8Array> {
    const code = proxy_dequeue_shared_queue(this.id, place(), size());
    return code == 0 ? ok<Uint8Array>(gotBytes()) : failed<Uint8Array>(statusOf(code));
  }
}

/**
 * The shared queue of that name, which is made if there is none
 * (proxy_register_shared_queue). The Plugin that registered it last has its queueReady
 * called.
 */
export function registerQueue(name: string): Result<Queue> {
  out.clear();
  const n = out.text(name);
  return queue(proxy_register_shared_queue(out.at(0), n, number()));
}

/**
 * A shared queue that another plugin registered, with that vmId, "" for the plugin's own
 * (proxy_resolve_shared_queue); ErrNotFound: there is none.
 */
export function resolveQueue(vmID: string, name: string): Result<Queue> {
  out.clear();
  const n = out.text(vmID);
  const m = out.text(name);
  return queue(proxy_resolve_shared_queue(out.at(0), n, out.at(n), m, number()));
}

function queue(code: u32): Result<Queue> {
  return code == 0 ? ok<Queue>(new Queue(gotNumber())) : failed<Queue>(statusOf(code));
}
