//! Refreshing tokens (RFC 6749, 6; OpenID Connect Core 1.0, 12). Providers may take each
//! refresh token once only, so that requests of one session that come together are one flight:
//! in this instance of the plugin by its state, between the instances of a proxy by the
//! key-value store, where what came of it also stays for a while.

use std::rc::Rc;
use std::time::Duration;

use penstock::{self as sdk, Action, Context, Level, Status};

use crate::answer;
use crate::claims::{Fault, SECOND};
use crate::gate::{Gate, POLL, Slot, clock};
use crate::idtoken::Wanted;
use crate::provider::{Refusal, Tokens};
use crate::seal::Purpose;
use crate::session::Session;
use crate::visit::Visit;

/// How long what came of a refresh is for requests that still bring the old session.
const GRACE: Duration = Duration::from_secs(60);
/// How long another instance is waited for before one asks itself.
const PATIENCE: Duration = Duration::from_secs(16);
/// How many refreshes may be under way,
const MOST_FLIGHTS: usize = 1024;
/// and how many requests wait for one.
const MOST_WAITING: usize = 256;
/// How soon the next of those who waited are decided on.
const SOON: Duration = Duration::from_millis(10);
/// How long an access token counts whose life nobody tells, in seconds.
const UNSAID: u64 = 300;

// What the first byte of a value in the store says.
const BUSY: u8 = 1;
const DONE: u8 = 2;
const OVER: u8 = 3;

/// A refresh that is under way.
pub(crate) struct Flight {
    session: Session,
    waiters: Vec<(Context, Rc<Slot>)>,
    /// When another instance was seen to do it, in nanoseconds since 1970.
    watching: Option<u64>,
}

impl Flight {
    /// Says whether another instance does it.
    pub(crate) fn watches(&self) -> bool {
        self.watching.is_some()
    }
}

/// What came of a refresh.
#[derive(Clone)]
enum Outcome {
    New(Rc<Session>),
    /// The session has ended.
    Over,
    /// It cannot be told now.
    Down,
}

/// What the store says of a refresh.
enum Shared {
    Nothing,
    Busy,
    Outcome(Outcome),
}

impl Gate {
    /// Refreshes the session of a request before it goes on.
    pub(crate) fn refresh(
        self: &Rc<Gate>,
        session: &Session,
        slot: &Rc<Slot>,
        visit: &Visit,
        waited: bool,
    ) -> Action {
        if self.provider(clock()).is_none() {
            return self.wait_for_provider(slot, waited);
        }
        let name = match sdk::hash("sha256", &session.refresh_token) {
            Ok(sum) => sum.to_vec(),
            Err(status) => {
                sdk::log(Level::Error, &format!("the refresh: {status}"));
                return answer::failed("refresh token not hashed");
            }
        };
        let waiter = (sdk::effective_context(), slot.clone());
        if let Some(flight) = self.state.borrow_mut().flights.get_mut(&name) {
            if flight.waiters.len() >= MOST_WAITING {
                return answer::unavailable(1);
            }
            flight.waiters.push(waiter);
            return Action::Pause;
        }
        if self.state.borrow().flights.len() >= MOST_FLIGHTS {
            return answer::unavailable(1);
        }
        let busy = match self.shared(&name) {
            Shared::Outcome(outcome) => return self.land(&outcome, slot, visit),
            Shared::Busy => true,
            Shared::Nothing => !claim(&name),
        };
        let flight = Flight {
            session: session.clone(),
            waiters: vec![waiter],
            watching: busy.then(clock),
        };
        self.state.borrow_mut().flights.insert(name.clone(), flight);
        if busy {
            let _ = sdk::set_tick_period(POLL); // the provider's will do if not
        } else if let Err(why) = self.depart(&name, session) {
            self.state.borrow_mut().flights.remove(&name);
            let _ = sdk::kv_delete(key(&name));
            sdk::log(Level::Warn, &format!("the token endpoint: {why}"));
            return answer::unavailable(1);
        }
        Action::Pause
    }

    /// Asks the provider for new tokens.
    fn depart(self: &Rc<Gate>, name: &[u8], session: &Session) -> Result<(), String> {
        let grant = [
            ("grant_type", "refresh_token"),
            ("refresh_token", session.refresh_token.as_str()),
        ];
        let (gate, name, before) = (self.clone(), name.to_vec(), session.clone());
        self.ask(&grant, move |answer| {
            gate.arrive(name, before, answer, true)
        })
    }

    /// Takes what the provider says; may_wait: for keys that are newer.
    fn arrive(
        self: &Rc<Gate>,
        name: Vec<u8>,
        before: Session,
        answer: Result<Tokens, Refusal>,
        may_wait: bool,
    ) {
        let tokens = match answer {
            Ok(tokens) => tokens,
            Err(Refusal::Grant) => return self.settle(&name, Outcome::Over),
            Err(Refusal::Down(why) | Refusal::Wrong(why)) => {
                sdk::log(
                    Level::Warn,
                    &format!("the token endpoint, asked to refresh: {why}"),
                );
                return self.settle(&name, Outcome::Down);
            }
        };
        let now = clock();
        let wanted = Wanted::Refresh {
            before: &before.id_token,
            nonce: &before.nonce,
        };
        let (id_token, checked, stale) = if tokens.id_token.is_empty() {
            let life = tokens.expires_in.unwrap_or(UNSAID);
            (before.id_token.clone(), before.checked, now / SECOND + life)
        } else {
            match self.judge(&tokens, wanted, now) {
                Ok((checked, stale)) => (tokens.id_token.clone(), checked, stale),
                Err(Fault::UnknownKey) if may_wait => {
                    let kept = name.clone();
                    let again = move |gate: &Rc<Gate>| gate.arrive(name, before, Ok(tokens), false);
                    if !self.wait_newer(now, again) {
                        self.settle(&kept, Outcome::Down);
                    }
                    return;
                }
                Err(fault) => {
                    sdk::log(Level::Warn, &format!("the refreshed ID token: {fault:?}"));
                    return self.settle(&name, Outcome::Over);
                }
            }
        };
        let mut session = Session {
            checked,
            stale,
            id_token,
            ..before
        };
        if self.rules.forward_access {
            session.access_token = tokens.access_token;
        }
        if !tokens.refresh_token.is_empty() {
            session.refresh_token = tokens.refresh_token;
        }
        self.settle(&name, Outcome::New(Rc::new(session)));
    }

    /// Tells all who wait what came of a refresh.
    fn settle(self: &Rc<Gate>, name: &[u8], outcome: Outcome) {
        let shared = match &outcome {
            Outcome::New(session) => self
                .seals
                .seal(Purpose::Refreshed, &session.write())
                .and_then(|text| {
                    let value = [&[DONE][..], text.as_bytes()].concat();
                    sdk::kv_put(key(name), value, GRACE, false)
                }),
            Outcome::Over => sdk::kv_put(key(name), [OVER], GRACE, false),
            Outcome::Down => sdk::kv_delete(key(name)),
        };
        if shared.is_err() {
            let _ = sdk::kv_delete(key(name)); // nobody is to wait for it
        }
        self.disembark(name, outcome);
    }

    /// Has those who wait be decided on.
    fn disembark(self: &Rc<Gate>, name: &[u8], outcome: Outcome) {
        let Some(flight) = self.state.borrow_mut().flights.remove(name) else {
            return;
        };
        for (context, slot) in flight.waiters {
            let outcome = outcome.clone();
            self.state
                .borrow_mut()
                .waiting
                .push_back(Box::new(move |gate| {
                    gate.later(context, |g| match Visit::read(&g.rules) {
                        Ok(visit) => g.land(&outcome, &slot, &visit),
                        Err(_) => answer::unavailable(1),
                    });
                }));
        }
        if self.wake() {
            let _ = sdk::set_tick_period(SOON); // the period of before will do
        }
    }

    /// Decides on a request whose session was refreshed, or not.
    fn land(self: &Rc<Gate>, outcome: &Outcome, slot: &Rc<Slot>, visit: &Visit) -> Action {
        let session = match outcome {
            Outcome::New(session) => session,
            Outcome::Over => return self.without_session(slot, visit, false),
            Outcome::Down => return answer::unavailable(5),
        };
        let Some(known) = self.know(Session::clone(session)) else {
            return self.without_session(slot, visit, false);
        };
        match self.cookies_of(session, visit.secure, &visit.cookies) {
            Ok(cookies) => *slot.0.borrow_mut() = cookies,
            Err(why) => {
                sdk::log(Level::Error, &format!("the session: {why}"));
                return answer::failed("session not kept");
            }
        }
        self.admit(&known, visit)
    }

    /// Returns what the store says of a refresh.
    fn shared(&self, name: &[u8]) -> Shared {
        let Some(value) = sdk::kv_get(key(name)) else {
            return Shared::Nothing;
        };
        match value.value() {
            [BUSY] => Shared::Busy,
            [OVER] => Shared::Outcome(Outcome::Over),
            [DONE, sealed @ ..] => match self.seals.open(Purpose::Refreshed, sealed) {
                Ok(Some(text)) => match Session::read(&text) {
                    Some(session) => Shared::Outcome(Outcome::New(Rc::new(session))),
                    None => Shared::Nothing,
                },
                _ => Shared::Nothing,
            },
            _ => Shared::Nothing,
        }
    }

    /// Is called by ticks: looks whether other instances are done, and does what they leave.
    pub(crate) fn poll(self: &Rc<Gate>) {
        let now = clock();
        let watched: Vec<(Vec<u8>, u64)> = {
            let state = self.state.borrow();
            let of = |f: (&Vec<u8>, &Flight)| Some((f.0.clone(), f.1.watching?));
            state.flights.iter().filter_map(of).collect()
        };
        for (name, since) in watched {
            let patient = now < since + PATIENCE.as_nanos() as u64;
            match self.shared(&name) {
                Shared::Outcome(outcome) => self.disembark(&name, outcome),
                Shared::Busy if patient => {}
                Shared::Nothing if !claim(&name) && patient => {}
                _ => self.take_over(&name),
            }
        }
    }

    /// Does what another instance did not get done.
    fn take_over(self: &Rc<Gate>, name: &[u8]) {
        let session = match self.state.borrow_mut().flights.get_mut(name) {
            Some(flight) => {
                flight.watching = None;
                flight.session.clone()
            }
            None => return,
        };
        if let Err(why) = self.depart(name, &session) {
            sdk::log(Level::Warn, &format!("the token endpoint: {why}"));
            self.settle(name, Outcome::Down);
        }
    }
}

/// Says that this instance does a refresh; false: another one does. Without a store each
/// does its own.
fn claim(name: &[u8]) -> bool {
    !matches!(
        sdk::kv_put(key(name), [BUSY], PATIENCE, true),
        Err(Status::CasMismatch)
    )
}

/// Returns the key of a refresh in the store.
fn key(name: &[u8]) -> Vec<u8> {
    [b"oidc.refresh.", name].concat()
}
