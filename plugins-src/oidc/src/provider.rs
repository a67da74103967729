//! What the provider says of itself (OpenID Connect Discovery 1.0, 3), and the calls of its
//! token endpoint (RFC 6749, 4.1.3 and 6).

use penstock::{CallError, HttpResponse, Json};

use crate::config::Rules;
use crate::encode::{base64, form, percent};
use crate::source::members;
use crate::url::Url;

type Members = [(String, Json)];

/// How a client shows who it is to the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authentication {
    Basic,
    Post,
    /// A public client: PKCE alone.
    None,
}

/// A provider's metadata, as far as they count.
#[derive(Debug)]
pub(crate) struct Provider {
    /// Where the browser goes to log in,
    pub(crate) authorize: String,
    /// and to log out, if the provider has such a place.
    pub(crate) end_session: Option<String>,
    pub(crate) token: Url,
    /// Its callbacks say of whom they are (RFC 9207).
    pub(crate) says_issuer: bool,
    authentication: Authentication,
}

/// What the token endpoint gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Empty: there is none, which can be when tokens are refreshed.
    pub(crate) id_token: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    /// How long the access token lives, in seconds; None: it is not said.
    pub(crate) expires_in: Option<u64>,
}

/// Why it gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The code or refresh token does not count, or no longer.
    Grant,
    /// It cannot be reached now, or says that it cannot answer.
    Down(String),
    /// Its answer is none, or it refuses the client.
    Wrong(String),
}

/// How long a token may be: a session has to fit into cookies.
const MAX_TOKEN: usize = 8 << 10;
/// How long an access token may live: what is beyond is as good as for ever.
const MAX_LIFE: u64 = 366 * 24 * 3600;

impl Provider {
    /// Reads metadata, whose issuer has been compared. secure: all has to be https.
    pub(crate) fn read(
        rules: &Rules,
        metadata: &Members,
        secure: bool,
    ) -> Result<Provider, String> {
        let place = |name: &str| -> Result<Option<(&str, Url)>, String> {
            let Some(text) = text(metadata, name) else {
                return Ok(None);
            };
            let url =
                Url::parse(text).ok_or(format!("the metadata have a {name} that is no address"))?;
            if secure && url.scheme != "https" {
                return Err(format!("the metadata have a {name} without https"));
            }
            Ok(Some((text, url)))
        };
        let missing = |name: &str| format!("the metadata have no {name}");
        let authorize =
            place("authorization_endpoint")?.ok_or_else(|| missing("authorization_endpoint"))?;
        let token = place("token_endpoint")?.ok_or_else(|| missing("token_endpoint"))?;
        Ok(Provider {
            authorize: authorize.0.into(),
            token: token.1,
            end_session: place("end_session_endpoint")?.map(|p| p.0.into()),
            says_issuer: get(metadata, "authorization_response_iss_parameter_supported")
                == Some(&Json::Bool(true)),
            authentication: authentication(rules, metadata)?,
        })
    }

    /// Returns the header fields and the body of a request for tokens.
    pub(crate) fn ask(
        &self,
        rules: &Rules,
        grant: &[(&str, &str)],
    ) -> (Vec<(&'static str, String)>, String) {
        let mut headers = vec![
            (
                "content-type",
                String::from("application/x-www-form-urlencoded"),
            ),
            ("accept", "application/json".into()),
        ];
        let mut body = form(grant);
        let secret = rules.client_secret.as_deref().unwrap_or_default();
        let (id, secret) = (percent(&rules.client_id), percent(secret));
        match self.authentication {
            Authentication::Basic => {
                let both = base64(format!("{id}:{secret}").as_bytes());
                headers.push(("authorization", format!("Basic {both}")));
            }
            Authentication::Post => {
                body.push_str(&format!("&client_id={id}&client_secret={secret}"))
            }
            Authentication::None => body.push_str(&format!("&client_id={id}")),
        }
        (headers, body)
    }
}

/// Returns an address with more parameters in its query.
pub(crate) fn with_query(address: &str, pairs: &[(&str, &str)]) -> String {
    let between = match address.find('?') {
        None => "?",
        Some(at) if at + 1 == address.len() || address.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{address}{between}{}", form(pairs))
}

/// Chooses how to show who the client is, of what the provider takes: without a word of it
/// that is Basic.
fn authentication(rules: &Rules, metadata: &Members) -> Result<Authentication, String> {
    const NAME: &str = "token_endpoint_auth_methods_supported";
    if rules.client_secret.is_none() {
        return Ok(Authentication::None);
    }
    let listed = match get(metadata, NAME) {
        None => return Ok(Authentication::Basic),
        Some(Json::List(list)) => list,
        Some(_) => return Err(format!("the metadata have a {NAME} that is no list")),
    };
    let has = |name: &str| {
        listed
            .iter()
            .any(|l| matches!(l, Json::Text(t) if t == name))
    };
    match (has("client_secret_basic"), has("client_secret_post")) {
        (true, _) => Ok(Authentication::Basic),
        (_, true) => Ok(Authentication::Post),
        _ => Err("the provider takes neither client_secret_basic nor client_secret_post".into()),
    }
}

/// Reads what the token endpoint answers.
pub(crate) fn tokens(answer: Result<HttpResponse, CallError>) -> Result<Tokens, Refusal> {
    let answer = answer.map_err(|e| Refusal::Down(e.to_string()))?;
    let status = answer.status();
    match status {
        200 => read(&members(answer).map_err(Refusal::Wrong)?)
            .map_err(|why| Refusal::Wrong(why.into())),
        400 | 401 => Err(refused(status, &members(answer).unwrap_or_default())),
        429 | 500.. => Err(Refusal::Down(format!("status {status}"))),
        _ => Err(Refusal::Wrong(format!("status {status}"))),
    }
}

/// Reads a token endpoint's word of why not (RFC 6749, 5.2).
fn refused(status: u16, members: &Members) -> Refusal {
    match text(members, "error") {
        Some("invalid_grant") => Refusal::Grant,
        Some(error) => Refusal::Wrong(format!("it refuses: {}", plain(error))),
        None => Refusal::Wrong(format!("status {status}")),
    }
}

/// Returns an error's code as it can be logged.
pub(crate) fn plain(code: &str) -> &str {
    let right = |b: u8| b.is_ascii_lowercase() || b == b'_';
    match (1..=64).contains(&code.len()) && code.bytes().all(right) {
        true => code,
        false => "something that is no code",
    }
}

/// Reads tokens (RFC 6749, 5.1; OpenID Connect Core 1.0, 3.1.3.3).
fn read(members: &Members) -> Result<Tokens, &'static str> {
    let kind = text(members, "token_type").ok_or("there is no token_type")?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("token_type is not Bearer");
    }
    let token = |name: &str, wrong| match get(members, name) {
        None | Some(Json::Null) => Ok(String::new()),
        Some(Json::Text(t)) if t.len() <= MAX_TOKEN && t.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(t.clone())
        }
        Some(_) => Err(wrong),
    };
    let expires_in = match get(members, "expires_in") {
        None | Some(Json::Null) => None,
        // Some providers write it as a text.
        Some(Json::Number(n) | Json::Text(n)) => match n.parse::<f64>() {
            Ok(n) if n >= 1.0 => Some((n as u64).min(MAX_LIFE)),
            _ => return Err("expires_in is no time to live"),
        },
        Some(_) => return Err("expires_in is no time to live"),
    };
    let tokens = Tokens {
        id_token: token("id_token", "id_token is none, or longer than 8 KiB")?,
        access_token: token("access_token", "access_token is none, or longer than 8 KiB")?,
        refresh_token: token(
            "refresh_token",
            "refresh_token is none, or longer than 8 KiB",
        )?,
        expires_in,
    };
    if tokens.access_token.is_empty() {
        return Err("there is no access_token");
    }
    Ok(tokens)
}

fn get<'a>(members: &'a Members, name: &str) -> Option<&'a Json> {
    members.iter().find(|m| m.0 == name).map(|m| &m.1)
}

fn text<'a>(members: &'a Members, name: &str) -> Option<&'a str> {
    match get(members, name) {
        Some(Json::Text(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
#[path = "provider_test.rs"]
mod tests;
