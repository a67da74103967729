//! Seals: AES-256-GCM by the proxy, with keys made of the configuration's secrets.

use penstock::{self as sdk, Key, KeyFormat, Status};

use crate::base64;
use crate::encode::base64url;

/// What a sealed text is for. One for something else does not open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Session,
    Login,
    /// A refreshed session, for other instances of the plugin.
    Refreshed,
}

/// The keys of a configuration: the first one seals, all of them open.
#[derive(Debug)]
pub(crate) struct Seals {
    keys: Vec<Key>,
    /// The issuer and the client: what was sealed for others with the same secret is not
    /// theirs.
    party: Vec<u8>,
}

impl Seals {
    /// Has the proxy make the keys.
    pub(crate) fn new(secrets: &[String], issuer: &str, client: &str) -> Result<Seals, String> {
        let mut keys = Vec::new();
        for secret in secrets {
            let digest = sdk::hash("sha256", format!("penstock oidc\0{secret}"))
                .map_err(|e| e.to_string())?;
            let key = Key::new("A256GCM", KeyFormat::Raw, &*digest).map_err(|e| e.to_string())?;
            keys.push(key);
        }
        Ok(Seals {
            keys,
            party: format!("{issuer}\0{client}").into_bytes(),
        })
    }

    fn with(&self, purpose: Purpose) -> Vec<u8> {
        let mut with = match purpose {
            Purpose::Session => b"session\0".to_vec(),
            Purpose::Login => b"login\0".to_vec(),
            Purpose::Refreshed => b"refreshed\0".to_vec(),
        };
        with.extend_from_slice(&self.party);
        with
    }

    /// Seals a text, as base64url.
    pub(crate) fn seal(&self, purpose: Purpose, text: &[u8]) -> Result<String, Status> {
        let first = self.keys.first().ok_or(Status::NotFound)?;
        Ok(base64url(&first.seal(text, self.with(purpose))?))
    }

    /// Opens what seal made; None: it did not, or not for this.
    pub(crate) fn open(&self, purpose: Purpose, text: &[u8]) -> Result<Option<Vec<u8>>, Status> {
        let Some(sealed) = base64::decode(text) else {
            return Ok(None);
        };
        let with = self.with(purpose);
        for key in &self.keys {
            if let Some(text) = key.open(&sealed, &with)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}
