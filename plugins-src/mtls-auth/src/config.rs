//! The configuration.

use std::collections::HashMap;
use std::error::Error;

use penstock::{self as sdk, Consumer, Status};

use crate::KIND;
use crate::names::name;
use crate::namespaces::namespaces;

/// Entries of a configuration.
const MAX_CLIENTS: usize = 1024;
/// Groups of a client.
const MAX_GROUPS: usize = 64;
/// Bytes of a name or group that the proxy takes.
const MAX_TEXT: usize = 253;

sdk::config! {
    struct Config {
        clients: Option<Vec<Client>>,
        consumers: Option<Consumers>,
    }

    #[derive(Default)]
    struct Client {
        name: String,
        groups: Vec<String>,
        sha256: Option<String>,
        uri: Option<String>,
        dns: Option<String>,
        email: Option<String>,
        common_name as "commonName": Option<String>,
    }

    #[derive(Default)]
    struct Consumers {
        namespaces: Vec<String>,
    }
}

/// A configuration, ready for requests.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    clients: HashMap<String, Consumer>, // by names::name
    namespaces: Option<Vec<String>>,    // of Consumer objects; None: they are not asked
}

impl Settings {
    /// Says whose certificate it is, by the first of its names that somebody has: a client of
    /// the configuration, then a Consumer object. Status::NotFound: nobody's.
    pub(crate) fn identify(&self, names: &[String]) -> Result<(), Status> {
        for name in names {
            if let Some(consumer) = self.clients.get(name) {
                return sdk::set_consumer(consumer);
            }
            let Some(namespaces) = &self.namespaces else {
                continue;
            };
            if name.len() > sdk::MAX_CREDENTIAL_LOOKUP {
                continue;
            }
            let found = if namespaces.is_empty() {
                sdk::identify_consumer(KIND, name, &[])
            } else {
                let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
                sdk::identify_consumer(KIND, name, &namespaces)
            };
            if found != Err(Status::NotFound) {
                return found;
            }
        }
        Err(Status::NotFound)
    }
}

/// Reads the configuration strictly.
pub(crate) fn parse(text: &[u8]) -> Result<Settings, Box<dyn Error>> {
    let c = sdk::parse_config(
        text,
        Config {
            clients: None,
            consumers: None,
        },
    )?;
    if c.clients.is_none() && c.consumers.is_none() {
        return Err(
            "config: nobody is known: want clients, or consumers: {} for Consumer objects".into(),
        );
    }
    let mut clients = HashMap::new();
    if let Some(list) = &c.clients {
        if list.is_empty() || list.len() > MAX_CLIENTS {
            return Err(format!("config.clients: want 1 to {MAX_CLIENTS}").into());
        }
        for (i, one) in list.iter().enumerate() {
            let at = format!("config.clients[{i}]");
            let key = client(one, &at)?;
            if clients
                .insert(key, Consumer::new(&one.name, &one.groups))
                .is_some()
            {
                return Err(format!("{at}: another one is known by the same").into());
            }
        }
    }
    Ok(Settings {
        clients,
        namespaces: c.consumers.map(|c| namespaces(c.namespaces)).transpose()?,
    })
}

/// Checks a client, and returns what it is known by.
fn client(c: &Client, at: &str) -> Result<String, Box<dyn Error>> {
    let all = [
        ("sha256", &c.sha256),
        ("uri", &c.uri),
        ("dns", &c.dns),
        ("email", &c.email),
        ("commonName", &c.common_name),
    ];
    let mut there = all
        .iter()
        .filter_map(|(kind, v)| Some((*kind, v.as_ref()?)));
    let (Some((kind, value)), None) = (there.next(), there.next()) else {
        return Err(format!("{at}: want one of sha256, uri, dns, email and commonName").into());
    };
    let want = match kind {
        "sha256" => digest(value)
            .then_some(())
            .ok_or("want 32 bytes in hexadecimal"),
        "uri" => uri(value)
            .then_some(())
            .ok_or("want an absolute URI, as spiffe://domain/path"),
        "dns" => hostname(value)
            .then_some(())
            .ok_or("want a DNS name without a wildcard"),
        "email" => email(value)
            .then_some(())
            .ok_or("want an email address, as ann@shop.example"),
        _ => common(value)
            .then_some(())
            .ok_or("want 1 to 253 characters, none of them a control character"),
    };
    want.map_err(|want| format!("{at}.{kind}: {want}"))?;
    if !text(&c.name) {
        return Err(format!("{at}.name: {WANT_TEXT}").into());
    }
    if c.groups.len() > MAX_GROUPS {
        return Err(format!("{at}.groups: more than {MAX_GROUPS}").into());
    }
    for (i, g) in c.groups.iter().enumerate() {
        if !text(g) {
            return Err(format!("{at}.groups[{i}]: {WANT_TEXT}").into());
        }
    }
    Ok(match kind {
        "sha256" => name(kind, &value.replace(':', "")),
        _ => name(kind, value),
    })
}

const WANT_TEXT: &str =
    "want visible ASCII characters without spaces, commas and quotes, at most 253";

/// Says whether the proxy takes it as a name or group.
fn text(s: &str) -> bool {
    let good = |b: u8| b.is_ascii_graphic() && b != b',' && b != b'"';
    !s.is_empty() && s.len() <= MAX_TEXT && s.bytes().all(good)
}

/// 32 bytes, with or without a colon between them.
fn digest(s: &str) -> bool {
    let (mut digits, mut after) = (0, false);
    for b in s.bytes() {
        match b {
            b':' if digits % 2 == 0 && after && digits < 64 => after = false,
            b if b.is_ascii_hexdigit() => {
                digits += 1;
                after = digits % 2 == 0;
            }
            _ => return false,
        }
    }
    digits == 64
}

fn uri(s: &str) -> bool {
    let Some((scheme, rest)) = s.split_once(':') else {
        return false;
    };
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"+.-".contains(&b);
    s.len() <= 2048
        && scheme
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphabetic)
        && scheme.bytes().all(letter)
        && !rest.is_empty()
        && rest.bytes().all(|b| b.is_ascii_graphic())
}

fn hostname(s: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !s.is_empty() && s.len() <= MAX_TEXT && s.bytes().all(good)
}

fn email(s: &str) -> bool {
    let Some((user, domain)) = s.split_once('@') else {
        return false;
    };
    let good = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic() && b != b'@');
    s.len() <= 254 && good(user) && good(domain)
}

fn common(s: &str) -> bool {
    (1..=MAX_TEXT).contains(&s.chars().count()) && !s.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn clients_are_known_by_one_thing_each() {
        let s = parse(format!(
            r#"{{"clients":[{{"name":"a","sha256":"{DIGEST}"}},{{"name":"b","groups":["g"],"uri":"spiffe://x/y"}},
            {{"name":"c","dns":"A.example"}},{{"name":"d","email":"a@b"}},{{"name":"e","commonName":"An Other"}}]}}"#
        ).as_bytes()).unwrap();
        let mut known: Vec<&String> = s.clients.keys().collect();
        known.sort();
        let digest = format!("sha256:{}", DIGEST.to_lowercase());
        assert_eq!(
            known,
            [
                "commonName:An Other",
                "dns:a.example",
                "email:a@b",
                &digest,
                "uri:spiffe://x/y"
            ]
        );
        assert!(s.namespaces.is_none());
        // Nobody takes it over without a proxy, but the right one is found.
        let names = |n: &str| vec!["dns:other".to_string(), n.to_string()];
        assert_eq!(
            s.identify(&names("uri:spiffe://x/y")),
            Err(Status::Unimplemented)
        );
        assert_eq!(
            s.identify(&names("uri:spiffe://x/Y")),
            Err(Status::NotFound)
        );
        assert_eq!(s.identify(&[]), Err(Status::NotFound));
        let s = parse(br#"{"consumers":{}}"#).unwrap();
        assert_eq!(s.identify(&names("dns:a")), Err(Status::Unimplemented));
        assert_eq!(s.identify(&["x".repeat(5000)]), Err(Status::NotFound));
    }

    #[test]
    fn digests_may_have_colons() {
        let pairs: Vec<&str> = (0..32).map(|i| &DIGEST[2 * i..2 * i + 2]).collect();
        assert!(digest(&pairs.join(":")) && digest(DIGEST));
        let s = format!(
            r#"{{"clients":[{{"name":"a","sha256":"{}"}}]}}"#,
            pairs.join(":")
        );
        let s = parse(s.as_bytes()).unwrap();
        assert!(
            s.clients
                .contains_key(&format!("sha256:{}", DIGEST.to_lowercase()))
        );
        for bad in [
            &DIGEST[1..],
            &format!("{DIGEST}0"),
            &format!(":{DIGEST}"),
            &format!("{DIGEST}:"),
            &DIGEST.replace('8', "g"),
            "",
        ] {
            assert!(!digest(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_path() {
        for (text, want) in [
            ("{}", "config: nobody is known"),
            (r#"{"clients":[]}"#, "config.clients: want 1"),
            (r#"{"client":[]}"#, "config.client: unknown field"),
            (
                r#"{"clients":[{"name":"a"}]}"#,
                "config.clients[0]: want one of",
            ),
            (
                r#"{"clients":[{"name":"a","uri":"a:b","dns":"a"}]}"#,
                "config.clients[0]: want one of",
            ),
            (r#"{"clients":[{"dns":"a"}]}"#, "config.clients[0].name"),
            (
                r#"{"clients":[{"name":"a b","dns":"a"}]}"#,
                "config.clients[0].name",
            ),
            (
                r#"{"clients":[{"name":"a","groups":[""],"dns":"a"}]}"#,
                "config.clients[0].groups[0]",
            ),
            (
                r#"{"clients":[{"name":"a","dns":"*.a"}]}"#,
                "config.clients[0].dns",
            ),
            (
                r#"{"clients":[{"name":"a","dns":""}]}"#,
                "config.clients[0].dns",
            ),
            (
                r#"{"clients":[{"name":"a","uri":"/a"}]}"#,
                "config.clients[0].uri",
            ),
            (
                r#"{"clients":[{"name":"a","uri":"1a:b"}]}"#,
                "config.clients[0].uri",
            ),
            (
                r#"{"clients":[{"name":"a","email":"a"}]}"#,
                "config.clients[0].email",
            ),
            (
                r#"{"clients":[{"name":"a","email":"a@b@c"}]}"#,
                "config.clients[0].email",
            ),
            (
                r#"{"clients":[{"name":"a","commonName":"a\u0000"}]}"#,
                "config.clients[0].commonName",
            ),
            (
                r#"{"clients":[{"name":"a","sha256":"ab"}]}"#,
                "config.clients[0].sha256",
            ),
            (
                r#"{"clients":[{"name":"a","dns":"a"},{"name":"b","dns":"A"}]}"#,
                "config.clients[1]: another",
            ),
            (
                r#"{"consumers":{"namespaces":["A"]}}"#,
                "config.consumers.namespaces[0]",
            ),
            (
                r#"{"consumers":{"namespaces":["a","a"]}}"#,
                "config.consumers.namespaces[1]",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(got.starts_with(want), "{text}: {got}");
        }
    }
}
