//! What decides on requests: the rules, what is known of the provider, and what waits for it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use penstock::{self as sdk, Action, Context, Level, REQUEST_HEADER, Status, StreamType};

use crate::answer;
use crate::claims::{self, Named, Pass, SECOND};
use crate::config::Rules;
use crate::jwk::KeySet;
use crate::memo::Memo;
use crate::provider::Provider;
use crate::refresh::Flight;
use crate::seal::{Purpose, Seals};
use crate::session::Session;
use crate::source::Source;
use crate::token;
use crate::visit::{Odd, Visit};

/// How long an opened session is remembered at most.
const REMEMBERED: u64 = 300 * SECOND;
/// How many requests may wait.
const MOST_WAITING: usize = 1024;
/// How many that waited are decided on in one callback, which has a bound on its time.
const BATCH: usize = 8;
/// How often it is looked whether another instance is done.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// One configuration at work.
pub(crate) struct Gate {
    pub(crate) rules: Rules,
    pub(crate) root: Context,
    pub(crate) seals: Seals,
    pub(crate) state: RefCell<State>,
}

/// What is to be done for one of those who wait.
type Then = Box<dyn FnOnce(&Rc<Gate>)>;

/// What changes of it.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) keys: Option<Rc<KeySet>>,
    /// Until when the keys may be used, in nanoseconds since 1970.
    pub(crate) usable: u64,
    pub(crate) memo: Memo<Known>,
    pub(crate) waiting: VecDeque<Then>,
    pub(crate) source: Option<Source>,
    pub(crate) provider: Option<Rc<Provider>>,
    /// Refreshes that are under way, by what names their refresh token.
    pub(crate) flights: HashMap<Vec<u8>, Flight>,
}

/// A session that was opened, and whom it is of.
pub(crate) struct Known {
    pub(crate) session: Session,
    pass: Pass,
}

/// What a response has to set, of one stream.
#[derive(Default)]
pub(crate) struct Slot(pub(crate) RefCell<Vec<String>>);

/// Returns the time by the proxy's clock, in nanoseconds since 1970.
pub(crate) fn clock() -> u64 {
    sdk::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64)
}

impl Gate {
    /// Decides on a request. One that waited already does not wait again.
    pub(crate) fn request(self: &Rc<Gate>, slot: &Rc<Slot>, waited: bool) -> Action {
        let visit = match Visit::read(&self.rules) {
            Ok(visit) => visit,
            Err(odd) => return refuse(&odd),
        };
        if visit.path == self.rules.callback_path {
            return self.callback(&visit);
        }
        let known = match self.rules.jar.session_of(visit.secure, &visit.cookies) {
            Ok(Some(sealed)) => self.open(&sealed, clock()),
            Ok(None) => Ok(None),
            Err(_) => return refuse(&Odd::Cookies),
        };
        let known = match known {
            Ok(known) => known,
            Err(status) => {
                sdk::log(Level::Error, &format!("the session: {status}"));
                return answer::failed("session not opened");
            }
        };
        if visit.path == self.rules.logout_path {
            return self.logout(&visit, known.as_deref());
        }
        match known {
            Some(known) if clock() < known.session.stale.saturating_mul(SECOND) => {
                self.admit(&known, &visit)
            }
            Some(known) if !known.session.refresh_token.is_empty() => {
                self.refresh(&known.session, slot, &visit, waited)
            }
            _ => self.without_session(slot, &visit, waited),
        }
    }

    /// Decides on a request without a session.
    pub(crate) fn without_session(
        self: &Rc<Gate>,
        slot: &Rc<Slot>,
        visit: &Visit,
        waited: bool,
    ) -> Action {
        if visit.navigates() {
            return self.login(slot, visit, waited);
        }
        answer::unauthorized(&self.rules.jar.drop_session(visit.secure, &visit.cookies))
    }

    /// Opens a session. None: it is none, or its time is over.
    fn open(&self, sealed: &[u8], now: u64) -> Result<Option<Rc<Known>>, Status> {
        if let Some(known) = self.state.borrow_mut().memo.find(sealed, now) {
            return Ok(Some(known));
        }
        let Some(text) = self.seals.open(Purpose::Session, sealed)? else {
            return Ok(None);
        };
        let Some(known) = Session::read(&text).and_then(|s| self.know(s)) else {
            return Ok(None);
        };
        let ends = known
            .session
            .begun
            .saturating_add(self.rules.max_age)
            .saturating_mul(SECOND);
        if now >= ends {
            return Ok(None);
        }
        let known = Rc::new(known);
        let until = ends.min(now.saturating_add(REMEMBERED));
        self.state
            .borrow_mut()
            .memo
            .put(sealed, until, known.clone());
        Ok(Some(known))
    }

    /// Reads whom a session is of: its ID token was verified, and says what it said then.
    pub(crate) fn know(&self, session: Session) -> Option<Known> {
        let payload = token::read(session.id_token.as_bytes()).ok()?.payload()?;
        let pass = claims::check(
            &self.rules.checks,
            payload,
            session.checked.saturating_mul(SECOND),
        )
        .ok()?;
        Some(Known { session, pass })
    }

    /// Lets a request pass as its session says.
    pub(crate) fn admit(&self, known: &Known, visit: &Visit) -> Action {
        let told = match &known.pass.who {
            Named::Consumer(consumer) => sdk::set_consumer(consumer),
            Named::Nobody | Named::Lookup(_) => Ok(()),
        };
        if let Err(status) = told {
            // Who the consumer is must not get lost: other filters decide by it.
            sdk::log(Level::Error, &format!("the consumer: {status}"));
            return answer::failed("consumer refused");
        }
        match self.change(known, visit) {
            Ok(()) => Action::Continue,
            Err(status) => {
                sdk::log(Level::Error, &format!("the request: {status}"));
                answer::failed("request not changed")
            }
        }
    }

    /// Changes what is sent on: fields of claims and tokens, and none of the plugin's cookies.
    fn change(&self, known: &Known, visit: &Visit) -> Result<(), Status> {
        for ((_, name), value) in self.rules.checks.headers.iter().zip(&known.pass.headers) {
            match value {
                Some(value) => REQUEST_HEADER.set(name, value)?,
                None => REQUEST_HEADER.del(name)?,
            }
        }
        if let Some(payload) = &known.pass.payload {
            sdk::set_claims(payload)?;
        }
        if let Some(name) = &self.rules.forward_id {
            REQUEST_HEADER.set(name, &known.session.id_token)?;
        }
        if self.rules.forward_access {
            let value = format!("Bearer {}", known.session.access_token);
            REQUEST_HEADER.set("authorization", value)?;
        }
        if !visit.cookies.any() {
            return Ok(());
        }
        match visit.cookies.rest.as_slice() {
            [] => REQUEST_HEADER.del("cookie"),
            rest => REQUEST_HEADER.set("cookie", rest),
        }
    }

    /// Takes from an issuer's metadata what counts beside jwks_uri.
    pub(crate) fn learn(
        &self,
        metadata: &[(String, sdk::Json)],
        secure: bool,
    ) -> Result<(), String> {
        let provider = Provider::read(&self.rules, metadata, secure)?;
        self.state.borrow_mut().provider = Some(Rc::new(provider));
        Ok(())
    }

    /// Returns what is known of the provider; None: nothing that may be used now.
    pub(crate) fn provider(&self, now: u64) -> Option<(Rc<Provider>, Rc<KeySet>)> {
        let state = self.state.borrow();
        let keys = state.keys.clone().filter(|_| now < state.usable)?;
        Some((state.provider.clone()?, keys))
    }

    /// Has then be done once the provider has been asked; false: there is nothing to wait for.
    pub(crate) fn wait(self: &Rc<Gate>, now: u64, then: impl FnOnce(&Rc<Gate>) + 'static) -> bool {
        let (fetching, due) = {
            let state = self.state.borrow();
            let Some(source) = &state.source else {
                return false;
            };
            (source.fetching(), source.may_fetch(now))
        };
        self.queue(fetching || due && self.fetch(now), then)
    }

    /// As wait, for keys that are newer than those that there are.
    pub(crate) fn wait_newer(
        self: &Rc<Gate>,
        now: u64,
        then: impl FnOnce(&Rc<Gate>) + 'static,
    ) -> bool {
        let (fetching, due) = {
            let state = self.state.borrow();
            let Some(source) = &state.source else {
                return false;
            };
            (source.fetching(), source.may_have_newer(now))
        };
        self.queue(fetching || due && self.fetch(now), then)
    }

    fn queue(&self, comes: bool, then: impl FnOnce(&Rc<Gate>) + 'static) -> bool {
        let waiting = &mut self.state.borrow_mut().waiting;
        let room = comes && waiting.len() < MOST_WAITING;
        if room {
            waiting.push_back(Box::new(then));
        }
        room
    }

    /// Has the request of the effective context wait for the provider, and be decided on
    /// again then.
    pub(crate) fn wait_for_provider(self: &Rc<Gate>, slot: &Rc<Slot>, waited: bool) -> Action {
        let (now, context, slot) = (clock(), sdk::effective_context(), slot.clone());
        let again = move |gate: &Rc<Gate>| gate.later(context, |g| g.request(&slot, true));
        if !waited && self.wait(now, again) {
            return Action::Pause;
        }
        let state = self.state.borrow();
        answer::unavailable(state.source.as_ref().map_or(1, |s| s.retry_in(now)))
    }

    /// Decides on a request that was paused.
    pub(crate) fn later(
        self: &Rc<Gate>,
        context: Context,
        decide: impl FnOnce(&Rc<Gate>) -> Action,
    ) {
        if sdk::set_effective_context(context).is_err() {
            return; // it has ended meanwhile
        }
        let action = match REQUEST_HEADER.get(":method") {
            Some(_) => decide(self),
            // It waits in a way that leaves nothing to be seen of it from here.
            None => answer::unavailable(1),
        };
        if action == Action::Continue {
            // If it cannot go on, it waits until its time is over.
            let _ = sdk::resume(StreamType::Request);
        }
    }

    /// Decides on some of the requests that waited, and says whether more are left.
    pub(crate) fn wake(self: &Rc<Gate>) -> bool {
        for _ in 0..BATCH {
            let Some(then) = self.state.borrow_mut().waiting.pop_front() else {
                return false;
            };
            then(self);
        }
        !self.state.borrow().waiting.is_empty()
    }

    /// Returns when the next tick has to come, of what else waits for one.
    pub(crate) fn hurry(&self, wait: Duration) -> Duration {
        let watches = self.state.borrow().flights.values().any(Flight::watches);
        if watches { wait.min(POLL) } else { wait }
    }
}

/// Answers a request that cannot be looked at.
fn refuse(odd: &Odd) -> Action {
    match odd {
        Odd::Cookies => answer::page(
            400,
            "There are too many cookies, or two of one name. Delete those of this site.",
            &[],
            "cookies",
        ),
        Odd::Authority => answer::page(
            400,
            "The hostname is none that a browser can be led back to.",
            &[],
            "authority",
        ),
        Odd::Path => answer::page(400, "The path is no text.", &[], "path"),
    }
}
