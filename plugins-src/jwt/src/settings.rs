//! The configuration as schema.json says it.

use std::collections::BTreeMap;

use penstock::{self as sdk, Json, Setting};

use crate::checks::Scalar;
use crate::texts::Texts;

sdk::config! {
    pub(crate) struct Settings {
        pub(crate) issuer: Option<String>,
        pub(crate) audience: Option<Texts>,
        pub(crate) algorithms: Vec<String>,
        pub(crate) jwks_uri as "jwksUri": Option<String>,
        pub(crate) jwks: Json,
        pub(crate) cache_for as "cacheFor": String,
        pub(crate) keep_for as "keepFor": String,
        pub(crate) from: Vec<FromSettings>,
        pub(crate) forward: bool,
        pub(crate) clock_skew as "clockSkew": String,
        pub(crate) require_exp as "requireExpiration": bool,
        pub(crate) max_lifetime as "maxLifetime": Option<String>,
        pub(crate) typ: Option<String>,
        pub(crate) required: BTreeMap<String, Wanted>,
        pub(crate) headers as "claimsToHeaders": BTreeMap<String, String>,
        pub(crate) consumer: Option<ConsumerSettings>,
        pub(crate) claims: bool,
        pub(crate) optional: bool,
        pub(crate) realm: String,
    }

    /// A place of a token.
    #[derive(Default)]
    pub(crate) struct FromSettings {
        pub(crate) header: Option<String>,
        pub(crate) scheme: Option<String>,
        pub(crate) query: Option<String>,
        pub(crate) cookie: Option<String>,
    }

    /// Who a token is of.
    #[derive(Default)]
    pub(crate) struct ConsumerSettings {
        pub(crate) claim: Option<String>,
        pub(crate) groups: Option<String>,
        pub(crate) find: Option<String>,
        pub(crate) namespaces: Option<Vec<String>>,
    }
}

/// One value or a list of them.
#[derive(Default)]
pub(crate) struct Wanted(pub(crate) Vec<Scalar>);

impl Setting for Wanted {
    fn read(&mut self, value: &Json, at: &mut sdk::Place) {
        match value {
            Json::List(_) => self.0.read(value, at),
            one => {
                let mut scalar = Scalar::default();
                scalar.read(one, at);
                self.0 = vec![scalar];
            }
        }
    }
}

/// Returns what counts where nothing is said.
pub(crate) fn defaults() -> Settings {
    let texts = |list: &[&str]| list.iter().map(|t| t.to_string()).collect();
    Settings {
        issuer: None,
        audience: None,
        algorithms: texts(&["RS256", "PS256", "ES256", "EdDSA"]),
        jwks_uri: None,
        jwks: Json::Null,
        cache_for: "5m".into(),
        keep_for: "1h".into(),
        from: vec![FromSettings {
            header: Some("Authorization".into()),
            ..FromSettings::default()
        }],
        forward: true,
        clock_skew: "60s".into(),
        require_exp: true,
        max_lifetime: None,
        typ: None,
        required: BTreeMap::new(),
        headers: BTreeMap::new(),
        consumer: None,
        claims: false,
        optional: false,
        realm: "restricted".into(),
    }
}
