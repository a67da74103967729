//! Who the client is.

use std::net::{IpAddr, SocketAddr};

/// The address of source.address: "192.0.2.7:40000" or "[2001:db8::1]:40000".
pub fn connection(text: &[u8]) -> Option<IpAddr> {
    Some(
        std::str::from_utf8(text)
            .ok()?
            .parse::<SocketAddr>()
            .ok()?
            .ip()
            .to_canonical(),
    )
}

/// An address of X-Forwarded-For, from the right: 1 is the last one. None: there are not so
/// many, or it is no address.
pub fn forwarded(field: &[u8], hops: usize) -> Option<IpAddr> {
    let text = field.rsplit(|b| *b == b',').nth(hops.checked_sub(1)?)?;
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
    // Some proxies write the port too.
    text.parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|a| a.ip()))
        .or_else(|_| {
            text.strip_prefix('[')
                .and_then(|t| t.strip_suffix(']'))
                .unwrap_or("")
                .parse::<IpAddr>()
        })
        .ok()
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, want) in [
            ("192.0.2.7:40000", Some("192.0.2.7")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("[::ffff:192.0.2.7]:80", Some("192.0.2.7")),
            ("192.0.2.7", None),
            ("", None),
            ("@", None),
        ] {
            assert_eq!(
                connection(text.as_bytes()),
                want.map(|w| w.parse().unwrap()),
                "{text}"
            );
        }
        assert_eq!(connection(b"\xff"), None);
    }

    #[test]
    fn hops_are_counted_from_the_right() {
        for (field, hops, want) in [
            ("192.0.2.7", 1, Some("192.0.2.7")),
            ("192.0.2.7", 2, None),
            ("192.0.2.7", 0, None),
            ("203.0.113.1, 192.0.2.7", 1, Some("192.0.2.7")),
            ("203.0.113.1,\t192.0.2.7 ", 2, Some("203.0.113.1")),
            ("evil, 192.0.2.7", 1, Some("192.0.2.7")),
            ("192.0.2.7, evil", 1, None),
            ("192.0.2.7,", 1, None),
            ("192.0.2.7:80", 1, Some("192.0.2.7")),
            ("[2001:db8::1]:80", 1, Some("2001:db8::1")),
            ("[2001:db8::1]", 1, Some("2001:db8::1")),
            ("2001:db8::1", 1, Some("2001:db8::1")),
            ("::ffff:192.0.2.7", 1, Some("192.0.2.7")),
            ("unknown", 1, None),
            ("", 1, None),
        ] {
            assert_eq!(
                forwarded(field.as_bytes(), hops),
                want.map(|w| w.parse().unwrap()),
                "{field} {hops}"
            );
        }
        assert_eq!(forwarded(b"\xff", 1), None);
    }
}
