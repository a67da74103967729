//! What requests are counted under.

use std::net::{IpAddr, SocketAddr};

use penstock as sdk;
use sdk::{Bytes, REQUEST_HEADER};

use crate::config::{By, Limit};

/// A header field with more is as good as none: it would be a client's to make keys with.
const MAX_VALUE: usize = 256;

/// Appends the key of the request at hand to dst: each part with its kind and its length,
/// so that no two different requests can have the same one.
pub fn append(dst: &mut Vec<u8>, limit: &Limit) {
    for by in &limit.by {
        match by {
            By::All => part(dst, b'*', b""),
            By::Address => address(dst, limit),
            By::Route => part(dst, b'r', &property(&["xds", "route_name"])),
            By::Header(name) => match REQUEST_HEADER.get(name) {
                Some(value) if value.len() <= MAX_VALUE => part(dst, b'h', &value),
                _ => address(dst, limit),
            },
            By::Consumer => match sdk::current_consumer() {
                Ok(c) => part(dst, b'c', c.username().as_bytes()),
                Err(_) => address(dst, limit),
            },
        }
    }
}

fn property(path: &[&str]) -> Bytes {
    sdk::property(path).unwrap_or_default()
}

/// No part is of more than 400 bytes, so that a key of four is within its bounds.
fn part(dst: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let value = &value[..value.len().min(400)];
    dst.push(kind);
    dst.extend_from_slice(&(value.len() as u16).to_le_bytes());
    dst.extend_from_slice(value);
}

/// Appends the client's address, of an IPv6 one its network. One that cannot be read is
/// counted as it is written, and none with the others that have none.
fn address(dst: &mut Vec<u8>, limit: &Limit) {
    let text = match REQUEST_HEADER.get("x-forwarded-for") {
        // The proxy leaves the field there only if a trusted one sent it, and its last
        // address is the client's as that one saw it.
        Some(field) if !field.is_empty() => last(&field).to_vec(),
        _ => property(&["source", "address"]).to_vec(),
    };
    match parse(&text) {
        Some(IpAddr::V4(a)) => part(dst, b'4', &a.octets()),
        Some(IpAddr::V6(a)) => {
            let mask = u128::MAX << (128 - u32::from(limit.ipv6_prefix));
            part(dst, b'6', &(u128::from(a) & mask).to_be_bytes());
        }
        None => part(dst, b'?', &text),
    }
}

/// Returns the last element of a list.
fn last(list: &[u8]) -> &[u8] {
    list.rsplit(|b| *b == b',')
        .next()
        .unwrap_or_default()
        .trim_ascii()
}

/// Reads an address, with or without a port; an IPv4 one that is mapped is an IPv4 one.
pub fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = text
        .parse::<SocketAddr>()
        .map(|a| a.ip())
        .or_else(|_| text.parse::<IpAddr>())
        .ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, want) in [
            ("203.0.113.9:4711", Some("203.0.113.9")),
            ("203.0.113.9", Some("203.0.113.9")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[::ffff:203.0.113.9]:80", Some("203.0.113.9")),
            ("", None),
            ("unix", None),
            ("203.0.113.9:99999", None),
        ] {
            let got = parse(text.as_bytes()).map(|a| a.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
        assert_eq!(parse(b"\xff"), None);
        assert_eq!(
            (last(b"a, b"), last(b"a"), last(b""), last(b"a,")),
            (&b"b"[..], &b"a"[..], &b""[..], &b""[..])
        );
    }
}
