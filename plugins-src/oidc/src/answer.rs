//! Answers. None of them shows what a request or a provider says.

use penstock::{self as sdk, Action};

use crate::encode::attribute;

/// Header fields of all answers: they are of one person, and of one moment.
const COMMON: [(&str, &str); 3] = [
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];
const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");

/// Leads the browser elsewhere.
pub(crate) fn redirect(to: &str, cookies: &[String], why: &str) -> Action {
    let body = format!("302 Found: {to}\n");
    respond(302, &[("location", to), TEXT], cookies, &body, why)
}

/// Leads the browser to a path by a page: cookies that are SameSite=Strict go along with what
/// a page of the same site asks for, but not with the redirect of another site's.
pub(crate) fn go_on(to: &str, cookies: &[String], why: &str) -> Action {
    let to = attribute(to);
    let body = format!(
        "<!doctype html><meta http-equiv=\"refresh\" content=\"0;url={to}\"><title>Logged in</title><a href=\"{to}\">Go on</a>\n"
    );
    let html = ("content-type", "text/html; charset=utf-8");
    respond(200, &[html], cookies, &body, why)
}

/// Answers a request of a program, or of a page's script, without a session.
pub(crate) fn unauthorized(cookies: &[String]) -> Action {
    let headers = [("www-authenticate", "Cookie realm=\"login\""), TEXT];
    respond(401, &headers, cookies, "401 Unauthorized\n", "no session")
}

/// Answers with a text.
pub(crate) fn page(status: u16, text: &str, cookies: &[String], why: &str) -> Action {
    let title = match status {
        200 => "200 OK",
        400 => "400 Bad Request",
        403 => "403 Forbidden",
        405 => "405 Method Not Allowed",
        502 => "502 Bad Gateway",
        503 => "503 Service Unavailable",
        _ => "500 Internal Server Error",
    };
    let body = format!("{title}\n{text}\n");
    let more = match status {
        405 => ("allow", "GET"),
        503 => ("retry-after", "5"),
        _ => TEXT,
    };
    let headers = [TEXT, more];
    let headers = if more == TEXT {
        &headers[..1]
    } else {
        &headers[..]
    };
    respond(status, headers, cookies, &body, why)
}

/// Answers a request that has to wait for the provider, which does not answer.
pub(crate) fn unavailable(seconds: u64) -> Action {
    let after = seconds.max(1).to_string();
    let headers = [("retry-after", after.as_str()), TEXT];
    let why = "the provider cannot be reached";
    respond(503, &headers, &[], "503 Service Unavailable\n", why)
}

/// Answers a request that the proxy did not do right by.
pub(crate) fn failed(why: &str) -> Action {
    respond(500, &[TEXT], &[], "500 Internal Server Error\n", why)
}

/// Answers. If even that fails the trap denies.
fn respond(
    status: u16,
    headers: &[(&str, &str)],
    cookies: &[String],
    body: &str,
    why: &str,
) -> Action {
    let mut all = headers.to_vec();
    all.extend_from_slice(&COMMON);
    all.extend(cookies.iter().map(|c| ("set-cookie", c.as_str())));
    sdk::respond(status, &all, body, why).expect("the answer is given");
    Action::Pause
}
