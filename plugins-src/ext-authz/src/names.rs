//! Names of header fields, and what may be done with them.

/// Reports whether a name is a token (RFC 9110, 5.6.2).
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Reports whether a value can stand in a field (RFC 9110, 5.5).
pub(crate) fn is_value(value: &str) -> bool {
    value.bytes().all(|b| b == b'\t' || b >= b' ' && b != 0x7f)
}

/// Fields of a connection, and of how a message is framed on it.
const OF_A_HOP: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// Reports whether a field is of a connection, or of a message's framing: it is never taken
/// from one message to another.
pub(crate) fn of_a_hop(name: &str) -> bool {
    let name = plain(name);
    name.starts_with(':') || OF_A_HOP.contains(&name.as_str())
}

/// Reports whether a field says who the consumer is, which is the proxy's to say.
pub(crate) fn of_a_consumer(name: &str) -> bool {
    plain(name).starts_with("x-consumer-")
}

/// Reports whether an authorization service may not set a field for the upstream.
pub(crate) fn kept(name: &str) -> bool {
    of_a_hop(name) || of_a_consumer(name)
}

/// A name as programs compare it that take "_" for "-".
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// Names, exact or by what they begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(Vec<String>);

impl Names {
    pub(crate) fn new<T: AsRef<str>>(list: &[T]) -> Names {
        Names(
            list.iter()
                .map(|n| n.as_ref().to_ascii_lowercase())
                .collect(),
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|n| match n.strip_suffix('*') {
            Some(begin) => name
                .get(..begin.len())
                .is_some_and(|b| b.eq_ignore_ascii_case(begin)),
            None => n.eq_ignore_ascii_case(name),
        })
    }
}

/// Names that Connection makes those of a hop (RFC 9110, 7.6.1).
pub(crate) fn named_by_connection<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    values
        .flat_map(|v| v.split(','))
        .map(|n| n.trim().to_ascii_lowercase())
        .filter(|n| !n.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match() {
        let names = Names::new(&["X-User", "x-auth-*"]);
        for (name, want) in [
            ("x-user", true),
            ("X-USER", true),
            ("x-user2", false),
            ("X-Auth-A", true),
            ("x-auth-", true),
            ("x-auth", false),
            ("", false),
            ("ü", false),
        ] {
            assert_eq!(names.has(name), want, "{name}");
        }
        assert!(Names::new(&["*"]).has("anything") && !Names::default().has("anything"));
    }

    #[test]
    fn what_is_kept() {
        for name in [
            ":path",
            ":status",
            "Host",
            "Transfer-Encoding",
            "transfer_encoding",
            "content-length",
            "Content_Length",
            "TE",
            "Upgrade",
            "X-Consumer-Username",
            "x_consumer_groups",
            "X-Consumer_Id",
        ] {
            assert!(kept(name), "{name}");
        }
        for name in [
            "x-user",
            "authorization",
            "x-consumer",
            "content-type",
            "set-cookie",
        ] {
            assert!(!kept(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_or_value() {
        for name in ["", "a b", "a:", "a\r\nb", "ä", "a\0"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("X-User_1.a"));
        for value in ["a\r\nb: c", "a\0", "a\x7f"] {
            assert!(!is_value(value), "{value:?}");
        }
        assert!(is_value("") && is_value("a\tb ü"));
    }

    #[test]
    fn connection_names_fields() {
        let got = named_by_connection(["close, X-Secret", " ,te"].into_iter());
        assert_eq!(got, ["close", "x-secret", "te"]);
    }
}
