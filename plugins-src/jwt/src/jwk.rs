//! Keys and sets of them (RFC 7517).

use std::cell::RefCell;

use penstock::{self as sdk, Json, KeyError, KeyFormat, Status};

use crate::base64;

/// How many keys of a set can be of use.
pub(crate) const MAX_KEYS: usize = 64;
/// How many keys a token is tried with that does not say which one is its.
const MAX_TRIES: usize = 8;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
    Secret,
}

/// How a token is signed (RFC 7518, 3.1; RFC 8037), with the kind of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Algorithm(&'static str, pub(crate) Kind);

const ALGORITHMS: [Algorithm; 13] = [
    Algorithm("RS256", Kind::Rsa),
    Algorithm("RS384", Kind::Rsa),
    Algorithm("RS512", Kind::Rsa),
    Algorithm("PS256", Kind::Rsa),
    Algorithm("PS384", Kind::Rsa),
    Algorithm("PS512", Kind::Rsa),
    Algorithm("ES256", Kind::P256),
    Algorithm("ES384", Kind::P384),
    Algorithm("ES512", Kind::P521),
    Algorithm("EdDSA", Kind::Ed25519),
    Algorithm("HS256", Kind::Secret),
    Algorithm("HS384", Kind::Secret),
    Algorithm("HS512", Kind::Secret),
];

impl Algorithm {
    /// Returns the algorithm of a name; None: there is none, as there is none called "none".
    pub(crate) fn parse(name: &str) -> Option<Algorithm> {
        ALGORITHMS.iter().find(|a| a.0 == name).copied()
    }

    #[cfg(test)]
    pub(crate) fn name(self) -> &'static str {
        self.0
    }
}

/// One key.
#[derive(Debug)]
pub(crate) struct Jwk {
    kid: Option<String>,
    algorithm: Option<String>, // the one that it says it is for
    kind: Kind,
    json: String, // what the proxy needs of it, and nothing else
    made: RefCell<Vec<(Algorithm, Option<sdk::Key>)>>, // by the proxy; None: it refused
}

impl Jwk {
    /// Reads one; None: it is not for signatures, or of a kind that is not understood, and
    /// to be left alone (RFC 7517, 5).
    fn read(jwk: &Json) -> Option<Jwk> {
        let Json::Object(fields) = jwk else {
            return None;
        };
        let member = |name: &str| fields.iter().find(|f| f.0 == name).map(|f| &f.1);
        let text = |name: &str| match member(name) {
            Some(Json::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        // One that is there has to be a text.
        let optional = |name: &str| match member(name) {
            None => Some(None),
            Some(Json::Text(text)) => Some(Some(text.clone())),
            Some(_) => None,
        };
        let number = |name: &str| text(name).filter(|t| !t.is_empty() && base64::decodes(t));
        if optional("use")?.is_some_and(|u| u != "sig") {
            return None;
        }
        match member("key_ops") {
            None => {}
            Some(Json::List(list)) if list.contains(&Json::Text("verify".into())) => {}
            Some(_) => return None,
        }
        let (kind, json) = match text("kty")? {
            "RSA" => {
                let (n, e) = (number("n")?, number("e")?);
                (Kind::Rsa, format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#))
            }
            "EC" => {
                let curve = text("crv")?;
                let kind = match curve {
                    "P-256" => Kind::P256,
                    "P-384" => Kind::P384,
                    "P-521" => Kind::P521,
                    _ => return None,
                };
                let (x, y) = (number("x")?, number("y")?);
                (
                    kind,
                    format!(r#"{{"kty":"EC","crv":"{curve}","x":"{x}","y":"{y}"}}"#),
                )
            }
            "OKP" if text("crv") == Some("Ed25519") => {
                let x = number("x")?;
                (
                    Kind::Ed25519,
                    format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#),
                )
            }
            "oct" => (
                Kind::Secret,
                format!(r#"{{"kty":"oct","k":"{}"}}"#, number("k")?),
            ),
            _ => return None,
        };
        Some(Jwk {
            kid: optional("kid")?,
            algorithm: optional("alg")?,
            kind,
            json,
            made: RefCell::default(),
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.1 && self.algorithm.as_ref().is_none_or(|a| a == algorithm.0)
    }

    /// Has the proxy read the key for an algorithm.
    fn make(&self, algorithm: Algorithm) -> Result<sdk::Key, KeyError> {
        sdk::Key::new(algorithm.0, KeyFormat::Jwk, &self.json)
    }

    /// Makes the key for the algorithms that it fits, one at least.
    fn prepare(&self, algorithms: &[Algorithm]) -> Result<(), String> {
        let mut made = self.made.borrow_mut();
        let mut refused = None;
        for a in algorithms.iter().filter(|a| self.fits(**a)) {
            match self.make(*a) {
                Ok(key) => made.push((*a, Some(key))),
                Err(KeyError::Refused(why)) => {
                    made.push((*a, None));
                    refused = Some(format!("{}: {why}", a.0));
                }
                Err(KeyError::Host(status)) => return Err(status.to_string()),
            }
        }
        match refused {
            Some(why) if made.iter().all(|m| m.1.is_none()) => {
                let kid = self.kid.as_deref().unwrap_or_default();
                Err(format!("the key with kid {kid:?} for {why}"))
            }
            _ => Ok(()),
        }
    }

    /// Says whether a signature is this key's; one that the proxy refused has none. The key
    /// is made when it is needed for the first time.
    fn verify(
        &self,
        algorithm: Algorithm,
        signature: &[u8],
        message: &[u8],
    ) -> Result<bool, Status> {
        let mut made = self.made.borrow_mut();
        let i = match made.iter().position(|m| m.0 == algorithm) {
            Some(i) => i,
            None => {
                let key = match self.make(algorithm) {
                    Ok(key) => Some(key),
                    Err(KeyError::Refused(why)) => {
                        let kid = self.kid.as_deref().unwrap_or_default();
                        sdk::log(
                            sdk::Level::Warn,
                            &format!("a key is of no use for {}: kid {kid:?}: {why}", algorithm.0),
                        );
                        None
                    }
                    Err(KeyError::Host(status)) => return Err(status),
                };
                made.push((algorithm, key));
                made.len() - 1
            }
        };
        match &made[i].1 {
            Some(key) => key.verify(signature, message),
            None => Ok(false),
        }
    }

    fn same(&self, other: &Jwk) -> bool {
        (&self.kid, &self.algorithm, &self.json) == (&other.kid, &other.algorithm, &other.json)
    }
}

/// What came of verifying a signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// There is no key that it could be of: another set may have one.
    Unknown,
}

/// The keys that can be of use of a set.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<Jwk>);

impl KeySet {
    /// Reads a set. Keys that are of no use are left alone, as are secrets unless they
    /// count. The error says why it is none.
    pub(crate) fn read(set: &Json, secrets: bool) -> Result<KeySet, String> {
        let Json::Object(fields) = set else {
            return Err("no object".into());
        };
        let Some((_, Json::List(list))) = fields.iter().find(|f| f.0 == "keys") else {
            return Err("no list called keys".into());
        };
        let keys: Vec<Jwk> = list
            .iter()
            .filter_map(Jwk::read)
            .filter(|k| secrets || k.kind != Kind::Secret)
            .collect();
        match keys.len() {
            0 => Err("no key that could be of use".into()),
            1..=MAX_KEYS => Ok(KeySet(keys)),
            n => Err(format!("{n} keys; want {MAX_KEYS} at most")),
        }
    }

    /// Makes each key for each of the algorithms that it fits. Keys that fit none are left
    /// out. The error says that none is left, or which one the proxy refuses for all of
    /// them, and why.
    pub(crate) fn prepare(&mut self, algorithms: &[Algorithm]) -> Result<(), String> {
        self.0.retain(|k| algorithms.iter().any(|a| k.fits(*a)));
        if self.0.is_empty() {
            return Err("none is for one of the algorithms".into());
        }
        self.0.iter().try_for_each(|k| k.prepare(algorithms))
    }

    /// Says whether there is a key of a kind.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.0.iter().any(|k| k.kind == kind)
    }

    /// Verifies a signature with the keys of that kid, or if none has it with those without
    /// one; without a kid with all that are for the algorithm, up to eight.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        signature: &[u8],
        message: &[u8],
    ) -> Result<Verdict, Status> {
        let named = kid.is_some() && self.0.iter().any(|k| k.kid.as_deref() == kid);
        let mut tried = 0;
        for k in &self.0 {
            let meant = kid.is_none() || k.kid.as_deref() == if named { kid } else { None };
            if !meant || !k.fits(algorithm) {
                continue;
            }
            if tried == MAX_TRIES {
                break;
            }
            tried += 1;
            if k.verify(algorithm, signature, message)? {
                return Ok(Verdict::Right);
            }
        }
        Ok(if named {
            Verdict::Wrong
        } else {
            Verdict::Unknown
        })
    }

    /// Says whether two sets hold the same keys.
    pub(crate) fn same(&self, other: &KeySet) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.same(b))
    }
}

#[cfg(test)]
#[path = "jwk_test.rs"]
mod tests;
