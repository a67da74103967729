//! What a token is checked for. The plugin oidc has this file too.

use penstock::{self as sdk, Json, Setting};

use crate::claims::{self, Fault, Pass};
use crate::jwk::{Algorithm, KeySet, Verdict};
use crate::token;

/// What a token has to be, and what is taken from it. Times are in nanoseconds.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) skew: u64,
    pub(crate) require_exp: bool,
    pub(crate) max_lifetime: Option<u64>,
    pub(crate) typ: Option<String>,
    pub(crate) required: Vec<(String, Vec<Scalar>)>,
    /// Claims and the fields that they go into.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) who: Who,
    pub(crate) claims: bool,
}

/// By what the proxy is told who sends a request.
#[derive(Debug)]
pub(crate) enum Who {
    /// By sub, if that can be a name.
    Default,
    Claim {
        claim: String,
        groups: Option<String>,
    },
    Find {
        claim: String,
        namespaces: Vec<String>,
    },
}

/// A text, a number, true or false.
#[derive(Debug, PartialEq)]
pub(crate) struct Scalar(pub(crate) Json);

impl Default for Scalar {
    fn default() -> Scalar {
        Scalar(Json::Null)
    }
}

impl Setting for Scalar {
    fn read(&mut self, value: &Json, at: &mut sdk::Place) {
        match value {
            Json::Text(_) | Json::Number(_) | Json::Bool(_) => self.0 = value.clone(),
            other => at.want("a text, a number, true or false", other),
        }
    }
}

/// Verifies a token, and checks what it says.
pub(crate) fn verify(checks: &Checks, keys: &KeySet, text: &[u8], now: u64) -> Result<Pass, Fault> {
    let token = token::read(text).map_err(Fault::Invalid)?;
    if !checks.algorithms.contains(&token.algorithm) {
        return Err(Fault::Invalid("the token's algorithm is not permitted"));
    }
    if let Some(want) = &checks.typ {
        let right = token
            .typ
            .as_ref()
            .is_some_and(|t| token::same_type(t, want));
        if !right {
            return Err(Fault::Invalid("the token is of another type"));
        }
    }
    let kid = token.kid.as_deref();
    match keys.verify(token.algorithm, kid, &token.signature, token.message) {
        Ok(Verdict::Right) => {}
        Ok(Verdict::Wrong) => return Err(Fault::Invalid("the token's signature is wrong")),
        Ok(Verdict::Unknown) => return Err(Fault::UnknownKey),
        Err(status) => return Err(Fault::Host(status.to_string())),
    }
    let payload = token
        .payload()
        .ok_or(Fault::Invalid("the token is malformed"))?;
    claims::check(checks, payload, now)
}
