//! Content codings, which the proxy puts on bodies and takes away.

use crate::memory::with_room;
use crate::{Buffer, REQUEST_BODY, RESPONSE_BODY, Status, call_foreign};

/// Returns which message a body is of.
fn way(body: Buffer) -> Result<u8, Status> {
    match body {
        REQUEST_BODY => Ok(0),
        RESPONSE_BODY => Ok(1),
        _ => Err(Status::BadArgument),
    }
}

/// Has REQUEST_BODY or RESPONSE_BODY encoded by the proxy, in its header callback or while
/// that pauses: with "gzip", "br" or "zstd", at a level from 1, which is fast, to 9, or 0 for
/// the coding's default. The proxy changes the fields that speak of the content once the
/// headers go on, and makes no callbacks of the stream for that body and its trailers. It
/// fails with Status::NotFound for another coding, with Status::Empty where there is no body,
/// with Status::Internal when encoders take as much memory as they may, and without the
/// capability compress; with Status::BadArgument at another time, for a part (206) and for
/// what was encoded or decoded by this plugin before.
pub fn encode_body(body: Buffer, coding: &str, level: u8) -> Result<(), Status> {
    if level > 9 {
        return Err(Status::BadArgument);
    }
    let way = way(body)?;
    with_room(|room| {
        room.extend_from_slice(&[way, level]);
        room.extend_from_slice(coding.as_bytes());
        call_foreign("penstock.encode_body", room).map(drop)
    })
}

/// Has a body decoded, as encode_body: by what Content-Encoding says, or by codings, the
/// outermost first and with commas between them, of "gzip", "deflate", "br" and "zstd". A
/// request whose body becomes longer than limit bytes is answered with 413, and with 400 if
/// it is not what its coding makes; a response with 502, or cut short. Status::Empty also says
/// that nothing is encoded.
pub fn decode_body(body: Buffer, limit: u64, codings: &str) -> Result<(), Status> {
    if limit == 0 || limit > i64::MAX as u64 {
        return Err(Status::BadArgument);
    }
    let way = way(body)?;
    with_room(|room| {
        room.push(way);
        room.extend_from_slice(&limit.to_le_bytes());
        room.extend_from_slice(codings.as_bytes());
        call_foreign("penstock.decode_body", room).map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DOWNSTREAM_DATA;

    #[test]
    fn bounds() {
        let (none, bad) = (Err(Status::Unimplemented), Err(Status::BadArgument));
        assert_eq!(encode_body(RESPONSE_BODY, "br", 9), none); // there is no proxy here
        assert_eq!(encode_body(RESPONSE_BODY, "br", 10), bad);
        assert_eq!(encode_body(DOWNSTREAM_DATA, "br", 1), bad);
        assert_eq!(decode_body(REQUEST_BODY, 1, ""), none);
        assert_eq!(decode_body(REQUEST_BODY, 0, ""), bad);
        assert_eq!(decode_body(DOWNSTREAM_DATA, 1, ""), bad);
        assert_eq!(decode_body(REQUEST_BODY, u64::MAX, ""), bad);
    }
}
