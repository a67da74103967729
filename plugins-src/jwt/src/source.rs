//! Keys that are fetched, and when. The plugin oidc has this file too.

use std::rc::Rc;
use std::time::Duration;

use penstock::{self as sdk, CallError, HttpResponse, Json, Level};

use crate::claims::SECOND;
use crate::gate::{Gate, clock};
use crate::jwk::KeySet;
use crate::token;
use crate::url::Url;

/// How long the source may take for one answer,
const TIMEOUT: Duration = Duration::from_secs(5);
/// and how large that may be.
const MAX_ANSWER: usize = 64 << 10;
/// How often keys are fetched because a token is of none of them.
const AGAIN: u64 = 10 * SECOND;
/// How long it takes at most until a source that failed is asked again.
const MAX_BACKOFF: u64 = 30 * SECOND;
/// How soon the next of those who waited are decided on.
const SOON: Duration = Duration::from_millis(10);

/// Where keys come from, and how that went. Times are in nanoseconds since 1970.
#[derive(Debug)]
pub(crate) struct Source {
    place: Url,
    discovery: bool, // place tells where the keys are
    fetching: bool,
    began: u64,   // the last fetch
    fetched: u64, // the keys that there are
    next: u64,    // fetch
    failures: u32,
    asked: bool,  // the last failure was the source's own
    said: String, // the failure that was logged last
}

impl Source {
    pub(crate) fn new(place: Url, discovery: bool) -> Source {
        Source {
            place,
            discovery,
            fetching: false,
            began: 0,
            fetched: 0,
            next: 0,
            failures: 0,
            asked: false,
            said: String::new(),
        }
    }

    pub(crate) fn fetching(&self) -> bool {
        self.fetching
    }

    /// Says whether a fetch may begin because there are no keys that may be used.
    pub(crate) fn may_fetch(&self, now: u64) -> bool {
        !self.asked || now >= self.next
    }

    /// Says whether the source may have keys that are newer than those that there are.
    pub(crate) fn may_have_newer(&self, now: u64) -> bool {
        self.fetching || now >= self.began.saturating_add(AGAIN)
    }

    /// Returns after how many seconds it is asked again.
    pub(crate) fn retry_in(&self, now: u64) -> u64 {
        self.next.saturating_sub(now).div_ceil(SECOND)
    }
}

impl Gate {
    /// Begins to fetch keys; false: the proxy does not make the call.
    pub(crate) fn fetch(self: &Rc<Gate>, now: u64) -> bool {
        let (place, discovery) = {
            let mut state = self.state.borrow_mut();
            let Some(source) = &mut state.source else {
                return false;
            };
            source.began = now;
            source.fetching = true;
            (source.place.clone(), source.discovery)
        };
        let gate = self.clone();
        let begun = self.get(&place, move |answer| {
            let read = if discovery {
                gate.follow(answer)
            } else {
                keys(answer).map(Some)
            };
            match read {
                Ok(None) => {} // the keys are still to come
                other => gate.end(other.map(Option::unwrap_or_default)),
            }
        });
        if let Err(why) = begun {
            // Whoever comes next may try again: nothing was asked.
            if let Some(source) = &mut self.state.borrow_mut().source {
                source.began = 0;
            }
            self.fail(now, &why, false);
            return false;
        }
        true
    }

    fn get(
        &self,
        from: &Url,
        answered: impl FnOnce(Result<HttpResponse, CallError>) + 'static,
    ) -> Result<(), String> {
        let accept = ("accept", "application/json, application/jwk-set+json");
        self.call("GET", from, &[accept], b"", answered)
    }

    /// Makes a call of the root context, whatever stream ends meanwhile.
    pub(crate) fn call(
        &self,
        method: &str,
        to: &Url,
        more: &[(&str, &str)],
        body: &[u8],
        answered: impl FnOnce(Result<HttpResponse, CallError>) + 'static,
    ) -> Result<(), String> {
        let context = sdk::effective_context();
        let mut headers = vec![
            (":method", method),
            (":scheme", to.scheme),
            (":authority", &to.authority),
            (":path", &to.path),
        ];
        headers.extend_from_slice(more);
        sdk::set_effective_context(self.root).map_err(|e| e.to_string())?;
        let begun = sdk::http_call(&to.upstream, &headers, body, &[], TIMEOUT, answered);
        sdk::set_effective_context(context).expect("BUG: the context that called has ended");
        begun.map_err(|status| format!("{} cannot be called: {status}", to.upstream))
    }

    /// Reads an issuer's metadata, and asks for the keys where they say.
    fn follow(
        self: &Rc<Gate>,
        answer: Result<HttpResponse, CallError>,
    ) -> Result<Option<KeySet>, String> {
        let fields = object(answer)?;
        let text = |name: &str| match fields.iter().find(|f| f.0 == name) {
            Some((_, Json::Text(text))) => Some(text),
            _ => None,
        };
        if text("issuer") != self.rules.checks.issuer.as_ref() {
            return Err("the metadata are of another issuer".into());
        }
        let uri = text("jwks_uri")
            .and_then(|t| Url::parse(t))
            .ok_or("the metadata have no jwks_uri that can be called")?;
        let secure = |s: &Gate| {
            s.state
                .borrow()
                .source
                .as_ref()
                .is_some_and(|s| s.place.scheme == "https")
        };
        if uri.scheme != "https" && secure(self) {
            return Err("the metadata have a jwks_uri without https".into());
        }
        let gate = self.clone();
        self.learn(&fields, secure(self))?;
        self.get(&uri, move |answer| gate.end(keys(answer)))?;
        Ok(None)
    }

    /// Takes over what a fetch has brought, and decides on those who waited for it.
    fn end(self: &Rc<Gate>, fetched: Result<KeySet, String>) {
        let now = clock();
        match fetched {
            Ok(keys) => self.succeed(now, keys),
            Err(why) => self.fail(now, &why, true),
        }
        if self.wake() {
            let _ = sdk::set_tick_period(SOON); // the period of before will do
        }
    }

    fn succeed(&self, now: u64, keys: KeySet) {
        let mut state = self.state.borrow_mut();
        let s = &mut *state;
        let Some(source) = &mut s.source else {
            return;
        };
        source.fetching = false;
        source.failures = 0;
        source.asked = false;
        source.said.clear();
        source.fetched = now;
        source.next = now + self.rules.cache_for / 5 * 4;
        s.usable = now + self.rules.cache_for;
        if !s.keys.as_ref().is_some_and(|k| k.same(&keys)) {
            s.keys = None; // before the new ones are made: the proxy holds so many
            s.keys = Some(Rc::new(keys));
            s.memo.clear();
        }
        drop(state);
        self.schedule(now);
    }

    /// Keeps what there is for a while; asked says that the source was.
    fn fail(&self, now: u64, why: &str, asked: bool) {
        let mut state = self.state.borrow_mut();
        let s = &mut *state;
        let Some(source) = &mut s.source else {
            return;
        };
        source.fetching = false;
        if asked != source.asked {
            source.failures = 0; // those before were of another kind
        }
        source.asked = asked;
        source.failures = source.failures.saturating_add(1);
        let backoff = SECOND << (source.failures - 1).min(5);
        source.next = now + backoff.min(MAX_BACKOFF);
        if s.keys.is_some() {
            let last = source.fetched + self.rules.cache_for.max(self.rules.keep_for);
            s.usable = last;
            if now >= last {
                s.keys = None;
                s.memo.clear();
            }
        }
        let line = format!("the keys of {}: {why}", source.place.upstream);
        if source.said != line {
            sdk::log(Level::Warn, &line);
            source.said = line;
        }
        drop(state);
        self.schedule(now);
    }

    /// Has the tick come when the next fetch is due.
    fn schedule(&self, now: u64) {
        let state = self.state.borrow();
        if let Some(source) = &state.source {
            let wait = Duration::from_nanos(source.next.saturating_sub(now)).max(SOON);
            let _ = sdk::set_tick_period(self.hurry(wait)); // requests fetch too
        }
    }

    /// Is called by ticks: decides on those who still wait, then fetches if it is due.
    pub(crate) fn tick(self: &Rc<Gate>) {
        let (waits, fetching, next) = {
            let state = self.state.borrow();
            let Some(source) = &state.source else {
                return;
            };
            (!state.waiting.is_empty(), source.fetching, source.next)
        };
        let now = clock();
        if fetching {
            return;
        }
        if waits {
            if !self.wake() {
                self.schedule(now);
            }
            return;
        }
        if now >= next {
            self.fetch(now);
        } else {
            self.schedule(now);
        }
    }
}

/// Reads a set of keys.
fn keys(answer: Result<HttpResponse, CallError>) -> Result<KeySet, String> {
    KeySet::read(&Json::Object(object(answer)?), false)
}

/// Reads the JSON object of an answer with status 200.
pub(crate) fn object(
    answer: Result<HttpResponse, CallError>,
) -> Result<Vec<(String, Json)>, String> {
    let answer = answer.map_err(|e| e.to_string())?;
    if answer.status() != 200 {
        return Err(format!("status {}; want 200", answer.status()));
    }
    members(answer)
}

/// Reads the JSON object of an answer.
pub(crate) fn members(answer: HttpResponse) -> Result<Vec<(String, Json)>, String> {
    match answer.body.size() {
        Ok(n) if n <= MAX_ANSWER => {}
        Ok(_) => return Err(format!("an answer of more than {} KiB", MAX_ANSWER >> 10)),
        Err(status) => return Err(status.to_string()),
    }
    let body = answer.body.all().ok_or("the answer cannot be read")?;
    token::object(&body).ok_or_else(|| "the answer is no JSON object".into())
}
