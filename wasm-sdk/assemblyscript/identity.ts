import { foreign } from "./host";
import { gotAt, gotSize } from "./memory";
import { ErrBadArgument, ErrResultMismatch, ErrUnimplemented, Result, Status, failed, failure, ok, statusOf } from "./status";
import { Writer, bytesAt, out, textAt } from "./wire";

// Bounds of what a consumer is looked up by, in bytes of UTF-8; each text has one at least.
export const MaxCredentialType = 64;
export const MaxCredentialLookup = 4 << 10;
export const MaxConsumerNamespaces = 16; // beside the plugin's own

const maxNamespace = 63;

// Flags of consumer_find.
const uses: u8 = 1;
const quiet: u8 = 2; // nothing is returned

/** Who sent a request. */
export class Identity {
  constructor(
    /** Its name, which is unique in its namespace. */
    readonly username: string,
    /** What it belongs to. */
    readonly groups: string[],
    /**
     * What the request is to be checked by, if it was found: what that is, a NUL, and the
     * bytes; nothing for key-auth. It is secret.
     */
    readonly data: Uint8Array,
  ) {}
}

/**
 * The consumer that has a credential: one of a kind, as "key-auth", that is looked up by a
 * text, as the key itself. It is looked for in the plugin's own namespace, then in
 * namespaces, whose ReferenceGrants have to permit it. ErrNotFound: there is none. It needs
 * the capability consumer: ErrInternal without it; elsewhere than in Penstock
 * ErrUnimplemented, and the plugin has to know who there is by itself.
 */
export function findConsumer(kind: string, lookup: string, namespaces: string[] = []): Result<Identity> {
  const code = find(0, kind, lookup, namespaces);
  return code == 0 ? answered() : failed<Identity>(statusOf(code));
}

/**
 * Makes the consumer that findConsumer returned last in this exchange the one who sent the
 * request: for the filters that come later, the log and the headers that the Service gets.
 * To be called once the request has shown what it has to, before its headers go on: later
 * it is ErrBadArgument. It fails as findConsumer does.
 */
export function useConsumer(): Status | null {
  return failure(penstock(foreign("penstock.consumer_use", 0, 0)));
}

/**
 * findConsumer and useConsumer at once, for a credential that nothing is left to be checked
 * of. If it fails nobody is known to have sent the request.
 */
export function identifyConsumer(kind: string, lookup: string, namespaces: string[] = []): Status | null {
  return failure(find(uses | quiet, kind, lookup, namespaces));
}

/**
 * Who sent the request, as plugins before this one have found out. ErrNotFound: nobody has;
 * ErrUnimplemented elsewhere than in Penstock. It needs no capability.
 */
export function currentConsumer(): Result<Identity> {
  const code = penstock(foreign("penstock.consumer_get", 0, 0));
  return code == 0 ? answered() : failed<Identity>(statusOf(code));
}

/**
 * Says what a token holds of who sent the request, a JSON object of at most 16 KiB, once it
 * has been checked: later plugins read it as property(["penstock", "claims"]), and
 * expressions as claims. Otherwise it is as useConsumer; a request of which there are claims
 * counts as one of somebody for the cache too.
 */
export function setClaims(json: Uint8Array): Status | null {
  return failure(penstock(foreign("penstock.set_claims", json.dataStart, json.length)));
}

function answered(): Result<Identity> {
  const n = gotSize();
  const who = readIdentity(gotAt(), n);
  return who ? ok<Identity>(who) : failed<Identity>(ErrResultMismatch);
}

function find(flags: u8, kind: string, lookup: string, namespaces: string[]): u32 {
  out.clear();
  if (!writeFind(out, flags, kind, lookup, namespaces)) return ErrBadArgument.code;
  return penstock(foreign("penstock.consumer_find", out.at(0), out.length));
}

/**
 * Writes the argument of consumer_find: flags, the kind and the lookup with their lengths
 * before them in 16 bits, a list of namespaces; false: it passes a bound.
 */
export function writeFind(w: Writer, flags: u8, kind: string, lookup: string, namespaces: string[]): bool {
  w.u8(flags);
  if (!fits(w.text16(kind), MaxCredentialType) || !fits(w.text16(lookup), MaxCredentialLookup) || namespaces.length > MaxConsumerNamespaces) return false;
  w.u8(<u8>namespaces.length);
  for (let i = 0; i < namespaces.length; i++) {
    if (!fits(w.text16(unchecked(namespaces[i])), maxNamespace)) return false;
  }
  return true;
}

function fits(length: i32, most: i32): bool {
  return length > 0 && length <= most;
}

/** Where readText has read to; 0: it could not. */
let at: usize = 0;

/**
 * Reads what the proxy returns: the username and a list of groups, each text with its length
 * before it in 16 bits and the list's in 8; then the data. null: it is malformed.
 */
export function readIdentity(begin: usize, n: i32): Identity | null {
  const end = begin + <usize>n;
  at = begin;
  const username = readText(end);
  if (at == 0 || at >= end) return null;
  const count = load<u8>(at++);
  const groups = new Array<string>();
  for (let i: u8 = 0; i < count; i++) {
    groups.push(readText(end));
    if (at == 0) return null;
  }
  return new Identity(username, groups, bytesAt(at, <i32>(end - at)));
}

function readText(end: usize): string {
  const from = at;
  at = 0;
  if (end - from < 2) return "";
  const n = <usize>load<u16>(from);
  if (end - from - 2 < n) return "";
  at = from + 2 + n;
  return textAt(from + 2, <i32>n);
}

/** The proxy is Penstock: it has these functions. */
let here = false;

/**
 * Tells what was not found from a function that is not there: what a proxy that does not
 * have it says too.
 */
function penstock(code: u32): u32 {
  if (code != 1 || here) return code;
  out.clear();
  out.u8(0); // no argument of it
  if (foreign("penstock.consumer_get", out.at(0), out.length) != ErrBadArgument.code) return ErrUnimplemented.code;
  here = true;
  return code;
}
