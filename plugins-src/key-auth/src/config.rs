//! The configuration.

use std::error::Error;

use penstock::{self as sdk, Consumer, Json, Status};

use crate::KIND;
use crate::keyring::{Key, Keyring};
use crate::namespaces::namespaces;

/// Bytes below which a key is refused as a mistake.
const MIN_KEY: usize = 8;
/// How long the name of a field, parameter or cookie may be, in bytes.
const MAX_NAME: usize = 256;

/// Where the key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    #[default]
    Header,
    Query,
    Cookie,
}

impl sdk::Setting for Place {
    fn read(&mut self, value: &Json, at: &mut sdk::Place) {
        *self = match value {
            Json::Text(text) if text == "header" => Place::Header,
            Json::Text(text) if text == "query" => Place::Query,
            Json::Text(text) if text == "cookie" => Place::Cookie,
            Json::Text(_) => return at.refuse("want header, query or cookie"),
            other => return at.want("a text", other),
        };
    }
}

sdk::config! {
    struct Config {
        place as "in": Place,
        name: String,
        keys: Option<Vec<KeyConfig>>,
        consumers: Option<Consumers>,
        hide as "hideCredentials": bool,
    }

    #[derive(Default)]
    struct KeyConfig {
        key: String,
        consumer: String,
        groups: Vec<String>,
    }

    #[derive(Default)]
    struct Consumers {
        namespaces: Vec<String>,
    }
}

/// A configuration, ready for requests.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) hide: bool,
    keys: Keyring<Consumer>,
    namespaces: Option<Vec<String>>, // of Consumer objects; None: they are not asked
}

impl Settings {
    /// Returns the field that holds the key.
    pub(crate) fn field(&self) -> &str {
        match self.place {
            Place::Header => &self.name,
            Place::Query => ":path",
            Place::Cookie => "cookie",
        }
    }

    /// Says whose key it is: of the keys in the configuration, then of Consumer objects.
    /// Status::NotFound: nobody's. What it takes does not tell how much of a key was right.
    pub(crate) fn identify(&self, key: &[u8]) -> Result<(), Status> {
        if let Some(consumer) = self.keys.find(key) {
            return sdk::set_consumer(consumer);
        }
        let Some(namespaces) = &self.namespaces else {
            return Err(Status::NotFound);
        };
        if key.is_empty() || key.len() > sdk::MAX_CREDENTIAL_LOOKUP {
            return Err(Status::NotFound);
        }
        if namespaces.is_empty() {
            return sdk::identify_consumer(KIND, key, &[]);
        }
        let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
        sdk::identify_consumer(KIND, key, &namespaces)
    }
}

/// Reads the configuration strictly. Errors never hold a key.
pub(crate) fn parse(text: &[u8]) -> Result<Settings, Box<dyn Error>> {
    let c = sdk::parse_config(
        text,
        Config {
            place: Place::Header,
            name: "X-API-Key".into(),
            keys: None,
            consumers: None,
            hide: false,
        },
    )?;
    if c.name.is_empty() || c.name.len() > MAX_NAME {
        return Err(format!("config.name: want 1 to {MAX_NAME} bytes").into());
    }
    if c.place != Place::Query && !c.name.bytes().all(token) {
        return Err("config.name: no name of a field or cookie (RFC 9110, 5.6.2)".into());
    }
    if c.keys.is_none() && c.consumers.is_none() {
        return Err("config: no key: name keys in a Secret by configFrom, or consumers: {} for Consumer objects".into());
    }
    let mut keys = Keyring::default();
    if c.keys.as_ref().is_some_and(Vec::is_empty) {
        return Err("config.keys: no key: name some in a Secret by configFrom".into());
    }
    for (i, k) in c.keys.iter().flatten().enumerate() {
        let at = format!("config.keys[{i}]");
        if k.key.len() < MIN_KEY {
            return Err(format!("{at}.key: shorter than {MIN_KEY} bytes").into());
        }
        if k.consumer.is_empty() {
            return Err(format!("{at}.consumer: must not be empty").into());
        }
        let consumer = Consumer::new(&k.consumer, &k.groups);
        if !keys.add(Key::new(k.key.as_bytes(), consumer)) {
            return Err(format!("{at}.key: the same key twice").into());
        }
    }
    keys.close();
    Ok(Settings {
        place: c.place,
        name: c.name,
        hide: c.hide,
        keys,
        namespaces: c.consumers.map(|c| namespaces(c.namespaces)).transpose()?,
    })
}

/// Says whether a byte can be part of a token (RFC 9110, 5.6.2).
fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_read() {
        for text in [
            r#"{"in":"query","name":"key","keys":[{"key":"12345678","consumer":"shop","groups":["a"]}]}"#,
            r#"{"keys":[{"key":"12345678","consumer":"shop"}]}"#,
            r#"{"consumers":{}}"#,
            r#"{"consumers":{"namespaces":["partners","more-2"]},"hideCredentials":true}"#,
            r#"{"consumers":{},"keys":[{"key":"12345678","consumer":"shop"}],"in":"cookie"}"#,
        ] {
            if let Err(e) = parse(text.as_bytes()) {
                panic!("{text}: {e}");
            }
        }
        let s = parse(br#"{"consumers":{},"hideCredentials":true}"#).unwrap();
        assert_eq!(
            (s.place, s.field(), s.hide),
            (Place::Header, "X-API-Key", true)
        );
        let s = parse(br#"{"consumers":{},"in":"query","name":"a b"}"#).unwrap();
        assert_eq!((s.place, s.field(), s.hide), (Place::Query, ":path", false));
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_path() {
        for (text, want) in [
            ("{}", "config: no key: name keys in a Secret"),
            ("", "config: no key"),
            (r#"{"keys":[]}"#, "config.keys: no key"),
            (r#"{"keys":[],"consumers":{}}"#, "config.keys: no key"),
            (r#"{"consumers":null}"#, "config: no key"),
            (r#"{"kyes":[]}"#, "config.kyes: unknown field"),
            (
                r#"{"in":"body","consumers":{}}"#,
                "config.in: want header, query or cookie",
            ),
            (
                r#"{"in":1,"consumers":{}}"#,
                "config.in: a number; want a text",
            ),
            (
                r#"{"keys":[{"key":"1234567","consumer":"c"}]}"#,
                "config.keys[0].key: shorter",
            ),
            (
                r#"{"keys":[{"key":"12345678","consumer":"c"},{"key":"12345678","consumer":"d"}]}"#,
                "config.keys[1].key: the same key twice",
            ),
            (
                r#"{"keys":[{"key":"12345678"}]}"#,
                "config.keys[0].consumer",
            ),
            (r#"{"name":"","consumers":{}}"#, "config.name"),
            (r#"{"name":"a b","consumers":{}}"#, "config.name"),
            (
                r#"{"consumers":[]}"#,
                "config.consumers: a list; want an object",
            ),
            (
                r#"{"consumers":{"namespace":"a"}}"#,
                "config.consumers.namespace: unknown field",
            ),
            (
                r#"{"consumers":{"namespaces":["A"]}}"#,
                "config.consumers.namespaces[0]",
            ),
            (
                r#"{"consumers":{"namespaces":["a","a"]}}"#,
                "config.consumers.namespaces[1]",
            ),
            (
                r#"{"consumers":{},"hideCredentials":"yes"}"#,
                "config.hideCredentials",
            ),
            ("[]", "config: a list"),
        ] {
            let got = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(got.starts_with(want), "{text}: {got}");
            assert!(!got.contains("1234567"), "the error holds a key: {got}");
        }
        let many = format!(
            r#"{{"consumers":{{"namespaces":["a"{}]}}}}"#,
            r#","a""#.repeat(16)
        );
        assert!(
            parse(many.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("more than 16")
        );
    }

    #[test]
    fn a_key_is_nobodys_without_a_proxy() {
        let s = parse(br#"{"keys":[{"key":"12345678","consumer":"shop"}]}"#).unwrap();
        assert_eq!(s.identify(b"87654321"), Err(Status::NotFound));
        assert_eq!(s.identify(b"12345678"), Err(Status::Unimplemented)); // nobody takes it over
        let s = parse(br#"{"consumers":{}}"#).unwrap();
        assert_eq!(s.identify(b""), Err(Status::NotFound));
        assert_eq!(s.identify(&[b'k'; 5000]), Err(Status::NotFound));
        assert_eq!(s.identify(b"12345678"), Err(Status::Unimplemented));
    }
}
