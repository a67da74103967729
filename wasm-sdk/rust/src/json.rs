//! JSON (RFC 8259), as strict as a configuration is to be read.

use std::collections::HashSet;
use std::fmt::Write;
use std::str;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// null, which leaves a setting as it is.
    Null,
    /// true or false.
    Bool(bool),
    /// A number as it was written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object's fields in their order, each name once.
    Object(Vec<(String, Json)>),
}

/// So few names are compared with each other quicker than they are hashed.
const FEW: usize = 16;

/// How many lists and objects may lie in each other.
const MAX_DEPTH: usize = 64;

/// Reads a text that is one value. The error says where it is none, by path or by
/// byte, and never a value.
pub(crate) fn read(text: &[u8], root: &str) -> Result<Json, String> {
    if let Err(e) = str::from_utf8(text) {
        return Err(format!("{root}: no UTF-8: at byte {}", e.valid_up_to() + 1));
    }
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        path: root.into(),
    };
    let value = match reader.value() {
        Ok(value) => value,
        Err(Fault::Syntax) => {
            return Err(format!(
                "{root}: no JSON: at byte {}",
                text.len().min(reader.at + 1)
            ));
        }
        Err(Fault::Deep) => {
            return Err(format!(
                "{root}: more than {MAX_DEPTH} lists and objects within each other"
            ));
        }
        Err(Fault::Twice) => return Err(format!("{}: there twice", reader.path)),
    };
    reader.space();
    if reader.at < text.len() {
        Err(format!("{root}: more follows the JSON value"))
    } else {
        Ok(value)
    }
}

enum Fault {
    Syntax, // where the reader is
    Deep,
    Twice, // where the path leads
}

struct Reader<'a> {
    text: &'a [u8], // UTF-8
    at: usize,
    depth: usize,
    path: String,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes on behind a byte if it is next.
    fn is(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    fn want(&mut self, byte: u8) -> Result<(), Fault> {
        if self.is(byte) {
            Ok(())
        } else {
            Err(Fault::Syntax)
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Fault> {
        word.bytes().try_for_each(|b| self.want(b)).map(|()| value)
    }

    fn value(&mut self) -> Result<Json, Fault> {
        self.space();
        match self.peek() {
            Some(b'n') => self.word("null", Json::Null),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'[') => self.nested(Self::list),
            Some(b'{') => self.nested(Self::object),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, Fault>) -> Result<Json, Fault> {
        if self.depth == MAX_DEPTH {
            return Err(Fault::Deep);
        }
        self.at += 1;
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Json, Fault> {
        let mut list = Vec::new();
        self.space();
        if self.is(b']') {
            return Ok(Json::List(list));
        }
        loop {
            let path = self.path.len();
            let _ = write!(self.path, "[{}]", list.len()); // a String takes everything
            list.push(self.value()?);
            self.path.truncate(path);
            self.space();
            if self.is(b']') {
                return Ok(Json::List(list));
            }
            self.want(b',')?;
        }
    }

    fn object(&mut self) -> Result<Json, Fault> {
        let mut fields: Vec<(String, Json)> = Vec::new();
        self.space();
        if self.is(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.space();
            let name = self.string()?;
            let path = self.path.len();
            self.path.push('.');
            self.path.push_str(&name);
            self.space();
            self.want(b':')?;
            let value = self.value()?;
            fields.push((name, value));
            self.path.truncate(path);
            self.space();
            if self.is(b'}') {
                self.once(&fields)?;
                return Ok(Json::Object(fields));
            }
            self.want(b',')?;
        }
    }

    /// Checks that each name is there once. It takes little longer than to read them,
    /// however many they are.
    fn once(&mut self, fields: &[(String, Json)]) -> Result<(), Fault> {
        let twice = if fields.len() <= FEW {
            let before = |i: usize, name: &str| fields[..i].iter().any(|f| f.0 == name);
            fields
                .iter()
                .enumerate()
                .find(|(i, f)| before(*i, &f.0))
                .map(|(_, f)| f)
        } else {
            let mut names = HashSet::with_capacity(fields.len());
            fields.iter().find(|f| !names.insert(f.0.as_str()))
        };
        match twice {
            Some(twice) => {
                self.path.push('.');
                self.path.push_str(&twice.0);
                Err(Fault::Twice)
            }
            None => Ok(()),
        }
    }

    fn number(&mut self) -> Result<Json, Fault> {
        let start = self.at;
        self.is(b'-');
        if !self.is(b'0') {
            self.digits()?;
        }
        if self.is(b'.') {
            self.digits()?;
        }
        if self.is(b'e') || self.is(b'E') {
            let _ = self.is(b'+') || self.is(b'-');
            self.digits()?;
        }
        // A number is ASCII, so that it is a text.
        Ok(Json::Number(
            String::from_utf8_lossy(&self.text[start..self.at]).into_owned(),
        ))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start {
            Ok(())
        } else {
            Err(Fault::Syntax)
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.want(b'"')?;
        let mut text = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .iter()
                .position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
            let plain = plain.unwrap_or(rest.len());
            text.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escaped()?;
                    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return Err(Fault::Syntax),
            }
        }
        self.at += 1;
        String::from_utf8(text).map_err(|_| Fault::Syntax) // which it is, as all of the text
    }

    /// Reads what follows a backslash.
    fn escaped(&mut self) -> Result<char, Fault> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(Fault::Syntax),
        };
        self.at += 1;
        Ok(c)
    }

    /// Reads one or two units of UTF-16, which have to be a character.
    fn unicode(&mut self) -> Result<char, Fault> {
        let first = self.unit()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or(Fault::Syntax);
        }
        if first >= 0xdc00 {
            return Err(Fault::Syntax);
        }
        self.want(b'\\')?;
        match self.unit()? {
            second @ 0xdc00..=0xdfff => {
                char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                    .ok_or(Fault::Syntax)
            }
            _ => Err(Fault::Syntax),
        }
    }

    fn unit(&mut self) -> Result<u32, Fault> {
        self.want(b'u')?;
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self
                .peek()
                .and_then(|b| char::from(b).to_digit(16))
                .ok_or(Fault::Syntax)?;
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Json {
        Json::Number(text.into())
    }

    fn text(text: &str) -> Json {
        Json::Text(text.into())
    }

    #[test]
    fn values_are_read() {
        let tests: &[(&str, Json)] = &[
            ("null", Json::Null),
            (" true\t\r\n", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("0", number("0")),
            ("-0", number("-0")),
            ("12.50e+3", number("12.50e+3")),
            ("-1E-2", number("-1E-2")),
            ("18446744073709551616", number("18446744073709551616")),
            (r#""""#, text("")),
            ("\"a\u{e9}\u{1f600}\u{7f}\"", text("a\u{e9}\u{1f600}\u{7f}")),
            (r#""\"\\\/\b\f\n\r\t""#, text("\"\\/\u{8}\u{c}\n\r\t")),
            (
                r#""\u0041\u00e9\u20AC\ud83d\uDE00\u0000""#,
                text("A\u{e9}\u{20ac}\u{1f600}\0"),
            ),
            ("[]", Json::List(vec![])),
            (
                " [ 1 , [ ] ] ",
                Json::List(vec![number("1"), Json::List(vec![])]),
            ),
            ("{}", Json::Object(vec![])),
            (
                r#" { "a" : 1 , "A" : { } , "" : null } "#,
                Json::Object(vec![
                    ("a".into(), number("1")),
                    ("A".into(), Json::Object(vec![])),
                    ("".into(), Json::Null),
                ]),
            ),
        ];
        for (given, want) in tests {
            assert_eq!(
                read(given.as_bytes(), "config").as_ref(),
                Ok(want),
                "{given}"
            );
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        #[rustfmt::skip]
        let none = [
            "", " ", "nul", "True", "truex", "01", "+1", ".5", "1.", "1e", "1e+", "-", "--1",
            "0x1", "NaN", "Infinity", "'a'", "\"", "\"a", "\"\\\"", "\"\\x\"", "\"\\u12\"",
            "\"\\u12g4\"", r#""\ud83d""#, r#""\ud83d\n""#, r#""\ud83d\u0041""#, r#""\ude00""#,
            "\"\n\"", "\"\0\"", "[", "[1", "[1,", "[1,]", "[,]", "[1 2]", "]", "{", "{\"a\"",
            "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{1:1}", "{\"a\" 1}",
            "{,}", "1 2", "{}{}", "[]]", "\u{feff}1", "// a", "1 /* */",
        ];
        for given in none {
            let e = read(given.as_bytes(), "config").unwrap_err();
            assert!(e.starts_with("config: "), "{given}: {e}");
        }
        let tests: &[(&[u8], &str)] = &[
            (br#"{"on":tru}"#, "config: no JSON: at byte 10"),
            (br#"{"on":"#, "config: no JSON: at byte 6"),
            (b"{} {}", "config: more follows the JSON value"),
            (b"\"a\xff\"", "config: no UTF-8: at byte 3"),
            (
                br#"{"a":[{},{"b":1,"c":"secret","b":2}]}"#,
                "config.a[1].b: there twice",
            ),
            (br#"{"a":1,"\u0061":1}"#, "config.a: there twice"),
        ];
        for (given, want) in tests {
            assert_eq!(read(given, "config").unwrap_err(), *want);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(read(nested(MAX_DEPTH).as_bytes(), "config").is_ok());
        for deep in [
            nested(MAX_DEPTH + 1),
            "[".repeat(1 << 20),
            "{\"a\":".repeat(1 << 18),
        ] {
            assert_eq!(
                read(deep.as_bytes(), "config").unwrap_err(),
                "config: more than 64 lists and objects within each other"
            );
        }
    }

    #[test]
    fn names_are_there_once_among_many() {
        let mut text = String::from("{");
        for i in 0..100_000 {
            text += &format!("\"{i}\":0,");
        }
        assert!(read(format!("{text}\"x\":0}}").as_bytes(), "config").is_ok());
        assert_eq!(
            read(format!("{text}\"7\":0}}").as_bytes(), "config").unwrap_err(),
            "config.7: there twice"
        );
    }

    /// Whatever stands in a configuration, reading it ends, without a panic.
    #[test]
    fn any_bytes_are_read() {
        let seed = br#"{"a":[1.5e3,"\ud83d\ude00\n",{"b":null}],"c":true}"#;
        for cut in 0..seed.len() {
            assert!(read(&seed[..cut], "config").is_err());
        }
        for at in 0..seed.len() {
            for byte in 0..=255 {
                let mut b = seed.to_vec();
                b[at] = byte;
                if let Err(e) = read(&b, "config") {
                    assert!(e.starts_with("config"), "{e}");
                }
            }
        }
    }
}
