// What host functions return: numbers, and bytes in memory that the host asks for.
import { bytesAt, textAt } from "./wire";

// @ts-ignore: decorator
@inline
const room = 8 << 10; // bytes

/**
 * Where the host puts what a host function returns. One host function returns one block,
 * read before the next call, so that one block is enough; a larger one than usual is
 * handed on, or dropped.
 */
let block: ArrayBuffer = new ArrayBuffer(room);

// Where host functions leave their results: a place, a size, and numbers beside them.
const results: usize = memory.data(24, 8);

/** Room for a host function's result; 0: there is none. */
export function allocate(size: u32): usize {
  if (size > 1 << 29) return 0;
  if (size > <u32>block.byteLength) block = new ArrayBuffer(size);
  return changetype<usize>(block);
}

/** Where the host function that is called next leaves the place of its result. */
export function place(): usize {
  store<u64>(results, 0); // hosts may leave out what is empty
  return results;
}

/** Where it leaves the size. */
// @ts-ignore: decorator
@inline
export function size(): usize {
  return results + 4;
}

/** Where it leaves a number of 32 bits. */
export function number(): usize {
  store<u32>(results, 0, 8);
  return results + 8;
}

/** Where it leaves a number of 64 bits. */
export function wide(): usize {
  store<u64>(results, 0, 16);
  return results + 16;
}

/** The number of 32 bits that the last host function left. */
export function gotNumber(): u32 {
  return load<u32>(results, 8);
}

/** The number of 64 bits that the last host function left. */
export function gotWide(): u64 {
  return load<u64>(results, 16);
}

/** How many bytes came, all of them in the block: what else a host says is a trap. */
function came(): i32 {
  const n = load<u32>(results, 4);
  if (n > 0 && (load<usize>(results) != changetype<usize>(block) || n > <u32>block.byteLength)) {
    throw new Error("the proxy returns memory that it was not given");
  }
  return n;
}

/** Drops a block that is larger than usual. */
function settle(): void {
  if (block.byteLength > room) block = new ArrayBuffer(room);
}

/** The bytes that came; they are the caller's. */
export function gotBytes(): Uint8Array {
  const n = came();
  if (n <= room) {
    const b = bytesAt(changetype<usize>(block), n);
    settle();
    return b;
  }
  const b = Uint8Array.wrap(block, 0, n);
  block = new ArrayBuffer(room);
  return b;
}

/** The text that came. */
export function gotText(): string {
  const n = came();
  const s = textAt(changetype<usize>(block), n);
  settle();
  return s;
}

/** How many bytes are at gotAt, until the next host function is called. */
export function gotSize(): i32 {
  return came();
}

/** Where the bytes are that came. */
export function gotAt(): usize {
  return changetype<usize>(block);
}

/** The address of bytes, as host functions read them; they keep none. */
export function at(b: Uint8Array | null): usize {
  return b ? b.dataStart : 0;
}

/** How many bytes these are. */
export function lengthOf(b: Uint8Array | null): i32 {
  return b ? b.length : 0;
}
