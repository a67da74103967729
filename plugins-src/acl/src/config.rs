//! The configuration, checked.

use std::collections::HashSet;

use penstock as sdk;

sdk::config! {
    /// As schema.json says it.
    #[derive(Default)]
    struct Settings {
        allow: Option<Who>,
        deny: Option<Who>,
        status: u16,
    }

    #[derive(Default)]
    struct Who {
        groups: Option<Vec<String>>,
        consumers: Option<Vec<String>>,
    }
}

const MAX_NAMES: usize = 1000;
const MAX_NAME: usize = 256;

/// Some consumers, by what they are called and by what they belong to.
#[derive(Debug, Default)]
pub struct Names {
    groups: HashSet<String>,
    consumers: HashSet<String>,
}

impl Names {
    /// Says whether somebody is one of them.
    pub fn has<'a>(&self, name: &str, mut groups: impl Iterator<Item = &'a str>) -> bool {
        self.consumers.contains(name) || groups.any(|g| self.groups.contains(g))
    }
}

/// Who may.
#[derive(Debug)]
pub struct Rules {
    /// None: all may that are not denied, also those whom nobody knows.
    pub allow: Option<Names>,
    pub deny: Names,
    pub status: u16,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let defaults = Settings {
        status: 403,
        ..Settings::default()
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    if s.allow.is_none() && s.deny.is_none() {
        return Err("config: want allow or deny: without both all may".into());
    }
    if s.status != 403 && s.status != 404 {
        return Err("config.status: want 403 or 404".into());
    }
    Ok(Rules {
        allow: s.allow.map(|w| who(w, "allow")).transpose()?,
        deny: match s.deny {
            Some(w) => who(w, "deny")?,
            None => Names::default(),
        },
        status: s.status,
    })
}

fn who(w: Who, field: &str) -> Result<Names, String> {
    if w.groups.is_none() && w.consumers.is_none() {
        return Err(format!("config.{field}: want groups or consumers"));
    }
    Ok(Names {
        groups: names(w.groups, &format!("config.{field}.groups"))?,
        consumers: names(w.consumers, &format!("config.{field}.consumers"))?,
    })
}

fn names(list: Option<Vec<String>>, path: &str) -> Result<HashSet<String>, String> {
    let mut all = HashSet::new();
    let Some(list) = list else {
        return Ok(all);
    };
    if list.is_empty() || list.len() > MAX_NAMES {
        return Err(format!(
            "{path}: {} of them; want 1 to {MAX_NAMES}",
            list.len()
        ));
    }
    for (i, name) in list.into_iter().enumerate() {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(format!("{path}[{i}]: want 1 to {MAX_NAME} bytes"));
        }
        if !all.insert(name) {
            return Err(format!("{path}[{i}]: it is there twice"));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        let r = parse(br#"{"allow":{"groups":["a"],"consumers":["x"]},"deny":{"groups":["b"]}}"#)
            .unwrap();
        let allow = r.allow.unwrap();
        for (name, groups, want) in [
            ("x", &[][..], true),
            ("y", &["a"], true),
            ("y", &["b", "a"], true),
            ("a", &["x"], false),
            ("X", &["A"], false),
        ] {
            assert_eq!(
                allow.has(name, groups.iter().copied()),
                want,
                "{name} {groups:?}"
            );
        }
        assert!(r.deny.has("y", ["b"].into_iter()) && !r.deny.has("b", ["a"].into_iter()));
        assert_eq!(r.status, 403);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many: Vec<String> = (0..1001).map(|i| format!("\"g{i}\"")).collect();
        let many = format!(r#"{{"allow":{{"groups":[{}]}}}}"#, many.join(","));
        for (text, want) in [
            ("", "config: want allow or deny"),
            ("{}", "config: want allow or deny"),
            (r#"{"allow":{}}"#, "config.allow: want groups or consumers"),
            (
                r#"{"allow":{"groups":[]}}"#,
                "config.allow.groups: 0 of them",
            ),
            (many.as_str(), "config.allow.groups: 1001 of them"),
            (
                r#"{"deny":{"consumers":["a",""]}}"#,
                "config.deny.consumers[1]: want 1 to 256",
            ),
            (
                r#"{"deny":{"groups":["a","a"]}}"#,
                "config.deny.groups[1]: it is there twice",
            ),
            (
                r#"{"deny":{"groups":"a"}}"#,
                "config.deny.groups: a text; want a list",
            ),
            (
                r#"{"deny":{"group":["a"]}}"#,
                "config.deny.group: unknown field",
            ),
            (
                r#"{"deny":{"groups":["a"]},"status":200}"#,
                "config.status: want 403 or 404",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.contains(want), "{text}: {got}; want {want}");
        }
    }
}
