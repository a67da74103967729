//! The configuration, checked.

use penstock as sdk;

sdk::config! {
    /// As schema.json says it.
    struct Settings {
        request: bool,
        response: Option<ResponseFields>,
        max as "maxBytes": u64,
    }

    /// The fields of response.
    #[derive(Default)]
    struct ResponseFields {
        decode: String,
        ask: Option<Vec<String>>,
    }
}

const MAX_BYTES: u64 = 1 << 40;

/// What a Service can be asked for, as the proxy decodes it.
pub const CODINGS: [&str; 4] = ["zstd", "br", "gzip", "deflate"];

/// Which responses are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responses {
    Off,
    Unaccepted,
    Always,
}

/// What is decoded.
#[derive(Debug)]
pub struct Rules {
    pub request: bool,
    pub response: Responses,
    /// What the Service is asked for; None: what the client takes.
    pub ask: Option<String>,
    pub max: u64,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let defaults = Settings {
        request: true,
        response: None,
        max: 64 << 20,
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    if s.max == 0 || s.max > MAX_BYTES {
        return Err(format!("config.maxBytes: want 1 to {MAX_BYTES}"));
    }
    let mut rules = Rules {
        request: s.request,
        response: Responses::Off,
        ask: None,
        max: s.max,
    };
    if let Some(r) = s.response {
        rules.response = match r.decode.as_str() {
            "unaccepted" => Responses::Unaccepted,
            "always" => Responses::Always,
            _ => return Err("config.response.decode: want unaccepted or always".into()),
        };
        rules.ask = r.ask.map(|list| asked(&list)).transpose()?;
    }
    Ok(rules)
}

fn asked(list: &[String]) -> Result<String, String> {
    if list.is_empty() {
        return Err("config.response.ask: none; want 1 to 4".into());
    }
    for (i, name) in list.iter().enumerate() {
        if !CODINGS.contains(&name.as_str()) {
            let codings = CODINGS.join(", ");
            return Err(format!("config.response.ask[{i}]: want one of {codings}"));
        }
        if list[..i].contains(name) {
            return Err(format!("config.response.ask[{i}]: it is there twice"));
        }
    }
    Ok(list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let r = parse(b"{}").unwrap();
        assert_eq!(
            (r.request, r.response, r.ask, r.max),
            (true, Responses::Off, None, 64 << 20)
        );
        let text = br#"{"request":false,"response":{"decode":"always","ask":["zstd","gzip"]},"maxBytes":1}"#;
        let r = parse(text).unwrap();
        assert_eq!(
            (r.request, r.response, r.ask.as_deref(), r.max),
            (false, Responses::Always, Some("zstd, gzip"), 1)
        );
        for (text, want) in [
            (r#"{"request":"no"}"#, "config.request: a text"),
            (r#"{"response":"always"}"#, "config.response: a text"),
            (
                r#"{"response":{}}"#,
                "config.response.decode: want unaccepted",
            ),
            (
                r#"{"response":{"decode":"off"}}"#,
                "config.response.decode: want unaccepted",
            ),
            (
                r#"{"response":{"decode":true}}"#,
                "config.response.decode: ",
            ),
            (
                r#"{"response":{"code":"always"}}"#,
                "config.response.code: ",
            ),
            (r#"{"maxBytes":0}"#, "config.maxBytes: want 1 to"),
            (
                r#"{"maxBytes":1099511627777}"#,
                "config.maxBytes: want 1 to",
            ),
            (r#"{"maxBytes":-1}"#, "config.maxBytes: does not fit u64"),
            (
                r#"{"response":{"decode":"always","ask":[]}}"#,
                "config.response.ask: none",
            ),
            (
                r#"{"response":{"decode":"always","ask":["gzip","x"]}}"#,
                "config.response.ask[1]: want one of",
            ),
            (
                r#"{"response":{"decode":"always","ask":["br","br"]}}"#,
                "config.response.ask[1]: it is there twice",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.starts_with(want), "{text}: {got}");
        }
    }
}
