import { Writer, textAt } from "./wire";

/**
 * Writes a list as Proxy-Wasm has it: count, sizes, then each name and value followed by
 * a NUL; of an empty one nothing. It returns how many bytes that were.
 */
export function writePairs(w: Writer, pairs: string[][]): i32 {
  const begin = w.length;
  const count = pairs.length;
  if (count == 0) return 0;
  w.u32(count);
  for (let i = 0; i < 2 * count; i++) w.u32(0);
  for (let i = 0; i < count; i++) {
    const pair = unchecked(pairs[i]);
    if (pair.length != 2) throw new Error("a field is a name and a value");
    for (let k = 0; k < 2; k++) {
      w.setU32(begin + 4 + 8 * i + 4 * k, w.text(pair[k]));
      w.u8(0);
    }
  }
  return w.length - begin;
}

/** The inverse; null if the bytes are not well formed. */
export function readPairs(at: usize, n: i32): string[][] | null {
  if (n < 4) return null;
  const count = load<u32>(at);
  if (count > <u32>(n - 4) / 10) return null; // two sizes and two NULs each
  const end = at + <usize>n;
  let sizes = at + 4;
  let from = sizes + 8 * <usize>count;
  const pairs = new Array<string[]>(count);
  for (let i: u32 = 0; i < count; i++) {
    const pair = new Array<string>(2);
    for (let k = 0; k < 2; k++) {
      const size = load<u32>(sizes);
      sizes += 4;
      if (<usize>size >= end - from) return null;
      pair[k] = textAt(from, size);
      from += size + 1;
    }
    pairs[i] = pair;
  }
  return pairs;
}
