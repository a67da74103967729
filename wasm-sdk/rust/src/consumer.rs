//! What only Penstock offers for the whole exchange.

use crate::context::EFFECTIVE;
use crate::plugin::WANTED;
use crate::{Callbacks, Status, call_foreign};

/// Who sent a request, ready to be handed to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer(Vec<u8>);

impl Consumer {
    /// Prepares a consumer; make it once, in configure.
    pub fn new<G: AsRef<str>>(name: &str, groups: &[G]) -> Consumer {
        let mut json = b"{\"name\":".to_vec();
        append_text(&mut json, name);
        for (i, group) in groups.iter().enumerate() {
            json.extend_from_slice(if i == 0 { b",\"groups\":[" } else { b"," });
            append_text(&mut json, group.as_ref());
        }
        if !groups.is_empty() {
            json.push(b']');
        }
        json.push(b'}');
        Consumer(json)
    }
}

/// Says who sent the request. It needs the capability consumer; elsewhere than
/// in Penstock it fails, and the plugin may set a header.
pub fn set_consumer(consumer: &Consumer) -> Result<(), Status> {
    call_foreign("penstock.set_consumer", &consumer.0).map(drop)
}

/// Says in configure that just these callbacks of a Stream are of use with this
/// configuration. The proxy then does not make the others, and holds no body up for them;
/// those of a Plugin, of calls and of raw connections it makes all the same. Elsewhere than
/// in Penstock all are made, as if nothing was said.
pub fn only(callbacks: Callbacks) {
    if call_foreign("penstock.set_callbacks", callbacks.0.to_le_bytes()).is_ok() {
        WANTED.with(|w| w.borrow_mut().insert(EFFECTIVE.get(), callbacks));
    }
}

/// Appends a text as JSON.
fn append_text(dst: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    dst.push(b'"');
    for b in text.bytes() {
        match b {
            b'"' | b'\\' => dst.extend([b'\\', b]),
            0..0x20 => {
                dst.extend_from_slice(b"\\u00");
                dst.extend([HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
            }
            _ => dst.push(b),
        }
    }
    dst.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Json, json};

    #[test]
    fn consumers_are_written() {
        let none: [&str; 0] = [];
        assert_eq!(Consumer::new("a", &none).0, br#"{"name":"a"}"#);
        let got = Consumer::new("a\"\\\u{1}\u{e9}", &["g", "h\n"]).0;
        assert_eq!(
            String::from_utf8(got).unwrap(),
            "{\"name\":\"a\\\"\\\\\\u0001\u{e9}\",\"groups\":[\"g\",\"h\\u000a\"]}"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let all: String = (0..0x300)
            .chain(0x1f600..0x1f610)
            .filter_map(char::from_u32)
            .collect();
        let mut b = Vec::new();
        append_text(&mut b, &all);
        assert_eq!(json::read(&b, "config"), Ok(Json::Text(all)));
    }
}
