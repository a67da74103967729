//! The configuration, checked.

use penstock as sdk;
use sdk::{Json, Place, Setting};

sdk::config! {
    /// As schema.json says it.
    struct Settings {
        hsts: Hsts,
        nosniff as "contentTypeOptions": bool,
        frame as "frameOptions": String,
        referrer as "referrerPolicy": String,
        permissions as "permissionsPolicy": Option<String>,
        csp as "contentSecurityPolicy": Option<String>,
        csp_trial as "contentSecurityPolicyReportOnly": Option<String>,
        opener as "crossOriginOpenerPolicy": String,
        embedder as "crossOriginEmbedderPolicy": String,
        resource as "crossOriginResourcePolicy": String,
        remove: Vec<String>,
        keep: bool,
    }

    /// The fields of hsts.
    #[derive(Clone)]
    struct HstsFields {
        max_age as "maxAgeSeconds": u32,
        sub_domains as "includeSubDomains": bool,
        preload: bool,
    }
}

const YEAR: u32 = 31_536_000;

/// false, or an object.
struct Hsts(Option<HstsFields>);

impl Default for HstsFields {
    fn default() -> HstsFields {
        HstsFields {
            max_age: YEAR,
            sub_domains: false,
            preload: false,
        }
    }
}

impl Setting for Hsts {
    fn read(&mut self, value: &Json, at: &mut Place) {
        match value {
            Json::Bool(false) => self.0 = None,
            Json::Object(_) => {
                let mut fields = HstsFields::default();
                fields.read(value, at);
                self.0 = Some(fields);
            }
            other => at.want("false or an object", other),
        }
    }
}

const FRAME: &[&str] = &["DENY", "SAMEORIGIN", OFF];
const REFERRER: &[&str] = &[
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
    OFF,
];
const OPENER: &[&str] = &[
    "same-origin",
    "same-origin-allow-popups",
    "noopener-allow-popups",
    "unsafe-none",
    OFF,
];
const EMBEDDER: &[&str] = &["require-corp", "credentialless", "unsafe-none", OFF];
const RESOURCE: &[&str] = &["same-origin", "same-site", "cross-origin", OFF];
const OFF: &str = "off";

const MAX_REMOVE: usize = 32;

/// What becomes of responses.
#[derive(Debug, PartialEq)]
pub struct Rules {
    /// Fields that are removed, in lower case.
    pub remove: Vec<String>,
    /// Fields that are set.
    pub set: Vec<(&'static str, String)>,
    /// The value of Strict-Transport-Security.
    pub hsts: Option<String>,
    /// What is there already is not set.
    pub keep: bool,
}

/// Reads a configuration.
pub fn parse(text: &[u8]) -> Result<Rules, String> {
    let off = || OFF.to_string();
    let defaults = Settings {
        hsts: Hsts(Some(HstsFields::default())),
        nosniff: true,
        frame: "SAMEORIGIN".into(),
        referrer: "strict-origin-when-cross-origin".into(),
        permissions: None,
        csp: None,
        csp_trial: None,
        opener: off(),
        embedder: off(),
        resource: off(),
        remove: [
            "Server",
            "X-Powered-By",
            "X-AspNet-Version",
            "X-AspNetMvc-Version",
        ]
        .map(String::from)
        .into(),
        keep: false,
    };
    let s = sdk::parse_config(text, defaults).map_err(|e| e.to_string())?;
    let mut rules = Rules {
        remove: removed(s.remove)?,
        set: Vec::new(),
        hsts: hsts(s.hsts.0)?,
        keep: s.keep,
    };
    if s.nosniff {
        rules.set.push(("x-content-type-options", "nosniff".into()));
    }
    for (at, field, value, allowed) in [
        ("frameOptions", "x-frame-options", s.frame, FRAME),
        ("referrerPolicy", "referrer-policy", s.referrer, REFERRER),
        (
            "crossOriginOpenerPolicy",
            "cross-origin-opener-policy",
            s.opener,
            OPENER,
        ),
        (
            "crossOriginEmbedderPolicy",
            "cross-origin-embedder-policy",
            s.embedder,
            EMBEDDER,
        ),
        (
            "crossOriginResourcePolicy",
            "cross-origin-resource-policy",
            s.resource,
            RESOURCE,
        ),
    ] {
        if !allowed.contains(&value.as_str()) {
            return Err(format!("config.{at}: want one of {}", allowed.join(", ")));
        }
        if value != OFF {
            rules.set.push((field, value));
        }
    }
    for (at, field, value) in [
        ("permissionsPolicy", "permissions-policy", s.permissions),
        ("contentSecurityPolicy", "content-security-policy", s.csp),
        (
            "contentSecurityPolicyReportOnly",
            "content-security-policy-report-only",
            s.csp_trial,
        ),
    ] {
        let Some(value) = value else { continue };
        if value.is_empty()
            || value.len() > 4096
            || !value.bytes().all(|b| (b' '..=b'~').contains(&b))
        {
            return Err(format!(
                "config.{at}: want 1 to 4096 visible ASCII characters"
            ));
        }
        rules.set.push((field, value));
    }
    Ok(rules)
}

fn hsts(fields: Option<HstsFields>) -> Result<Option<String>, String> {
    let Some(h) = fields else { return Ok(None) };
    if h.max_age > 2 * YEAR {
        return Err(format!("config.hsts.maxAgeSeconds: want 0 to {}", 2 * YEAR));
    }
    if h.preload && (!h.sub_domains || h.max_age < YEAR) {
        return Err(format!(
            "config.hsts.preload: the lists want includeSubDomains, and maxAgeSeconds of {YEAR} at least"
        ));
    }
    let mut value = format!("max-age={}", h.max_age);
    if h.sub_domains {
        value += "; includeSubDomains";
    }
    if h.preload {
        value += "; preload";
    }
    Ok(Some(value))
}

/// What a response cannot do without.
const NEEDED: &[&str] = &[
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "trailer",
    "connection",
    "upgrade",
    "date",
];

fn removed(names: Vec<String>) -> Result<Vec<String>, String> {
    if names.len() > MAX_REMOVE {
        return Err(format!(
            "config.remove: {} of them; want {MAX_REMOVE} at most",
            names.len()
        ));
    }
    let mut all: Vec<String> = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let name = name.to_ascii_lowercase();
        if name.is_empty()
            || name.len() > 128
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        {
            return Err(format!(
                "config.remove[{i}]: want a name (RFC 9110, 5.1) of 1 to 128 characters"
            ));
        }
        if NEEDED.contains(&name.as_str()) {
            return Err(format!(
                "config.remove[{i}]: a response cannot do without {name}"
            ));
        }
        if all.contains(&name) {
            return Err(format!("config.remove[{i}]: it is there twice"));
        }
        all.push(name);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_safe() {
        let want = Rules {
            remove: [
                "server",
                "x-powered-by",
                "x-aspnet-version",
                "x-aspnetmvc-version",
            ]
            .map(String::from)
            .into(),
            set: vec![
                ("x-content-type-options", "nosniff".into()),
                ("x-frame-options", "SAMEORIGIN".into()),
                ("referrer-policy", "strict-origin-when-cross-origin".into()),
            ],
            hsts: Some("max-age=31536000".into()),
            keep: false,
        };
        for text in ["", "{}", r#"{"hsts":{}}"#] {
            assert_eq!(parse(text.as_bytes()).as_ref(), Ok(&want), "{text}");
        }
    }

    #[test]
    fn all_can_be_said_or_left_out() {
        let off = br#"{"hsts":false,"contentTypeOptions":false,"frameOptions":"off","referrerPolicy":"off","remove":[]}"#;
        assert_eq!(
            parse(off),
            Ok(Rules {
                remove: vec![],
                set: vec![],
                hsts: None,
                keep: false
            })
        );
        let r = parse(br#"{"hsts":{"maxAgeSeconds":63072000,"includeSubDomains":true,"preload":true},"contentSecurityPolicy":"default-src 'self'","keep":true}"#).unwrap();
        assert_eq!(
            r.hsts.as_deref(),
            Some("max-age=63072000; includeSubDomains; preload")
        );
        assert!(
            r.keep
                && r.set
                    .contains(&("content-security-policy", "default-src 'self'".into()))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            (
                r#"{"hsts":true}"#,
                "config.hsts: true or false; want false or an object",
            ),
            (
                r#"{"hsts":{"maxAge":1}}"#,
                "config.hsts.maxAge: unknown field",
            ),
            (
                r#"{"hsts":{"maxAgeSeconds":63072001}}"#,
                "config.hsts.maxAgeSeconds: want 0 to",
            ),
            (
                r#"{"hsts":{"preload":true}}"#,
                "config.hsts.preload: the lists want",
            ),
            (
                r#"{"hsts":{"preload":true,"includeSubDomains":true,"maxAgeSeconds":3600}}"#,
                "config.hsts.preload: the lists want",
            ),
            (
                r#"{"frameOptions":"ALLOW-FROM https://a.example"}"#,
                "config.frameOptions: want one of DENY",
            ),
            (
                r#"{"referrerPolicy":""}"#,
                "config.referrerPolicy: want one of",
            ),
            (
                r#"{"contentSecurityPolicy":"a\r\nSet-Cookie: b"}"#,
                "config.contentSecurityPolicy: want 1 to 4096",
            ),
            (
                r#"{"permissionsPolicy":""}"#,
                "config.permissionsPolicy: want 1 to 4096",
            ),
            (
                r#"{"remove":["Server","SERVER"]}"#,
                "config.remove[1]: it is there twice",
            ),
            (
                r#"{"remove":["Content-Length"]}"#,
                "config.remove[0]: a response cannot do without",
            ),
            (r#"{"remove":[":status"]}"#, "config.remove[0]: want a name"),
            (
                r#"{"remove":"Server"}"#,
                "config.remove: a text; want a list",
            ),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.starts_with(want), "{text}: {got}");
        }
    }
}
