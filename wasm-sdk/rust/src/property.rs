//! Properties of the exchange, the connection and the plugin.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::host;
use crate::memory::{returned, with_room};
use crate::status::failure;
use crate::wire::{append_path, read_bool, read_int};
use crate::{Bytes, Status};

/// Returns a property by its path, such as `&["source", "address"]`, as the proxy
/// has it (proxy_get_property).
pub fn property(path: &[&str]) -> Option<Bytes> {
    get_property(path).ok()
}

fn get_property(path: &[&str]) -> Result<Bytes, Status> {
    with_room(|room| {
        append_path(room, path);
        returned(|p, n| host::proxy_get_property(room.as_ptr(), room.len(), p, n))
    })
}

/// Returns a property that is a text, such as `&["request", "protocol"]`;
/// None also if it is none. It is the one of these that allocates.
pub fn property_string(path: &[&str]) -> Option<String> {
    property(path)?.to_str().ok().map(String::from)
}

/// Returns a property that is a number, such as `&["source", "port"]`; None
/// also if it is none.
pub fn property_int(path: &[&str]) -> Option<i64> {
    read_int(&property(path)?)
}

/// Returns a property that is true or false, such as `&["connection",
/// "mtls"]`; None also if it is neither.
pub fn property_bool(path: &[&str]) -> Option<bool> {
    read_bool(&property(path)?)
}

/// Returns a property that is a time, such as `&["request", "time"]`; None
/// also if it is none, or before 1970.
pub fn property_time(path: &[&str]) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(property_duration(path)?)
}

/// Returns a property that is a time span, such as `&["request",
/// "duration"]`; None also if it is none, or negative.
pub fn property_duration(path: &[&str]) -> Option<Duration> {
    property_int(path)?
        .try_into()
        .ok()
        .map(Duration::from_nanos)
}

/// Returns the client's address, as the proxy knows it: IPv4 also where it came as IPv6
/// ("::ffff:192.0.2.7"); None: the proxy does not know it. Penstock has a property of it,
/// `&["penstock", "client_address"]`, which is read without allocating; of a proxy that has
/// none it is the address in `&["source", "address"]`.
pub fn client_address() -> Option<IpAddr> {
    let own = get_property(&["penstock", "client_address"]);
    client(own, || property(&["source", "address"]))
}

/// Reads the proxy's own property of the address, or why there is none. Only a proxy that has
/// no such property leaves it to source: one that has it, and nothing in it, does not know
/// the client, and source is a proxy before it.
fn client(own: Result<Bytes, Status>, source: impl FnOnce() -> Option<Bytes>) -> Option<IpAddr> {
    match own {
        Ok(b) => read_address(&b),
        Err(Status::NotFound) => parse_address(source()?.to_str().ok()?),
        Err(_) => None,
    }
}

/// Reads an address of 4 or 16 bytes, in network order.
fn read_address(b: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(b) {
        return Some(v4.into());
    }
    let v6 = IpAddr::from(<[u8; 16]>::try_from(b).ok()?);
    Some(v6.to_canonical())
}

/// Reads a text such as "192.0.2.7:40000" or "[2001:db8::1]:40000", also without a port, and
/// then with or without brackets; not one with a zone.
fn parse_address(text: &str) -> Option<IpAddr> {
    if text.contains('%') {
        return None;
    }
    let bare = || text.strip_prefix('[')?.strip_suffix(']');
    let address = text.parse().map(|a: SocketAddr| a.ip());
    address
        .or_else(|_| text.parse())
        .or_else(|_| bare().unwrap_or("").parse().map(|v6: Ipv6Addr| v6.into()))
        .map(|a| a.to_canonical())
        .ok()
}

/// Keeps a value for the rest of the exchange (proxy_set_property): this
/// plugin and the others of the exchange read it by property with the same path. It fails
/// with Status::NotFound where there is no exchange.
pub fn set_property(path: &[&str], value: impl AsRef<[u8]>) -> Result<(), Status> {
    let value = value.as_ref();
    with_room(|room| {
        append_path(room, path);
        failure(host::proxy_set_property(
            room.as_ptr(),
            room.len(),
            value.as_ptr(),
            value.len(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::of;

    #[test]
    fn only_a_missing_property_leaves_it_to_the_source() {
        let source = || Some(of(b"192.0.2.9:80"));
        let missing = Err(Status::NotFound);
        for (own, want) in [
            (Ok(&b"\xc0\0\x02\x07"[..]), Some("192.0.2.7")),
            (Ok(b""), None), // known to be unknown
            (Ok(b"\xc0\0\x02\x07\0"), None),
            (missing, Some("192.0.2.9")),
            (Err(Status::BadArgument), None),
        ] {
            let want = want.map(|w| w.parse().unwrap());
            assert_eq!(client(own.map(of), source), want, "{own:?}");
        }
        for text in [&b""[..], b"@", b"\xff"] {
            assert_eq!(client(Err(Status::NotFound), || Some(of(text))), None);
        }
        assert_eq!(client(Err(Status::NotFound), || None), None);
    }

    #[test]
    fn addresses_are_read() {
        let v6 = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";
        let mapped = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x07";
        for (b, want) in [
            (&b"\xc0\0\x02\x07"[..], Some("192.0.2.7")),
            (v6, Some("2001:db8::1")),
            (mapped, Some("192.0.2.7")),
            (b"", None),
            (&mapped[..1], None),
            (&mapped[..15], None),
            (&[0; 5], None),
            (&[0; 17], None),
        ] {
            assert_eq!(read_address(b), want.map(|w| w.parse().unwrap()), "{b:?}");
        }
    }

    #[test]
    fn addresses_are_parsed() {
        for (text, want) in [
            ("192.0.2.7:40000", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
            ("255.255.255.255:65535", "255.255.255.255"),
            ("[2001:db8::1]:40000", "2001:db8::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[::]:1", "::"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
            ("::ffff:c000:207", "192.0.2.7"),
            ("64:ff9b::192.0.2.7", "64:ff9b::c000:207"),
        ] {
            assert_eq!(parse_address(text), want.parse().ok(), "{text}");
        }
        for text in [
            "",
            "@",
            "/run/socket",
            "localhost:80",
            " 192.0.2.7",
            "192.0.2.7 ",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.07",
            "0xc0.0.2.7",
            "192.0.2.7:",
            "192.0.2.7:65536",
            "192.0.2.7:+80",
            "192.0.2.7:80:",
            "[192.0.2.7]:80",
            "[192.0.2.7]",
            ":80",
            "2001:db8::1:40000",
            "[2001:db8::1]:",
            "[2001:db8::1]:65536",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]80",
            "[[2001:db8::1]]",
            "[]",
            "[fe80::1%3]:80",
            "fe80::1%1",
            ":::",
            "1::2::3",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7:8::",
            "1:2:3:4:5:6::192.0.2.7",
        ] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }
}
