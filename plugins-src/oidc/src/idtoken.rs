//! What an ID token has to be beside any signed token (OpenID Connect Core 1.0, 3.1.3.7 and
//! 12.2).

use penstock::{self as sdk, Json};

use crate::checks::{Checks, verify};
use crate::claims::{Fault, Pass};
use crate::encode::base64url;
use crate::jwk::KeySet;
use crate::session::same;
use crate::token;

/// What the token is of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// The login with this nonce.
    Login { nonce: &'a str },
    /// The session that has this token, and began with this nonce.
    Refresh { before: &'a str, nonce: &'a str },
}

/// Checks an ID token that came with an access token.
pub(crate) fn check(
    checks: &Checks,
    keys: &KeySet,
    text: &str,
    access_token: &str,
    wanted: Wanted,
    now: u64,
) -> Result<Pass, Fault> {
    let pass = verify(checks, keys, text.as_bytes(), now)?;
    let claims = claims(text).ok_or(Fault::Invalid("the token is malformed"))?;
    own(&claims, &checks.audience[0], wanted).map_err(Fault::Invalid)?;
    if let Some(claim) = get(&claims, "at_hash") {
        let digest = hash_of(text).ok_or(Fault::Invalid("the token is malformed"))?;
        let sum = sdk::hash(digest, access_token).map_err(|e| Fault::Host(e.to_string()))?;
        if !half(claim, &sum) {
            return Err(Fault::Invalid("at_hash is not the access token's"));
        }
    }
    Ok(pass)
}

/// Checks the claims that other tokens need not have.
fn own(claims: &[(String, Json)], client: &str, wanted: Wanted) -> Result<(), &'static str> {
    if !matches!(get(claims, "iat"), Some(Json::Number(_))) {
        return Err("the token does not say when it was issued");
    }
    let sub = text(claims, "sub").filter(|s| !s.is_empty());
    let sub = sub.ok_or("the token has no sub")?;
    match (get(claims, "azp"), get(claims, "aud")) {
        (Some(Json::Text(azp)), _) if azp == client => {}
        (Some(_), _) => return Err("the token was issued to another client"),
        (None, Some(Json::List(list))) if list.len() > 1 => {
            return Err(
                "the token is for several audiences, and does not say to whom it was issued",
            );
        }
        (None, _) => {}
    }
    match wanted {
        Wanted::Login { nonce } => match text(claims, "nonce") {
            Some(got) if same(got, nonce) => Ok(()),
            _ => Err("the token's nonce is not the login's"),
        },
        Wanted::Refresh { before, nonce } => {
            let held = crate::idtoken::claims(before).unwrap_or_default();
            if text(&held, "sub") != Some(sub) {
                return Err("the token is of somebody else than the session");
            }
            match get(claims, "nonce") {
                None => Ok(()),
                Some(Json::Text(got)) if same(got, nonce) => Ok(()),
                Some(_) => Err("the token's nonce is not the session's"),
            }
        }
    }
}

/// Returns the claims of a token that has been verified.
fn claims(text: &str) -> Option<Vec<(String, Json)>> {
    token::object(&token::read(text.as_bytes()).ok()?.payload()?)
}

/// Returns the hash function that belongs to a token's signature.
fn hash_of(text: &str) -> Option<&'static str> {
    let header = text.split('.').next()?;
    let header = token::object(&crate::base64::decode(header.as_bytes())?)?;
    Some(match self::text(&header, "alg")? {
        "RS384" | "PS384" | "ES384" => "sha384",
        "RS512" | "PS512" | "ES512" | "EdDSA" => "sha512",
        _ => "sha256",
    })
}

/// Says whether a claim is the left half of a digest.
fn half(claim: &Json, sum: &[u8]) -> bool {
    matches!(claim, Json::Text(t) if same(t, &base64url(&sum[..sum.len() / 2])))
}

fn get<'a>(members: &'a [(String, Json)], name: &str) -> Option<&'a Json> {
    members.iter().find(|m| m.0 == name).map(|m| &m.1)
}

fn text<'a>(members: &'a [(String, Json)], name: &str) -> Option<&'a str> {
    match get(members, name) {
        Some(Json::Text(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(header: &str, claims: &str) -> String {
        let (header, claims) = (base64url(header.as_bytes()), base64url(claims.as_bytes()));
        format!("{header}.{claims}.AQ")
    }

    fn login(claims: &str) -> Result<(), &'static str> {
        let claims = token::object(claims.as_bytes()).unwrap();
        own(&claims, "shop", Wanted::Login { nonce: "n" })
    }

    #[test]
    fn logins_are_of_their_nonce_and_client() {
        for claims in [
            r#"{"iat":1,"sub":"a","nonce":"n","aud":"shop"}"#,
            r#"{"iat":1,"sub":"a","nonce":"n","aud":["shop"]}"#,
            r#"{"iat":1,"sub":"a","nonce":"n","aud":["shop","b"],"azp":"shop"}"#,
        ] {
            assert_eq!(login(claims), Ok(()), "{claims}");
        }
        for claims in [
            r#"{"sub":"a","nonce":"n","aud":"shop"}"#,
            r#"{"iat":"1","sub":"a","nonce":"n","aud":"shop"}"#,
            r#"{"iat":1,"nonce":"n","aud":"shop"}"#,
            r#"{"iat":1,"sub":"","nonce":"n","aud":"shop"}"#,
            r#"{"iat":1,"sub":7,"nonce":"n","aud":"shop"}"#,
            r#"{"iat":1,"sub":"a","aud":"shop"}"#,
            r#"{"iat":1,"sub":"a","nonce":"N","aud":"shop"}"#,
            r#"{"iat":1,"sub":"a","nonce":["n"],"aud":"shop"}"#,
            r#"{"iat":1,"sub":"a","nonce":"n","aud":["shop","b"]}"#,
            r#"{"iat":1,"sub":"a","nonce":"n","aud":["shop","b"],"azp":"b"}"#,
            r#"{"iat":1,"sub":"a","nonce":"n","aud":"shop","azp":"b"}"#,
            r#"{"iat":1,"sub":"a","nonce":"n","aud":"shop","azp":null}"#,
        ] {
            assert!(login(claims).is_err(), "{claims}");
        }
    }

    #[test]
    fn refreshed_tokens_are_of_the_same_person() {
        let before = token_of(r#"{"alg":"ES256"}"#, r#"{"sub":"a"}"#);
        for (claims, right) in [
            (r#"{"iat":1,"sub":"a","aud":"shop"}"#, true),
            (r#"{"iat":1,"sub":"a","aud":"shop","nonce":"n"}"#, true),
            (r#"{"iat":1,"sub":"a","aud":"shop","nonce":"m"}"#, false),
            (r#"{"iat":1,"sub":"b","aud":"shop"}"#, false),
        ] {
            let claims = token::object(claims.as_bytes()).unwrap();
            let wanted = Wanted::Refresh {
                before: &before,
                nonce: "n",
            };
            assert_eq!(own(&claims, "shop", wanted).is_ok(), right, "{claims:?}");
            let wanted = Wanted::Refresh {
                before: "",
                nonce: "n",
            };
            assert!(own(&claims, "shop", wanted).is_err());
        }
    }

    #[test]
    fn access_tokens_are_bound() {
        for (algorithm, want) in [
            ("RS256", "sha256"),
            ("ES384", "sha384"),
            ("EdDSA", "sha512"),
        ] {
            let token = token_of(&format!(r#"{{"alg":"{algorithm}"}}"#), "{}");
            assert_eq!(hash_of(&token), Some(want));
        }
        let sum = [1, 2, 3, 4];
        assert!(half(&Json::Text("AQI".into()), &sum));
        assert!(!half(&Json::Text("AQIDBA".into()), &sum) && !half(&Json::Null, &sum));
    }
}
