//! Keys that the proxy holds, digests and passwords.

use std::error::Error;
use std::fmt;

use crate::httpcall::call_later;
use crate::memory::with_room;
use crate::wire::{append_text, read_u32};
use crate::{Bytes, CallError, Status, call_foreign};

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// A secret's bytes.
    Raw = 0,
    /// RFC 7517, a key and no set.
    Jwk = 1,
    /// A public key, a certificate or a private key.
    Pem = 2,
}

/// Why a key is not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The proxy refuses it, and says why.
    Refused(String),
    /// The proxy does not have the function, or the plugin lacks the capability.
    Host(Status),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            KeyError::Refused(why) => f.write_str(why),
            KeyError::Host(status) => status.fmt(f),
        }
    }
}

impl Error for KeyError {}

impl From<Status> for KeyError {
    fn from(status: Status) -> KeyError {
        KeyError::Host(status)
    }
}

/// A key that the proxy holds, for one algorithm alone, until it is dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// Has the proxy read a key for an algorithm: RS256, RS384, RS512, PS256, PS384,
    /// PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512, A128GCM or A256GCM (RFC 7518,
    /// RFC 8037). A key that is not for it is refused; what a token says of its algorithm
    /// cannot change that. A filter may hold 512 keys on an instance. It needs the capability
    /// crypto: without it, and elsewhere than in Penstock, it fails with KeyError::Host.
    pub fn new(algorithm: &str, format: KeyFormat, key: impl AsRef<[u8]>) -> Result<Key, KeyError> {
        with_room(|room| {
            append_text(room, algorithm.as_bytes())?;
            room.push(format as u8);
            room.extend_from_slice(key.as_ref());
            let answer = call_foreign("penstock.crypto_key", room)?;
            match read_u32(&answer, 0).ok_or(Status::ResultMismatch)? {
                0 => Err(KeyError::Refused(
                    String::from_utf8_lossy(&answer[4..]).into_owned(),
                )),
                key => Ok(Key(key)),
            }
        })
    }

    /// Calls a function of this key with a text and data.
    fn call(&self, name: &str, text: Option<&[u8]>, data: &[u8]) -> Result<Bytes, Status> {
        with_room(|room| {
            room.extend_from_slice(&self.0.to_le_bytes());
            if let Some(text) = text {
                append_text(room, text)?;
            }
            room.extend_from_slice(data);
            call_foreign(name, room)
        })
    }

    /// Reports whether a signature, in the form of JWS (RFC 7515), is that of message.
    pub fn verify(
        &self,
        signature: impl AsRef<[u8]>,
        message: impl AsRef<[u8]>,
    ) -> Result<bool, Status> {
        let answer = self.call(
            "penstock.crypto_verify",
            Some(signature.as_ref()),
            message.as_ref(),
        )?;
        Ok(*answer == [1])
    }

    /// Returns the signature of message in the form of JWS.
    pub fn sign(&self, message: impl AsRef<[u8]>) -> Result<Bytes, Status> {
        self.call("penstock.crypto_sign", None, message.as_ref())
    }

    /// Encrypts text so that open alone can read it and nobody can change it; with,
    /// which may be empty, is not in the result and has to be the same for open. The key is
    /// for A128GCM or A256GCM.
    pub fn seal(&self, text: impl AsRef<[u8]>, with: impl AsRef<[u8]>) -> Result<Bytes, Status> {
        self.call("penstock.crypto_seal", Some(with.as_ref()), text.as_ref())
    }

    /// Returns the text that seal was given; None if the key is another one or anything
    /// was changed.
    pub fn open(
        &self,
        sealed: impl AsRef<[u8]>,
        with: impl AsRef<[u8]>,
    ) -> Result<Option<Vec<u8>>, Status> {
        let answer = self.call("penstock.crypto_open", Some(with.as_ref()), sealed.as_ref())?;
        Ok(answer.strip_prefix(&[1]).map(<[u8]>::to_vec))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = self.call("penstock.crypto_key_delete", None, b""); // a proxy that is ending
    }
}

/// Returns a digest: sha1, sha256, sha384 or sha512. It needs the capability crypto.
pub fn hash(name: &str, data: impl AsRef<[u8]>) -> Result<Bytes, Status> {
    with_room(|room| {
        append_text(room, name.as_bytes())?;
        room.extend_from_slice(data.as_ref());
        call_foreign("penstock.crypto_hash", room)
    })
}

/// Compares a password with its hash: bcrypt, or argon2id in the PHC string format.
/// Some: that is the answer. Else answered is called once, as that of http_call is. It needs
/// the capability crypto. It fails with Status::Parse for a hash that cannot be read, and
/// with Status::Internal if too many passwords wait.
pub fn check_password(
    hash: impl AsRef<[u8]>,
    password: impl AsRef<[u8]>,
    answered: impl FnOnce(Result<bool, CallError>) + 'static,
) -> Result<Option<bool>, Status> {
    with_room(|room| {
        append_text(room, hash.as_ref())?;
        room.extend_from_slice(password.as_ref());
        let now = call_later("penstock.crypto_password", room, move |answer| {
            answered(answer.map(|b| b == [1]))
        })?;
        Ok(now.map(|b| *b == [1]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_proxy() {
        let none = Status::Unimplemented;
        assert_eq!(
            Key::new("ES256", KeyFormat::Jwk, "{}"),
            Err(KeyError::Host(none))
        );
        assert_eq!(hash("sha256", "x").map(|b| b.to_vec()), Err(none));
        assert_eq!(check_password("x", "y", |_| ()), Err(none));
        let long = vec![0; 1 << 16];
        assert_eq!(check_password(&long, "y", |_| ()), Err(Status::BadArgument));
        assert_eq!(Key(1).seal("x", &long).map(drop), Err(Status::BadArgument));
        assert_eq!(KeyError::Refused("why".into()).to_string(), "why");
    }
}
