//! Logging out (OpenID Connect RP-Initiated Logout 1.0).

use std::rc::Rc;

use penstock::{Action, REQUEST_HEADER};

use crate::answer;
use crate::gate::{Gate, Known, clock};
use crate::provider::with_query;
use crate::visit::Visit;

/// How long an ID token may be to go along in an address.
const MAX_HINT: usize = 4 << 10;

impl Gate {
    /// Ends the session of this browser, and leads it to the provider's own logout.
    pub(crate) fn logout(self: &Rc<Gate>, visit: &Visit, known: Option<&Known>) -> Action {
        let foreign = REQUEST_HEADER
            .get("sec-fetch-site")
            .is_some_and(|s| s == "cross-site");
        if foreign {
            let text =
                "Another site wanted to end your session. Go to this address by yourself to do so.";
            return answer::page(403, text, &[], "logout by another site");
        }
        let cookies = self.rules.jar.drop_session(visit.secure, &visit.cookies);
        let then = self.rules.logout_then.as_deref();
        let provider = self.provider(clock());
        let end = provider.as_ref().and_then(|p| p.0.end_session.as_deref());
        // Without a session there is nobody whom the provider could log out.
        let (Some(end), Some(known)) = (end, known) else {
            return match then {
                Some(then) => answer::redirect(then, &cookies, "logged out"),
                None => answer::page(200, "You are logged out.", &cookies, "logged out"),
            };
        };
        let absolute = then.map(|then| match then.starts_with('/') {
            true => format!("{}{then}", visit.origin),
            false => then.into(),
        });
        let mut query = vec![("client_id", self.rules.client_id.as_str())];
        let hint = &known.session.id_token;
        if hint.len() <= MAX_HINT {
            query.push(("id_token_hint", hint));
        }
        if let Some(absolute) = &absolute {
            query.push(("post_logout_redirect_uri", absolute));
        }
        answer::redirect(&with_query(end, &query), &cookies, "logged out")
    }
}
