//! The configuration as schema.json says it.

use std::collections::BTreeMap;

use penstock as sdk;

use crate::texts::Texts;

sdk::config! {
    pub(crate) struct Settings {
        pub(crate) issuer: Option<String>,
        pub(crate) client_id as "clientId": Option<String>,
        pub(crate) client_secret as "clientSecret": Option<String>,
        pub(crate) secret: Texts,
        pub(crate) scopes: Vec<String>,
        pub(crate) parameters: BTreeMap<String, String>,
        pub(crate) callback_path as "callbackPath": String,
        pub(crate) redirect_uri as "redirectUri": Option<String>,
        pub(crate) logout: LogoutSettings,
        pub(crate) cookie: CookieSettings,
        pub(crate) consumer: Option<ConsumerSettings>,
        pub(crate) headers as "claimsToHeaders": BTreeMap<String, String>,
        pub(crate) forward: ForwardSettings,
    }

    /// How sessions end.
    pub(crate) struct LogoutSettings {
        pub(crate) path: String,
        pub(crate) then: Option<String>,
    }

    /// The session's cookie.
    pub(crate) struct CookieSettings {
        pub(crate) name: String,
        pub(crate) domain: Option<String>,
        pub(crate) path: String,
        pub(crate) same_site as "sameSite": String,
        pub(crate) max_age as "maxAge": String,
    }

    /// Who a token is of.
    #[derive(Default)]
    pub(crate) struct ConsumerSettings {
        pub(crate) claim: Option<String>,
        pub(crate) groups: Option<String>,
    }

    /// Which tokens the Service gets.
    #[derive(Default)]
    pub(crate) struct ForwardSettings {
        pub(crate) access_token as "accessToken": bool,
        pub(crate) id_token as "idToken": Option<String>,
    }
}

/// Returns what counts where nothing is said.
pub(crate) fn defaults() -> Settings {
    Settings {
        issuer: None,
        client_id: None,
        client_secret: None,
        secret: Texts::default(),
        scopes: vec!["openid".into()],
        parameters: BTreeMap::new(),
        callback_path: "/oauth2/callback".into(),
        redirect_uri: None,
        logout: LogoutSettings {
            path: "/oauth2/logout".into(),
            then: None,
        },
        cookie: CookieSettings {
            name: "oidc".into(),
            domain: None,
            path: "/".into(),
            same_site: "lax".into(),
            max_age: "12h".into(),
        },
        consumer: None,
        headers: BTreeMap::new(),
        forward: ForwardSettings::default(),
    }
}
