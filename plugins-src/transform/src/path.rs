//! Places in JSON values, and what is done there.

use penstock::Json;

/// Leads from a value to one within it: "a.b", "list.0", "list.*.name"; "a\.b" is one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<String>);

const MAX_STEPS: usize = 32;

/// Stands for all elements of a list.
const ALL: &str = "*";

impl Path {
    /// Reads a path; None: a step is empty, or there are too many.
    pub fn read(text: &str) -> Option<Path> {
        let mut steps = vec![String::new()];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '.' => steps.push(String::new()),
                '\\' => steps.last_mut()?.push(chars.next()?),
                c => steps.last_mut()?.push(c),
            }
        }
        let right = steps.len() <= MAX_STEPS && steps.iter().all(|s| !s.is_empty());
        right.then_some(Path(steps))
    }

    /// Says whether it leads to one place.
    pub fn single(&self) -> bool {
        self.0.iter().all(|s| s != ALL)
    }

    /// Removes what it leads to, and returns the last of it.
    pub fn take(&self, value: &mut Json) -> Option<Json> {
        take(value, &self.0)
    }

    /// Puts a value where it leads; objects on the way are made, elements of lists are not.
    pub fn put(&self, value: &mut Json, new: &Json) {
        put(value, &self.0, new);
    }
}

fn take(value: &mut Json, steps: &[String]) -> Option<Json> {
    let (step, rest) = steps.split_first()?;
    match value {
        Json::Object(fields) => {
            let i = fields.iter().position(|f| f.0 == *step)?;
            if rest.is_empty() {
                return Some(fields.remove(i).1);
            }
            take(&mut fields[i].1, rest)
        }
        Json::List(list) if step == ALL => {
            if rest.is_empty() {
                return list.drain(..).last();
            }
            list.iter_mut()
                .fold(None, |last, one| take(one, rest).or(last))
        }
        Json::List(list) => {
            let i = index(step).filter(|i| *i < list.len())?;
            if rest.is_empty() {
                return Some(list.remove(i));
            }
            take(&mut list[i], rest)
        }
        _ => None,
    }
}

fn put(value: &mut Json, steps: &[String], new: &Json) {
    let Some((step, rest)) = steps.split_first() else {
        *value = new.clone();
        return;
    };
    match value {
        Json::List(list) if step == ALL => list.iter_mut().for_each(|one| put(one, rest, new)),
        Json::List(list) => {
            if let Some(one) = index(step).and_then(|i| list.get_mut(i)) {
                put(one, rest, new);
            }
        }
        Json::Object(fields) => {
            let i = match fields.iter().position(|f| f.0 == *step) {
                Some(i) => i,
                None => {
                    fields.push((step.clone(), Json::Null));
                    fields.len() - 1
                }
            };
            put(&mut fields[i].1, rest, new);
        }
        other if step != ALL => {
            *other = Json::Object(vec![(step.clone(), Json::Null)]);
            put(other, steps, new);
        }
        _ => {}
    }
}

fn index(step: &str) -> Option<usize> {
    let plain = step.len() <= 9
        && step.bytes().all(|b| b.is_ascii_digit())
        && (step == "0" || !step.starts_with('0'));
    if plain { step.parse().ok() } else { None }
}

/// Appends a value as it is written.
pub fn write(out: &mut Vec<u8>, value: &Json) {
    match value {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Json::Number(text) => out.extend_from_slice(text.as_bytes()),
        Json::Text(text) => quote(out, text),
        Json::List(list) => {
            out.push(b'[');
            for (i, one) in list.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(out, one);
            }
            out.push(b']');
        }
        Json::Object(fields) => {
            out.push(b'{');
            for (i, (name, one)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                quote(out, name);
                out.push(b':');
                write(out, one);
            }
            out.push(b'}');
        }
    }
}

fn quote(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for b in text.bytes() {
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..b' ' => out.extend_from_slice(format!("\\u{b:04x}").as_bytes()),
            b => out.push(b),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        penstock::parse_config(text.as_bytes(), Json::Null).unwrap()
    }

    fn text(value: &Json) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_are_read() {
        for bad in ["", ".", "a.", ".a", "a..b", "a\\", &"a.".repeat(40)] {
            assert_eq!(Path::read(bad), None, "{bad}");
        }
        assert_eq!(Path::read(r"a\.b.c\\").unwrap().0, ["a.b", r"c\"]);
        assert!(!Path::read("a.*").unwrap().single() && Path::read("a.0").unwrap().single());
    }

    #[test]
    fn values_are_taken() {
        for (value, path, left, got) in [
            (r#"{"a":1,"b":2}"#, "a", r#"{"b":2}"#, Some("1")),
            (
                r#"{"a":{"b":[1,{"c":2}]}}"#,
                "a.b.1.c",
                r#"{"a":{"b":[1,{}]}}"#,
                Some("2"),
            ),
            (r#"{"a":[1,2,3]}"#, "a.1", r#"{"a":[1,3]}"#, Some("2")),
            (
                r#"{"a":[{"x":1},{"y":2},{"x":3},4]}"#,
                "a.*.x",
                r#"{"a":[{},{"y":2},{},4]}"#,
                Some("3"),
            ),
            (r#"[{"x":1},{"x":2}]"#, "*.x", "[{},{}]", Some("2")),
            (r#"{"a":[1,2]}"#, "a.*", r#"{"a":[]}"#, Some("2")),
            (
                r#"{"a.b":1,"a":{"b":2}}"#,
                r"a\.b",
                r#"{"a":{"b":2}}"#,
                Some("1"),
            ),
            (r#"{"a":[1]}"#, "a.01", r#"{"a":[1]}"#, None),
            (r#"{"a":[1]}"#, "a.7", r#"{"a":[1]}"#, None),
            (r#"{"a":1}"#, "a.b", r#"{"a":1}"#, None),
            (r#"{"*":1}"#, "*", "{}", Some("1")),
            ("7", "a", "7", None),
        ] {
            let mut v = json(value);
            let taken = Path::read(path).unwrap().take(&mut v).map(|t| text(&t));
            assert_eq!(
                (text(&v).as_str(), taken.as_deref()),
                (left, got),
                "{value} {path}"
            );
        }
    }

    #[test]
    fn values_are_put() {
        for (value, path, want) in [
            (r#"{"a":1,"b":2}"#, "a", r#"{"a":"new","b":2}"#),
            (r#"{}"#, "a.b.c", r#"{"a":{"b":{"c":"new"}}}"#),
            (r#"{"a":7}"#, "a.b", r#"{"a":{"b":"new"}}"#),
            (
                r#"{"a":[{"x":1},2]}"#,
                "a.*.x",
                r#"{"a":[{"x":"new"},{"x":"new"}]}"#,
            ),
            (r#"{"a":[1,2]}"#, "a.1", r#"{"a":[1,"new"]}"#),
            (r#"{"a":[1,2]}"#, "a.2", r#"{"a":[1,2]}"#),
            (r#"{"a":[1,2]}"#, "a.x", r#"{"a":[1,2]}"#),
            (r#"{"a":1}"#, "a.*.x", r#"{"a":1}"#),
        ] {
            let mut v = json(value);
            Path::read(path)
                .unwrap()
                .put(&mut v, &Json::Text("new".into()));
            assert_eq!(text(&v), want, "{value} {path}");
        }
    }

    #[test]
    fn values_are_written_as_they_were() {
        for value in [
            r#"{"b":[1.50,-0,1e400,12345678901234567890],"a":{"":null},"t":[true,false,"\"\\\n\u0001é𝄞/"]}"#,
            "[]",
            "{}",
            r#""""#,
        ] {
            assert_eq!(text(&json(value)), value);
        }
    }
}
