//! The cookies of the plugin among those of a request (RFC 6265), and how they are set.

use std::fmt::Write;

/// How long one piece of a session may be: browsers keep 4,096 bytes of a name and its value.
const PIECE: usize = 3_600;
/// How many pieces there may be.
const MAX_PIECES: usize = 6;
/// How much of a state names its cookie.
const SHORT: usize = 10;
/// How many logins of a request are looked at.
const MAX_LOGINS: usize = 16;
/// How many cookies of a request are looked at.
const MAX_COOKIES: usize = 512;

/// When browsers send a cookie along with requests of other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SameSite {
    Lax,
    Strict,
    None,
}

/// How the session's cookie is called, and where it counts.
#[derive(Debug)]
pub(crate) struct Jar {
    pub(crate) name: String,
    pub(crate) domain: Option<String>,
    pub(crate) path: String,
    pub(crate) same_site: SameSite,
}

/// The cookies of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cookies {
    /// Those of the plugin, by their whole names.
    own: Vec<(String, Vec<u8>)>,
    /// What is left of the field without them.
    pub(crate) rest: Vec<u8>,
}

/// A cookie of one name is there twice, so that it cannot be told which one counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Twice;

impl Jar {
    /// Returns how the session's cookie is called: with a prefix, by which browsers take it
    /// only from this origin (RFC 6265bis, 4.1.3), where that can be.
    fn session(&self, secure: bool) -> String {
        let prefix = match (secure, &self.domain) {
            (false, _) => "",
            (true, None) if self.path == "/" => "__Host-",
            (true, _) => "__Secure-",
        };
        format!("{prefix}{}", self.name)
    }

    /// Returns how a login's cookie is called.
    fn login(&self, secure: bool, state: &str) -> String {
        let prefix = if secure { "__Host-" } else { "" };
        format!("{prefix}{}.login.{}", self.name, short(state))
    }

    /// Says whether a cookie is one of the plugin's, with whatever prefix.
    fn owns(&self, name: &[u8]) -> bool {
        let bare = [&b"__Host-"[..], b"__Secure-"]
            .iter()
            .find_map(|p| match name.split_at_checked(p.len()) {
                Some((n, rest)) if n.eq_ignore_ascii_case(p) => Some(rest),
                _ => None,
            })
            .unwrap_or(name);
        match bare.strip_prefix(self.name.as_bytes()) {
            Some(rest) => matches!(rest, [] | [b'.', ..]),
            None => false,
        }
    }

    /// Reads the cookies of a field. None: they are too many.
    pub(crate) fn read(&self, field: &[u8]) -> Option<Cookies> {
        let mut all = Cookies::default();
        for (i, part) in field.split(|b| *b == b';').enumerate() {
            if i == MAX_COOKIES {
                return None;
            }
            let part = part.trim_ascii();
            let (name, value) = match part.iter().position(|b| *b == b'=') {
                Some(at) => (part[..at].trim_ascii(), part[at + 1..].trim_ascii()),
                None => (&b""[..], part),
            };
            if self.owns(name) {
                let name = String::from_utf8_lossy(name).into_owned();
                all.own.push((name, value.to_vec()));
            } else if !part.is_empty() {
                if !all.rest.is_empty() {
                    all.rest.extend_from_slice(b"; ");
                }
                all.rest.extend_from_slice(part);
            }
        }
        Some(all)
    }

    /// Returns what sets the session's cookies, and removes pieces of one before that was
    /// longer. None: it is too long.
    pub(crate) fn set_session(
        &self,
        secure: bool,
        sealed: &str,
        seconds: u64,
        before: &Cookies,
    ) -> Option<Vec<String>> {
        let name = self.session(secure);
        let pieces: Vec<&[u8]> = sealed.as_bytes().chunks(PIECE).collect();
        if pieces.len() > MAX_PIECES {
            return None;
        }
        let mut all = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let text = String::from_utf8_lossy(piece);
            let value = match i {
                0 => format!("{}.{text}", pieces.len()),
                _ => text.into_owned(),
            };
            all.push(self.cookie(&piece_name(&name, i), &value, secure, seconds));
        }
        for i in pieces.len()..MAX_PIECES {
            let name = piece_name(&name, i);
            if before.own.iter().any(|c| c.0 == name) {
                all.push(self.cookie(&name, "", secure, 0));
            }
        }
        Some(all)
    }

    /// Returns what removes the session's cookies of a request.
    pub(crate) fn drop_session(&self, secure: bool, before: &Cookies) -> Vec<String> {
        let name = self.session(secure);
        (0..MAX_PIECES)
            .map(|i| piece_name(&name, i))
            .filter(|name| before.own.iter().any(|c| c.0 == *name))
            .map(|name| self.cookie(&name, "", secure, 0))
            .collect()
    }

    fn cookie(&self, name: &str, value: &str, secure: bool, seconds: u64) -> String {
        let mut text = format!("{name}={value}; Path={}", self.path);
        if let Some(domain) = &self.domain {
            let _ = write!(text, "; Domain={domain}");
        }
        let secure = secure || self.same_site == SameSite::None;
        finish(text, self.same_site, secure, seconds)
    }

    /// Returns what sets a login's cookie. The provider leads back from another site, so that
    /// SameSite is Lax at most.
    pub(crate) fn set_login(
        &self,
        secure: bool,
        state: &str,
        sealed: &str,
        seconds: u64,
    ) -> String {
        let text = format!("{}={sealed}; Path=/", self.login(secure, state));
        finish(text, SameSite::Lax, secure, seconds)
    }

    /// Returns what removes a login's cookie.
    pub(crate) fn drop_login(&self, secure: bool, state: &str) -> String {
        self.set_login(secure, state, "", 0)
    }

    /// Returns the sealed session of a request: None: there is none.
    pub(crate) fn session_of(
        &self,
        secure: bool,
        cookies: &Cookies,
    ) -> Result<Option<Vec<u8>>, Twice> {
        let name = self.session(secure);
        let Some(first) = cookies.one(&name)? else {
            return Ok(None);
        };
        let Some((n @ b'1'..=b'9', piece)) = first
            .split_first()
            .and_then(|(n, rest)| Some((n, rest.strip_prefix(b".")?)))
        else {
            return Ok(None);
        };
        let n = usize::from(n - b'0');
        let mut sealed = piece.to_vec();
        for i in 1..n.min(MAX_PIECES + 1) {
            match cookies.one(&piece_name(&name, i))? {
                Some(piece) => sealed.extend_from_slice(piece),
                None => return Ok(None),
            }
        }
        Ok((n <= MAX_PIECES).then_some(sealed))
    }

    /// Returns the sealed login that a state is of.
    pub(crate) fn login_of<'a>(
        &self,
        secure: bool,
        state: &str,
        cookies: &'a Cookies,
    ) -> Result<Option<&'a [u8]>, Twice> {
        cookies.one(&self.login(secure, state))
    }

    /// Returns the logins that are under way, each with the end of its name: some of them, if
    /// there are more than a browser can have got here.
    pub(crate) fn logins<'a>(
        &self,
        secure: bool,
        cookies: &'a Cookies,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let start = self.login(secure, "");
        let ours = |end: &str| {
            end.len() == SHORT
                && end
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        cookies
            .own
            .iter()
            .filter_map(move |c| Some((c.0.strip_prefix(&start)?, &c.1[..])))
            .filter(move |one| ours(one.0))
            .take(MAX_LOGINS)
    }
}

impl Cookies {
    /// Says whether there is one of the plugin's.
    pub(crate) fn any(&self) -> bool {
        !self.own.is_empty()
    }

    fn one(&self, name: &str) -> Result<Option<&[u8]>, Twice> {
        let mut found = self.own.iter().filter(|c| c.0 == name);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Twice),
            (one, _) => Ok(one.map(|c| &c.1[..])),
        }
    }
}

/// Returns the part of a state that names its cookie.
fn short(state: &str) -> &str {
    state.get(..SHORT).unwrap_or(state)
}

fn piece_name(name: &str, i: usize) -> String {
    match i {
        0 => name.into(),
        i => format!("{name}.{i}"),
    }
}

fn finish(mut text: String, same_site: SameSite, secure: bool, seconds: u64) -> String {
    let _ = write!(text, "; Max-Age={seconds}; HttpOnly; SameSite=");
    text.push_str(match same_site {
        SameSite::Lax => "Lax",
        SameSite::Strict => "Strict",
        SameSite::None => "None",
    });
    if secure {
        text.push_str("; Secure");
    }
    text
}

#[cfg(test)]
#[path = "cookies_test.rs"]
mod tests;
