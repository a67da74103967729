//! What requests are counted under.

use std::net::IpAddr;

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

/// Appends the client's address, of an IPv6 one its network. One that is not known is
/// counted with all others that are not.
fn address(dst: &mut Vec<u8>, limit: &Limit) {
    match sdk::client_address() {
        Some(IpAddr::V4(a)) => part(dst, b'4', &a.octets()),
        Some(IpAddr::V6(a)) => {
            let mask = u128::MAX << (128 - u32::from(limit.ipv6_prefix));
            part(dst, b'6', &(u128::from(a) & mask).to_be_bytes());
        }
        None => part(dst, b'?', b""),
    }
}
