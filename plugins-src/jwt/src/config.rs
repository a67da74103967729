//! The configuration, checked.

use std::collections::BTreeMap;

use penstock::{self as sdk, Json};

use crate::checks::{Checks, Scalar, Who};
use crate::fields::{DAY, MAX_MANY, MAX_TEXT, check, duration, each, headers, many, path, token};
use crate::jwk::{Algorithm, KeySet, Kind};
use crate::place::Place;
use crate::settings::{ConsumerSettings, FromSettings, Settings, Wanted, defaults};
use crate::url::Url;

/// Where the keys come from.
#[derive(Debug)]
pub(crate) enum Keys {
    /// They are in the configuration.
    Inline(KeySet),
    Uri(Url),
    /// Where the issuer's metadata say, which lie here.
    Discovery(Url),
}

/// A configuration, ready for requests. Times are in nanoseconds.
#[derive(Debug)]
pub(crate) struct Rules {
    /// What a token is checked for.
    pub(crate) checks: Checks,
    pub(crate) cache_for: u64,
    pub(crate) keep_for: u64,
    pub(crate) places: Vec<Place>,
    pub(crate) forward: bool,
    pub(crate) optional: bool,
    pub(crate) realm: String,
}

/// Reads a configuration. Errors hold no key. What keys there are in it are still to be made.
pub(crate) fn parse(text: &[u8]) -> Result<(Rules, Keys), String> {
    let s = sdk::parse_config(text, defaults()).map_err(|e| e.to_string())?;
    let algorithms = algorithms(&s.algorithms)?;
    let keys = keys(&s, &algorithms)?;
    let audience = s.audience.map(|a| a.0);
    if let Some(list) = &audience {
        many("config.audience", list.len(), 1)?;
        each(
            "config.audience",
            list,
            |t| (1..=MAX_TEXT).contains(&t.len()),
            "want 1 to 512 bytes",
        )?;
    }
    if let Some(typ) = &s.typ {
        let right = (1..=128).contains(&typ.len()) && typ.bytes().all(|b| b.is_ascii_graphic());
        check(right, "config.typ: want 1 to 128 visible characters")?;
    }
    let quotable = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\';
    let right = (1..=128).contains(&s.realm.len()) && s.realm.bytes().all(quotable);
    check(
        right,
        "config.realm: want 1 to 128 visible characters without quotes and backslashes",
    )?;
    let max_lifetime = match &s.max_lifetime {
        Some(text) => Some(duration("maxLifetime", text, 1, 366 * DAY)?),
        None => None,
    };
    Ok((
        Rules {
            checks: Checks {
                issuer: s.issuer,
                audience: audience.unwrap_or_default(),
                algorithms,
                skew: duration("clockSkew", &s.clock_skew, 0, 3600)?,
                require_exp: s.require_exp,
                max_lifetime,
                typ: s.typ,
                required: required(s.required)?,
                headers: headers(s.headers)?,
                who: s.consumer.map_or(Ok(Who::Default), who)?,
                claims: s.claims,
            },
            cache_for: duration("cacheFor", &s.cache_for, 10, DAY)?,
            keep_for: duration("keepFor", &s.keep_for, 0, 7 * DAY)?,
            places: places(s.from)?,
            forward: s.forward,
            optional: s.optional,
            realm: s.realm,
        },
        keys,
    ))
}

fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    const AT: &str = "config.algorithms";
    many(AT, names.len(), 1)?;
    let want = "want RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384 or HS512";
    each(AT, names, |n| Algorithm::parse(n).is_some(), want)?;
    Ok(names.iter().filter_map(|n| Algorithm::parse(n)).collect())
}

/// Says where the keys come from: one place exactly.
fn keys(s: &Settings, algorithms: &[Algorithm]) -> Result<Keys, String> {
    if let Some(issuer) = &s.issuer {
        let right =
            (1..=MAX_TEXT).contains(&issuer.len()) && issuer.bytes().all(|b| b.is_ascii_graphic());
        check(right, "config.issuer: want 1 to 512 visible characters")?;
    }
    let symmetric = algorithms.iter().position(|a| a.1 == Kind::Secret);
    let jwks = Some(&s.jwks).filter(|j| **j != Json::Null);
    let keys = match (jwks, &s.jwks_uri, &s.issuer) {
        (Some(_), Some(_), _) => return Err("config.jwksUri: it is beside jwks; want one of both".into()),
        (Some(jwks), None, _) => {
            let set = KeySet::read(jwks, true).map_err(|why| format!("config.jwks{}", place_of(jwks, &why)))?;
            if let Some(i) = symmetric.filter(|_| !set.has(Kind::Secret)) {
                return Err(format!("config.algorithms[{i}]: jwks has no key of kty oct for it"));
            }
            return Ok(Keys::Inline(set));
        }
        (None, Some(uri), _) => Keys::Uri(Url::parse(uri).ok_or(
            "config.jwksUri: want http://NAME[:PORT]/PATH or https://NAME[:PORT]/PATH",
        )?),
        (None, None, Some(issuer)) => Keys::Discovery(Url::discovery(issuer).ok_or(
            "config.issuer: want https://NAME[:PORT][/PATH] to find its keys by, or jwksUri or jwks beside it",
        )?),
        (None, None, None) => {
            return Err("config: no keys: name the issuer, jwksUri, or jwks (from a Secret by configFrom)".into());
        }
    };
    match symmetric {
        Some(i) => Err(format!(
            "config.algorithms[{i}]: secrets are not fetched: give the key in jwks"
        )),
        None => Ok(keys),
    }
}

/// Returns where a set that is none is wrong, and why.
fn place_of(jwks: &Json, why: &str) -> String {
    let Json::Object(fields) = jwks else {
        return format!(": {why}; want an object with keys");
    };
    let Some((_, Json::List(list))) = fields.iter().find(|f| f.0 == "keys") else {
        return format!(".keys: {why}");
    };
    for (i, key) in list.iter().enumerate() {
        match key {
            Json::Object(fields) => match fields.iter().find(|f| f.0 == "kty").map(|f| &f.1) {
                Some(Json::Text(text)) if !text.is_empty() => {}
                _ => return format!(".keys[{i}].kty: want a text"),
            },
            _ => return format!(".keys[{i}]: want an object"),
        }
    }
    format!(".keys: {why}")
}

fn places(list: Vec<FromSettings>) -> Result<Vec<Place>, String> {
    check(
        (1..=8).contains(&list.len()),
        &format!("config.from: {} of them; want 1 to 8", list.len()),
    )?;
    let mut places = Vec::new();
    for (i, f) in list.into_iter().enumerate() {
        let at = format!("config.from[{i}]");
        if f.scheme.is_some() && f.header.is_none() {
            return Err(format!("{at}.scheme: it is for header alone"));
        }
        let named = |name: String, member: &str| {
            let right =
                (1..=256).contains(&name.len()) && (member == "query" || name.bytes().all(token));
            check(
                right,
                &format!("{at}.{member}: want a name of 1 to 256 bytes (RFC 9110, 5.6.2)"),
            )?;
            Ok::<String, String>(name)
        };
        let place = match (f.header, f.query, f.cookie) {
            (Some(name), None, None) => {
                let authorization = name.eq_ignore_ascii_case("authorization");
                let scheme = f
                    .scheme
                    .unwrap_or_else(|| if authorization { "Bearer" } else { "" }.into());
                let right = scheme.len() <= 64 && scheme.bytes().all(token);
                check(
                    right,
                    &format!("{at}.scheme: want a word of 64 bytes at most (RFC 9110, 5.6.2)"),
                )?;
                Place::Header {
                    name: named(name, "header")?,
                    scheme,
                }
            }
            (None, Some(name), None) => Place::Query(named(name, "query")?),
            (None, None, Some(name)) => Place::Cookie(named(name, "cookie")?),
            _ => return Err(format!("{at}: want one of header, query and cookie")),
        };
        if places.contains(&place) {
            return Err(format!("{at}: it is there twice"));
        }
        places.push(place);
    }
    Ok(places)
}

fn required(all: BTreeMap<String, Wanted>) -> Result<Vec<(String, Vec<Scalar>)>, String> {
    check(
        all.len() <= MAX_MANY,
        &format!("config.required: more than {MAX_MANY}"),
    )?;
    let mut required = Vec::new();
    for (claim, wanted) in all {
        let at = format!("config.required.{claim}");
        path(&at, &claim)?;
        many(&at, wanted.0.len(), 1)?;
        let scope = matches!(claim.as_str(), "scope" | "scp");
        for (i, value) in wanted.0.iter().enumerate() {
            match &value.0 {
                Json::Null => return Err(format!("{at}[{i}]: null; want a value")),
                Json::Text(text) if text.len() > MAX_TEXT => {
                    return Err(format!("{at}[{i}]: more than {MAX_TEXT} bytes"));
                }
                Json::Text(text) if scope => {
                    let right = text
                        .bytes()
                        .all(|b| b == b' ' || b.is_ascii_graphic() && b != b'"' && b != b'\\');
                    check(
                        right && !text.trim().is_empty(),
                        &format!("{at}: want scopes with spaces between them (RFC 6749, 3.3)"),
                    )?;
                }
                _ if scope => return Err(format!("{at}: want texts")),
                _ => {}
            }
        }
        required.push((claim, wanted.0));
    }
    Ok(required)
}

fn who(c: ConsumerSettings) -> Result<Who, String> {
    const AT: &str = "config.consumer";
    for (name, claim) in [
        ("claim", &c.claim),
        ("groups", &c.groups),
        ("find", &c.find),
    ] {
        if let Some(claim) = claim {
            path(&format!("{AT}.{name}"), claim)?;
        }
    }
    let Some(find) = c.find else {
        check(
            c.namespaces.is_none(),
            "config.consumer.namespaces: it is for find alone",
        )?;
        return Ok(Who::Claim {
            claim: c.claim.unwrap_or_else(|| "sub".into()),
            groups: c.groups,
        });
    };
    check(
        c.claim.is_none(),
        "config.consumer.claim: it is beside find; want one of both",
    )?;
    check(
        c.groups.is_none(),
        "config.consumer.groups: a Consumer that find finds has its own",
    )?;
    let namespaces = c.namespaces.unwrap_or_default();
    let most = sdk::MAX_CONSUMER_NAMESPACES;
    check(
        namespaces.len() <= most,
        &format!("{AT}.namespaces: more than {most}"),
    )?;
    let label = |n: &str| {
        (1..=63).contains(&n.len())
            && n.bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    each(
        &format!("{AT}.namespaces"),
        &namespaces,
        label,
        "want the name of a namespace",
    )?;
    Ok(Who::Find {
        claim: find,
        namespaces,
    })
}

#[cfg(test)]
#[path = "config_test.rs"]
pub(crate) mod tests;
