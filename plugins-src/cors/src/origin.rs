//! Origins (RFC 6454, 6.1), as browsers send them.

/// Those that may use a Service.
#[derive(Debug)]
pub struct Origins {
    any: bool,
    exact: Vec<String>, // sorted
    below: Vec<Below>,
}

/// The origins below a domain: "https://*.example.com:8443".
#[derive(Debug)]
struct Below {
    start: String, // "https://"
    end: String,   // ".example.com:8443"
}

impl Origins {
    /// Reads those of a configuration.
    pub fn parse(list: &[String]) -> Result<Origins, String> {
        let mut all = Origins {
            any: false,
            exact: Vec::new(),
            below: Vec::new(),
        };
        for (i, text) in list.iter().enumerate() {
            let refuse = |why: &str| Err(format!("config.origins[{i}]: {why}"));
            if list[..i].contains(text) {
                return refuse("it is there twice");
            }
            if text == "*" {
                if list.len() > 1 {
                    return refuse("* stands alone");
                }
                all.any = true;
                continue;
            }
            if let Err(why) = check(text) {
                return refuse(why);
            }
            match text.split_once("://*.") {
                Some((scheme, domain)) => all.below.push(Below {
                    start: format!("{scheme}://"),
                    end: format!(".{domain}"),
                }),
                None => all.exact.push(text.clone()),
            }
        }
        all.exact.sort();
        Ok(all)
    }

    /// Says that all may.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Says whether one may, by what a request says. Browsers write origins in one way, so
    /// that bytes are compared.
    pub fn allow(&self, origin: &[u8]) -> bool {
        self.any
            || self
                .exact
                .binary_search_by(|o| o.as_bytes().cmp(origin))
                .is_ok()
            || self.below.iter().any(|b| b.matches(origin))
    }
}

impl Below {
    fn matches(&self, origin: &[u8]) -> bool {
        let labels = origin
            .strip_prefix(self.start.as_bytes())
            .and_then(|o| o.strip_suffix(self.end.as_bytes()));
        // What stands for * is names: nothing that could end the host, as "evil.example/" does.
        labels.is_some_and(|l| {
            !l.is_empty()
                && l.len() < 256
                && l.split(|b| *b == b'.')
                    .all(|name| !name.is_empty() && name.iter().all(of_name))
        })
    }
}

fn of_name(b: &u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_')
}

/// Says why a text is no origin as browsers send it, or the pattern of some.
fn check(text: &str) -> Result<(), &'static str> {
    const WANT: &str = "want scheme://hostname[:port] in lower case, without a path";
    if text.len() > 300 {
        return Err("more than 300 characters");
    }
    if text == "null" {
        return Err(
            "null is sent by all that have no origin of their own: it cannot be told whose it is",
        );
    }
    let (scheme, rest) = text.split_once("://").ok_or(WANT)?;
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(letters) {
        return Err(WANT);
    }
    let (host, port) = match rest.rfind(':') {
        Some(colon) if !rest.ends_with(']') => (&rest[..colon], Some(&rest[colon + 1..])),
        _ => (rest, None),
    };
    if let Some(port) = port {
        let number = port
            .parse::<u16>()
            .ok()
            .filter(|n| *n > 0 && n.to_string() == port);
        match (scheme, number) {
            (_, None) => return Err("want a port from 1 to 65535"),
            ("http", Some(80)) | ("https", Some(443)) => {
                return Err("browsers leave out the scheme's own port: leave it out too");
            }
            _ => {}
        }
    }
    if let Some(domain) = host.strip_prefix("*.") {
        if !domain.contains('.') {
            return Err("a pattern wants a domain of two names at least, as https://*.example.com");
        }
        return names(domain, WANT);
    }
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => match address.parse::<std::net::Ipv6Addr>() {
            Ok(ip) if ip.to_string() == address => Ok(()),
            _ => Err("want an IPv6 address as browsers write it, in lower case and short"),
        },
        None => names(host, WANT),
    }
}

fn names(host: &str, want: &'static str) -> Result<(), &'static str> {
    if host.contains('*') {
        return Err(
            "* stands for whole names at the beginning of the hostname only: https://*.example.com",
        );
    }
    if host.is_empty()
        || host.len() > 253
        || !host
            .split('.')
            .all(|name| !name.is_empty() && name.as_bytes().iter().all(of_name))
    {
        return Err(want);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(list: &[&str]) -> Result<Origins, String> {
        Origins::parse(&list.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn origins_are_told_apart() {
        let o = origins(&[
            "https://a.example",
            "http://b.example:8080",
            "https://*.c.example",
            "http://*.d.example:81",
            "http://[::1]:3000",
            "capacitor://localhost",
        ])
        .unwrap();
        for yes in [
            "https://a.example",
            "http://b.example:8080",
            "https://x.c.example",
            "https://x.y.c.example",
            "http://x.d.example:81",
            "http://[::1]:3000",
            "capacitor://localhost",
        ] {
            assert!(o.allow(yes.as_bytes()), "{yes}");
        }
        #[rustfmt::skip]
        let no = [
            "", "null", "*", "http://a.example", "https://a.example:444", "https://A.example", "https://a.example.evil", "https://aa.example", "https://a.example/",
            "https://c.example", "https://.c.example", "https://x.c.example:81", "https://xc.example", "https://evil/x.c.example", "https://evil#.c.example",
            "https://u@x.c.example", "https://x..c.example", "https://x.c.example.evil", "http://x.d.example", "https://evil.example\\.c.example", "https://x\0.c.example", "https://X.c.example",
        ];
        for no in no {
            assert!(!o.allow(no.as_bytes()), "{no}");
        }
        assert!(!o.allow(b"https://\xff.c.example"));
        assert!(!o.allow(&[b"https://".as_slice(), &[b'a'; 300], b".c.example"].concat()));
        assert!(origins(&["*"]).unwrap().allow(b"null"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        let long = format!("https://{}.example", "a".repeat(300));
        for (list, want) in [
            (
                &["https://a.example", "https://a.example"][..],
                "[1]: it is there twice",
            ),
            (&["https://a.example", "*"], "[1]: * stands alone"),
            (&["a.example"], "[0]: want scheme://"),
            (&["https://"], "[0]: want scheme://"),
            (&["HTTPS://a.example"], "[0]: want scheme://"),
            (&["https://A.example"], "[0]: want scheme://"),
            (&["https://a.example/"], "[0]: want scheme://"),
            (&["https://a.example/x"], "[0]: want scheme://"),
            (&["https://u@a.example"], "[0]: want scheme://"),
            (&["https://a..example"], "[0]: want scheme://"),
            (&["null"], "[0]: null is sent by all"),
            (&["https://a.example:443"], "[0]: browsers leave out"),
            (&["http://a.example:80"], "[0]: browsers leave out"),
            (&["http://a.example:"], "[0]: want a port"),
            (&["http://a.example:08"], "[0]: want a port"),
            (&["http://a.example:65536"], "[0]: want a port"),
            (&["https://*.com"], "[0]: a pattern wants a domain"),
            (&["https://*a.example.com"], "[0]: * stands for whole names"),
            (
                &["https://a.*.example.com"],
                "[0]: * stands for whole names",
            ),
            (
                &["https://*.*.example.com"],
                "[0]: * stands for whole names",
            ),
            (&["http://[::1"], "[0]: want"),
            (&["http://[0::1]"], "[0]: want an IPv6 address"),
            (&[long.as_str()], "[0]: more than 300"),
        ] {
            let got = origins(list).unwrap_err();
            assert!(
                got.starts_with(&format!("config.origins{want}")),
                "{list:?}: {got}"
            );
        }
    }
}
