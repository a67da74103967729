//! The Consumer objects of Penstock.

use std::cell::Cell;

use crate::memory::with_room;
use crate::wire::append_text;
use crate::{Bytes, Status, call_foreign};

/// Bytes of a credential's type, at least 1.
pub const MAX_CREDENTIAL_TYPE: usize = 64;
/// Bytes of what a credential is looked up by, at least 1.
pub const MAX_CREDENTIAL_LOOKUP: usize = 4 << 10;
/// Namespaces beside the plugin's own, each of 1 to 63 bytes.
pub const MAX_CONSUMER_NAMESPACES: usize = 16;

const MAX_NAMESPACE: usize = 63;

// Flags of consumer_find.
const USE: u8 = 1;
const QUIET: u8 = 2; // nothing is returned

/// Who sent a request.
#[derive(Debug, Default)]
pub struct Identity {
    bytes: Bytes,
    groups: usize, // where their number stands
    data: usize,
}

impl Identity {
    /// Reads what the proxy returns: the username and a list of groups, each text with its
    /// length before it in 16 bits and the list's in 8; then the data.
    fn read(bytes: Bytes) -> Option<Identity> {
        let mut rest = &bytes[..];
        let whole = rest.len();
        text(&mut rest)?;
        let groups = whole - rest.len();
        let (n, mut rest) = rest.split_first()?;
        for _ in 0..*n {
            text(&mut rest)?;
        }
        let data = whole - rest.len();
        Some(Identity {
            bytes,
            groups,
            data,
        })
    }

    /// Returns its name, which is unique in its namespace.
    pub fn username(&self) -> &str {
        text(&mut &self.bytes[..]).unwrap_or_default()
    }

    /// Returns what it belongs to.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let (n, mut rest) = match self.bytes[self.groups..].split_first() {
            Some((n, rest)) => (*n, rest),
            None => (0, &[][..]),
        };
        (0..n).map_while(move |_| text(&mut rest))
    }

    /// Returns what the request is to be checked by, if it was found: what that is, a NUL,
    /// and the bytes; nothing for key-auth. It is secret.
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.data..]
    }
}

/// Takes a text with its length before it.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (n, after) = rest.split_first_chunk::<2>()?;
    let (text, after) = after.split_at_checked(u16::from_le_bytes(*n).into())?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

/// Returns the consumer that has a credential: one of a type, as "key-auth", that is looked
/// up by a text, as the key itself. It is looked for in the plugin's own namespace, then in
/// namespaces, whose ReferenceGrants have to permit it. Status::NotFound: there is none.
/// It needs the capability consumer: Status::Internal without it; elsewhere than in
/// Penstock Status::Unimplemented, and the plugin has to know who there is by itself.
pub fn find_consumer(
    kind: &str,
    lookup: impl AsRef<[u8]>,
    namespaces: &[&str],
) -> Result<Identity, Status> {
    Identity::read(find(0, kind, lookup.as_ref(), namespaces)?).ok_or(Status::ResultMismatch)
}

/// Makes the consumer that find_consumer returned last in this exchange the one who sent the
/// request: for the filters that come later, the log and the headers that the Service gets.
/// To be called once the request has shown what it has to, before its headers go on: later
/// it is Status::BadArgument. It fails as find_consumer does.
pub fn use_consumer() -> Result<(), Status> {
    penstock(call_foreign("penstock.consumer_use", [])).map(drop)
}

/// Is find_consumer and use_consumer at once, for a credential that nothing is left to be
/// checked of. If it fails nobody is known to have sent the request.
pub fn identify_consumer(
    kind: &str,
    lookup: impl AsRef<[u8]>,
    namespaces: &[&str],
) -> Result<(), Status> {
    find(USE | QUIET, kind, lookup.as_ref(), namespaces).map(drop)
}

/// Returns who sent the request, as plugins before this one have found out.
/// Status::NotFound: nobody has; Status::Unimplemented elsewhere than in Penstock. It needs
/// no capability.
pub fn current_consumer() -> Result<Identity, Status> {
    let bytes = penstock(call_foreign("penstock.consumer_get", []))?;
    Identity::read(bytes).ok_or(Status::ResultMismatch)
}

/// Says what a token holds of who sent the request, a JSON object of at most 16 KiB, once it
/// has been checked: later plugins read it as the property `["penstock", "claims"]`, and
/// expressions as claims. Otherwise it is as use_consumer; a request of which there are
/// claims counts as one of somebody for the cache too.
pub fn set_claims(json: impl AsRef<[u8]>) -> Result<(), Status> {
    penstock(call_foreign("penstock.set_claims", json.as_ref())).map(drop)
}

fn find(flags: u8, kind: &str, lookup: &[u8], namespaces: &[&str]) -> Result<Bytes, Status> {
    with_room(|room| {
        append_find(room, flags, kind, lookup, namespaces)?;
        penstock(call_foreign("penstock.consumer_find", room))
    })
}

/// Appends the argument of consumer_find: flags, the type and the lookup with their lengths
/// before them in 16 bits, a list of namespaces.
fn append_find(
    dst: &mut Vec<u8>,
    flags: u8,
    kind: &str,
    lookup: &[u8],
    namespaces: &[&str],
) -> Result<(), Status> {
    dst.push(flags);
    append(dst, kind.as_bytes(), MAX_CREDENTIAL_TYPE)?;
    append(dst, lookup, MAX_CREDENTIAL_LOOKUP)?;
    if namespaces.len() > MAX_CONSUMER_NAMESPACES {
        return Err(Status::BadArgument);
    }
    dst.push(namespaces.len() as u8);
    namespaces
        .iter()
        .try_for_each(|n| append(dst, n.as_bytes(), MAX_NAMESPACE))
}

fn append(dst: &mut Vec<u8>, text: &[u8], most: usize) -> Result<(), Status> {
    if text.is_empty() || text.len() > most {
        return Err(Status::BadArgument);
    }
    append_text(dst, text)
}

thread_local! {
    /// The proxy is Penstock: it has these functions.
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// Tells what was not found from a function that is not there: what a proxy that does not
/// have it says too.
fn penstock(answer: Result<Bytes, Status>) -> Result<Bytes, Status> {
    if !matches!(answer, Err(Status::NotFound)) || HERE.get() {
        return answer;
    }
    if matches!(
        call_foreign("penstock.consumer_get", [0]), // no argument of it
        Err(Status::BadArgument)
    ) {
        HERE.set(true);
        return answer;
    }
    Err(Status::Unimplemented)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::of;

    #[test]
    fn what_is_asked_is_written() {
        let mut b = Vec::new();
        append_find(&mut b, USE, "key-auth", b"k\xff", &["ab", "c"]).unwrap();
        assert_eq!(b, b"\x01\x08\0key-auth\x02\0k\xff\x02\x02\0ab\x01\0c");
        let long = "n".repeat(MAX_NAMESPACE + 1);
        let many = ["n"; MAX_CONSUMER_NAMESPACES + 1];
        for (kind, lookup, namespaces) in [
            ("", &b"k"[..], &[][..]),
            (&"t".repeat(MAX_CREDENTIAL_TYPE + 1), b"k", &[]),
            ("t", b"", &[]),
            ("t", &[0; MAX_CREDENTIAL_LOOKUP + 1], &[]),
            ("t", b"k", &many),
            ("t", b"k", &[""]),
            ("t", b"k", &[&long]),
        ] {
            let got = append_find(&mut Vec::new(), 0, kind, lookup, namespaces);
            assert_eq!(got, Err(Status::BadArgument));
        }
    }

    #[test]
    fn who_it_is_is_read() {
        let whole = b"\x04\0shop\x02\x01\0a\x02\0bc\xffdata";
        let got = Identity::read(of(whole)).unwrap();
        assert_eq!(got.username(), "shop");
        assert_eq!(got.groups().collect::<Vec<_>>(), ["a", "bc"]);
        assert_eq!(got.data(), b"\xffdata");
        let bare = Identity::read(of(b"\x01\0a\0")).unwrap();
        assert_eq!((bare.groups().count(), bare.data()), (0, &b""[..]));
        assert_eq!(Identity::default().groups().count(), 0);
        for n in 0..whole.len() - 5 {
            assert!(Identity::read(of(&whole[..n])).is_none(), "{n} bytes");
        }
        assert!(Identity::read(of(b"\x01\0\xff\0")).is_none());
    }

    #[test]
    fn elsewhere_it_fails() {
        assert_eq!(use_consumer(), Err(Status::Unimplemented));
        assert_eq!(
            identify_consumer("key-auth", "12345678", &[]),
            Err(Status::Unimplemented)
        );
        assert_eq!(
            penstock(Err(Status::NotFound)).unwrap_err(),
            Status::Unimplemented
        );
    }
}
