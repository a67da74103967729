//! The configuration, checked.

use std::net::IpAddr;

use penstock as sdk;

use crate::networks::Networks;

sdk::config! {
    /// As schema.json says it.
    #[derive(Default)]
    struct Settings {
        allow: Option<Vec<String>>,
        deny: Option<Vec<String>>,
        status: u16,
        hops as "forwardedHops": usize,
    }
}

const MAX_NETWORKS: usize = 50_000;
const MAX_HOPS: usize = 16;

/// Who may.
#[derive(Debug)]
pub struct Rules {
    /// None: all may that are not denied.
    pub allow: Option<Networks>,
    pub deny: Networks,
    pub status: u16,
    pub hops: usize,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let defaults = Settings {
        status: 403,
        hops: 1,
        ..Settings::default()
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    for (field, list) in [("allow", &s.allow), ("deny", &s.deny)] {
        // An empty list is more likely a mistake than meant: it could be read both ways.
        if let Some(n) = list
            .as_ref()
            .map(Vec::len)
            .filter(|n| *n == 0 || *n > MAX_NETWORKS)
        {
            return Err(format!(
                "config.{field}: {n} of them; want 1 to {MAX_NETWORKS}"
            ));
        }
    }
    if s.allow.is_none() && s.deny.is_none() {
        return Err("config: want allow, deny or both".into());
    }
    if s.status != 403 && s.status != 404 {
        return Err("config.status: want 403 or 404".into());
    }
    if s.hops > MAX_HOPS {
        return Err(format!("config.forwardedHops: want 0 to {MAX_HOPS}"));
    }
    let allow = s
        .allow
        .map(|list| Networks::parse(&list, "allow"))
        .transpose()?;
    let deny = Networks::parse(&s.deny.unwrap_or_default(), "deny")?;
    Ok(Rules {
        allow,
        deny,
        status: s.status,
        hops: s.hops,
    })
}

impl Rules {
    /// Says whether a client may.
    pub fn permit(&self, client: IpAddr) -> bool {
        !self.deny.contain(client) && self.allow.as_ref().is_none_or(|a| a.contain(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins() {
        let r =
            parse(br#"{"allow":["10.0.0.0/8"],"deny":["10.1.0.0/16","192.0.2.0/24"]}"#).unwrap();
        for (address, want) in [
            ("10.0.0.1", true),
            ("10.1.0.1", false),
            ("192.0.2.1", false),
            ("203.0.113.1", false),
            ("::1", false),
        ] {
            assert_eq!(r.permit(address.parse().unwrap()), want, "{address}");
        }
        let r = parse(br#"{"deny":["2001:db8::/32"]}"#).unwrap();
        assert!(
            r.permit("192.0.2.1".parse().unwrap()) && !r.permit("2001:db8::1".parse().unwrap())
        );
        assert_eq!((r.status, r.hops), (403, 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            ("", "config: want allow, deny or both"),
            (r#"{"allow":null}"#, "config: want allow, deny or both"),
            (r#"{"allow":[]}"#, "config.allow: 0 of them"),
            (r#"{"allow":["::/0"],"deny":[]}"#, "config.deny: 0 of them"),
            (r#"{"allow":"::/0"}"#, "config.allow: a text; want a list"),
            (
                r#"{"allow":["::/0",7]}"#,
                "config.allow[1]: a number; want a text",
            ),
            (
                r#"{"deny":["::/0","x"]}"#,
                "config.deny[1]: want an address",
            ),
            (
                r#"{"deny":["::/0"],"status":200}"#,
                "config.status: want 403 or 404",
            ),
            (
                r#"{"deny":["::/0"],"forwardedHops":17}"#,
                "config.forwardedHops: want 0 to 16",
            ),
            (
                r#"{"deny":["::/0"],"forwardedHops":-1}"#,
                "config.forwardedHops: does not fit usize",
            ),
            (
                r#"{"deny":["::/0"],"allowed":[]}"#,
                "config.allowed: unknown field",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.starts_with(want), "{text}: {got}");
        }
    }
}
