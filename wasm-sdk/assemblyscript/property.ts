import { addressAt, parseAddress } from "./address";
import { gotAt, gotBytes, gotSize, gotText, place, size } from "./memory";
import { ErrNotFound, Status, failure } from "./status";
import { Duration, Time } from "./time";
import { out, readBool, readInt } from "./wire";

// @ts-ignore: decorator
@external("env", "proxy_get_property")
declare function proxy_get_property(path: usize, n: i32, p: usize, size: usize): u32;

// @ts-ignore: decorator
@external("env", "proxy_set_property")
declare function proxy_set_property(path: usize, n: i32, value: usize, m: i32): u32;

function get(path: string[]): u32 {
  out.clear();
  const n = out.path(path);
  return proxy_get_property(out.at(0), n, place(), size());
}

function found(path: string[]): bool {
  return get(path) == 0;
}

/**
 * A property by its path, such as ["source", "address"], as the proxy has it
 * (proxy_get_property); null: there is none. A path that is a constant outside of
 * functions is made only once.
 */
export function property(path: string[]): Uint8Array | null {
  return found(path) ? gotBytes() : null;
}

/** A property that is a text, such as ["request", "protocol"]. */
export function propertyString(path: string[]): string | null {
  return found(path) ? gotText() : null;
}

/**
 * A property that is a number, such as ["source", "port"]; otherwise if there is none, or
 * if it is no number. It allocates nothing, as the ones below.
 */
export function propertyInt(path: string[], otherwise: i64 = 0): i64 {
  if (!found(path)) return otherwise;
  const n = gotSize();
  return readInt(gotAt(), n, otherwise);
}

/** A property that is true or false, such as ["connection", "mtls"], as propertyInt. */
export function propertyBool(path: string[], otherwise: bool = false): bool {
  if (!found(path)) return otherwise;
  const n = gotSize();
  return readBool(gotAt(), n, otherwise);
}

/** A property that is a time, such as ["request", "time"], as propertyInt. */
export function propertyTime(path: string[], otherwise: Time = 0): Time {
  return propertyInt(path, otherwise);
}

/** A property that is a time span, such as ["request", "duration"], as propertyInt. */
export function propertyDuration(path: string[], otherwise: Duration = 0): Duration {
  return propertyInt(path, otherwise);
}

const clientPath = ["penstock", "client_address"];
const sourcePath = ["source", "address"];

/**
 * The client's address in network order, as the proxy knows it: 4 bytes, IPv4, also where it
 * came as IPv6 ("::ffff:192.0.2.7"), or 16; null: the proxy does not know it. Penstock has a
 * property of it, ["penstock", "client_address"]; of a proxy that has none it is the address
 * in ["source", "address"]. The bytes are what is allocated.
 */
export function clientAddress(): Uint8Array | null {
  const code = get(clientPath);
  if (code == 0) {
    const n = gotSize();
    return addressAt(gotAt(), n);
  }
  // Only a proxy that has no such property leaves it to the source: one that has it, and
  // nothing in it, does not know the client, and the source is a proxy before it.
  if (code != ErrNotFound.code || !found(sourcePath)) return null;
  const n = gotSize();
  return parseAddress(gotAt(), n);
}

/**
 * Keeps a value for the rest of the exchange (proxy_set_property): this plugin and the
 * others of the exchange read it by property with the same path. It fails with ErrNotFound
 * where there is no exchange.
 */
export function setProperty(path: string[], value: Uint8Array): Status | null {
  out.clear();
  const n = out.path(path);
  return failure(proxy_set_property(out.at(0), n, value.dataStart, value.length));
}
