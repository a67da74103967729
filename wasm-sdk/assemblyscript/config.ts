import { JSONReader, JSONValue, Kind } from "./json";

// @ts-ignore: decorator
@inline
const unknown = "unknown field";

/** What was read since the last start, for unread. */
let configs: Config[] = [];

/**
 * A value of a configuration: what its methods read of it. A value that is not there, or
 * null, is what they are told that it is otherwise. A value that does not fit is an error,
 * as is a field that nobody read: they are told by their path, as
 * "config.keys[0].consumer", and never a value, which may be a secret.
 */
export class Config {
  private asked: bool = false;
  private misfit: string = "";
  private made: Config[] = []; // for the fields or elements, as far as they were asked for
  private readonly strangers: Config[] = []; // fields that were asked for and are not there

  /** See parseConfig. */
  constructor(private readonly value: JSONValue, private readonly path: string) {}

  /** Whether it is there, and not null. */
  present(): bool {
    this.asked = true;
    return this.value.kind > Kind.Null;
  }

  /** Refuses the configuration because of this value: why must not tell a secret. */
  refuse(why: string): void {
    if (this.misfit.length == 0) this.misfit = why;
  }

  private is(kind: Kind): bool {
    if (!this.present()) return false;
    if (this.value.kind != kind) this.refuse(named(this.value.kind) + "; want " + named(kind));
    return this.value.kind == kind;
  }

  /** The field of an object. */
  get(name: string): Config {
    const there = this.is(Kind.Object);
    const names = this.value.names;
    for (let i = 0; there && i < names.length; i++) {
      if (names[i] == name) return this.children()[i];
    }
    const missing = new Config(new JSONValue(), this.path + "." + name);
    this.strangers.push(missing);
    return missing;
  }

  /** The names of an object's fields, where they are not known before. */
  names(): string[] {
    return this.is(Kind.Object) ? this.value.names.slice(0) : [];
  }

  /** The elements of a list. */
  list(): Config[] {
    if (!this.is(Kind.List)) return [];
    const list = this.children();
    for (let i = 0; i < list.length; i++) list[i].asked = true;
    return list.slice(0);
  }

  /** The elements of a list of texts. */
  strings(): string[] {
    const list = this.list();
    const texts = new Array<string>(list.length);
    for (let i = 0; i < list.length; i++) texts[i] = list[i].string();
    return texts;
  }

  string(otherwise: string = ""): string {
    return this.is(Kind.Text) ? this.value.text : otherwise;
  }

  bool(otherwise: bool = false): bool {
    return this.is(Kind.Bool) ? this.value.truth : otherwise;
  }

  /** A whole number, from least to most. */
  int(otherwise: i64 = 0, least: i64 = i64.MIN_VALUE, most: i64 = i64.MAX_VALUE): i64 {
    if (!this.is(Kind.Number)) return otherwise;
    const text = this.value.text;
    const negative = text.charCodeAt(0) == 0x2d;
    let n: i64 = 0; // the negative of it: there is one more of these
    for (let i = negative ? 1 : 0; i < text.length; i++) {
      const digit = text.charCodeAt(i) - 0x30;
      if (<u32>digit > 9) {
        this.refuse("want a whole number");
        return otherwise;
      }
      if (n < (i64.MIN_VALUE + digit) / 10) {
        this.refuse("out of range");
        return otherwise;
      }
      n = 10 * n - digit;
    }
    if (!negative) {
      if (n == i64.MIN_VALUE) {
        this.refuse("out of range");
        return otherwise;
      }
      n = -n;
    }
    if (n >= least && n <= most) return n;
    this.refuse("out of range");
    return otherwise;
  }

  /** A number, from least to most. */
  float(otherwise: f64 = 0, least: f64 = -f64.MAX_VALUE, most: f64 = f64.MAX_VALUE): f64 {
    if (!this.is(Kind.Number)) return otherwise;
    const n = parseFloat(this.value.text);
    if (n >= least && n <= most) return n;
    this.refuse("out of range");
    return otherwise;
  }

  private children(): Config[] {
    const v = this.value;
    if (this.made.length < v.values.length) {
      for (let i = 0; i < v.values.length; i++) {
        const child = new Config(v.values[i], this.path + (v.kind == Kind.List ? "[" + i.toString() + "]" : "." + v.names[i]));
        if (v.kind == Kind.Object && v.names.indexOf(v.names[i]) < i) child.refuse("it is there twice");
        this.made.push(child);
      }
    }
    return this.made;
  }

  /**
   * What is wrong so far, of all that is within this value; null: nothing. To be asked at
   * the end, when all fields were read.
   */
  err(): Error | null {
    const faults: string[] = [];
    if (!this.asked) this.is(Kind.Object);
    this.look(faults);
    return faults.length > 0 ? new Error(faults.join("; ")) : null;
  }

  private look(faults: string[]): void {
    for (let i = 0; i < this.strangers.length; i++) this.strangers[i].look(faults);
    if (this.misfit.length > 0) {
      faults.push(this.path + ": " + this.misfit);
      return;
    }
    if (this.value.kind != Kind.Object && this.value.kind != Kind.List) return;
    const children = this.children();
    for (let i = 0; i < children.length; i++) {
      const child = children[i];
      if (!child.asked) child.refuse(unknown);
      child.look(faults);
    }
  }
}

function named(kind: Kind): string {
  switch (kind) {
    case Kind.Bool: return "true or false";
    case Kind.Number: return "a number";
    case Kind.Text: return "a text";
    case Kind.List: return "a list";
    default: return "an object";
  }
}

/**
 * Reads a configuration, a JSON value; no text at all is an object without fields. It is
 * strict: what is wrong, and what nobody read, is in its err, which configure returns. If
 * configure forgets to, the configuration is refused all the same.
 */
export function parseConfig(text: Uint8Array): Config {
  const r = new JSONReader(text);
  let config: Config;
  if (r.done()) {
    config = new Config(new JSONValue(), "config");
  } else {
    const v = r.value();
    config = new Config(v ? v : new JSONValue(), "config");
    if (!v) {
      config.refuse("no JSON: at byte " + r.offset().toString());
    } else if (!r.done()) {
      config.refuse("more follows the JSON value");
    }
  }
  configs.push(config);
  return config;
}

/** What is wrong with the configurations that were parsed since it was last asked. */
export function unread(): Error | null {
  const list = configs;
  configs = [];
  for (let i = 0; i < list.length; i++) {
    const err = list[i].err();
    if (err) return err;
  }
  return null;
}
