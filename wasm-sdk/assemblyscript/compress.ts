import { Buffer, RequestBody, ResponseBody } from "./buffer";
import { foreign } from "./host";
import { ErrBadArgument, Status, failure } from "./status";
import { out } from "./wire";

function wayOf(body: Buffer): i32 {
  return body === RequestBody ? 0 : body === ResponseBody ? 1 : -1;
}

/**
 * Has RequestBody or ResponseBody encoded by the proxy, in its header callback or while that
 * pauses: with "gzip", "br" or "zstd", at a level from 1, which is fast, to 9, or 0 for the
 * coding's default. The proxy changes the fields that speak of the content once the headers
 * go on, and makes no callbacks of the stream for that body and its trailers. It fails with
 * ErrNotFound for another coding, with ErrEmpty where there is no body, with ErrInternal when
 * encoders take as much memory as they may, and without the capability compress; with
 * ErrBadArgument at another time, for a part (206) and for what was encoded or decoded by
 * this plugin before.
 */
export function encodeBody(body: Buffer, coding: string, level: i32 = 0): Status | null {
  const way = wayOf(body);
  if (way < 0 || level < 0 || level > 9) return ErrBadArgument;
  out.clear();
  out.u8(<u8>way);
  out.u8(<u8>level);
  out.text(coding);
  return failure(foreign("penstock.encode_body", out.at(0), out.length));
}

/**
 * Has a body decoded, as encodeBody: by what Content-Encoding says, or by codings, the
 * outermost first and with commas between them, of "gzip", "deflate", "br" and "zstd". A
 * request whose body becomes longer than limit bytes is answered with 413, and with 400 if it
 * is not what its coding makes; a response with 502, or cut short. ErrEmpty also says that
 * nothing is encoded.
 */
export function decodeBody(body: Buffer, limit: i64, codings: string = ""): Status | null {
  const way = wayOf(body);
  if (way < 0 || limit <= 0) return ErrBadArgument;
  out.clear();
  out.u8(<u8>way);
  out.u64(limit);
  out.text(codings);
  return failure(foreign("penstock.decode_body", out.at(0), out.length));
}
