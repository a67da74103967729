use super::*;
use crate::config::tests::rules;
use crate::token::object;

fn metadata(more: &str) -> Vec<(String, Json)> {
    let text = format!(
        r#"{{"authorization_endpoint":"https://id/auth","token_endpoint":"https://id/token"{more}}}"#
    );
    object(text.as_bytes()).unwrap()
}

fn provider(config: &str, more: &str) -> Result<Provider, String> {
    Provider::read(&rules(config), &metadata(more), true)
}

#[test]
fn metadata_are_read() {
    let p = provider("{}", "").unwrap();
    assert_eq!(
        (p.authorize.as_str(), p.token.path.as_str()),
        ("https://id/auth", "/token")
    );
    assert!(p.end_session.is_none() && !p.says_issuer);
    let p = provider(
        "{}",
        r#","end_session_endpoint":"https://id/out","authorization_response_iss_parameter_supported":true"#,
    )
    .unwrap();
    assert!(p.end_session.is_some() && p.says_issuer);
    for (text, why) in [
        (
            r#"{"token_endpoint":"https://id/t"}"#,
            "no authorization_endpoint",
        ),
        (
            r#"{"authorization_endpoint":"https://id/a"}"#,
            "no token_endpoint",
        ),
        (
            r#"{"authorization_endpoint":"http://id/a","token_endpoint":"https://id/t"}"#,
            "without https",
        ),
        (
            r#"{"authorization_endpoint":"https://id/a","token_endpoint":"http://id/t"}"#,
            "without https",
        ),
        (
            r#"{"authorization_endpoint":"javascript:alert(1)","token_endpoint":"https://id/t"}"#,
            "no address",
        ),
        (
            r#"{"authorization_endpoint":1,"token_endpoint":"https://id/t"}"#,
            "no authorization_endpoint",
        ),
    ] {
        let members = object(text.as_bytes()).unwrap();
        let e = Provider::read(&rules("{}"), &members, true).unwrap_err();
        assert!(e.contains(why), "{text}: {e}");
    }
}

#[test]
fn clients_show_who_they_are() {
    const SECRET: &str = r#"{"clientSecret":"a:b/c"}"#;
    let listed = |l: &str| format!(r#","token_endpoint_auth_methods_supported":{l}"#);
    let grant = [("grant_type", "x"), ("code", "1&2")];
    for (config, methods, authorization, body) in [
        ("{}", "", None, "&client_id=shop"),
        (SECRET, "", Some("Basic c2hvcDphJTNBYiUyRmM="), ""),
        (
            SECRET,
            r#"["client_secret_post","client_secret_basic"]"#,
            Some("Basic c2hvcDphJTNBYiUyRmM="),
            "",
        ),
        (
            SECRET,
            r#"["private_key_jwt","client_secret_post"]"#,
            None,
            "&client_id=shop&client_secret=a%3Ab%2Fc",
        ),
    ] {
        let more = if methods.is_empty() {
            String::new()
        } else {
            listed(methods)
        };
        let p = provider(config, &more).unwrap();
        let (headers, got) = p.ask(&rules(config), &grant);
        let found = headers
            .iter()
            .find(|h| h.0 == "authorization")
            .map(|h| h.1.as_str());
        assert_eq!(found, authorization, "{config} {methods}");
        assert_eq!(got, format!("grant_type=x&code=1%262{body}"));
    }
    for none in [r#"["private_key_jwt"]"#, "[]", "1"] {
        assert!(provider(SECRET, &listed(none)).is_err(), "{none}");
    }
}

#[test]
fn queries_are_joined() {
    for (address, want) in [
        ("https://id/a", "https://id/a?x=1"),
        ("https://id/a?", "https://id/a?x=1"),
        ("https://id/a?b=c", "https://id/a?b=c&x=1"),
        ("https://id/a?b=c&", "https://id/a?b=c&x=1"),
    ] {
        assert_eq!(with_query(address, &[("x", "1")]), want);
    }
}

#[test]
fn tokens_are_read() {
    let of = |text: &str| read(&object(text.as_bytes()).unwrap());
    let got = of(
        r#"{"access_token":"a","token_type":"bearer","expires_in":"3600","id_token":"i","refresh_token":null}"#,
    );
    assert_eq!(
        got,
        Ok(Tokens {
            id_token: "i".into(),
            access_token: "a".into(),
            refresh_token: String::new(),
            expires_in: Some(3600),
        })
    );
    let long = format!(
        r#"{{"access_token":"{}","token_type":"Bearer"}}"#,
        "a".repeat(MAX_TOKEN + 1)
    );
    for wrong in [
        r#"{"access_token":"a"}"#,
        r#"{"access_token":"a","token_type":"DPoP"}"#,
        r#"{"token_type":"Bearer"}"#,
        r#"{"access_token":1,"token_type":"Bearer"}"#,
        r#"{"access_token":"a b","token_type":"Bearer"}"#,
        r#"{"access_token":"a","token_type":"Bearer","expires_in":0}"#,
        r#"{"access_token":"a","token_type":"Bearer","expires_in":-1}"#,
        r#"{"access_token":"a","token_type":"Bearer","expires_in":"soon"}"#,
        r#"{"access_token":"a","token_type":"Bearer","expires_in":true}"#,
        r#"{"access_token":"a","token_type":"Bearer","id_token":[]}"#,
        r#"{"access_token":"a\r\nX: y","token_type":"Bearer"}"#,
        &long,
    ] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn refusals_are_told_apart() {
    let of = |text: &str| refused(400, &object(text.as_bytes()).unwrap());
    assert_eq!(of(r#"{"error":"invalid_grant"}"#), Refusal::Grant);
    assert_eq!(
        of(r#"{"error":"invalid_client"}"#),
        Refusal::Wrong("it refuses: invalid_client".into())
    );
    assert_eq!(of("{}"), Refusal::Wrong("status 400".into()));
    assert_eq!(plain("a\nb"), "something that is no code");
}
