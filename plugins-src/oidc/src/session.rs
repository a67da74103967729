//! What the browser keeps: sessions, and logins that are under way.

use crate::wire::{Reader, put_text, put_time};

const SESSION: u8 = 1;
const LOGIN: u8 = 1;

/// Somebody's session. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    /// When the person logged in.
    pub(crate) begun: u64,
    /// When the ID token was checked last.
    pub(crate) checked: u64,
    /// From when on the tokens have to be refreshed.
    pub(crate) stale: u64,
    pub(crate) nonce: String,
    pub(crate) id_token: String,
    /// Empty: it is not forwarded.
    pub(crate) access_token: String,
    /// Empty: there is none.
    pub(crate) refresh_token: String,
}

impl Session {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut to = vec![SESSION];
        put_time(&mut to, self.begun);
        put_time(&mut to, self.checked);
        put_time(&mut to, self.stale);
        put_text(&mut to, &self.nonce);
        put_text(&mut to, &self.id_token);
        put_text(&mut to, &self.access_token);
        put_text(&mut to, &self.refresh_token);
        to
    }

    pub(crate) fn read(text: &[u8]) -> Option<Session> {
        let mut r = Reader(text);
        r.version(SESSION)?;
        let session = Session {
            begun: r.time()?,
            checked: r.time()?,
            stale: r.time()?,
            nonce: r.text()?,
            id_token: r.text()?,
            access_token: r.text()?,
            refresh_token: r.text()?,
        };
        r.end()?;
        Some(session)
    }
}

/// A login that is under way, of one tab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    /// When it began, in seconds since 1970.
    pub(crate) begun: u64,
    pub(crate) state: String,
    pub(crate) nonce: String,
    /// The secret half of PKCE (RFC 7636).
    pub(crate) verifier: String,
    /// The path and query to come back to.
    pub(crate) back: String,
    /// As the provider was told it.
    pub(crate) redirect_uri: String,
}

impl Login {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut to = vec![LOGIN];
        put_time(&mut to, self.begun);
        for text in [
            &self.state,
            &self.nonce,
            &self.verifier,
            &self.back,
            &self.redirect_uri,
        ] {
            put_text(&mut to, text);
        }
        to
    }

    pub(crate) fn read(text: &[u8]) -> Option<Login> {
        let mut r = Reader(text);
        r.version(LOGIN)?;
        let login = Login {
            begun: r.time()?,
            state: r.text()?,
            nonce: r.text()?,
            verifier: r.text()?,
            back: r.text()?,
            redirect_uri: r.text()?,
        };
        r.end()?;
        Some(login)
    }
}

/// Says whether two texts are the same, in a time that does not tell where they differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let differ = a.bytes().zip(b.bytes()).fold(0, |d, (a, b)| d | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            begun: 1,
            checked: 2,
            stale: u64::MAX,
            nonce: "n".into(),
            id_token: "a.b.\u{e9}".into(),
            access_token: String::new(),
            refresh_token: "r".repeat(300),
        }
    }

    fn login() -> Login {
        Login {
            begun: 7,
            state: "s".into(),
            nonce: String::new(),
            verifier: "v".into(),
            back: "/a?b".into(),
            redirect_uri: "https://a/cb".into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Session::read(&session().write()), Some(session()));
        assert_eq!(Login::read(&login().write()), Some(login()));
    }

    /// Whatever is read is what is written for it: nothing is left over or made up.
    #[test]
    fn any_bytes_are_read() {
        for seed in [session().write(), login().write()] {
            for at in 0..seed.len() {
                assert!(Session::read(&seed[..at]).is_none() && Login::read(&seed[..at]).is_none());
                for byte in 0..=255 {
                    let mut text = seed.clone();
                    text[at] = byte;
                    if let Some(s) = Session::read(&text) {
                        assert_eq!(s.write(), text);
                    }
                    if let Some(l) = Login::read(&text) {
                        assert_eq!(l.write(), text);
                    }
                }
            }
            let mut longer = seed;
            longer.push(0);
            assert!(Session::read(&longer).is_none() && Login::read(&longer).is_none());
        }
    }

    #[test]
    fn secrets_compare() {
        assert!(same("", "") && same("abc", "abc"));
        assert!(!same("abc", "abd") && !same("abc", "ab") && !same("", "a"));
    }
}
