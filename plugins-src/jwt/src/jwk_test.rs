use super::*;
use crate::token::object;

fn set(text: &str) -> Json {
    Json::Object(object(text.as_bytes()).unwrap())
}

const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

#[test]
fn sets_are_read() {
    let text = format!(
        r#"{{"more":1,"keys":[{{{EC},"kid":"a","d":"AAAA"}},{{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"PS256","use":"sig"}},
        {{"kty":"OKP","crv":"Ed25519","x":"AA"}},{{"kty":"oct","k":"AA"}},{{{EC},"use":"enc"}},{{{EC},"key_ops":["sign"]}},
        {{{EC},"key_ops":"verify"}},{{{EC},"kid":7}},{{{EC},"alg":7}},{{{EC},"use":true}},{{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}},
        {{"kty":"OKP","crv":"X25519","x":"AA"}},{{"kty":"RSA","n":"A=","e":"AQAB"}},{{"kty":"RSA","n":"","e":"AQAB"}},{{"kty":"RSA","n":"AQAB"}},{{"kty":"x"}},{{}},7,
        {{{EC},"key_ops":["verify","sign"]}}]}}"#
    );
    let got = KeySet::read(&set(&text), true).unwrap();
    let kinds: Vec<Kind> = got.0.iter().map(|k| k.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::P256,
            Kind::Rsa,
            Kind::Ed25519,
            Kind::Secret,
            Kind::P256
        ]
    );
    assert_eq!(got.0[0].json, format!("{{{EC}}}"));
    let fits = |i: usize, name: &str| got.0[i].fits(Algorithm::parse(name).unwrap());
    assert!(fits(0, "ES256") && !fits(0, "ES384") && !fits(0, "HS256") && !fits(0, "RS256"));
    assert!(fits(1, "PS256") && !fits(1, "RS256") && !fits(1, "HS256"));
    assert!(fits(3, "HS512") && !fits(3, "RS256"));
    let got = KeySet::read(&set(&text), false).unwrap();
    assert_eq!(got.0.len(), 4);
    assert!(!got.has(Kind::Secret) && got.has(Kind::Rsa));
}

#[test]
fn what_is_none_is_refused() {
    for (text, want) in [
        ("{}", "no list"),
        (r#"{"keys":{}}"#, "no list"),
        (r#"{"keys":[]}"#, "no key"),
        (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "no key"),
    ] {
        let got = KeySet::read(&set(text), false).unwrap_err();
        assert!(got.starts_with(want), "{text}: {got}");
    }
    let many = format!(
        r#"{{"keys":[{{{EC}}}{}]}}"#,
        format!(",{{{EC}}}").repeat(MAX_KEYS)
    );
    assert_eq!(
        KeySet::read(&set(&many), false).unwrap_err(),
        "65 keys; want 64 at most"
    );
    assert_eq!(KeySet::read(&Json::Null, false).unwrap_err(), "no object");
}

#[test]
fn sets_compare() {
    let read = |kid: &str| {
        KeySet::read(
            &set(&format!(r#"{{"keys":[{{{EC},"kid":"{kid}"}}]}}"#)),
            false,
        )
        .unwrap()
    };
    assert!(read("a").same(&read("a")) && !read("a").same(&read("b")));
    assert!(!read("a").same(&KeySet::default()));
}

#[test]
fn algorithms_have_one_name() {
    for a in ALGORITHMS {
        assert_eq!(Algorithm::parse(a.name()), Some(a));
    }
    for name in [
        "none", "None", "", "rs256", "RS256 ", "RS1", "ES256K", "A256GCM", "dir",
    ] {
        assert_eq!(Algorithm::parse(name), None, "{name}");
    }
}

/// Without a proxy no key is made: nothing is right.
#[test]
fn elsewhere_it_fails() {
    let keys = KeySet::read(&set(&format!(r#"{{"keys":[{{{EC},"kid":"a"}}]}}"#)), false).unwrap();
    let es = Algorithm::parse("ES256").unwrap();
    assert_eq!(
        keys.verify(es, Some("a"), b"s", b"m"),
        Err(Status::Unimplemented)
    );
    assert_eq!(
        keys.verify(es, None, b"s", b"m"),
        Err(Status::Unimplemented)
    );
    assert_eq!(keys.verify(es, Some("b"), b"s", b"m"), Ok(Verdict::Unknown));
    let rs = Algorithm::parse("RS256").unwrap();
    assert_eq!(keys.verify(rs, Some("a"), b"s", b"m"), Ok(Verdict::Wrong));
    assert_eq!(keys.verify(rs, None, b"s", b"m"), Ok(Verdict::Unknown));
}
