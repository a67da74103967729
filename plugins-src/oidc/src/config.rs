//! The configuration, checked.

use std::collections::BTreeMap;

use penstock as sdk;

use crate::checks::{Checks, Who};
use crate::claims::SECOND;
use crate::cookies::{Jar, SameSite};
use crate::fields::{DAY, MAX_TEXT, check, duration, each, headers, path, token};
use crate::jwk::Algorithm;
use crate::settings::{ConsumerSettings, CookieSettings, Settings, defaults};
use crate::url::Url;

/// A configuration, ready for requests. Times are in nanoseconds unless they say otherwise.
#[derive(Debug)]
pub(crate) struct Rules {
    /// What an ID token is checked for.
    pub(crate) checks: Checks,
    pub(crate) cache_for: u64,
    pub(crate) keep_for: u64,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    /// None: a public client.
    pub(crate) client_secret: Option<String>,
    pub(crate) scope: String,
    /// More parameters of requests to log in.
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) callback_path: String,
    /// None: where the request came to.
    pub(crate) redirect: Option<Redirect>,
    pub(crate) logout_path: String,
    /// Where the browser goes after it.
    pub(crate) logout_then: Option<String>,
    pub(crate) jar: Jar,
    /// How long a session lasts, in seconds.
    pub(crate) max_age: u64,
    pub(crate) forward_access: bool,
    /// The field that the ID token goes into.
    pub(crate) forward_id: Option<String>,
}

/// A redirect URI that the configuration says.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) uri: String,
    /// Scheme and authority.
    pub(crate) origin: String,
    pub(crate) secure: bool,
}

/// What a configuration is made into. The secrets are for the seals alone.
pub(crate) struct Parsed {
    pub(crate) rules: Rules,
    pub(crate) secrets: Vec<String>,
    /// Where the issuer's metadata are.
    pub(crate) discovery: Url,
}

/// How ID tokens may be signed: by keys whose public half the provider shows.
const ALGORITHMS: [&str; 10] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];
/// By how much the provider's clock may differ.
const SKEW: u64 = 60 * SECOND;
/// How long metadata and keys serve until they are fetched again,
const CACHE_FOR: u64 = 300 * SECOND;
/// and how long if that fails.
const KEEP_FOR: u64 = 3600 * SECOND;
/// What the plugin says itself in requests to log in.
const RESERVED: [&str; 12] = [
    "response_type",
    "response_mode",
    "client_id",
    "client_secret",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
];

/// Reads a configuration. Errors hold no secret.
pub(crate) fn parse(text: &[u8]) -> Result<Parsed, String> {
    let s = sdk::parse_config(text, defaults()).map_err(|e| e.to_string())?;
    let (issuer, discovery) = issuer(&s)?;
    let client_id = client(&s)?;
    secrets(&s.secret.0)?;
    scopes(&s.scopes)?;
    paths(&s)?;
    let redirect = s
        .redirect_uri
        .as_deref()
        .map(|uri| redirect(uri, &s.callback_path))
        .transpose()?;
    let headers = fields(s.headers, s.forward.id_token.as_deref())?;
    let algorithms = ALGORITHMS.iter().filter_map(|n| Algorithm::parse(n));
    let checks = Checks {
        issuer: Some(issuer.clone()),
        audience: vec![client_id.clone()],
        algorithms: algorithms.collect(),
        skew: SKEW,
        require_exp: true,
        max_lifetime: None,
        typ: None,
        required: Vec::new(),
        headers,
        who: who(s.consumer)?,
        claims: true,
    };
    let rules = Rules {
        checks,
        cache_for: CACHE_FOR,
        keep_for: KEEP_FOR,
        issuer,
        client_id,
        client_secret: s.client_secret,
        scope: s.scopes.join(" "),
        parameters: parameters(s.parameters)?,
        callback_path: s.callback_path,
        redirect,
        logout_path: s.logout.path,
        logout_then: s.logout.then,
        max_age: duration("cookie.maxAge", &s.cookie.max_age, 60, 30 * DAY)? / SECOND,
        jar: jar(&s.cookie)?,
        forward_access: s.forward.access_token,
        forward_id: s.forward.id_token,
    };
    Ok(Parsed {
        rules,
        secrets: s.secret.0,
        discovery,
    })
}

/// Returns the issuer, and where its metadata are.
fn issuer(s: &Settings) -> Result<(String, Url), String> {
    const WANT: &str = "want https://NAME[:PORT][/PATH]";
    let Some(issuer) = s.issuer.clone() else {
        return Err(format!("config.issuer: it is missing; {WANT}"));
    };
    let discovery = Url::discovery(&issuer)
        .filter(|_| issuer.len() <= MAX_TEXT)
        .ok_or(format!("config.issuer: {WANT}"))?;
    Ok((issuer, discovery))
}

/// Returns the client's name; its secret is checked too.
fn client(s: &Settings) -> Result<String, String> {
    let visible = |t: &str, most: usize| {
        (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic())
    };
    let Some(id) = s.client_id.clone() else {
        return Err("config.clientId: it is missing; want the name that the provider gave".into());
    };
    let want = "config.clientId: want 1 to 256 visible characters";
    check(visible(&id, 256), want)?;
    let right = s
        .client_secret
        .as_ref()
        .is_none_or(|t| visible(t, MAX_TEXT));
    let want = "config.clientSecret: want 1 to 512 visible characters";
    check(right, want)?;
    Ok(id)
}

/// Checks the paths that are the plugin's own, and where a logout leads to.
fn paths(s: &Settings) -> Result<(), String> {
    for (name, at) in [
        (&s.callback_path, "callbackPath"),
        (&s.logout.path, "logout.path"),
    ] {
        check(
            plain_path(name) && name.len() > 1,
            &format!("config.{at}: want a path: /, then letters, digits and -._~/"),
        )?;
    }
    check(
        s.callback_path != s.logout.path,
        "config.logout.path: it is callbackPath too",
    )?;
    let right =
        s.logout.then.as_ref().is_none_or(|then| {
            then.len() <= MAX_TEXT && (local(then) || Url::parse(then).is_some())
        });
    check(
        right,
        "config.logout.then: want a path, or http://NAME[:PORT]/PATH or https://NAME[:PORT]/PATH",
    )
}

/// Reads which claims go into which fields, beside the one of the ID token.
fn fields(
    all: BTreeMap<String, String>,
    id: Option<&str>,
) -> Result<Vec<(String, String)>, String> {
    let named = headers(all)?;
    let cookie = named.iter().find(|h| h.1.eq_ignore_ascii_case("cookie"));
    if let Some((claim, _)) = cookie {
        return Err(format!(
            "config.claimsToHeaders.{claim}: that field is not for claims"
        ));
    }
    if let Some(name) = id {
        id_field(name, &named)?;
    }
    Ok(named)
}

fn secrets(list: &[String]) -> Result<(), String> {
    const AT: &str = "config.secret";
    check(
        (1..=4).contains(&list.len()),
        &format!(
            "{AT}: {} of them; want 1 to 4, from a Secret by configFrom",
            list.len()
        ),
    )?;
    each(
        AT,
        list,
        |t| (32..=256).contains(&t.len()),
        "want 32 to 256 random bytes",
    )
}

fn scopes(list: &[String]) -> Result<(), String> {
    const AT: &str = "config.scopes";
    check(
        (1..=16).contains(&list.len()),
        &format!("{AT}: {} of them; want 1 to 16", list.len()),
    )?;
    let right = |t: &str| {
        (1..=128).contains(&t.len())
            && t.bytes()
                .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
    };
    each(
        AT,
        list,
        right,
        "want 1 to 128 visible characters without quotes and backslashes",
    )?;
    check(
        list.iter().any(|s| s == "openid"),
        &format!("{AT}: openid is missing: without it there is no ID token"),
    )
}

fn parameters(all: BTreeMap<String, String>) -> Result<Vec<(String, String)>, String> {
    const AT: &str = "config.parameters";
    check(all.len() <= 16, &format!("{AT}: more than 16"))?;
    for (name, value) in &all {
        let named = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        check(
            named,
            &format!("{AT}.{name}: want a name of letters, digits and _-."),
        )?;
        check(
            !RESERVED.contains(&name.as_str()),
            &format!("{AT}.{name}: the plugin itself says it"),
        )?;
        let right = value.len() <= MAX_TEXT && !value.chars().any(char::is_control);
        check(
            right,
            &format!("{AT}.{name}: want up to 512 bytes without control characters"),
        )?;
    }
    Ok(all.into_iter().collect())
}

fn redirect(uri: &str, callback: &str) -> Result<Redirect, String> {
    const AT: &str = "config.redirectUri";
    let url = Url::parse(uri).ok_or(format!("{AT}: want https://NAME[:PORT]/PATH"))?;
    check(
        url.path == callback,
        &format!("{AT}: its path is not callbackPath, {callback}"),
    )?;
    Ok(Redirect {
        uri: uri.into(),
        origin: format!("{}://{}", url.scheme, url.authority),
        secure: url.scheme == "https",
    })
}

fn jar(c: &CookieSettings) -> Result<Jar, String> {
    const AT: &str = "config.cookie";
    let named = (1..=64).contains(&c.name.len()) && c.name.bytes().all(token);
    check(
        named,
        &format!("{AT}.name: want a name of 1 to 64 bytes (RFC 6265, 4.1.1)"),
    )?;
    check(
        !c.name.starts_with("__"),
        &format!("{AT}.name: the prefix is set by itself where it can be"),
    )?;
    if let Some(domain) = &c.domain {
        let right = Url::parse(&format!("https://{domain}/")).is_some_and(|u| {
            u.authority == *domain && domain.contains('.') && !domain.contains(':')
        });
        check(
            right,
            &format!("{AT}.domain: want a domain, as example.com"),
        )?;
    }
    check(
        plain_path(&c.path),
        &format!("{AT}.path: want a path: /, then letters, digits and -._~/"),
    )?;
    Ok(Jar {
        name: c.name.clone(),
        domain: c.domain.clone(),
        path: c.path.clone(),
        same_site: match c.same_site.as_str() {
            "lax" => SameSite::Lax,
            "strict" => SameSite::Strict,
            "none" => SameSite::None,
            _ => return Err(format!("{AT}.sameSite: want lax, strict or none")),
        },
    })
}

/// Checks that the field of the ID token is of use, and no other one's.
fn id_field(name: &str, claims: &[(String, String)]) -> Result<(), String> {
    const AT: &str = "config.forward.idToken";
    let right = (1..=256).contains(&name.len()) && name.bytes().all(token);
    check(
        right,
        &format!("{AT}: want a field's name of 1 to 256 bytes (RFC 9110, 5.1)"),
    )?;
    const OTHERS: [&str; 11] = [
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let own = OTHERS.iter().any(|o| name.eq_ignore_ascii_case(o));
    check(!own, &format!("{AT}: that field is not for it"))?;
    let taken = claims.iter().any(|h| h.1.eq_ignore_ascii_case(name));
    check(!taken, &format!("{AT}: a claim goes into that field"))
}

fn who(c: Option<ConsumerSettings>) -> Result<Who, String> {
    let Some(c) = c else { return Ok(Who::Default) };
    for (name, claim) in [("claim", &c.claim), ("groups", &c.groups)] {
        if let Some(claim) = claim {
            path(&format!("config.consumer.{name}"), claim)?;
        }
    }
    Ok(Who::Claim {
        claim: c.claim.unwrap_or_else(|| "sub".into()),
        groups: c.groups,
    })
}

/// Says whether a text is a path that is the same in every way to write it.
fn plain_path(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    (1..=256).contains(&text.len())
        && text.starts_with('/')
        && text.bytes().all(plain)
        && !text.contains("//")
        && !text.split('/').any(|s| s == "." || s == "..")
}

/// Says whether a text is a path of the same origin, whoever reads it: browsers take // and /\
/// for the start of another one, and leave tabs and line breaks out.
pub(crate) fn local(text: &str) -> bool {
    text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
}

#[cfg(test)]
#[path = "config_test.rs"]
pub(crate) mod tests;
