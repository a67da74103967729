//! Texts with places that are filled with what a request has. What is filled in is never
//! read again: it is data.

use penstock as sdk;
use sdk::{Json, REQUEST_HEADER, RESPONSE_HEADER};

use crate::cookie::cookie;

/// A text as a configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Place(Place),
}

/// What can be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Method,
    Host,
    Scheme,
    Path,
    Query,
    Status,
    Address,
    ConsumerName,
    ConsumerGroups,
    Header(String),
    ResponseHeader(String),
    Parameter(String),
    Cookie(String),
    Claim(Vec<String>),
}

/// How what is filled in is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As a field's value: without control characters, and spaces around it.
    Field,
    /// Percent-encoded, as part of a path (RFC 3986, 2.3).
    Percent,
    /// All of the text percent-encoded, as part of a query.
    Query,
    /// As it is, if it is UTF-8.
    Plain,
}

const WANT: &str = "want ${method}, ${host}, ${scheme}, ${path}, ${query}, ${status}, ${address}, ${consumer.name}, ${consumer.groups}, ${header.NAME}, ${response.NAME}, ${query.NAME}, ${cookie.NAME} or ${claims.NAME}; $$ is a dollar sign";

impl Text {
    /// Reads a text; the error says what is wrong with its places.
    pub fn read(text: &str) -> Result<Text, String> {
        let mut parts = Vec::new();
        let mut fixed = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            fixed.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                fixed.push('$');
                rest = after;
            } else if let Some((name, after)) =
                after.strip_prefix('{').and_then(|a| a.split_once('}'))
            {
                if !fixed.is_empty() {
                    parts.push(Part::Fixed(std::mem::take(&mut fixed)));
                }
                parts.push(Part::Place(Place::read(name).ok_or(WANT)?));
                rest = after;
            } else {
                return Err(WANT.into());
            }
        }
        fixed.push_str(rest);
        if !fixed.is_empty() {
            parts.push(Part::Fixed(fixed));
        }
        Ok(Text(parts))
    }

    /// Returns the text if nothing is filled in.
    pub fn fixed(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Part::Fixed(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns the only place of a text that is nothing else.
    pub fn only(&self) -> Option<&Place> {
        match &self.0[..] {
            [Part::Place(place)] => Some(place),
            _ => None,
        }
    }

    /// Says whether a place is filled with what only a response has.
    pub fn of_response(&self) -> bool {
        self.0
            .iter()
            .any(|p| matches!(p, Part::Place(Place::Status | Place::ResponseHeader(_))))
    }

    /// Returns the text with its places filled; what is missing is empty.
    pub fn fill(&self, from: &impl Source, coding: Coding) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Fixed(text) if coding == Coding::Query => encode(&mut out, text.as_bytes()),
                Part::Fixed(text) => out.extend_from_slice(text.as_bytes()),
                Part::Place(place) => {
                    if let Some(value) = from.value(place) {
                        append(&mut out, &value, coding);
                    }
                }
            }
        }
        match coding {
            Coding::Field => out.trim_ascii().to_vec(),
            _ => out,
        }
    }
}

fn append(out: &mut Vec<u8>, value: &[u8], coding: Coding) {
    match coding {
        Coding::Plain => out.extend_from_slice(String::from_utf8_lossy(value).as_bytes()),
        Coding::Field => out.extend(
            value
                .iter()
                .filter(|b| **b >= b' ' && **b != 0x7f || **b == b'\t'),
        ),
        Coding::Percent | Coding::Query => encode(out, value),
    }
}

/// Appends bytes, those that are not unreserved percent-encoded.
pub fn encode(out: &mut Vec<u8>, value: &[u8]) {
    for b in value {
        if b.is_ascii_alphanumeric() || b"-._~".contains(b) {
            out.push(*b);
        } else {
            out.extend_from_slice(format!("%{b:02X}").as_bytes());
        }
    }
}

impl Place {
    fn read(name: &str) -> Option<Place> {
        let named = |of: &str| {
            name.strip_prefix(of)
                .filter(|n| (1..=256).contains(&n.len()))
                .map(String::from)
        };
        let field = |of: &str| {
            named(of)
                .filter(|n| is_token(n))
                .map(|n| n.to_ascii_lowercase())
        };
        Some(match name {
            "method" => Place::Method,
            "host" => Place::Host,
            "scheme" => Place::Scheme,
            "path" => Place::Path,
            "query" => Place::Query,
            "status" => Place::Status,
            "address" => Place::Address,
            "consumer.name" => Place::ConsumerName,
            "consumer.groups" => Place::ConsumerGroups,
            _ => {
                if let Some(n) = field("header.") {
                    Place::Header(n)
                } else if let Some(n) = field("response.") {
                    Place::ResponseHeader(n)
                } else if let Some(n) = named("query.") {
                    Place::Parameter(n)
                } else if let Some(n) = named("cookie.") {
                    Place::Cookie(n)
                } else {
                    Place::Claim(named("claims.")?.split('.').map(String::from).collect())
                }
            }
        })
    }
}

/// Says whether a text is a field's name (RFC 9110, 5.1).
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Where values come from.
pub trait Source {
    /// Returns what a place is filled with; None: there is none.
    fn value(&self, place: &Place) -> Option<Vec<u8>>;
}

/// The exchange.
pub struct Exchange;

impl Source for Exchange {
    fn value(&self, place: &Place) -> Option<Vec<u8>> {
        let field = |name: &str| REQUEST_HEADER.get(name).map(|b| b.to_vec());
        let target = || field(":path");
        match place {
            Place::Method => field(":method"),
            Place::Host => field(":authority"),
            Place::Scheme => field(":scheme"),
            Place::Path => target().map(|t| split(&t).0.to_vec()),
            Place::Query => target().map(|t| split(&t).1.to_vec()),
            Place::Status => RESPONSE_HEADER.get(":status").map(|b| b.to_vec()),
            Place::Address => {
                let address = sdk::property_string(&["source", "address"])?;
                let end = address.rfind(':').unwrap_or(address.len());
                Some(address[..end].trim_matches(['[', ']']).as_bytes().to_vec())
            }
            Place::ConsumerName => sdk::current_consumer()
                .ok()
                .map(|c| c.username().as_bytes().to_vec()),
            Place::ConsumerGroups => {
                let consumer = sdk::current_consumer().ok()?;
                Some(consumer.groups().collect::<Vec<_>>().join(",").into_bytes())
            }
            Place::Header(name) => field(name),
            Place::ResponseHeader(name) => RESPONSE_HEADER.get(name).map(|b| b.to_vec()),
            Place::Parameter(name) => parameter(split(&target()?).1, name),
            Place::Cookie(name) => cookie(&REQUEST_HEADER.get("cookie")?, name).map(<[u8]>::to_vec),
            Place::Claim(path) => {
                let text = sdk::property(&["penstock", "claims"])?;
                claim(&sdk::parse_config(&text, Json::Null).ok()?, path)
            }
        }
    }
}

/// Cuts a request's target at its query.
pub fn split(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|b| *b == b'?') {
        Some(i) => (&target[..i], &target[i + 1..]),
        None => (target, &[]),
    }
}

/// Returns the first parameter of a name, decoded.
fn parameter(query: &[u8], name: &str) -> Option<Vec<u8>> {
    query.split(|b| *b == b'&').find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        (decode(&pair[..at]) == name.as_bytes())
            .then(|| decode(pair.get(at + 1..).unwrap_or_default()))
    })
}

/// Decodes a name or value of a query; what is badly encoded stays as it is.
pub fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        let hex = |i: usize| text.get(i).and_then(|b| (*b as char).to_digit(16));
        match text[i] {
            b'+' => out.push(b' '),
            b'%' => match (hex(i + 1), hex(i + 2)) {
                (Some(high), Some(low)) => {
                    out.push((high << 4 | low) as u8);
                    i += 2;
                }
                _ => out.push(b'%'),
            },
            b => out.push(b),
        }
        i += 1;
    }
    out
}

/// Returns a claim as a text; a list with commas between its values.
fn claim(claims: &Json, path: &[String]) -> Option<Vec<u8>> {
    let mut value = claims;
    for step in path {
        let Json::Object(fields) = value else {
            return None;
        };
        value = &fields.iter().find(|f| f.0 == *step)?.1;
    }
    let one = |value: &Json| match value {
        Json::Text(text) | Json::Number(text) => Some(text.clone()),
        Json::Bool(b) => Some(b.to_string()),
        _ => None,
    };
    match value {
        Json::List(list) => Some(
            list.iter()
                .map(one)
                .collect::<Option<Vec<_>>>()?
                .join(",")
                .into_bytes(),
        ),
        other => one(other).map(String::into_bytes),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Values by the place's name in a configuration.
    pub struct Values(pub &'static [(&'static str, &'static str)]);

    impl Source for Values {
        fn value(&self, place: &Place) -> Option<Vec<u8>> {
            self.0
                .iter()
                .find(|v| Place::read(v.0).as_ref() == Some(place))
                .map(|v| v.1.as_bytes().to_vec())
        }
    }

    const VALUES: Values = Values(&[
        ("method", "GET"),
        ("header.x-user", "a b/../c?&=%${method}\r\n\u{e9}"),
        ("claims.a.b", "1"),
    ]);

    #[test]
    fn places_are_filled() {
        for (text, coding, want) in [
            ("", Coding::Plain, ""),
            ("plain $$ {method}", Coding::Plain, "plain $ {method}"),
            ("<${method}>", Coding::Plain, "<GET>"),
            ("${method}${method}", Coding::Field, "GETGET"),
            ("$${method}", Coding::Field, "${method}"),
            ("$$$${method}$", Coding::Field, "!"),
            (
                "${header.X-User}",
                Coding::Field,
                "a b/../c?&=%${method}\u{e9}",
            ),
            ("${claims.none} ${method} ", Coding::Field, "GET"),
            ("a&${method}", Coding::Query, "a%26GET"),
            (
                "${header.x-user}",
                Coding::Percent,
                "a%20b%2F..%2Fc%3F%26%3D%25%24%7Bmethod%7D%0D%0A%C3%A9",
            ),
            ("/${claims.a.b}/${claims.none}", Coding::Percent, "/1/"),
        ] {
            match Text::read(text) {
                Ok(t) => assert_eq!(
                    String::from_utf8(t.fill(&VALUES, coding)).unwrap(),
                    want,
                    "{text}"
                ),
                Err(_) => assert_eq!(want, "!", "{text}"),
            }
        }
        assert_eq!(Text::read("a$$b").unwrap().fixed(), Some("a$b"));
        assert_eq!(Text::read("a${path}").unwrap().fixed(), None);
        assert!(
            Text::read("${status}").unwrap().of_response()
                && !Text::read("${path}").unwrap().of_response()
        );
        assert_eq!(Text::read("${path}").unwrap().only(), Some(&Place::Path));
        assert_eq!(Text::read("${path}x").unwrap().only(), None);
    }

    #[test]
    fn other_places_are_refused() {
        for text in [
            "$",
            "a$b",
            "${",
            "${}",
            "${path",
            "${ path}",
            "${Path}",
            "${header.}",
            "${header.a b}",
            "${claims.}",
            "${env.HOME}",
            "${query.}",
            "${consumer}",
            "${${path}}",
        ] {
            assert!(
                Text::read(text).unwrap_err().contains("want ${method}"),
                "{text}"
            );
        }
    }

    #[test]
    fn parts_of_a_request_are_found() {
        assert_eq!(
            parameter(b"a=1&b%20c=d+e%21&b%20c=2&f", "b c"),
            Some(b"d e!".to_vec())
        );
        assert_eq!(parameter(b"a=1&f", "f"), Some(Vec::new()));
        assert_eq!(parameter(b"", "f"), None);
        assert_eq!(cookie(b"a=b; c=d=e;c=f", "c"), Some(&b"d=e"[..]));
        assert_eq!(cookie(b"a; cc=1", "c"), None);
        assert_eq!(decode(b"%zz%4"), b"%zz%4");
        let claims =
            sdk::parse_config(br#"{"a":{"b":[1,"x",true]},"n":null,"o":[{}]}"#, Json::Null)
                .unwrap();
        let path = |p: &str| p.split('.').map(String::from).collect::<Vec<_>>();
        assert_eq!(claim(&claims, &path("a.b")), Some(b"1,x,true".to_vec()));
        for none in ["a", "n", "o", "a.b.c", "x"] {
            assert_eq!(claim(&claims, &path(none)), None, "{none}");
        }
    }
}
