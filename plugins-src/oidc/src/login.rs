//! Logging in: the authorization code flow with PKCE (OpenID Connect Core 1.0, 3.1; RFC 7636).

use std::rc::Rc;

use penstock::{self as sdk, Action, Context, Level};

use crate::answer;
use crate::claims::{Fault, SECOND};
use crate::cookies::{Cookies, SameSite};
use crate::encode::base64url;
use crate::gate::{Gate, Slot, clock};
use crate::idtoken::{self, Wanted};
use crate::provider::{self, Refusal, Tokens, with_query};
use crate::query;
use crate::random::secret;
use crate::seal::Purpose;
use crate::session::{Login, Session, same};
use crate::visit::Visit;

/// How long a login may take, in seconds.
const MAX_LOGIN: u64 = 600;
/// How many logins of one browser may be under way.
const MAX_LOGINS: usize = 4;
/// How long a code may be.
const MAX_CODE: usize = 4 << 10;

const ELSEWHERE: &str = "This login began in another browser, or too long ago. Go back to the page that you wanted, and try again.";
const REFUSED: &str = "The login was refused. Go back to the page that you wanted to try again.";
const BROKEN: &str = "The login service did not answer as it should.";

/// A login whose tokens have come, or are to come.
struct Pending {
    login: Login,
    cookies: Cookies,
    secure: bool,
    context: Context,
}

impl Gate {
    /// Leads the browser to the provider.
    pub(crate) fn login(self: &Rc<Gate>, slot: &Rc<Slot>, visit: &Visit, waited: bool) -> Action {
        let now = clock();
        let Some((provider, _)) = self.provider(now) else {
            return self.wait_for_provider(slot, waited);
        };
        let login = Login {
            begun: now / SECOND,
            state: secret(),
            nonce: secret(),
            verifier: secret(),
            back: visit.back().into(),
            redirect_uri: visit.redirect_uri(&self.rules),
        };
        let made = sdk::hash("sha256", &login.verifier).and_then(|sum| {
            let sealed = self.seals.seal(Purpose::Login, &login.write())?;
            Ok((base64url(&sum), sealed))
        });
        let (challenge, sealed) = match made {
            Ok(made) => made,
            Err(status) => {
                sdk::log(Level::Error, &format!("the login: {status}"));
                return answer::failed("login not sealed");
            }
        };
        let mut query = vec![
            ("response_type", "code"),
            ("client_id", &self.rules.client_id),
            ("redirect_uri", &login.redirect_uri),
            ("scope", &self.rules.scope),
            ("state", &login.state),
            ("nonce", &login.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        query.extend(
            self.rules
                .parameters
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str())),
        );
        let jar = &self.rules.jar;
        let mut cookies = self.old_logins(visit, login.begun);
        cookies.push(jar.set_login(visit.secure, &login.state, &sealed, MAX_LOGIN));
        answer::redirect(
            &with_query(&provider.authorize, &query),
            &cookies,
            "no session",
        )
    }

    /// Returns what removes logins of the same browser that are over, or too many: else each
    /// page that is not logged in to would leave one.
    fn old_logins(&self, visit: &Visit, now: u64) -> Vec<String> {
        let mut all: Vec<(u64, &str)> = Vec::new();
        for (name, sealed) in self.rules.jar.logins(visit.secure, &visit.cookies) {
            let begun = match self.seals.open(Purpose::Login, sealed) {
                Ok(Some(text)) => Login::read(&text).map_or(0, |l| l.begun),
                _ => 0,
            };
            all.push((begun, name));
        }
        all.sort_by(|a, b| b.cmp(a));
        all.iter()
            .enumerate()
            .filter(|(i, one)| *i + 1 >= MAX_LOGINS || one.0 + MAX_LOGIN < now)
            .map(|(_, one)| self.rules.jar.drop_login(visit.secure, one.1))
            .collect()
    }

    /// Decides on what the provider leads the browser back with.
    pub(crate) fn callback(self: &Rc<Gate>, visit: &Visit) -> Action {
        if visit.method != b"GET" {
            return answer::page(405, "A login comes back by GET.", &[], "callback");
        }
        let Some(said) = query::read(visit.query().as_bytes()) else {
            return answer::page(400, BROKEN, &[], "callback malformed");
        };
        let state = said.state.as_deref().unwrap_or_default();
        let Some(login) = self.login_of(visit, state, clock() / SECOND) else {
            return answer::page(403, ELSEWHERE, &[], "no login of that state");
        };
        let over = [self.rules.jar.drop_login(visit.secure, state)];
        let Some((provider, _)) = self.provider(clock()) else {
            // The code stays good for a while: the same address can be asked for again.
            return self.wait_to_finish();
        };
        let right = match &said.issuer {
            Some(issuer) => *issuer == self.rules.issuer,
            None => !provider.says_issuer,
        };
        if !right {
            return answer::page(403, BROKEN, &over, "callback of another issuer");
        }
        match (&said.error, &said.code) {
            (Some(error), _) => turned_away(error, &over),
            (None, Some(code)) if (1..=MAX_CODE).contains(&code.len()) => {
                self.exchange(visit, login, code)
            }
            _ => answer::page(400, BROKEN, &over, "callback without a code"),
        }
    }

    /// Returns the login of this browser that a state is of.
    fn login_of(&self, visit: &Visit, state: &str, now: u64) -> Option<Login> {
        let sealed = self
            .rules
            .jar
            .login_of(visit.secure, state, &visit.cookies)
            .ok()??;
        let text = self.seals.open(Purpose::Login, sealed).ok()??;
        let login = Login::read(&text)?;
        let young = now <= login.begun.saturating_add(MAX_LOGIN);
        (young && same(&login.state, state)).then_some(login)
    }

    /// Has a callback wait until the provider is known.
    fn wait_to_finish(self: &Rc<Gate>) -> Action {
        let (now, context) = (clock(), sdk::effective_context());
        let waits = self.wait(now, move |gate| {
            gate.later(context, |g| {
                match (g.provider(clock()), Visit::read(&g.rules)) {
                    (Some(_), Ok(visit)) => g.callback(&visit),
                    _ => answer::unavailable(1),
                }
            });
        });
        match waits {
            true => Action::Pause,
            false => answer::unavailable(
                self.state
                    .borrow()
                    .source
                    .as_ref()
                    .map_or(1, |s| s.retry_in(now)),
            ),
        }
    }

    /// Has the provider give tokens for a code.
    fn exchange(self: &Rc<Gate>, visit: &Visit, login: Login, code: &str) -> Action {
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &login.redirect_uri),
            ("code_verifier", &login.verifier),
        ];
        let (secure, context) = (visit.secure, sdk::effective_context());
        let gate = self.clone();
        let begun = self.ask(&grant.map(|g| (g.0, g.1)), {
            let login = login.clone();
            let cookies = visit.cookies.clone();
            move |answer| {
                let pending = Pending {
                    login,
                    cookies,
                    secure,
                    context,
                };
                gate.later(context, |g| g.finish(pending, answer, true));
            }
        });
        match begun {
            Ok(()) => Action::Pause,
            Err(why) => {
                sdk::log(Level::Warn, &format!("the token endpoint: {why}"));
                answer::unavailable(1)
            }
        }
    }

    /// Asks the token endpoint.
    pub(crate) fn ask(
        self: &Rc<Gate>,
        grant: &[(&str, &str)],
        answered: impl FnOnce(Result<Tokens, Refusal>) + 'static,
    ) -> Result<(), String> {
        let (provider, _) = self.provider(clock()).ok_or("the provider is not known")?;
        let (headers, body) = provider.ask(&self.rules, grant);
        let headers: Vec<(&str, &str)> = headers.iter().map(|h| (h.0, h.1.as_str())).collect();
        self.call(
            "POST",
            &provider.token,
            &headers,
            body.as_bytes(),
            move |answer| {
                answered(provider::tokens(answer));
            },
        )
    }

    /// Begins the session that tokens are of; may_wait: for keys that are newer.
    fn finish(
        self: &Rc<Gate>,
        pending: Pending,
        answer: Result<Tokens, Refusal>,
        may_wait: bool,
    ) -> Action {
        let over = [self
            .rules
            .jar
            .drop_login(pending.secure, &pending.login.state)];
        let tokens = match answer {
            Ok(tokens) => tokens,
            Err(Refusal::Grant) => {
                return answer::page(403, ELSEWHERE, &over, "the code does not count");
            }
            Err(Refusal::Down(why)) => {
                sdk::log(Level::Warn, &format!("the token endpoint: {why}"));
                return answer::page(503, BROKEN, &over, "token endpoint down");
            }
            Err(Refusal::Wrong(why)) => {
                sdk::log(Level::Warn, &format!("the token endpoint: {why}"));
                return answer::page(502, BROKEN, &over, "token endpoint's answer");
            }
        };
        let now = clock();
        let wanted = Wanted::Login {
            nonce: &pending.login.nonce,
        };
        match self.judge(&tokens, wanted, now) {
            Ok((checked, stale)) => self.begin(&pending, tokens, checked, stale, over),
            Err(Fault::UnknownKey) if may_wait => {
                let context = pending.context;
                let waits = self.wait_newer(now, move |gate| {
                    gate.later(context, |g| g.finish(pending, Ok(tokens), false));
                });
                match waits {
                    true => Action::Pause,
                    false => answer::page(502, BROKEN, &over, "no key of the ID token's"),
                }
            }
            Err(fault) => {
                let why = match fault {
                    Fault::Invalid(why) => why.to_string(),
                    Fault::UnknownKey => "no key that is known is the token's".into(),
                    Fault::Scope(why) | Fault::Host(why) => why,
                };
                sdk::log(Level::Warn, &format!("the ID token: {why}"));
                answer::page(502, BROKEN, &over, "the ID token does not count")
            }
        }
    }

    /// Checks the ID token among tokens, and returns when that was and until when they are
    /// fresh, in seconds.
    pub(crate) fn judge(
        &self,
        tokens: &Tokens,
        wanted: Wanted,
        now: u64,
    ) -> Result<(u64, u64), Fault> {
        let Some((_, keys)) = self.provider(now) else {
            return Err(Fault::UnknownKey);
        };
        if tokens.id_token.is_empty() {
            return Err(Fault::Invalid("there is none"));
        }
        let checks = &self.rules.checks;
        let pass = idtoken::check(
            checks,
            &keys,
            &tokens.id_token,
            &tokens.access_token,
            wanted,
            now,
        )?;
        let seconds = now / SECOND;
        let ends = pass.until.saturating_sub(checks.skew) / SECOND;
        // One that ended by its own clock, but not by the provider's, is fresh for that long.
        let ends = if ends > seconds {
            ends
        } else {
            pass.until / SECOND
        };
        let access = seconds.saturating_add(tokens.expires_in.unwrap_or(u64::MAX / SECOND / 2));
        Ok((seconds, ends.min(access).max(seconds + 1)))
    }

    fn begin(
        &self,
        pending: &Pending,
        tokens: Tokens,
        checked: u64,
        stale: u64,
        over: [String; 1],
    ) -> Action {
        let session = Session {
            begun: checked,
            checked,
            stale,
            nonce: pending.login.nonce.clone(),
            id_token: tokens.id_token,
            access_token: if self.rules.forward_access {
                tokens.access_token
            } else {
                String::new()
            },
            refresh_token: tokens.refresh_token,
        };
        let mut cookies = match self.cookies_of(&session, pending.secure, &pending.cookies) {
            Ok(cookies) => cookies,
            Err(why) => {
                sdk::log(Level::Error, &format!("the session: {why}"));
                return answer::page(502, BROKEN, &over, "session not kept");
            }
        };
        cookies.extend(over);
        match self.rules.jar.same_site {
            SameSite::Strict => answer::go_on(&pending.login.back, &cookies, "logged in"),
            _ => answer::redirect(&pending.login.back, &cookies, "logged in"),
        }
    }

    /// Returns what sets the cookies of a session.
    pub(crate) fn cookies_of(
        &self,
        session: &Session,
        secure: bool,
        before: &Cookies,
    ) -> Result<Vec<String>, String> {
        let sealed = self
            .seals
            .seal(Purpose::Session, &session.write())
            .map_err(|e| e.to_string())?;
        let ends = session.begun.saturating_add(self.rules.max_age);
        let left = ends.saturating_sub(clock() / SECOND);
        self.rules
            .jar
            .set_session(secure, &sealed, left, before)
            .ok_or_else(|| {
                format!(
                    "{} bytes are more than its cookies hold: ask for fewer scopes or claims",
                    sealed.len()
                )
            })
    }
}

/// Answers somebody whom the provider did not log in (RFC 6749, 4.1.2.1).
fn turned_away(error: &str, over: &[String]) -> Action {
    sdk::log(
        Level::Info,
        &format!("the provider refuses a login: {}", provider::plain(error)),
    );
    match error {
        "server_error" => answer::page(502, BROKEN, over, "the provider failed"),
        "temporarily_unavailable" => answer::page(503, BROKEN, over, "the provider is unavailable"),
        _ => answer::page(403, REFUSED, over, "the provider refused"),
    }
}
