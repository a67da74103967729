use super::*;
use crate::claims::SECOND;

pub(crate) const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

/// Returns the rules of a configuration whose keys do not matter.
pub(crate) fn rules(config: &str) -> Rules {
    let inner = config.strip_prefix('{').unwrap();
    let comma = if inner == "}" { "" } else { "," };
    parse(format!(r#"{{"jwks":{{"keys":[{KEY}]}}{comma}{inner}"#).as_bytes())
        .unwrap()
        .0
}

#[test]
fn configurations_are_read() {
    let (r, keys) = parse(br#"{"issuer":"https://id.example.com","audience":"shop"}"#).unwrap();
    assert_eq!(
        (r.checks.issuer.as_deref(), &r.checks.audience[..]),
        (Some("https://id.example.com"), &["shop".to_string()][..])
    );
    let names: Vec<&str> = r.checks.algorithms.iter().map(|a| a.name()).collect();
    assert_eq!(names, ["RS256", "PS256", "ES256", "EdDSA"]);
    assert_eq!(
        (r.cache_for, r.keep_for, r.checks.skew),
        (300 * SECOND, 3600 * SECOND, 60 * SECOND)
    );
    assert_eq!(
        r.places,
        [Place::Header {
            name: "Authorization".into(),
            scheme: "Bearer".into()
        }]
    );
    assert!(r.forward && r.checks.require_exp && !r.optional && !r.checks.claims);
    assert!(matches!(keys, Keys::Discovery(u) if u.upstream == "id.example.com:443"));
    for text in [
        r#"{"jwksUri":"http://keys/jwks"}"#,
        r#"{"issuer":"joe","jwksUri":"https://keys/jwks"}"#,
        r#"{"issuer":"joe","jwks":{"keys":[KEY],"more":1}}"#,
        r#"{"jwks":{"keys":[{"kty":"oct","k":"AAAA"}]},"algorithms":["HS256"]}"#,
        r#"{"jwks":{"keys":[KEY]},"from":[{"header":"X-Token"},{"header":"X-T2","scheme":"JWT"},{"query":"a b"},{"cookie":"c"}]}"#,
        r#"{"jwks":{"keys":[KEY]},"required":{"scope":"a b","n":[1,true,"x"]},"claimsToHeaders":{"a.b":"X-A"},"consumer":{"claim":"a","groups":"g"}}"#,
        r#"{"jwks":{"keys":[KEY]},"consumer":{"find":"azp","namespaces":["partners"]},"keepFor":"0s","clockSkew":"0s","maxLifetime":"1d","typ":"at+jwt"}"#,
        r#"{"jwks":{"keys":[KEY]},"consumer":{},"audience":["a","b"],"optional":true,"realm":"a b","forward":false,"claims":true,"cacheFor":"10s"}"#,
    ] {
        if let Err(e) = parse(text.replace("KEY", KEY).as_bytes()) {
            panic!("{text}: {e}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_path() {
    for (text, want) in [
        ("", "config: no keys"),
        ("{}", "config: no keys"),
        (r#"{"audience":"shop"}"#, "config: no keys"),
        (
            r#"{"jwksURI":"https://keys/"}"#,
            "config.jwksURI: unknown field",
        ),
        (r#"{"issuer":"joe"}"#, "config.issuer: want https://"),
        (
            r#"{"issuer":"a b","jwksUri":"https://keys/"}"#,
            "config.issuer: want 1 to 512",
        ),
        (r#"{"jwksUri":"keys"}"#, "config.jwksUri: want http://"),
        (
            r#"{"jwksUri":"https://keys/","jwks":{"keys":[KEY]}}"#,
            "config.jwksUri: it is beside jwks",
        ),
        (r#"{"jwks":[]}"#, "config.jwks: no object"),
        (r#"{"jwks":{}}"#, "config.jwks.keys: no list"),
        (r#"{"jwks":{"keys":[]}}"#, "config.jwks.keys: no key"),
        (
            r#"{"jwks":{"keys":["secret"]}}"#,
            "config.jwks.keys[0]: want an object",
        ),
        (
            r#"{"jwks":{"keys":[{"k":"secret"}]}}"#,
            "config.jwks.keys[0].kty: want a text",
        ),
        (
            r#"{"jwks":{"keys":[{"kty":"oct","k":"secret!"}]}}"#,
            "config.jwks.keys: no key",
        ),
        (
            r#"{"jwks":{"keys":[KEY]},"algorithms":["ES256","HS256"]}"#,
            "config.algorithms[1]: jwks has no key of kty oct",
        ),
        (
            r#"{"jwksUri":"https://keys/","algorithms":["HS256"]}"#,
            "config.algorithms[0]: secrets are not fetched",
        ),
        (
            r#"{"jwksUri":"https://keys/","algorithms":["none"]}"#,
            "config.algorithms[0]: want RS256",
        ),
        (
            r#"{"jwksUri":"https://keys/","algorithms":["RS256","RS256"]}"#,
            "config.algorithms[1]: it is there twice",
        ),
        (
            r#"{"jwksUri":"https://keys/","algorithms":[]}"#,
            "config.algorithms: 0 of them",
        ),
        (
            r#"{"jwksUri":"https://keys/","audience":[]}"#,
            "config.audience: 0 of them",
        ),
        (
            r#"{"jwksUri":"https://keys/","audience":["a",""]}"#,
            "config.audience[1]: want 1 to 512",
        ),
        (
            r#"{"jwksUri":"https://keys/","audience":7}"#,
            "config.audience: a number; want a text",
        ),
        (
            r#"{"jwksUri":"https://keys/","audience":["a",7]}"#,
            "config.audience[1]: a number",
        ),
        (
            r#"{"jwksUri":"https://keys/","cacheFor":"5"}"#,
            "config.cacheFor: want a number with s",
        ),
        (
            r#"{"jwksUri":"https://keys/","cacheFor":"9s"}"#,
            "config.cacheFor: want a number with s",
        ),
        (
            r#"{"jwksUri":"https://keys/","cacheFor":"99999999999d"}"#,
            "config.cacheFor",
        ),
        (
            r#"{"jwksUri":"https://keys/","cacheFor":"05m"}"#,
            "config.cacheFor",
        ),
        (
            r#"{"jwksUri":"https://keys/","cacheFor":""}"#,
            "config.cacheFor",
        ),
        (
            r#"{"jwksUri":"https://keys/","cacheFor":"5\u00e9"}"#,
            "config.cacheFor",
        ),
        (
            r#"{"jwksUri":"https://keys/","keepFor":"8d"}"#,
            "config.keepFor",
        ),
        (
            r#"{"jwksUri":"https://keys/","clockSkew":"2h"}"#,
            "config.clockSkew",
        ),
        (
            r#"{"jwksUri":"https://keys/","maxLifetime":"0s"}"#,
            "config.maxLifetime",
        ),
        (
            r#"{"jwksUri":"https://keys/","from":[]}"#,
            "config.from: 0 of them",
        ),
        (
            r#"{"jwksUri":"https://keys/","from":[{}]}"#,
            "config.from[0]: want one of",
        ),
        (
            r#"{"jwksUri":"https://keys/","from":[{"header":"a","query":"b"}]}"#,
            "config.from[0]: want one of",
        ),
        (
            r#"{"jwksUri":"https://keys/","from":[{"query":"a","scheme":"b"}]}"#,
            "config.from[0].scheme: it is for header",
        ),
        (
            r#"{"jwksUri":"https://keys/","from":[{"header":"a b"}]}"#,
            "config.from[0].header: want a name",
        ),
        (
            r#"{"jwksUri":"https://keys/","from":[{"cookie":""}]}"#,
            "config.from[0].cookie: want a name",
        ),
        (
            r#"{"jwksUri":"https://keys/","from":[{"header":"a","scheme":"b c"}]}"#,
            "config.from[0].scheme: want a word",
        ),
        (
            r#"{"jwksUri":"https://keys/","from":[{"query":"a"},{"query":"a"}]}"#,
            "config.from[1]: it is there twice",
        ),
        (
            r#"{"jwksUri":"https://keys/","required":{"a":[]}}"#,
            "config.required.a: 0 of them",
        ),
        (
            r#"{"jwksUri":"https://keys/","required":{"a":{}}}"#,
            "config.required.a: an object",
        ),
        (
            r#"{"jwksUri":"https://keys/","required":{"a":[1,[]]}}"#,
            "config.required.a[1]: a list",
        ),
        (
            r#"{"jwksUri":"https://keys/","required":{"a":[null]}}"#,
            "config.required.a[0]: null",
        ),
        (
            r#"{"jwksUri":"https://keys/","required":{"a":null}}"#,
            "config.required.a: 0 of them",
        ),
        (
            r#"{"jwksUri":"https://keys/","required":{"scope":7}}"#,
            "config.required.scope: want texts",
        ),
        (
            r#"{"jwksUri":"https://keys/","required":{"scope":"a\"b"}}"#,
            "config.required.scope: want scopes",
        ),
        (
            r#"{"jwksUri":"https://keys/","required":{"":1}}"#,
            "config.required.: want a claim",
        ),
        (
            r#"{"jwksUri":"https://keys/","claimsToHeaders":{"a":"b c"}}"#,
            "config.claimsToHeaders.a: want a field",
        ),
        (
            r#"{"jwksUri":"https://keys/","claimsToHeaders":{"a":"Host"}}"#,
            "config.claimsToHeaders.a: that field",
        ),
        (
            r#"{"jwksUri":"https://keys/","claimsToHeaders":{"a":"X-A","b":"x-a"}}"#,
            "config.claimsToHeaders.b: another claim",
        ),
        (
            r#"{"jwksUri":"https://keys/","consumer":{"claim":"a","find":"b"}}"#,
            "config.consumer.claim: it is beside find",
        ),
        (
            r#"{"jwksUri":"https://keys/","consumer":{"groups":"a","find":"b"}}"#,
            "config.consumer.groups: a Consumer",
        ),
        (
            r#"{"jwksUri":"https://keys/","consumer":{"namespaces":["b"]}}"#,
            "config.consumer.namespaces: it is for find",
        ),
        (
            r#"{"jwksUri":"https://keys/","consumer":{"find":"a","namespaces":["B"]}}"#,
            "config.consumer.namespaces[0]: want",
        ),
        (
            r#"{"jwksUri":"https://keys/","consumer":{"claim":""}}"#,
            "config.consumer.claim: want a claim",
        ),
        (r#"{"jwksUri":"https://keys/","typ":""}"#, "config.typ"),
        (
            r#"{"jwksUri":"https://keys/","realm":"a\"b"}"#,
            "config.realm",
        ),
        ("[]", "config: a list"),
    ] {
        let got = match parse(text.replace("KEY", KEY).as_bytes()) {
            Ok(_) => panic!("{text}: it is taken"),
            Err(e) => e,
        };
        assert!(got.starts_with(want), "{text}: {got}");
        assert!(!got.contains("secret!"), "the error holds a key: {got}");
    }
}
