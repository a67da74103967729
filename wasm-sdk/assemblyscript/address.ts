// Addresses as proxies say them.
import { bytesAt } from "./wire";

// @ts-ignore: decorator
@inline
const colon: u8 = 0x3a;
// @ts-ignore: decorator
@inline
const dot: u8 = 0x2e;

/** Where a text's address is put together. */
const room: usize = memory.data(16, 8);

/** An address of 4 or 16 bytes; null: these are none. */
export function addressAt(at: usize, n: i32): Uint8Array | null {
  if (n == 16 && load<u64>(at) == 0 && load<u32>(at, 8) == 0xffff0000) return bytesAt(at + 12, 4);
  return n == 4 || n == 16 ? bytesAt(at, n) : null;
}

/**
 * Reads a text such as "192.0.2.7:40000" or "[2001:db8::1]:40000", also without a port, and
 * then with or without brackets; not one with a zone.
 */
export function parseAddress(at: usize, n: i32): Uint8Array | null {
  const end = at + n;
  if (n > 0 && load<u8>(at) == 0x5b) { // [
    const close = find(at, end, 0x5d);
    if (close == end || !isPort(close + 1, end) || !readV6(at + 1, close)) return null;
    return addressAt(room, 16);
  }
  const first = find(at, end, colon);
  if (first < end && find(first + 1, end, colon) < end) return readV6(at, end) ? addressAt(room, 16) : null;
  return isPort(first, end) && readV4(at, first, room) ? addressAt(room, 4) : null;
}

/** Where a byte is first; end: nowhere. */
function find(at: usize, end: usize, b: u8): usize {
  while (at < end && load<u8>(at) != b) at++;
  return at;
}

/** Says that there is nothing, or a colon and a port. */
function isPort(at: usize, end: usize): bool {
  if (at == end) return true;
  if (load<u8>(at++) != colon || at == end) return false;
  let port: u32 = 0;
  for (; at < end; at++) {
    const digit = <u32>load<u8>(at) - 0x30;
    port = 10 * port + digit;
    if (digit > 9 || port > u16.MAX_VALUE) return false;
  }
  return true;
}

function readV4(at: usize, end: usize, to: usize): bool {
  for (let i = 0; i < 4; i++) {
    if (i > 0 && (at == end || load<u8>(at++) != dot)) return false;
    const begin = at;
    let n: u32 = 0;
    for (; at < end; at++) {
      const digit = <u32>load<u8>(at) - 0x30;
      if (digit > 9) break;
      n = 10 * n + digit;
      if (n > u8.MAX_VALUE) return false;
    }
    if (at == begin || (load<u8>(begin) == 0x30 && at > begin + 1)) return false; // no digits, or too many
    store<u8>(to++, <u8>n);
  }
  return at == end;
}

/**
 * Reads what RFC 4291, section 2.2, has into room: groups, one "::" for some of zeros, and an
 * address of IPv4 for the last two.
 */
function readV6(at: usize, end: usize): bool {
  const most = room + 16;
  let to = room;
  let gap: usize = 0; // where "::" is
  if (at + 2 <= end && load<u8>(at) == colon && load<u8>(at, 1) == colon) {
    gap = to;
    at += 2;
  }
  while (at < end) {
    const begin = at;
    let n: u32 = 0;
    for (; at < end && at < begin + 4; at++) {
      const digit = hex(load<u8>(at));
      if (digit > 15) break;
      n = n << 4 | digit;
    }
    if (at < end && load<u8>(at) == dot) {
      if (to + 4 > most || !readV4(begin, end, to)) return false;
      to += 4;
      break;
    }
    if (at == begin || to == most) return false;
    store<u16>(to, bswap<u16>(<u16>n));
    to += 2;
    if (at == end) break;
    if (load<u8>(at++) != colon || at == end) return false;
    if (load<u8>(at) != colon) continue;
    if (gap != 0) return false; // it is there twice
    gap = to;
    at++;
  }
  if (gap == 0) return to == most;
  if (to == most) return false; // the gap stands for nothing
  const behind = to - gap;
  memory.copy(most - behind, gap, behind);
  memory.fill(gap, 0, most - to);
  return true;
}

/** A hexadecimal digit; more than 15: it is none. */
function hex(c: u8): u32 {
  const digit = <u32>c - 0x30;
  if (digit <= 9) return digit;
  const letter = <u32>(c | 0x20) - 0x61;
  return letter < 6 ? letter + 10 : u32.MAX_VALUE;
}
