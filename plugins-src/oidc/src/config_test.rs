use super::*;

/// Returns the rules of a configuration that has what there has to be.
pub(crate) fn rules(config: &str) -> Rules {
    parsed(config).unwrap().rules
}

fn parsed(config: &str) -> Result<Parsed, String> {
    let inner = config.strip_prefix('{').unwrap();
    let mut base = String::from("{");
    for (name, value) in [
        ("issuer", "https://id.example.com".into()),
        ("clientId", "shop".into()),
        ("secret", "s".repeat(32)),
    ] {
        if !inner.contains(&format!("\"{name}\":")) {
            base += &format!("\"{name}\":\"{value}\",");
        }
    }
    let text = match inner {
        "}" => format!("{}}}", base.trim_end_matches(',')),
        inner => format!("{base}{inner}"),
    };
    parse(text.as_bytes())
}

#[test]
fn configurations_are_read() {
    let p = parsed("{}").unwrap();
    assert_eq!(p.discovery.upstream, "id.example.com:443");
    let r = p.rules;
    assert_eq!((r.scope.as_str(), r.max_age), ("openid", 12 * 3600));
    assert_eq!(r.checks.audience, ["shop"]);
    assert_eq!(r.checks.algorithms.len(), 10);
    assert!(
        r.checks
            .algorithms
            .iter()
            .all(|a| !a.name().starts_with("HS"))
    );
    assert_eq!(
        (r.callback_path.as_str(), r.logout_path.as_str()),
        ("/oauth2/callback", "/oauth2/logout")
    );
    let r = rules(
        r#"{"redirectUri":"https://shop.example:8443/cb","callbackPath":"/cb","scopes":["openid","offline_access"],
        "logout":{"then":"https://www.example/bye"},"parameters":{"prompt":"login"},"clientSecret":"x",
        "secret":["ssssssssssssssssssssssssssssssss1","ssssssssssssssssssssssssssssssss2"],
        "cookie":{"name":"a","sameSite":"strict","maxAge":"1d","domain":"example.com","path":"/a"},
        "consumer":{"groups":"groups"},"claimsToHeaders":{"email":"X-Email"},"forward":{"accessToken":true,"idToken":"X-Id"}}"#,
    );
    let redirect = r.redirect.unwrap();
    assert_eq!(
        (redirect.origin.as_str(), redirect.secure),
        ("https://shop.example:8443", true)
    );
    assert_eq!(
        (r.scope.as_str(), r.max_age),
        ("openid offline_access", 86400)
    );
    assert!(
        matches!(r.checks.who, Who::Claim { claim, groups } if claim == "sub" && groups.as_deref() == Some("groups"))
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (config, why) in [
        (r#"{"issuer":"id"}"#, "config.issuer"),
        (r#"{"issuer":"https://id?x"}"#, "config.issuer"),
        (r#"{"clientId":""}"#, "config.clientId"),
        (r#"{"clientSecret":"a b"}"#, "config.clientSecret"),
        (r#"{"secret":"short"}"#, "config.secret[0]: want 32"),
        (r#"{"secret":[]}"#, "config.secret: 0 of them"),
        (
            r#"{"secret":["ssssssssssssssssssssssssssssssss","ssssssssssssssssssssssssssssssss"]}"#,
            "there twice",
        ),
        (r#"{"scopes":["email"]}"#, "config.scopes: openid"),
        (r#"{"scopes":["openid","a b"]}"#, "config.scopes[1]"),
        (r#"{"callbackPath":"cb"}"#, "config.callbackPath"),
        (r#"{"callbackPath":"/a/../b"}"#, "config.callbackPath"),
        (r#"{"callbackPath":"/a%2f"}"#, "config.callbackPath"),
        (r#"{"callbackPath":"/oauth2/logout"}"#, "config.logout.path"),
        (
            r#"{"redirectUri":"https://shop/other"}"#,
            "config.redirectUri",
        ),
        (
            r#"{"redirectUri":"/oauth2/callback"}"#,
            "config.redirectUri",
        ),
        (r#"{"logout":{"then":"//evil"}}"#, "config.logout.then"),
        (
            r#"{"logout":{"then":"javascript:alert(1)"}}"#,
            "config.logout.then",
        ),
        (r#"{"cookie":{"name":"a;b"}}"#, "config.cookie.name"),
        (r#"{"cookie":{"name":"__Host-a"}}"#, "config.cookie.name"),
        (r#"{"cookie":{"domain":"com"}}"#, "config.cookie.domain"),
        (
            r#"{"cookie":{"domain":".example.com"}}"#,
            "config.cookie.domain",
        ),
        (
            r#"{"cookie":{"domain":"a.b; Path=/"}}"#,
            "config.cookie.domain",
        ),
        (r#"{"cookie":{"path":"/;x"}}"#, "config.cookie.path"),
        (r#"{"cookie":{"sameSite":"Lax"}}"#, "config.cookie.sameSite"),
        (r#"{"cookie":{"maxAge":"31d"}}"#, "config.cookie.maxAge"),
        (r#"{"parameters":{"state":"x"}}"#, "config.parameters.state"),
        (r#"{"parameters":{"a b":"x"}}"#, "config.parameters.a b"),
        (
            r#"{"claimsToHeaders":{"a":"Cookie"}}"#,
            "config.claimsToHeaders.a",
        ),
        (
            r#"{"claimsToHeaders":{"a":"Authorization"}}"#,
            "config.claimsToHeaders.a",
        ),
        (
            r#"{"claimsToHeaders":{"a":"X-A"},"forward":{"idToken":"x-a"}}"#,
            "config.forward.idToken",
        ),
        (
            r#"{"forward":{"idToken":"Host"}}"#,
            "config.forward.idToken",
        ),
        (r#"{"forward":{"idToken":"a b"}}"#, "config.forward.idToken"),
        (r#"{"consumer":{"claim":""}}"#, "config.consumer.claim"),
        (r#"{"consumer":{"find":"a"}}"#, "find"),
        (r#"{"more":1}"#, "more"),
    ] {
        match parsed(config) {
            Err(got) => assert!(got.contains(why), "{config}: {got}"),
            Ok(_) => panic!("{config} is taken"),
        }
    }
    for missing in ["{}", r#"{"issuer":"https://a"}"#] {
        assert!(parse(missing.as_bytes()).is_err());
    }
}

#[test]
fn paths_of_the_same_origin_are_told() {
    for text in [
        "/",
        "/a?b=c#d",
        "/a//b",
        "/@evil.com",
        "/.//evil.com",
        "/a:80",
    ] {
        assert!(local(text), "{text}");
    }
    for text in [
        "",
        "a",
        "//evil.com",
        "/\\evil.com",
        "/a\\b",
        "/\t/evil.com",
        "/\n",
        "https://evil.com",
        "/ ",
        "/\u{e9}",
    ] {
        assert!(!local(text), "{text}");
    }
}
