//! Sets of networks.

use std::net::IpAddr;

/// Networks, as ranges of addresses that do not touch, in their order: one is found by
/// halving. IPv4 addresses are those of IPv6 that stand for them (RFC 4291, 2.5.5.2).
#[derive(Debug, Default)]
pub struct Networks {
    starts: Vec<u128>,
    ends: Vec<u128>, // the last address of each
}

impl Networks {
    /// Reads a list; field is its name, for errors.
    pub fn parse(list: &[String], field: &str) -> Result<Networks, String> {
        let mut ranges = Vec::with_capacity(list.len());
        for (i, text) in list.iter().enumerate() {
            match network(text) {
                Ok(range) => ranges.push(range),
                Err(why) => return Err(format!("config.{field}[{i}]: {why}")),
            }
        }
        ranges.sort_unstable();
        let mut all = Networks::default();
        for (start, end) in ranges {
            match all.ends.last_mut() {
                Some(last) if start <= last.saturating_add(1) => *last = end.max(*last),
                _ => {
                    all.starts.push(start);
                    all.ends.push(end);
                }
            }
        }
        Ok(all)
    }

    /// Says whether an address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let n = number(address);
        let i = self.starts.partition_point(|start| *start <= n);
        i > 0 && n <= self.ends[i - 1]
    }
}

/// An address as a number of 128 bits: an IPv4 address is the same in both of its forms.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Reads "192.0.2.7", "10.0.0.0/8" or "2001:db8::/32" as its first and last address.
fn network(text: &str) -> Result<(u128, u128), &'static str> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "want an address or a network, as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")?;
    // A network of IPv4 that is written as IPv6 would be half a network of both.
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err("write an IPv4 address without ::ffff:");
    }
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => width,
        Some(text) => match text.parse::<u32>() {
            Ok(n) if n <= width && n.to_string() == text => n,
            _ => {
                return Err(
                    "want a length of 0 to 32 after an IPv4 address, 0 to 128 after an IPv6 one",
                );
            }
        },
    };
    let rest = 1u128.checked_shl(width - bits).map_or(u128::MAX, |n| n - 1);
    let start = number(address);
    if start & rest != 0 {
        return Err(
            "there are bits beyond the network's length: correct the length, or write the network's first address",
        );
    }
    Ok((start, start | rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Result<Networks, String> {
        Networks::parse(
            &list.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
            "allow",
        )
    }

    #[test]
    fn addresses_are_found() {
        let n = networks(&[
            "10.0.0.0/8",
            "192.0.2.7",
            "2001:db8::/32",
            "::1",
            "198.51.100.0/25",
            "198.51.100.128/25",
            "203.0.113.0/24",
            "203.0.113.9",
        ])
        .unwrap();
        assert_eq!(n.starts.len(), 6); // neighbours are one
        for yes in [
            "10.0.0.0",
            "10.255.255.255",
            "192.0.2.7",
            "::ffff:10.1.2.3",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "::1",
            "198.51.100.127",
            "198.51.100.128",
            "203.0.113.255",
        ] {
            assert!(n.contain(yes.parse().unwrap()), "{yes}");
        }
        for no in [
            "9.255.255.255",
            "11.0.0.0",
            "192.0.2.6",
            "192.0.2.8",
            "2001:db9::",
            "2001:db7:ffff::",
            "::",
            "::2",
            "::ffff:192.0.2.8",
            "198.51.101.0",
            "::a00:1",
        ] {
            assert!(!n.contain(no.parse().unwrap()), "{no}");
        }
        let all = networks(&["0.0.0.0/0"]).unwrap();
        assert!(
            all.contain("255.255.255.255".parse().unwrap()) && !all.contain("::1".parse().unwrap())
        );
        let all = networks(&["::/0", "192.0.2.1"]).unwrap();
        assert!(
            all.contain("192.0.2.9".parse().unwrap())
                && all.contain("ffff::".parse().unwrap())
                && all.starts.len() == 1
        );
        assert!(!networks(&[]).unwrap().contain("192.0.2.1".parse().unwrap()));
    }

    /// As a list that is looked through from its beginning.
    #[test]
    fn many_are_found_as_one_by_one() {
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            seed
        };
        let mut list = Vec::new();
        let mut plain = Vec::new();
        for _ in 0..10_000 {
            let bits = 8 + random() % 25;
            let mask = u32::MAX << (32 - bits);
            let start = random() & mask;
            list.push(format!("{}/{bits}", std::net::Ipv4Addr::from_bits(start)));
            plain.push((start, start | !mask));
        }
        let n = Networks::parse(&list, "deny").unwrap();
        for _ in 0..2_000 {
            let at = random();
            let want = plain
                .iter()
                .any(|(start, end)| (*start..=*end).contains(&at));
            assert_eq!(
                n.contain(IpAddr::V4(std::net::Ipv4Addr::from_bits(at))),
                want,
                "{at:x}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (text, want) in [
            ("", "want an address"),
            ("localhost", "want an address"),
            ("10.0.0", "want an address"),
            ("010.0.0.1", "want an address"),
            ("10.0.0.0/8/8", "want a length"),
            ("10.0.0.0/33", "want a length"),
            ("10.0.0.0/+8", "want a length"),
            ("10.0.0.0/08", "want a length"),
            ("10.0.0.0/", "want a length"),
            ("::/129", "want a length"),
            ("10.0.0.1/8", "there are bits beyond"),
            ("2001:db8::1/64", "there are bits beyond"),
            ("::ffff:10.0.0.0/104", "write an IPv4 address"),
            ("fe80::1%eth0", "want an address"),
            ("10.0.0.1:80", "want an address"),
        ] {
            let got = networks(&["10.0.0.0/8", text]).unwrap_err();
            assert!(
                got.starts_with(&format!("config.allow[1]: {want}")),
                "{text}: {got}"
            );
        }
    }
}
