import { Duration, Millisecond } from "./time";

const room = 4 << 10; // bytes, of what is kept
const kept = 64 << 10;

/** Bytes in the making; all numbers are little endian. */
export class Writer {
  private bytes: ArrayBuffer = new ArrayBuffer(room);
  length: i32 = 0;

  /** Begins anew. Room that an unusually large one took is given back. */
  clear(): void {
    this.length = 0;
    if (this.bytes.byteLength > kept) this.bytes = new ArrayBuffer(room);
  }

  /** The address of a byte, until the next one is written. */
  at(i: i32): usize {
    return changetype<usize>(this.bytes) + <usize>i;
  }

  /** Makes room, and returns the address of the next byte. */
  private grow(n: i64): usize {
    const need = <i64>this.length + n;
    const have = this.bytes.byteLength;
    if (need > have) {
      if (need > 1 << 29) throw new Error("an argument is too large");
      const larger = new ArrayBuffer(max(<i32>need, 2 * have));
      memory.copy(changetype<usize>(larger), changetype<usize>(this.bytes), this.length);
      this.bytes = larger;
    }
    return this.at(this.length);
  }

  u8(n: u8): void {
    store<u8>(this.grow(1), n);
    this.length++;
  }

  u16(n: u16): void {
    store<u16>(this.grow(2), n);
    this.length += 2;
  }

  u32(n: u32): void {
    store<u32>(this.grow(4), n);
    this.length += 4;
  }

  /** Writes over a number. */
  setU32(i: i32, n: u32): void {
    store<u32>(this.at(i), n);
  }

  raw(b: Uint8Array): void {
    memory.copy(this.grow(b.length), b.dataStart, b.length);
    this.length += b.length;
  }

  /** Writes a text in UTF-8, and returns how many bytes that were; see encode. */
  text(s: string): i32 {
    const n = encode(s, s.length, this.grow(3 * <i64>s.length));
    this.length += n;
    return n;
  }

  /** Writes a text behind its length in 16 bits, and returns the length. */
  text16(s: string): i32 {
    const i = this.length;
    this.u16(0);
    const n = this.text(s);
    store<u16>(this.at(i), n);
    return n;
  }

  /** Writes bytes behind their length in 16 bits; false: they are more. */
  raw16(b: Uint8Array): bool {
    if (b.length > <i32>u16.MAX_VALUE) return false;
    this.u16(<u16>b.length);
    this.raw(b);
    return true;
  }

  u64(n: u64): void {
    store<u64>(this.grow(8), n);
    this.length += 8;
  }

  /** Writes a property's path: its segments with a NUL between them. */
  path(segments: string[]): i32 {
    const begin = this.length;
    for (let i = 0; i < segments.length; i++) {
      if (i > 0) this.u8(0);
      this.text(unchecked(segments[i]));
    }
    return this.length - begin;
  }

  /** What was written, from there on. */
  take(from: i32 = 0): Uint8Array {
    return bytesAt(this.at(from), this.length - from);
  }
}

/**
 * Writes the first units of a text in UTF-8, where there are three bytes of room for each,
 * and returns how many bytes that were. The units U+DC80 to U+DCFF that textAt makes of
 * bytes become these bytes again; other surrogates that are alone become U+FFFD.
 */
export function encode(s: string, units: i32, begin: usize): i32 {
  const end = changetype<usize>(s) + (<usize>units << 1);
  let to = begin;
  for (let from = changetype<usize>(s); from < end; from += 2) {
    let c = <u32>load<u16>(from);
    if (c < 0x80) {
      store<u8>(to++, c);
      continue;
    }
    if (c < 0x800) {
      store<u8>(to, 0xc0 | c >> 6);
      store<u8>(to, 0x80 | c & 0x3f, 1);
      to += 2;
      continue;
    }
    if ((c & 0xf800) == 0xd800) {
      const next = from + 2 < end ? <u32>load<u16>(from, 2) : 0;
      if (c < 0xdc00 && (next & 0xfc00) == 0xdc00) {
        c = 0x10000 + ((c & 0x3ff) << 10 | next & 0x3ff);
        store<u8>(to, 0xf0 | c >> 18);
        store<u8>(to, 0x80 | c >> 12 & 0x3f, 1);
        store<u8>(to, 0x80 | c >> 6 & 0x3f, 2);
        store<u8>(to, 0x80 | c & 0x3f, 3);
        to += 4;
        from += 2;
        continue;
      }
      if (c >= 0xdc80 && c <= 0xdcff) {
        store<u8>(to++, c);
        continue;
      }
      c = 0xfffd;
    }
    store<u8>(to, 0xe0 | c >> 12);
    store<u8>(to, 0x80 | c >> 6 & 0x3f, 1);
    store<u8>(to, 0x80 | c & 0x3f, 2);
    to += 3;
  }
  return <i32>(to - begin);
}

/** A copy of bytes. */
export function bytesAt(at: usize, n: i32): Uint8Array {
  const b = new Uint8Array(n);
  memory.copy(b.dataStart, at, n);
  return b;
}

/**
 * Reads UTF-8, strictly. Each byte that is no part of any becomes the unit U+DC00 + byte,
 * a surrogate that is alone: so that nothing is lost, and nothing looks like ASCII that
 * is not.
 */
export function textAt(at: usize, n: i32): string {
  if (n == 0) return "";
  const end = at + <usize>n;
  const s = changetype<string>(__new(<usize>n << 1, idof<string>()));
  const begin = changetype<usize>(s);
  let to = begin;
  while (at < end) {
    const c = <u32>load<u8>(at);
    if (c < 0x80) {
      store<u16>(to, c);
      to += 2;
      at++;
      continue;
    }
    const left = end - at;
    let rune: u32 = 0;
    let size = 0;
    if (c >= 0xc2 && c < 0xe0) {
      if (left >= 2 && more(at, 1)) {
        rune = (c & 0x1f) << 6 | low(at, 1);
        size = 2;
      }
    } else if (c >= 0xe0 && c < 0xf0) {
      if (left >= 3 && more(at, 1) && more(at, 2)) {
        rune = (c & 0xf) << 12 | low(at, 1) << 6 | low(at, 2);
        if (rune >= 0x800 && (rune & 0xf800) != 0xd800) size = 3;
      }
    } else if (c >= 0xf0 && c < 0xf5) {
      if (left >= 4 && more(at, 1) && more(at, 2) && more(at, 3)) {
        rune = (c & 7) << 18 | low(at, 1) << 12 | low(at, 2) << 6 | low(at, 3);
        if (rune >= 0x10000 && rune < 0x110000) size = 4;
      }
    }
    if (size == 0) {
      rune = 0xdc00 | c;
      size = 1;
    }
    at += size;
    if (rune < 0x10000) {
      store<u16>(to, rune);
      to += 2;
    } else {
      rune -= 0x10000;
      store<u16>(to, 0xd800 | rune >> 10);
      store<u16>(to, 0xdc00 | rune & 0x3ff, 2);
      to += 4;
    }
  }
  return to == begin + (<usize>n << 1) ? s : changetype<string>(__renew(begin, to - begin));
}

// @ts-ignore: decorator
@inline
function more(at: usize, i: usize): bool {
  return (load<u8>(at + i) & 0xc0) == 0x80;
}

// @ts-ignore: decorator
@inline
function low(at: usize, i: usize): u32 {
  return <u32>load<u8>(at + i) & 0x3f;
}

/** Bytes as text: UTF-8; what is none stays too, and becomes these bytes again. */
export function text(b: Uint8Array): string {
  return textAt(b.dataStart, b.length);
}

/** A text's bytes, in UTF-8: text's inverse. */
export function bytes(s: string): Uint8Array {
  out.clear();
  out.text(s);
  return out.take();
}

/** Arguments of host functions, which run one at a time. */
export const out: Writer = new Writer();

/** An integer, a time or a duration: 8 bytes. */
export function readInt(at: usize, n: i32, otherwise: i64): i64 {
  return n == 8 ? load<i64>(at) : otherwise;
}

/** A truth value: one byte. */
export function readBool(at: usize, n: i32, otherwise: bool): bool {
  return n == 1 ? load<u8>(at) != 0 : otherwise;
}

/**
 * A time as the ABI has it, rounded up, so that what is more than nothing stays so; -1 if
 * it is negative, or beyond 24 days.
 */
export function milliseconds(d: Duration): i32 {
  let ms = d / Millisecond;
  if (d % Millisecond > 0) ms++;
  return d < 0 || ms > i32.MAX_VALUE ? -1 : <i32>ms;
}
