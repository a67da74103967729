use super::*;

fn jar() -> Jar {
    Jar {
        name: "s".into(),
        domain: None,
        path: "/".into(),
        same_site: SameSite::Lax,
    }
}

fn rest(field: &str) -> (usize, String) {
    let c = jar().read(field.as_bytes()).unwrap();
    (c.own.len(), String::from_utf8(c.rest).unwrap())
}

#[test]
fn own_cookies_are_taken_out() {
    for (field, own, left) in [
        ("", 0, ""),
        ("s=1", 1, ""),
        ("a=1; s=2; b=3", 1, "a=1; b=3"),
        ("a=1;s=2;;b", 1, "a=1; b"),
        (
            "__Host-s=1; __Secure-s.1=2; s.login.abc=3; __host-s=4",
            4,
            "",
        ),
        ("ss=1; s-x=2; =s; S=3", 0, "ss=1; s-x=2; =s; S=3"),
        (" s = 1 ; c=\"a b\"", 1, "c=\"a b\""),
    ] {
        assert_eq!(rest(field), (own, left.into()), "{field}");
    }
    let many = "a;".repeat(MAX_COOKIES);
    assert!(jar().read(many.as_bytes()).is_none());
}

/// Returns the field that a browser sends after these were set.
fn sent(set: &[String]) -> String {
    let pairs: Vec<&str> = set
        .iter()
        .filter(|s| !s.contains("Max-Age=0"))
        .map(|s| s.split(';').next().unwrap())
        .collect();
    pairs.join("; ")
}

#[test]
fn sessions_come_back_whatever_their_length() {
    let jar = jar();
    for n in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, 6 * PIECE] {
        let sealed: String = (0..n).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
        let set = jar.set_session(true, &sealed, 60, &Cookies::default());
        let set = match (set, n) {
            (Some(set), _) => set,
            (None, 0) => continue,
            (None, n) => panic!("{n}"),
        };
        assert!(
            set.iter()
                .all(|s| s.split(';').next().unwrap().len() <= 4096)
        );
        let cookies = jar.read(sent(&set).as_bytes()).unwrap();
        let got = jar.session_of(true, &cookies).unwrap();
        assert_eq!(got, (n > 0).then(|| sealed.into_bytes()), "{n}");
        assert_eq!(jar.session_of(false, &cookies), Ok(None));
    }
    let long = "a".repeat(6 * PIECE + 1);
    assert_eq!(jar.set_session(true, &long, 60, &Cookies::default()), None);
}

#[test]
fn pieces_of_before_do_not_disturb() {
    let jar = jar();
    let field = "s=1.abc; s.1=old; s.2=old; s.7=x";
    let cookies = jar.read(field.as_bytes()).unwrap();
    assert_eq!(jar.session_of(false, &cookies), Ok(Some(b"abc".to_vec())));
    let set = jar.set_session(false, "def", 60, &cookies).unwrap();
    assert_eq!(
        set,
        [
            "s=1.def; Path=/; Max-Age=60; HttpOnly; SameSite=Lax",
            "s.1=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
            "s.2=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
        ]
    );
    assert_eq!(jar.drop_session(false, &cookies).len(), 3);
    for none in [
        "s=2.abc",
        "s=abc",
        "s=0.abc",
        "s=7.a",
        "s=9.a; s.1=b",
        "s=",
        "s=1",
        "s=10.a",
    ] {
        let cookies = jar.read(none.as_bytes()).unwrap();
        assert_eq!(jar.session_of(false, &cookies), Ok(None), "{none}");
    }
    for twice in ["s=1.a; s=1.b", "s=2.a; s.1=b; s.1=b"] {
        let cookies = jar.read(twice.as_bytes()).unwrap();
        assert_eq!(jar.session_of(false, &cookies), Err(Twice), "{twice}");
    }
}

#[test]
fn names_have_the_strictest_prefix() {
    let mut jar = jar();
    assert_eq!(jar.session(true), "__Host-s");
    assert_eq!(jar.session(false), "s");
    jar.path = "/app".into();
    assert_eq!(jar.session(true), "__Secure-s");
    jar.path = "/".into();
    jar.domain = Some("example.com".into());
    jar.same_site = SameSite::None;
    let set = jar.set_session(true, "x", 5, &Cookies::default()).unwrap();
    assert_eq!(
        set,
        ["__Secure-s=1.x; Path=/; Domain=example.com; Max-Age=5; HttpOnly; SameSite=None; Secure"]
    );
    assert_eq!(
        jar.set_login(true, "0123456789abcdef", "y", 600),
        "__Host-s.login.0123456789=y; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
    );
}

#[test]
fn logins_are_found_by_their_state() {
    let jar = jar();
    let field =
        "s.login.0123456789=a; s.login.zzz=b; s.login.012345678\t=c; s.login.zzzzzzzz-_=b; s=1.c";
    let cookies = jar.read(field.as_bytes()).unwrap();
    let found = jar.login_of(false, "0123456789abcdef", &cookies);
    assert_eq!(found, Ok(Some(&b"a"[..])));
    assert_eq!(jar.login_of(false, "1", &cookies), Ok(None));
    let all: Vec<_> = jar.logins(false, &cookies).collect();
    assert_eq!(all, [("0123456789", &b"a"[..]), ("zzzzzzzz-_", b"b")]);
    let many: String = (0..100).map(|i| format!("s.login.{i:010}=x;")).collect();
    let cookies_of_many = jar.read(many.as_bytes()).unwrap();
    assert_eq!(jar.logins(false, &cookies_of_many).count(), MAX_LOGINS);
    assert_eq!(jar.logins(true, &cookies).count(), 0);
}

/// Whatever comes: reading it ends, without a panic; no cookie of the plugin's is left, and
/// no other one gets lost. A second reading, by other means, agrees.
#[test]
fn any_bytes_are_read() {
    let seed = b"a=1; s=1.x; __Host-s.1=y;s.login.q=z ; b=\"2\"";
    for at in 0..seed.len() {
        for byte in 0..=255 {
            let mut field = seed.to_vec();
            field[at] = byte;
            let jar = jar();
            let got = jar.read(&field).unwrap();
            let _ = jar.session_of(false, &got);
            let again = jar.read(&got.rest).unwrap();
            assert!(!again.any() && again.rest == got.rest);
            let others = field
                .split(|b| *b == b';')
                .map(|p| p.trim_ascii())
                .filter(|p| !p.is_empty())
                .filter(|p| {
                    let text: String = p.iter().map(|b| char::from(*b)).collect();
                    let Some((name, _)) = text.split_once('=') else {
                        return true;
                    };
                    let name = name.trim_ascii();
                    let lower = name.to_ascii_lowercase();
                    let cut = match lower.strip_prefix("__host-") {
                        Some(_) => &name["__host-".len()..],
                        None => name,
                    };
                    cut != "s" && !cut.starts_with("s.")
                })
                .collect::<Vec<_>>()
                .join(&b"; "[..]);
            assert_eq!(
                String::from_utf8_lossy(&got.rest),
                String::from_utf8_lossy(&others)
            );
        }
    }
}
