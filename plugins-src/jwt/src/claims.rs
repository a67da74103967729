//! What a token says (RFC 7519), and what it has to. The plugin oidc has this file too.

use penstock::{Consumer, Json};

use crate::checks::{Checks, Scalar, Who};
use crate::token::object;

/// How many nanoseconds a second has.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// The last second of the year 9999: what is beyond is no time, but milliseconds.
const LAST: f64 = 253_402_300_799.0;

/// Why a token does not let a request pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is no token that counts here.
    Invalid(&'static str),
    /// None of the keys is the token's: it may be of newer ones.
    UnknownKey,
    /// It counts, and does not say what is required.
    Scope(String),
    /// The proxy did not verify it.
    Host(String),
}

/// What a verified token stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// When it ends, in nanoseconds since 1970; u64::MAX: never.
    pub(crate) until: u64,
    pub(crate) who: Named,
    /// The values of the header fields that claims go into, in their order; None: no value.
    pub(crate) headers: Vec<Option<String>>,
    /// The payload, if others are to see it.
    pub(crate) payload: Option<Vec<u8>>,
}

/// Who sends a request, as its token says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Nobody,
    Consumer(Consumer),
    /// Whoever has a credential of that name.
    Lookup(String),
}

type Members = [(String, Json)];

/// Checks what a token with a right signature says.
pub(crate) fn check(checks: &Checks, payload: Vec<u8>, now: u64) -> Result<Pass, Fault> {
    let claims = object(&payload).ok_or(Fault::Invalid("the token's claims are no JSON object"))?;
    let until = times(checks, &claims, now).map_err(Fault::Invalid)?;
    parties(checks, &claims).map_err(Fault::Invalid)?;
    for (path, wanted) in &checks.required {
        let found = find(&claims, path);
        if !found.is_some_and(|f| satisfies(path, f, wanted)) {
            return Err(Fault::Scope(format!("the claim {path} is not as required")));
        }
    }
    let headers = checks
        .headers
        .iter()
        .map(|h| field(find(&claims, &h.0)?))
        .collect();
    let who = who(checks, &claims).map_err(Fault::Invalid)?;
    // Where nobody is named the claims say that it is somebody: to the cache, for one.
    let tell = checks.claims || who == Named::Nobody;
    Ok(Pass {
        until,
        who,
        headers,
        payload: tell.then_some(payload),
    })
}

/// Checks exp, nbf and iat (RFC 7519, 4.1), and returns when the token ends.
fn times(checks: &Checks, claims: &Members, now: u64) -> Result<u64, &'static str> {
    let time = |name: &str, wrong| match get(claims, name) {
        None => Ok(None),
        Some(Json::Number(n)) => match n.parse::<f64>() {
            Ok(n) if (0.0..=LAST).contains(&n) => Ok(Some((n * SECOND as f64) as u64)),
            _ => Err(wrong),
        },
        Some(_) => Err(wrong),
    };
    let exp = time("exp", "exp is no time in seconds")?;
    let nbf = time("nbf", "nbf is no time in seconds")?;
    let iat = time("iat", "iat is no time in seconds")?;
    let late = now.saturating_add(checks.skew);
    if exp.is_none() && checks.require_exp {
        return Err("the token does not say when it expires");
    }
    let until = exp.map_or(u64::MAX, |e| e.saturating_add(checks.skew));
    if until <= now {
        return Err("the token has expired");
    }
    if nbf.is_some_and(|n| n > late) {
        return Err("the token is not valid yet");
    }
    if iat.is_some_and(|i| i > late) {
        return Err("the token was issued in the future");
    }
    if let Some(most) = checks.max_lifetime {
        match (exp, iat) {
            (Some(exp), Some(iat)) if exp.saturating_sub(iat) <= most => {}
            (Some(_), Some(_)) => return Err("the token lives longer than is permitted"),
            _ => return Err("the token does not say how long it lives"),
        }
    }
    Ok(until)
}

/// Checks who issued the token and for whom.
fn parties(checks: &Checks, claims: &Members) -> Result<(), &'static str> {
    if let Some(issuer) = &checks.issuer {
        match get(claims, "iss") {
            Some(Json::Text(iss)) if iss == issuer => {}
            _ => return Err("the token is of another issuer"),
        }
    }
    if checks.audience.is_empty() {
        return Ok(());
    }
    let ours = |v: &Json| matches!(v, Json::Text(t) if checks.audience.contains(t));
    match get(claims, "aud") {
        Some(Json::List(list)) if list.iter().any(ours) => Ok(()),
        Some(one) if ours(one) => Ok(()),
        _ => Err("the token is for another audience"),
    }
}

/// Says who sends the request. Without a rule it is sub, if that can be a consumer's name.
fn who(checks: &Checks, claims: &Members) -> Result<Named, &'static str> {
    const NOBODY: &str = "the token names no consumer";
    match &checks.who {
        Who::Default => Ok(match get(claims, "sub") {
            Some(Json::Text(sub)) if printable(sub) => {
                Named::Consumer(Consumer::new::<&str>(sub, &[]))
            }
            _ => Named::Nobody,
        }),
        Who::Claim { claim, groups } => {
            let name = find(claims, claim)
                .and_then(name)
                .filter(|n| printable(n))
                .ok_or(NOBODY)?;
            let groups = match groups.as_ref().and_then(|g| find(claims, g)) {
                None => Vec::new(),
                Some(list) => texts(list).ok_or("the token's groups are no list of names")?,
            };
            if groups.len() > 64 || !groups.iter().all(|g| printable(g)) {
                return Err("the token's groups are more than 64, or not names");
            }
            Ok(Named::Consumer(Consumer::new(name, &groups)))
        }
        Who::Find { claim, .. } => match find(claims, claim).and_then(name) {
            Some(text) if !text.is_empty() && text.len() <= penstock::MAX_CREDENTIAL_LOOKUP => {
                Ok(Named::Lookup(text.into()))
            }
            _ => Err(NOBODY),
        },
    }
}

/// Says whether the proxy takes a text as a consumer's or a group's name.
fn printable(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b',' && b != b'"')
}

/// Returns a text or a number as it is written.
fn name(value: &Json) -> Option<&str> {
    match value {
        Json::Text(text) | Json::Number(text) => Some(text),
        _ => None,
    }
}

/// Returns the texts of a list, or those of a text between its spaces.
fn texts(value: &Json) -> Option<Vec<&str>> {
    match value {
        Json::Text(text) => Some(text.split(' ').filter(|t| !t.is_empty()).collect()),
        Json::List(list) => list.iter().map(name).collect(),
        Json::Null => Some(Vec::new()),
        _ => None,
    }
}

/// Says whether a claim is as wanted: one of the values, or a list that holds one. The values
/// of scope are sets (RFC 8693, 4.2), of which each member has to be there.
fn satisfies(path: &str, found: &Json, wanted: &[Scalar]) -> bool {
    if matches!(path, "scope" | "scp") {
        let Some(held) = texts(found) else {
            return false;
        };
        return wanted.iter().any(|w| match &w.0 {
            Json::Text(set) => set
                .split(' ')
                .filter(|s| !s.is_empty())
                .all(|s| held.contains(&s)),
            _ => false,
        });
    }
    match found {
        Json::List(list) => list.iter().any(|f| wanted.iter().any(|w| equal(&w.0, f))),
        one => wanted.iter().any(|w| equal(&w.0, one)),
    }
}

/// Says whether two values are the same: numbers by what they are, not how they are written.
fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            a == b
                || a.parse::<f64>()
                    .ok()
                    .zip(b.parse::<f64>().ok())
                    .is_some_and(|(a, b)| a == b && a.abs() < 9e15)
        }
        (Json::Text(_) | Json::Bool(_), _) => a == b,
        _ => false,
    }
}

fn get<'a>(members: &'a Members, name: &str) -> Option<&'a Json> {
    members.iter().find(|m| m.0 == name).map(|m| &m.1)
}

/// Returns the claim of a path: that of the whole name, else what lies in the objects that
/// the parts between dots name.
fn find<'a>(claims: &'a Members, path: &str) -> Option<&'a Json> {
    if let Some(value) = get(claims, path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    match get(claims, first)? {
        Json::Object(inner) => find(inner, rest),
        _ => None,
    }
}

/// Returns a claim as a header field's value: a list with commas between its values. None:
/// it cannot be one, as an object, or a text with control characters.
fn field(value: &Json) -> Option<String> {
    let one = |value: &Json| match value {
        Json::Text(text) | Json::Number(text) => Some(text.clone()),
        Json::Bool(b) => Some(b.to_string()),
        _ => None,
    };
    let text = match value {
        Json::List(list) => {
            let all: Vec<String> = list.iter().map(one).collect::<Option<_>>()?;
            if all.iter().any(|t| t.contains(',')) {
                return None; // it would look like two
            }
            all.join(",")
        }
        other => one(other)?,
    };
    let plain = text.len() <= 8 << 10 && text.trim() == text && !text.chars().any(char::is_control);
    plain.then_some(text)
}
