//! Answers (RFC 6750, 3).

use penstock::{self as sdk, Action, Level};

use crate::checks::Scalar;
use crate::claims::Fault;
use crate::config::Rules;

/// Answers a request without a token: nothing is wrong with it but that.
pub(crate) fn challenge(rules: &Rules) -> Action {
    unauthorized(
        &format!("Bearer realm=\"{}\"", rules.realm),
        "token missing",
    )
}

/// Answers a request in which a token cannot be told.
pub(crate) fn malformed(rules: &Rules, why: &'static str) -> Action {
    deny(rules, &Fault::Invalid(why))
}

/// Answers a request whose token does not let it pass.
pub(crate) fn deny(rules: &Rules, fault: &Fault) -> Action {
    match fault {
        Fault::Invalid(why) => unauthorized(&invalid(rules, why), why),
        Fault::UnknownKey => {
            let why = "no key that is known is the token's";
            unauthorized(&invalid(rules, why), why)
        }
        Fault::Scope(why) => respond(
            403,
            &[("www-authenticate", &insufficient(rules, why))],
            "403 Forbidden\n",
            why,
        ),
        Fault::Host(why) => {
            sdk::log(Level::Error, &format!("the signature: {why}"));
            unavailable(1)
        }
    }
}

fn unauthorized(challenge: &str, why: &str) -> Action {
    respond(
        401,
        &[("www-authenticate", challenge)],
        "401 Unauthorized\n",
        why,
    )
}

fn invalid(rules: &Rules, why: &str) -> String {
    format!(
        "Bearer realm=\"{}\", error=\"invalid_token\", error_description=\"{why}\"",
        rules.realm
    )
}

/// Writes the challenge for a token that does not say what is required, with the scope that
/// would do, if one is.
fn insufficient(rules: &Rules, why: &str) -> String {
    // The names of claims are of the configuration.
    let plain = |c: char| {
        if (' '..='~').contains(&c) && c != '"' && c != '\\' {
            c
        } else {
            '?'
        }
    };
    let mut text = format!(
        "Bearer realm=\"{}\", error=\"insufficient_scope\", error_description=\"{}\"",
        rules.realm,
        why.chars().map(plain).collect::<String>()
    );
    let scope = rules.checks.required.iter().find(|r| r.0 == "scope");
    if let Some(Scalar(sdk::Json::Text(scope))) = scope.and_then(|s| s.1.first()) {
        text.push_str(&format!(", scope=\"{scope}\""));
    }
    text
}

/// Answers a request whose token cannot be verified now.
pub(crate) fn unavailable(seconds: u64) -> Action {
    let after = seconds.max(1).to_string();
    respond(
        503,
        &[("retry-after", &after)],
        "503 Service Unavailable\n",
        "no keys to verify the token with",
    )
}

/// Answers a request that the proxy did not do right by.
pub(crate) fn failed(why: &str) -> Action {
    respond(500, &[], "500 Internal Server Error\n", why)
}

/// Answers. If even that fails the trap denies.
fn respond(status: u16, headers: &[(&str, &str)], body: &str, why: &str) -> Action {
    let mut all = headers.to_vec();
    all.push(("content-type", "text/plain; charset=utf-8"));
    sdk::respond(status, &all, body, why).expect("the answer is given");
    Action::Pause
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::rules;

    #[test]
    fn challenges_are_written() {
        let r = rules(r#"{"realm":"shop","required":{"scope":["a b","c"]}}"#);
        assert_eq!(
            invalid(&r, "the token has expired"),
            r#"Bearer realm="shop", error="invalid_token", error_description="the token has expired""#
        );
        assert_eq!(
            insufficient(&r, "the claim scope is not as required"),
            r#"Bearer realm="shop", error="insufficient_scope", error_description="the claim scope is not as required", scope="a b""#
        );
        let r = rules(r#"{"required":{"a\"\u00e9":1}}"#);
        assert!(
            insufficient(&r, "the claim a\"\u{e9}\\").contains(r#"description="the claim a???""#)
        );
    }
}
