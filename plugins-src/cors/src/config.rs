//! The configuration, checked.

use penstock as sdk;

use crate::origin::Origins;

sdk::config! {
    /// As schema.json says it.
    #[derive(Default)]
    struct Settings {
        origins: Vec<String>,
        methods: Vec<String>,
        headers: Vec<String>,
        expose as "exposeHeaders": Vec<String>,
        credentials: bool,
        max_age as "maxAgeSeconds": u32,
        private_network as "privateNetwork": bool,
    }
}

const MAX_ORIGINS: usize = 256;
const MAX_METHODS: usize = 32;
const MAX_FIELDS: usize = 64;
const MAX_AGE: u32 = 86_400;

/// What is said to browsers.
#[derive(Debug)]
pub struct Rules {
    pub origins: Origins,
    /// Values of fields, which are "" if the field is not to be sent.
    pub methods: String,
    pub headers: String,
    pub expose: String,
    pub max_age: String,
    pub credentials: bool,
    pub private_network: bool,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let defaults = Settings {
        methods: ["GET", "HEAD", "POST"].map(String::from).into(),
        max_age: 600,
        ..Settings::default()
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    count(&s.origins, "origins", 1, MAX_ORIGINS)?;
    count(&s.methods, "methods", 1, MAX_METHODS)?;
    if s.max_age > MAX_AGE {
        return Err(format!("config.maxAgeSeconds: want 0 to {MAX_AGE}"));
    }
    let origins = Origins::parse(&s.origins)?;
    if s.credentials && origins.any() {
        return Err(
            "config.origins[0]: * is not for requests with credentials: name the origins".into(),
        );
    }
    Ok(Rules {
        origins,
        methods: names(&s.methods, "methods", 64, s.credentials)?,
        headers: names(&s.headers, "headers", 128, s.credentials)?,
        expose: names(&s.expose, "exposeHeaders", 128, s.credentials)?,
        max_age: s.max_age.to_string(),
        credentials: s.credentials,
        private_network: s.private_network,
    })
}

fn count(list: &[String], field: &str, least: usize, most: usize) -> Result<(), String> {
    if list.len() < least || list.len() > most {
        return Err(format!(
            "config.{field}: {} of them; want {least} to {most}",
            list.len()
        ));
    }
    Ok(())
}

/// Makes a field's value of names of methods or fields.
fn names(list: &[String], field: &str, length: usize, credentials: bool) -> Result<String, String> {
    if field != "methods" {
        count(list, field, 0, MAX_FIELDS)?;
    }
    for (i, name) in list.iter().enumerate() {
        let at = format!("config.{field}[{i}]");
        if name.is_empty() || name.len() > length || !name.bytes().all(token) {
            return Err(format!(
                "{at}: want a name (RFC 9110, 5.6.2) of 1 to {length} characters"
            ));
        }
        // Names of fields are the same in capitals and small letters.
        let same = |other: &&String| match field {
            "methods" => *other == name,
            _ => other.eq_ignore_ascii_case(name),
        };
        if list[..i].iter().find(same).is_some() {
            return Err(format!("{at}: it is there twice"));
        }
        if name == "*" && list.len() > 1 {
            return Err(format!("{at}: * stands alone"));
        }
        if name == "*" && credentials {
            return Err(format!(
                "{at}: * means nothing to browsers where there are credentials: list the names"
            ));
        }
    }
    Ok(list.join(", "))
}

/// Says whether a name may have the character (RFC 9110, 5.6.2).
fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_schema() {
        let r = parse(br#"{"origins":["https://a.example"]}"#).unwrap();
        assert_eq!(
            (
                r.methods.as_str(),
                r.headers.as_str(),
                r.expose.as_str(),
                r.max_age.as_str()
            ),
            ("GET, HEAD, POST", "", "", "600")
        );
        assert!(!r.credentials && !r.private_network);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = format!(
            r#"{{"origins":[{}]}}"#,
            vec![r#""https://a.example""#; 257].join(",")
        );
        for (text, want) in [
            ("", "config.origins: 0 of them; want 1 to 256"),
            (many.as_str(), "config.origins: 257 of them; want 1 to 256"),
            (r#"{"origins":"*"}"#, "config.origins: a text; want a list"),
            (
                r#"{"origins":["*"],"orgins":[]}"#,
                "config.orgins: unknown field",
            ),
            (
                r#"{"origins":["*"],"credentials":true}"#,
                "config.origins[0]: * is not for requests with credentials",
            ),
            (
                r#"{"origins":["*"],"methods":[]}"#,
                "config.methods: 0 of them",
            ),
            (
                r#"{"origins":["*"],"methods":["GET","PUT GET"]}"#,
                "config.methods[1]: want a name",
            ),
            (
                r#"{"origins":["*"],"methods":["GET","GET"]}"#,
                "config.methods[1]: it is there twice",
            ),
            (
                r#"{"origins":["*"],"headers":["A","a"]}"#,
                "config.headers[1]: it is there twice",
            ),
            (
                r#"{"origins":["*"],"headers":["X-A","*"]}"#,
                "config.headers[1]: * stands alone",
            ),
            (
                r#"{"origins":["*"],"headers":["a\r\nb"]}"#,
                "config.headers[0]: want a name",
            ),
            (
                r#"{"origins":["https://a.example"],"headers":["*"],"credentials":true}"#,
                "config.headers[0]: * means nothing",
            ),
            (
                r#"{"origins":["https://a.example"],"exposeHeaders":["*"],"credentials":true}"#,
                "config.exposeHeaders[0]: * means nothing",
            ),
            (
                r#"{"origins":["*"],"maxAgeSeconds":86401}"#,
                "config.maxAgeSeconds: want 0 to 86400",
            ),
            (
                r#"{"origins":["*"],"maxAgeSeconds":-1}"#,
                "config.maxAgeSeconds: does not fit u32",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.starts_with(want), "{text}: {got}");
        }
    }
}
