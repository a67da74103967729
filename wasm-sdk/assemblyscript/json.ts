import { textAt } from "./wire";

/** What a JSON value is. */
export enum Kind {
  Absent,
  Null,
  Bool,
  Number,
  Text,
  List,
  Object,
}

/** A JSON value. */
export class JSONValue {
  kind: Kind = Kind.Absent;
  truth: bool = false;
  /** Of a text; of a number, as it is written. */
  text: string = "";
  /** Of an object, the names of its fields. */
  names: string[] = [];
  /** Of an object, the values of its fields; of a list, its elements. */
  values: JSONValue[] = [];
}

// @ts-ignore: decorator
@inline
const depth = 64; // of values within others

/** Reads JSON (RFC 8259), strictly. */
export class JSONReader {
  private readonly begin: usize;
  private readonly end: usize;
  private at: usize;

  constructor(private readonly source: Uint8Array) { // which is kept alive
    this.begin = this.at = source.dataStart;
    this.end = source.dataStart + source.length;
  }

  /** The value that comes next; null: there is none, and offset says where. */
  value(): JSONValue | null {
    return this.nested(depth);
  }

  /** Whether nothing but white space is left. */
  done(): bool {
    this.space();
    return this.at == this.end;
  }

  /** How many bytes were read, with the first that does not belong. */
  offset(): i32 {
    return <i32>(min(this.at + 1, this.end) - this.begin);
  }

  private peek(): i32 {
    return this.at < this.end ? <i32>load<u8>(this.at) : -1;
  }

  private space(): void {
    for (let c = this.peek(); c == 0x20 || c == 0x0a || c == 0x0d || c == 0x09; c = this.peek()) this.at++;
  }

  private took(c: i32): bool {
    if (this.peek() != c) return false;
    this.at++;
    return true;
  }

  private word(w: string): bool {
    for (let i = 0; i < w.length; i++) {
      if (!this.took(w.charCodeAt(i))) return false;
    }
    return true;
  }

  private nested(left: i32): JSONValue | null {
    this.space();
    const v = new JSONValue();
    let well = false;
    switch (this.peek()) {
      case 0x7b: // {
        v.kind = Kind.Object;
        well = left > 0 && this.list(v, 0x7d, left - 1);
        break;
      case 0x5b: // [
        v.kind = Kind.List;
        well = left > 0 && this.list(v, 0x5d, left - 1);
        break;
      case 0x22: { // "
        v.kind = Kind.Text;
        const s = this.text();
        if (s != null) {
          v.text = s;
          well = true;
        }
        break;
      }
      case 0x74: // t
        v.kind = Kind.Bool;
        v.truth = true;
        well = this.word("true");
        break;
      case 0x66: // f
        v.kind = Kind.Bool;
        well = this.word("false");
        break;
      case 0x6e: // n
        v.kind = Kind.Null;
        well = this.word("null");
        break;
      default: {
        v.kind = Kind.Number;
        const begin = this.at;
        well = this.number();
        v.text = textAt(begin, <i32>(this.at - begin));
      }
    }
    return well ? v : null;
  }

  /** Reads a list's elements or an object's fields, from the bracket to the one that closes. */
  private list(v: JSONValue, close: i32, left: i32): bool {
    this.at++;
    this.space();
    if (this.took(close)) return true;
    do {
      if (v.kind == Kind.Object) {
        this.space();
        const name = this.peek() == 0x22 ? this.text() : null;
        if (name == null) return false;
        this.space();
        if (!this.took(0x3a)) return false;
        v.names.push(name);
      }
      const one = this.nested(left);
      if (!one) return false;
      v.values.push(one);
      this.space();
    } while (this.took(0x2c));
    return this.took(close);
  }

  private digits(): bool {
    const begin = this.at;
    while (<u32>(this.peek() - 0x30) < 10) this.at++;
    return this.at > begin;
  }

  private number(): bool {
    this.took(0x2d);
    if (!this.took(0x30) && !this.digits()) return false;
    if (this.took(0x2e) && !this.digits()) return false;
    if (this.took(0x65) || this.took(0x45)) {
      if (!this.took(0x2b)) this.took(0x2d);
      return this.digits();
    }
    return true;
  }

  private text(): string | null {
    this.at++;
    let s = "";
    let from = this.at;
    let c = this.peek();
    for (; c >= 0x20 && c != 0x22; c = this.peek()) {
      if (c != 0x5c) {
        this.at++;
        continue;
      }
      s += textAt(from, <i32>(this.at - from));
      this.at++;
      const unit = this.escaped();
      if (unit < 0) return null;
      s += String.fromCodePoint(unit);
      from = this.at;
    }
    s += textAt(from, <i32>(this.at - from));
    return this.took(0x22) ? s : null;
  }

  /** The code point that an escape sequence means, from behind its backslash; -1: none. */
  private escaped(): i32 {
    const c = this.peek();
    if (c < 0) return -1;
    let unit = "\"\\/bfnrt".indexOf(String.fromCharCode(c));
    if (unit >= 0) {
      this.at++;
      return "\"\\/\b\f\n\r\t".charCodeAt(unit);
    }
    unit = this.hex();
    if (unit < 0 || (unit & 0xf800) != 0xd800) return unit;
    if (unit < 0xdc00 && this.peek() == 0x5c) {
      const before = this.at++;
      const low = this.hex();
      if ((low & ~0x3ff) == 0xdc00) return 0x10000 + ((unit & 0x3ff) << 10 | low & 0x3ff);
      this.at = before;
    }
    return 0xfffd;
  }

  /** What is behind "u"; -1: none. */
  private hex(): i32 {
    if (!this.took(0x75)) return -1;
    let n = 0;
    for (let i = 0; i < 4; i++) {
      const c = this.peek();
      const digit = c >= 0x30 && c <= 0x39 ? c - 0x30 : (c | 0x20) >= 0x61 && (c | 0x20) <= 0x66 ? (c | 0x20) - 0x57 : -1;
      if (digit < 0) return -1;
      n = n << 4 | digit;
      this.at++;
    }
    return n;
  }
}
