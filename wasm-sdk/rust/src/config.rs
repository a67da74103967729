//! Configurations.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::Json;
use crate::json;

/// Reads a configuration, a JSON value, into a type. What it does not say stays
/// as it is in defaults; no text at all leaves all of them. It is strict: the error names
/// each field that the type does not have, that is there twice, or whose type is another
/// one, by its path, as "config.keys\[0\].consumer", and never a value, which may be a
/// secret.
pub fn parse_config<T: Setting>(text: &[u8], defaults: T) -> Result<T, ConfigError> {
    let mut config = defaults;
    if text.is_empty() {
        return Ok(config);
    }
    let mut place = Place {
        path: "config".into(),
        faults: Vec::new(),
    };
    let value = json::read(text, &place.path).map_err(ConfigError)?;
    place.read(&mut config, &value);
    if place.faults.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError(place.faults.join("; ")))
    }
}

/// Where a configuration is wrong: each place with its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ConfigError {}

/// What a configuration can hold: structs by [`config!`](crate::config!), and
/// types of a plugin that read themselves.
pub trait Setting {
    /// Takes a value over, or tells the place why it does not. It is not called for
    /// null.
    fn read(&mut self, value: &Json, at: &mut Place);
}

/// A place in a configuration.
#[derive(Debug)]
pub struct Place {
    path: String,
    faults: Vec<String>,
}

impl Place {
    /// Says why what stands here is wrong; not with the value, which may be a secret.
    pub fn refuse(&mut self, why: &str) {
        self.faults.push(format!("{}: {why}", self.path));
    }

    /// Refuses a value of another type than "a text" or the like.
    pub fn want(&mut self, want: &str, got: &Json) {
        let got = match got {
            Json::Null => "null",
            Json::Bool(_) => "true or false",
            Json::Number(_) => "a number",
            Json::Text(_) => "a text",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        };
        self.refuse(&format!("{got}; want {want}"));
    }

    /// Reads a value that stands here into a setting; null leaves it as it is.
    pub fn read(&mut self, setting: &mut impl Setting, value: &Json) {
        if *value != Json::Null {
            setting.read(value, self);
        }
    }

    /// Reads an object's fields one by one; field says whether it knows the name.
    pub fn fields(
        &mut self,
        object: &Json,
        mut field: impl FnMut(&str, &Json, &mut Place) -> bool,
    ) {
        let Json::Object(fields) = object else {
            return self.want("an object", object);
        };
        for (name, value) in fields {
            self.within(&format!(".{name}"), |at| {
                if !field(name, value, at) {
                    at.refuse("unknown field");
                }
            });
        }
    }

    fn within(&mut self, step: &str, read: impl FnOnce(&mut Place)) {
        let n = self.path.len();
        self.path.push_str(step);
        read(self);
        self.path.truncate(n);
    }
}

impl Setting for bool {
    fn read(&mut self, value: &Json, at: &mut Place) {
        match value {
            Json::Bool(b) => *self = *b,
            other => at.want("true or false", other),
        }
    }
}

impl Setting for String {
    fn read(&mut self, value: &Json, at: &mut Place) {
        match value {
            Json::Text(text) => self.clone_from(text),
            other => at.want("a text", other),
        }
    }
}

/// Anything.
impl Setting for Json {
    fn read(&mut self, value: &Json, _: &mut Place) {
        self.clone_from(value);
    }
}

macro_rules! numbers {
    ($($type:ident)*) => {$(
        impl Setting for $type {
            fn read(&mut self, value: &Json, at: &mut Place) {
                match value {
                    Json::Number(text) => match text.parse::<$type>() {
                        Ok(n) if (n as f64).is_finite() => *self = n,
                        _ => at.refuse(concat!("does not fit ", stringify!($type))),
                    },
                    other => at.want("a number", other),
                }
            }
        }
    )*};
}

numbers! { i8 i16 i32 i64 isize u8 u16 u32 u64 usize f32 f64 }

/// null leaves it as it is.
impl<T: Setting + Default> Setting for Option<T> {
    fn read(&mut self, value: &Json, at: &mut Place) {
        self.get_or_insert_with(T::default).read(value, at);
    }
}

/// A list takes the place of the default one.
impl<T: Setting + Default> Setting for Vec<T> {
    fn read(&mut self, value: &Json, at: &mut Place) {
        let Json::List(list) = value else {
            return at.want("a list", value);
        };
        self.clear();
        for (i, value) in list.iter().enumerate() {
            let mut one = T::default();
            at.within(&format!("[{i}]"), |at| at.read(&mut one, value));
            self.push(one);
        }
    }
}

/// Fields are added to those of the default, or take their places.
impl<T: Setting + Default> Setting for BTreeMap<String, T> {
    fn read(&mut self, value: &Json, at: &mut Place) {
        at.fields(value, |name, value, at| {
            let mut one = T::default();
            at.read(&mut one, value);
            self.insert(name.into(), one);
            true
        });
    }
}

/// Makes structs that a configuration is read into, by [`parse_config`](crate::parse_config).
/// A field has the name that it has in JSON; `field as "inJson": Type` gives it another one.
#[macro_export]
macro_rules! config {
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
    ($(
        $(#[$meta:meta])*
        $visibility:vis struct $type:ident {
            $($(#[$field_meta:meta])* $field_visibility:vis $field:ident $(as $name:literal)? : $field_type:ty),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        $visibility struct $type {
            $($(#[$field_meta])* $field_visibility $field: $field_type),*
        }

        impl $crate::Setting for $type {
            fn read(&mut self, value: &$crate::Json, at: &mut $crate::Place) {
                at.fields(value, |_name, _value, _at| {
                    $(if _name == $crate::config!(@name $field $($name)?) {
                        _at.read(&mut self.$field, _value);
                        return true;
                    })*
                    false
                });
            }
        }
    )*};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct High(u8);

    impl Setting for High {
        fn read(&mut self, value: &Json, at: &mut Place) {
            match value {
                Json::Text(text) if text == "high" => self.0 = 7,
                Json::Text(_) => at.refuse("no such level"),
                other => at.want("a level", other),
            }
        }
    }

    crate::config! {
        #[derive(Clone, Debug, Default, PartialEq)]
        struct Inner {
            consumer: String,
            groups: Vec<String>,
            labels: BTreeMap<String, i64>,
            rules: BTreeMap<String, Inner>,
        }

        /// With a comment, and a field named otherwise.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct Settings {
            keys: Vec<Inner>,
            on: bool,
            pub size: u8,
            level: High,
            #[allow(unused)]
            any as "anyThing": Json,
            plain: Option<f64>,
            kind as "type": String,
        }

        #[derive(Debug)]
        struct Nothing {}
    }

    fn defaults() -> Settings {
        Settings {
            keys: vec![],
            on: false,
            size: 3,
            level: High(1),
            any: Json::Null,
            plain: None,
            kind: "k".into(),
        }
    }

    #[test]
    fn settings_are_read() {
        assert_eq!(parse_config(b"", defaults()), Ok(defaults()));
        assert_eq!(parse_config(b"{}", defaults()), Ok(defaults()));
        assert_eq!(
            parse_config(br#"{"keys":null,"on":null,"plain":null}"#, defaults()),
            Ok(defaults())
        );
        let all = br#"{"keys":[{"consumer":"c","groups":["g"],"labels":{"l":-1},"rules":{"r":{"consumer":"d"}}},null],
            "on":true,"size":255,"level":"high","anyThing":{"x":[1]},"plain":1.5,"type":"t"}"#;
        let inner = Inner {
            consumer: "d".into(),
            ..Inner::default()
        };
        let key = Inner {
            consumer: "c".into(),
            groups: vec!["g".into()],
            labels: [("l".into(), -1)].into(),
            rules: [("r".into(), inner)].into(),
        };
        let want = Settings {
            keys: vec![key, Inner::default()],
            on: true,
            size: 255,
            level: High(7),
            any: Json::Object(vec![(
                "x".into(),
                Json::List(vec![Json::Number("1".into())]),
            )]),
            plain: Some(1.5),
            kind: "t".into(),
        };
        assert_eq!(parse_config(all, defaults()), Ok(want));
        let mut kept = defaults();
        kept.keys = vec![Inner {
            labels: [("a".into(), 1), ("b".into(), 2)].into(),
            ..Inner::default()
        }];
        assert_eq!(
            parse_config(br#"{"keys":[{}]}"#, kept).unwrap().keys,
            [Inner::default()]
        ); // lists are not merged
        let map = parse_config(
            br#"{"b":3,"c":4}"#,
            BTreeMap::from([("a".to_string(), 1), ("b".to_string(), 2)]),
        )
        .unwrap();
        assert_eq!(
            map,
            [("a".into(), 1), ("b".into(), 3), ("c".into(), 4)].into()
        );
        assert!(parse_config(b"{}", Nothing {}).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_path() {
        for (text, want) in [
            (r#"{"kyes":[]}"#, "config.kyes: unknown field"),
            (
                r#"{"keys":[{},{"rules":{"r":{"labels":{},"lables":1}}}]}"#,
                "config.keys[1].rules.r.lables: unknown field",
            ),
            (
                r#"{"b":1,"a":{"c":1},"keys":[{"d":1}]}"#,
                "config.b: unknown field; config.a: unknown field; config.keys[0].d: unknown field",
            ),
            (r#"{"kind":"x"}"#, "config.kind: unknown field"),
            (r#"{"On":true}"#, "config.On: unknown field"),
            (
                r#"{"keys":[{"consumer":"c"},{"consumer":12345}]}"#,
                "config.keys[1].consumer: a number; want a text",
            ),
            (r#"{"keys":{}}"#, "config.keys: an object; want a list"),
            (
                r#"{"keys":["secret"]}"#,
                "config.keys[0]: a text; want an object",
            ),
            (
                r#"{"keys":[{"labels":[1]}]}"#,
                "config.keys[0].labels: a list; want an object",
            ),
            (r#"{"on":"yes"}"#, "config.on: a text; want true or false"),
            (
                r#"{"size":true}"#,
                "config.size: true or false; want a number",
            ),
            (r#"[]"#, "config: a list; want an object"),
            (r#"{"size":12345}"#, "config.size: does not fit u8"),
            (r#"{"size":-1}"#, "config.size: does not fit u8"),
            (r#"{"size":1.5}"#, "config.size: does not fit u8"),
            (r#"{"plain":1e999}"#, "config.plain: does not fit f64"),
            (r#"{"level":"low"}"#, "config.level: no such level"),
            (r#"{"level":7}"#, "config.level: a number; want a level"),
            (r#"{"on":tru}"#, "config: no JSON: at byte 10"),
            (r#"{"on":true,"on":true}"#, "config.on: there twice"),
        ] {
            assert_eq!(
                parse_config(text.as_bytes(), defaults())
                    .unwrap_err()
                    .to_string(),
                want
            );
        }
        assert_eq!(
            parse_config(b"{\"a\":1}", Nothing {})
                .unwrap_err()
                .to_string(),
            "config.a: unknown field"
        );
    }
}
