//! What decides on requests: the rules, the keys that there are now, and what was verified
//! before.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use penstock::{self as sdk, Action, Context, Level, REQUEST_HEADER, Status, StreamType};

use crate::answer;
use crate::checks::{Who, verify};
use crate::claims::{Fault, Named, Pass, SECOND};
use crate::config::Rules;
use crate::jwk::KeySet;
use crate::memo::Memo;
use crate::place::{Place, Seen};
use crate::source::Source;

/// How long a token is remembered at most.
const REMEMBERED: u64 = 300 * SECOND;
/// How many requests may wait for keys.
const MOST_WAITING: usize = 1024;
/// How many that waited, and how many bytes of tokens, are decided on in one callback, which
/// has a bound on its time.
const BATCH: usize = 8;
/// The type of its credentials in Consumer objects.
const KIND: &str = "jwt";

/// One configuration at work.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) rules: Rules,
    pub(crate) root: Context,
    pub(crate) state: RefCell<State>,
}

/// What changes of it.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) keys: Option<Rc<KeySet>>,
    /// Until when the keys may be used, in nanoseconds since 1970.
    pub(crate) usable: u64,
    pub(crate) memo: Memo<Pass>,
    pub(crate) waiting: VecDeque<Context>,
    /// Of keys that are fetched.
    pub(crate) source: Option<Source>,
}

/// What becomes of a token.
enum Step {
    Admit(Rc<Pass>),
    Deny(Fault),
    /// Keys are to come.
    Wait,
    /// There are none, and will be none in the next seconds.
    Unavailable(u64),
}

/// Returns the time by the proxy's clock, in nanoseconds since 1970.
pub(crate) fn clock() -> u64 {
    sdk::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64)
}

impl Gate {
    /// Decides on a request. One that waited already does not wait again.
    pub(crate) fn request(self: &Rc<Gate>, waited: bool) -> Action {
        for (i, place) in self.rules.places.iter().enumerate() {
            let Some(field) = REQUEST_HEADER.get(place.field()) else {
                continue;
            };
            if place.split() {
                return answer::malformed(&self.rules, "there is more than one Cookie field");
            }
            let token = match place.look(&field) {
                Seen::Token(token) => token,
                Seen::Bad => {
                    return answer::malformed(
                        &self.rules,
                        "there is no token, or more than one, where one is to be",
                    );
                }
                Seen::Nothing => {
                    // A second field of that name may hold one, which nobody looks at here.
                    if matches!(place, Place::Header { .. }) {
                        place.pin(&field).expect("there is one field");
                    }
                    continue;
                }
            };
            return match self.judge(&token, clock(), waited) {
                Step::Admit(pass) => self.admit(&pass, i, &field),
                Step::Deny(fault) => answer::deny(&self.rules, &fault),
                Step::Unavailable(seconds) => answer::unavailable(seconds),
                Step::Wait => {
                    self.state
                        .borrow_mut()
                        .waiting
                        .push_back(sdk::effective_context());
                    Action::Pause
                }
            };
        }
        if !self.rules.optional {
            return answer::challenge(&self.rules);
        }
        for (_, name) in &self.rules.checks.headers {
            REQUEST_HEADER
                .del(name)
                .expect("the client's field is removed");
        }
        Action::Continue
    }

    fn judge(self: &Rc<Gate>, token: &[u8], now: u64, waited: bool) -> Step {
        let mut state = self.state.borrow_mut();
        let s = &mut *state;
        let keys = match &s.keys {
            Some(keys) if now < s.usable => {
                if let Some(pass) = s.memo.find(token, now) {
                    return Step::Admit(pass);
                }
                keys.clone()
            }
            _ => {
                drop(state);
                return self
                    .wait(now, waited)
                    .unwrap_or_else(|| Step::Unavailable(self.retry(now)));
            }
        };
        match verify(&self.rules.checks, &keys, token, now) {
            Ok(pass) => {
                let pass = Rc::new(pass);
                let until = pass.until.min(now.saturating_add(REMEMBERED));
                s.memo.put(token, until, pass.clone());
                Step::Admit(pass)
            }
            Err(Fault::UnknownKey) => {
                let newer = s.source.as_ref().is_some_and(|f| f.may_have_newer(now));
                drop(state);
                newer
                    .then(|| self.wait(now, waited))
                    .flatten()
                    .unwrap_or(Step::Deny(Fault::UnknownKey))
            }
            Err(fault) => Step::Deny(fault),
        }
    }

    /// Has a request wait for keys that are fetched; None: there is nothing to wait for.
    fn wait(self: &Rc<Gate>, now: u64, waited: bool) -> Option<Step> {
        if waited {
            return None;
        }
        let state = self.state.borrow();
        let source = state.source.as_ref()?;
        if state.waiting.len() >= MOST_WAITING {
            return Some(Step::Unavailable(1));
        }
        let (fetching, due) = (source.fetching(), source.may_fetch(now));
        drop(state);
        (fetching || due && self.fetch(now)).then_some(Step::Wait)
    }

    /// Returns after how many seconds there may be keys.
    fn retry(&self, now: u64) -> u64 {
        let state = self.state.borrow();
        state.source.as_ref().map_or(1, |s| s.retry_in(now))
    }

    /// Lets a request pass as its token says.
    fn admit(&self, pass: &Pass, place: usize, field: &[u8]) -> Action {
        let told = match &pass.who {
            Named::Nobody => Ok(()),
            Named::Consumer(consumer) => sdk::set_consumer(consumer),
            Named::Lookup(text) => self.find(text),
        };
        match told {
            Ok(()) => {}
            Err(Status::NotFound) => {
                return answer::deny(
                    &self.rules,
                    &Fault::Invalid("the token's consumer is unknown"),
                );
            }
            Err(status) => {
                // Who the consumer is must not get lost: other filters decide by it.
                sdk::log(Level::Error, &format!("the consumer: {status}"));
                return answer::failed("consumer refused");
            }
        }
        match self.change(pass, place, field) {
            Ok(()) => Action::Continue,
            Err(status) => {
                sdk::log(Level::Error, &format!("the request: {status}"));
                answer::failed("request not changed")
            }
        }
    }

    fn find(&self, text: &str) -> Result<(), Status> {
        match &self.rules.checks.who {
            Who::Find { namespaces, .. } if !namespaces.is_empty() => {
                let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
                sdk::identify_consumer(KIND, text, &namespaces)
            }
            _ => sdk::identify_consumer(KIND, text, &[]),
        }
    }

    /// Changes what is sent on: fields of claims, and no token but the one that was verified.
    fn change(&self, pass: &Pass, place: usize, field: &[u8]) -> Result<(), Status> {
        for ((_, name), value) in self.rules.checks.headers.iter().zip(&pass.headers) {
            match value {
                Some(value) => REQUEST_HEADER.set(name, value)?,
                None => REQUEST_HEADER.del(name)?,
            }
        }
        if let Some(payload) = &pass.payload {
            sdk::set_claims(payload)?;
        }
        let (found, later) = self.rules.places[place..]
            .split_first()
            .ok_or(Status::NotFound)?;
        if self.rules.forward {
            found.pin(field)?;
        } else {
            found.remove(field)?;
        }
        for other in later {
            let Some(field) = REQUEST_HEADER.get(other.field()) else {
                continue;
            };
            if other.look(&field) != Seen::Nothing {
                other.remove(&field)?;
            }
        }
        Ok(())
    }

    /// Takes from an issuer's metadata what counts beside jwks_uri: here nothing does.
    pub(crate) fn learn(&self, _: &[(String, sdk::Json)], _secure: bool) -> Result<(), String> {
        Ok(())
    }

    /// Returns when the next tick has to come, of what else waits for one: here nothing does.
    pub(crate) fn hurry(&self, wait: Duration) -> Duration {
        wait
    }

    /// Decides on some of the requests that waited, and says whether more are left.
    pub(crate) fn wake(self: &Rc<Gate>) -> bool {
        for _ in 0..BATCH {
            let Some(context) = self.state.borrow_mut().waiting.pop_front() else {
                return false;
            };
            if sdk::set_effective_context(context).is_err() {
                continue; // it has ended meanwhile
            }
            let action = if REQUEST_HEADER.get(":method").is_some() {
                self.request(true)
            } else {
                // It waits in a way that leaves nothing to be seen of it from here.
                answer::unavailable(1)
            };
            if action == Action::Continue {
                // If it cannot go on, it waits until its time is over.
                let _ = sdk::resume(StreamType::Request);
            }
        }
        !self.state.borrow().waiting.is_empty()
    }
}
