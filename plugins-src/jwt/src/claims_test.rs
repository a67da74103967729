use penstock::Consumer;

use crate::claims::*;
use crate::config;

const NOW: u64 = 1_000 * SECOND;

fn checked(config: &str, claims: &str) -> Result<Pass, Fault> {
    let rules = config::tests::rules(config);
    check(&rules.checks, claims.as_bytes().to_vec(), NOW)
}

fn invalid(got: Result<Pass, Fault>) -> &'static str {
    match got {
        Err(Fault::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn times_count() {
    for (claims, want) in [
        (r#"{"exp":1000}"#, Ok(1060)),
        (r#"{"exp":940.5}"#, Ok(1000)),
        (r#"{"exp":1e3,"nbf":1060,"iat":1060}"#, Ok(1060)),
        (r#"{"exp":253402300799}"#, Ok(u64::MAX / SECOND)),
        (r#"{"exp":940}"#, Err("the token has expired")),
        (r#"{"exp":0}"#, Err("the token has expired")),
        (
            r#"{"exp":2000,"nbf":1060.1}"#,
            Err("the token is not valid yet"),
        ),
        (
            r#"{"exp":2000,"iat":1061}"#,
            Err("the token was issued in the future"),
        ),
        (r#"{"exp":1700000000000}"#, Err("exp is no time in seconds")),
        (r#"{"exp":1e400}"#, Err("exp is no time in seconds")),
        (r#"{"exp":-1}"#, Err("exp is no time in seconds")),
        (r#"{"exp":"2000"}"#, Err("exp is no time in seconds")),
        (r#"{"exp":null}"#, Err("exp is no time in seconds")),
        (
            r#"{"exp":2000,"nbf":true}"#,
            Err("nbf is no time in seconds"),
        ),
        (r#"{"exp":2000,"iat":[]}"#, Err("iat is no time in seconds")),
        ("{}", Err("the token does not say when it expires")),
        (
            r#"{"exp":2000,"exp":2000}"#,
            Err("the token's claims are no JSON object"),
        ),
        ("[]", Err("the token's claims are no JSON object")),
        ("", Err("the token's claims are no JSON object")),
        ("null", Err("the token's claims are no JSON object")),
    ] {
        match (checked("{}", claims), want) {
            (Ok(got), Ok(want)) => assert_eq!(got.until / SECOND, want, "{claims}"),
            (got, Err(want)) => assert_eq!(invalid(got), want, "{claims}"),
            (got, want) => panic!("{claims}: got {got:?}; want {want:?}"),
        }
    }
    let lasts = checked(r#"{"requireExpiration":false}"#, "{}").unwrap();
    assert_eq!(lasts.until, u64::MAX);
    let config = r#"{"maxLifetime":"5m"}"#;
    assert!(checked(config, r#"{"exp":1200,"iat":900}"#).is_ok());
    assert_eq!(
        invalid(checked(config, r#"{"exp":1201,"iat":900}"#)),
        "the token lives longer than is permitted"
    );
    assert_eq!(
        invalid(checked(config, r#"{"exp":1201}"#)),
        "the token does not say how long it lives"
    );
    assert_eq!(
        invalid(checked(r#"{"clockSkew":"0s"}"#, r#"{"exp":1000}"#)),
        "the token has expired"
    );
}

#[test]
fn parties_count() {
    let config = r#"{"issuer":"https://id","audience":["shop","stock"]}"#;
    for (rest, right) in [
        (r#""iss":"https://id","aud":"shop""#, true),
        (r#""iss":"https://id","aud":["x","stock",7]"#, true),
        (r#""iss":"https://id/","aud":"shop""#, false),
        (r#""iss":["https://id"],"aud":"shop""#, false),
        (r#""aud":"shop""#, false),
        (r#""iss":"https://id""#, false),
        (r#""iss":"https://id","aud":"sho""#, false),
        (r#""iss":"https://id","aud":[]"#, false),
        (r#""iss":"https://id","aud":{"shop":1}"#, false),
    ] {
        let got = checked(config, &format!(r#"{{"exp":2000,{rest}}}"#));
        assert_eq!(got.is_ok(), right, "{rest}: {got:?}");
    }
}

#[test]
fn claims_are_required() {
    let config = r#"{"required":{"scope":["shop:read shop:write","admin"],"level":[2,3],"realm.roles":"editor","https://a.b/ok":true}}"#;
    let right = [
        r#""scope":"x shop:write shop:read""#,
        r#""level":2"#,
        r#""realm":{"roles":["editor"]}"#,
        r#""https://a.b/ok":true"#,
    ];
    let with = |i: usize, other: &str| {
        let mut all = right;
        all[i] = other;
        format!(r#"{{"exp":2000,{}}}"#, all.join(","))
    };
    for (i, other, passes) in [
        (0, right[0], true),
        (0, r#""scope":["admin"]"#, true),
        (0, r#""scope":"shop:read""#, false),
        (0, r#""scope":"administrator""#, false),
        (0, r#""scope":7"#, false),
        (0, r#""scp":"admin""#, false),
        (1, r#""level":3.0"#, true),
        (1, r#""level":[1,2]"#, true),
        (1, r#""level":"2""#, false),
        (1, r#""level":4"#, false),
        (2, r#""realm":{"roles":"editor"}"#, true),
        (2, r#""realm.roles":"editor""#, true),
        (
            2,
            r#""realm.roles":"none","realm":{"roles":"editor"}"#,
            false,
        ),
        (2, r#""realm":["roles"]"#, false),
        (3, r#""https://a.b/ok":"true""#, false),
        (3, r#""https://a.b/ok":null"#, false),
    ] {
        let got = checked(config, &with(i, other));
        assert_eq!(got.is_ok(), passes, "{other}: {got:?}");
        assert!(passes || matches!(got, Err(Fault::Scope(_))));
    }
}

#[test]
fn consumers_are_named() {
    let consumer = |name: &str, groups: &[&str]| Named::Consumer(Consumer::new(name, groups));
    for (config, claims, want) in [
        ("{}", r#""sub":"a""#, Some(consumer("a", &[]))),
        ("{}", r#""sub":"a b""#, Some(Named::Nobody)),
        ("{}", r#""x":1"#, Some(Named::Nobody)),
        (
            r#"{"consumer":{}}"#,
            r#""sub":"a""#,
            Some(consumer("a", &[])),
        ),
        (r#"{"consumer":{"claim":"sub"}}"#, r#""sub":"a b""#, None),
        (r#"{"consumer":{"claim":"sub"}}"#, r#""x":1"#, None),
        (
            r#"{"consumer":{"claim":"c.id","groups":"g"}}"#,
            r#""c":{"id":7},"g":["x","y"]"#,
            Some(consumer("7", &["x", "y"])),
        ),
        (
            r#"{"consumer":{"claim":"sub","groups":"g"}}"#,
            r#""sub":"a","g":"x  y""#,
            Some(consumer("a", &["x", "y"])),
        ),
        (
            r#"{"consumer":{"claim":"sub","groups":"g"}}"#,
            r#""sub":"a""#,
            Some(consumer("a", &[])),
        ),
        (
            r#"{"consumer":{"claim":"sub","groups":"g"}}"#,
            r#""sub":"a","g":["x y"]"#,
            None,
        ),
        (
            r#"{"consumer":{"claim":"sub","groups":"g"}}"#,
            r#""sub":"a","g":{"x":1}"#,
            None,
        ),
        (
            r#"{"consumer":{"find":"azp"}}"#,
            r#""azp":"a b""#,
            Some(Named::Lookup("a b".into())),
        ),
        (r#"{"consumer":{"find":"azp"}}"#, r#""azp":"""#, None),
        (r#"{"consumer":{"find":"azp"}}"#, r#""sub":"a""#, None),
    ] {
        let got = checked(config, &format!(r#"{{"exp":2000,{claims}}}"#));
        match (got, want) {
            (Ok(got), Some(want)) => assert_eq!(got.who, want, "{config} {claims}"),
            (Err(Fault::Invalid(_)), None) => {}
            (got, want) => panic!("{config} {claims}: got {got:?}; want {want:?}"),
        }
    }
}

#[test]
fn claims_go_into_fields() {
    for (value, want) in [
        (r#""a b""#, Some("a b")),
        ("1.50", Some("1.50")),
        ("false", Some("false")),
        (r#"["a",1,true]"#, Some("a,1,true")),
        ("[]", Some("")),
        (r#"["a,b"]"#, None),
        (r#"[["a"]]"#, None),
        (r#"{"a":1}"#, None),
        ("null", None),
        (r#""a\r\nx: y""#, None),
        (r#""a\u0000""#, None),
        (r#"" a""#, None),
        (r#""a\u0085""#, None),
    ] {
        let got = checked(
            r#"{"claimsToHeaders":{"c":"X-C"},"claims":true}"#,
            &format!(r#"{{"exp":2000,"c":{value}}}"#),
        )
        .unwrap();
        assert_eq!(got.headers, [want.map(String::from)], "{value}");
        assert!(got.payload.is_some());
    }
}
