//! The configuration, checked.

use std::collections::HashMap;

use penstock::{self as sdk, Consumer};

sdk::config! {
    /// As schema.json says it.
    #[derive(Default)]
    struct Settings {
        realm: String,
        users: Option<Vec<UserSettings>>,
        consumers: Option<ConsumerSettings>,
        hide as "hideCredentials": bool,
    }

    #[derive(Default)]
    struct UserSettings {
        username: String,
        hash as "passwordHash": String,
        groups: Vec<String>,
    }

    #[derive(Default)]
    struct ConsumerSettings {
        namespaces: Vec<String>,
    }
}

const MAX_USERS: usize = 1000;
const MAX_NAME: usize = 256;
const MAX_GROUPS: usize = 64;
const MAX_NAMESPACES: usize = 16;

/// A user of the configuration.
#[derive(Debug)]
pub struct User {
    pub hash: String,
    pub consumer: Consumer,
}

/// A configuration, ready for requests.
#[derive(Debug)]
pub struct Rules {
    /// The value of WWW-Authenticate.
    pub challenge: String,
    pub users: HashMap<String, User>,
    /// Of Consumer objects, beside the own; None: they are not asked.
    pub namespaces: Option<Vec<String>>,
    pub hide: bool,
    /// The hash that a password is checked by where there is nobody: what it takes must not
    /// tell who there is.
    pub decoy: String,
}

/// A hash that nothing is known to have.
const DECOY: &str = "$2b$10$Cz1Dk5rXWDzD7m3v0W8SxuV8tYqVbJr5o3yq3m0dG5x5Jp8p1cZyW";

/// Reads a configuration. Errors hold no hash.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let defaults = Settings {
        realm: "restricted".into(),
        ..Settings::default()
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    if s.users.is_none() && s.consumers.is_none() {
        return Err("config: nobody: name users in a Secret by configFrom, or consumers: {} for Consumer objects".into());
    }
    let quotable = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\';
    if s.realm.is_empty() || s.realm.len() > 128 || !s.realm.bytes().all(quotable) {
        return Err(
            "config.realm: want 1 to 128 visible characters without quotes and backslashes".into(),
        );
    }
    let mut users = HashMap::new();
    let mut decoy = DECOY.to_string();
    if let Some(list) = s.users {
        if list.is_empty() || list.len() > MAX_USERS {
            return Err(format!(
                "config.users: {} of them; want 1 to {MAX_USERS}",
                list.len()
            ));
        }
        decoy.clone_from(&list[0].hash);
        for (i, u) in list.into_iter().enumerate() {
            let at = format!("config.users[{i}]");
            let (name, user) = user(u, &at)?;
            if users.insert(name, user).is_some() {
                return Err(format!("{at}.username: it is there twice"));
            }
        }
    }
    Ok(Rules {
        challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", s.realm),
        users,
        namespaces: s.consumers.map(namespaces).transpose()?,
        hide: s.hide,
        decoy,
    })
}

fn user(u: UserSettings, at: &str) -> Result<(String, User), String> {
    if u.username.is_empty() || u.username.len() > MAX_NAME || !u.username.chars().all(named) {
        return Err(format!(
            "{at}.username: want 1 to {MAX_NAME} bytes without a colon or control characters"
        ));
    }
    if !hash(&u.hash) {
        return Err(format!(
            "{at}.passwordHash: want bcrypt ($2a$, $2b$, $2y$, cost 04 to 14) or argon2id ($argon2id$v=19$m=..,t=..,p=..$salt$hash, to m=65536, t=8, p=8)"
        ));
    }
    if u.groups.len() > MAX_GROUPS {
        return Err(format!(
            "{at}.groups: {} of them; want {MAX_GROUPS} at most",
            u.groups.len()
        ));
    }
    if let Some(i) = u
        .groups
        .iter()
        .position(|g| g.is_empty() || g.len() > MAX_NAME)
    {
        return Err(format!("{at}.groups[{i}]: want 1 to {MAX_NAME} bytes"));
    }
    let consumer = Consumer::new(&u.username, &u.groups);
    Ok((
        u.username,
        User {
            hash: u.hash,
            consumer,
        },
    ))
}

/// Says whether a username may have a character (RFC 7617, 2).
pub fn named(c: char) -> bool {
    c != ':' && !c.is_control()
}

fn namespaces(c: ConsumerSettings) -> Result<Vec<String>, String> {
    let list = c.namespaces;
    if list.len() > MAX_NAMESPACES {
        return Err(format!(
            "config.consumers.namespaces: {} of them; want {MAX_NAMESPACES} at most",
            list.len()
        ));
    }
    for (i, n) in list.iter().enumerate() {
        let at = format!("config.consumers.namespaces[{i}]");
        let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if n.is_empty() || n.len() > 63 || !n.bytes().all(label) {
            return Err(format!("{at}: no name of a namespace"));
        }
        if list[..i].contains(n) {
            return Err(format!("{at}: it is there twice"));
        }
    }
    Ok(list)
}

/// Says whether a text looks like a hash that the proxy can check.
fn hash(text: &str) -> bool {
    bcrypt(text).or_else(|| argon(text)).is_some()
}

fn bcrypt(text: &str) -> Option<()> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|p| text.strip_prefix(p))?;
    let (cost, rest) = rest.split_once('$')?;
    let digits = cost.len() == 2 && cost.bytes().all(|b| b.is_ascii_digit());
    let cost_fits = digits && (4..=14).contains(&cost.parse::<u8>().ok()?);
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    (cost_fits && rest.len() == 53 && rest.bytes().all(alphabet)).then_some(())
}

fn argon(text: &str) -> Option<()> {
    let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
    let (costs, salt, sum) = (parts.next()?, parts.next()?, parts.next()?);
    let mut costs = costs.split(',');
    let mut cost = |name: &str| -> Option<u32> {
        let digits = costs.next()?.strip_prefix(name)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        digits.parse().ok().filter(|_| plain)
    };
    let (m, t, p) = (cost("m=")?, cost("t=")?, cost("p=")?);
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    let fits = costs.next().is_none()
        && parts.next().is_none()
        && (1..=8).contains(&t)
        && (1..=8).contains(&p)
        && m >= 8 * p
        && m <= 64 << 10
        && (11..=86).contains(&salt.len())
        && (22..=86).contains(&sum.len())
        && salt.bytes().chain(sum.bytes()).all(alphabet);
    fits.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGON: &str =
        "$argon2id$v=19$m=64,t=1,p=2$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn hashes_are_known() {
        for good in [
            DECOY,
            &DECOY.replace("$2b$10", "$2y$04"),
            &DECOY.replace("$2b$10", "$2a$14"),
            ARGON,
        ] {
            assert!(hash(good), "{good}");
        }
        for bad in [
            "",
            "password",
            "$1$salt$x",
            &DECOY[..59],
            &format!("{DECOY}x"),
            &DECOY.replace("$10$", "$15$"),
            &DECOY.replace("$10$", "$03$"),
            &DECOY.replace("$10$", "$+9$"),
            &DECOY.replace("$2b$", "$2x$"),
            &ARGON.replace("m=64", "m=8"),
            &ARGON.replace("m=64", "m=65537"),
            &ARGON.replace("t=1", "t=9"),
            &ARGON.replace("t=1", "t=0"),
            &ARGON.replace("p=2", "p=9"),
            &ARGON.replace("p=2", "p=2,x=1"),
            &ARGON.replace("m=64", "m=+64"),
            &ARGON.replace("v=19", "v=16"),
            &ARGON.replace("c29tZXNhbHQ", "salt"),
            &format!("{ARGON}$"),
        ] {
            assert!(!hash(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let user = |more: &str| {
            format!(r#"{{"users":[{{"username":"a","passwordHash":"{DECOY}"{more}}}]}}"#)
        };
        assert!(parse(user("").as_bytes()).is_ok());
        assert!(parse(br#"{"consumers":{}}"#).is_ok());
        for (text, want) in [
            (String::new(), "config: nobody"),
            ("{}".into(), "config: nobody"),
            (r#"{"users":[]}"#.into(), "config.users: 0 of them"),
            (
                r#"{"users":[{"username":"a","passwordHash":"secret"}]}"#.into(),
                "config.users[0].passwordHash: want bcrypt",
            ),
            (
                user("").replace("\"a\"", "\"a:b\""),
                "config.users[0].username: want",
            ),
            (
                user("").replace("\"a\"", "\"a\\u0007\""),
                "config.users[0].username: want",
            ),
            (
                user(r#","groups":[""]"#),
                "config.users[0].groups[0]: want 1",
            ),
            (
                user(r#","extra":1"#),
                "config.users[0].extra: unknown field",
            ),
            (
                r#"{"consumers":{},"realm":"a\"b"}"#.into(),
                "config.realm: want",
            ),
            (
                r#"{"consumers":{},"realm":""}"#.into(),
                "config.realm: want",
            ),
            (
                r#"{"consumers":{"namespaces":["A"]}}"#.into(),
                "config.consumers.namespaces[0]: no name",
            ),
            (
                r#"{"consumers":{"namespaces":["a","a"]}}"#.into(),
                "config.consumers.namespaces[1]: it is there twice",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(
                got.contains(want) && !got.contains("secret"),
                "{text}: {got}; want {want}"
            );
        }
        let two = user("").replace(
            "}]}",
            &format!(r#"}},{{"username":"a","passwordHash":"{DECOY}"}}]}}"#),
        );
        assert!(
            parse(two.as_bytes())
                .unwrap_err()
                .contains("users[1].username: it is there twice")
        );
    }
}
