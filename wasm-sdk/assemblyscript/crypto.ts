import { foreign } from "./host";
import { callLater } from "./httpcall";
import { gotAt, gotBytes, gotSize } from "./memory";
import { CallError, ErrBadArgument, ErrResultMismatch, Result, Status, failed, failure, ok, statusOf } from "./status";
import { bytesAt, out, textAt } from "./wire";

/** How a key is written. */
export enum KeyFormat {
  /** A secret's bytes. */
  Raw = 0,
  /** RFC 7517, a key and no set. */
  JWK = 1,
  /** A public key, a certificate or a private key. */
  PEM = 2,
}

/** A key that the proxy holds, for one algorithm alone. */
export class Key {
  constructor(private readonly id: u32) {}

  /** Has the proxy forget the key. */
  delete(): void {
    out.clear();
    out.u32(this.id);
    foreign("penstock.crypto_key_delete", out.at(0), out.length);
  }

  /** Whether a signature, in the form of JWS (RFC 7515), is that of message. */
  verify(signature: Uint8Array, message: Uint8Array): Result<bool> {
    const code = this.call("penstock.crypto_verify", signature, message);
    if (code != 0) return failed<bool>(statusOf(code));
    return ok<bool>(gotSize() == 1 && load<u8>(gotAt()) == 1);
  }

  /** The signature of message in the form of JWS. */
  sign(message: Uint8Array): Result<Uint8Array> {
    const code = this.call("penstock.crypto_sign", null, message);
    return code == 0 ? ok<Uint8Array>(gotBytes()) : failed<Uint8Array>(statusOf(code));
  }

  /**
   * Encrypts data so that open alone can read it and nobody can change it; beside, which may
   * be empty, is not in the result and has to be the same for open. The key is for A128GCM or
   * A256GCM.
   */
  seal(data: Uint8Array, beside: Uint8Array): Result<Uint8Array> {
    const code = this.call("penstock.crypto_seal", beside, data);
    return code == 0 ? ok<Uint8Array>(gotBytes()) : failed<Uint8Array>(statusOf(code));
  }

  /** What seal was given; see Opened. */
  open(sealed: Uint8Array, beside: Uint8Array): Result<Opened> {
    const code = this.call("penstock.crypto_open", beside, sealed);
    if (code != 0) return failed<Opened>(statusOf(code));
    const n = gotSize();
    if (n == 0) return failed<Opened>(ErrResultMismatch);
    const right = load<u8>(gotAt()) == 1;
    return ok<Opened>(new Opened(right, bytesAt(gotAt() + 1, right ? n - 1 : 0)));
  }

  /** Calls a function of this key with a text and data. */
  private call(name: string, text: Uint8Array | null, data: Uint8Array): u32 {
    out.clear();
    out.u32(this.id);
    if (text && !out.raw16(text)) return ErrBadArgument.code;
    out.raw(data);
    return foreign(name, out.at(0), out.length);
  }
}

/** What came of Key.open. */
export class Opened {
  constructor(
    /** Nothing was changed, and the key is the same. */
    readonly right: bool,
    /** Empty if it is not right. */
    readonly data: Uint8Array,
  ) {}
}

/**
 * Has the proxy read a key for an algorithm: RS256, RS384, RS512, PS256, PS384, PS512, ES256,
 * ES384, ES512, EdDSA, HS256, HS384, HS512, A128GCM or A256GCM (RFC 7518, RFC 8037). A key
 * that is not for it is refused, with the proxy's word on why; what a token says of its
 * algorithm cannot change that. A filter may hold 512 keys on an instance. It needs the
 * capability crypto: without it, and elsewhere than in Penstock, it fails with an ErrHost.
 */
export function newKey(algorithm: string, format: KeyFormat, key: Uint8Array): Result<Key> {
  out.clear();
  out.text16(algorithm);
  out.u8(<u8>format);
  out.raw(key);
  const code = foreign("penstock.crypto_key", out.at(0), out.length);
  if (code != 0) return failed<Key>(statusOf(code));
  const n = gotSize();
  if (n < 4) return failed<Key>(ErrResultMismatch);
  const id = load<u32>(gotAt());
  return id != 0 ? ok<Key>(new Key(id)) : failed<Key>(new Error(textAt(gotAt() + 4, n - 4)));
}

/** A digest: sha1, sha256, sha384 or sha512. It needs the capability crypto. */
export function hash(name: string, data: Uint8Array): Result<Uint8Array> {
  out.clear();
  out.text16(name);
  out.raw(data);
  const code = foreign("penstock.crypto_hash", out.at(0), out.length);
  return code == 0 ? ok<Uint8Array>(gotBytes()) : failed<Uint8Array>(statusOf(code));
}

class Checking<T> {
  constructor(readonly self: T, readonly answered: (self: T, right: bool, err: CallError | null) => void) {}
}

/** What checkPassword knows at once. */
export class Checked {
  constructor(
    /** The answer is there; else it comes later. */
    readonly now: bool,
    readonly right: bool,
  ) {}
}

/**
 * Compares a password with its hash: bcrypt, or argon2id in the PHC string format. now: the
 * answer is there. Else answered is called once, as that of httpCall is. It needs the
 * capability crypto. It fails with ErrParse for a hash that cannot be read, and with
 * ErrInternal if too many passwords wait.
 */
export function checkPassword<T>(hash: string, password: Uint8Array, self: T, answered: (self: T, right: bool, err: CallError | null) => void): Result<Checked> {
  out.clear();
  out.text16(hash);
  out.raw(password);
  const begun = callLater<Checking<T>>("penstock.crypto_password", new Checking<T>(self, answered), (c: Checking<T>, b: Uint8Array | null, err: CallError | null) => {
    c.answered(c.self, b != null && b.length == 1 && b[0] == 1, err);
  });
  const err = begun.err;
  if (err) return failed<Checked>(err);
  const b = begun.value;
  return ok<Checked>(new Checked(b != null, b != null && b.length == 1 && b[0] == 1));
}
