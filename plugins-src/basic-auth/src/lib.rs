//! basic-auth lets a request pass only with a known username and its password, and says
//! whose they are. See README.md.

mod config;
mod credentials;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, Level, REQUEST_HEADER, Status, StreamType};

use config::Rules;

sdk::register!(Plugin::default);

/// The type of its credentials in Consumer objects.
const KIND: &str = "basic-auth";

#[derive(Default)]
struct Plugin {
    rules: Option<Rc<Rules>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        self.rules = Some(Rc::new(config::parse(text)?));
        sdk::only(sdk::ON_REQUEST_HEADERS);
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let rules = self
            .rules
            .clone()
            .expect("BUG: a stream before the configuration");
        Box::new(Stream(rules))
    }
}

struct Stream(Rc<Rules>);

/// As whom a request passes if its password is right.
#[derive(Clone)]
enum Sender {
    /// A user of the configuration, by the name.
    User(String),
    /// The Consumer object that was found last.
    Consumer,
    /// Whatever the password is, nobody.
    Nobody,
}

/// Whose a username is, and what shows it.
enum Claim {
    /// A user of the configuration, by the hash.
    User(String),
    /// A Consumer object, by a hash.
    Consumer(String),
    /// A Consumer object whose password is this.
    Plain(Vec<u8>),
    /// Nobody's.
    Nobody,
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        let Some(field) = REQUEST_HEADER.get("authorization") else {
            return deny(&self.0, "credentials missing");
        };
        let Some((name, password)) = credentials::read(&field) else {
            return deny(&self.0, "credentials malformed");
        };
        match claim(&self.0, &name) {
            Err(status) => unavailable(&format!("the consumer: {status}")),
            Ok(Claim::Plain(right)) if credentials::same(&right, &password) => {
                admit(&self.0, &Sender::Consumer)
            }
            Ok(Claim::User(hash)) => check(&self.0, &hash, &password, Sender::User(name)),
            Ok(Claim::Consumer(hash)) => check(&self.0, &hash, &password, Sender::Consumer),
            // It takes as long as if there was somebody.
            Ok(Claim::Plain(_) | Claim::Nobody) => {
                check(&self.0, &self.0.decoy, &password, Sender::Nobody)
            }
        }
    }
}

/// Says whose a username is.
fn claim(rules: &Rules, name: &str) -> Result<Claim, Status> {
    if let Some(user) = rules.users.get(name) {
        return Ok(Claim::User(user.hash.clone()));
    }
    let Some(namespaces) = &rules.namespaces else {
        return Ok(Claim::Nobody);
    };
    if name.len() > sdk::MAX_CREDENTIAL_LOOKUP {
        return Ok(Claim::Nobody);
    }
    let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let found = match sdk::find_consumer(KIND, name, &namespaces) {
        Ok(found) => found,
        Err(Status::NotFound) => return Ok(Claim::Nobody),
        Err(status) => return Err(status),
    };
    let data = found.data();
    let at = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    match (&data[..at], data.get(at + 1..)) {
        (b"hash", Some(hash)) => Ok(Claim::Consumer(String::from_utf8_lossy(hash).into_owned())),
        (b"password", Some(password)) => Ok(Claim::Plain(password.to_vec())),
        _ => Err(Status::ResultMismatch),
    }
}

/// Checks a password by its hash, and lets the request pass if it is right.
fn check(rules: &Rc<Rules>, hash: &str, password: &[u8], sender: Sender) -> Action {
    let later = (rules.clone(), sender.clone());
    let answered = move |right: Result<bool, sdk::CallError>| {
        let (rules, sender) = later;
        let action = match right {
            Ok(right) => decide(&rules, right, &sender),
            Err(e) => unavailable(&format!("the password: {e}")),
        };
        if action == Action::Continue {
            // If it cannot go on, it waits until its time is over.
            let _ = sdk::resume(StreamType::Request);
        }
    };
    match sdk::check_password(hash, password, answered) {
        Ok(Some(right)) => decide(rules, right, &sender),
        Ok(None) => Action::Pause,
        Err(status) => unavailable(&format!("the password: {status}")),
    }
}

fn decide(rules: &Rules, right: bool, sender: &Sender) -> Action {
    match sender {
        Sender::User(_) | Sender::Consumer if right => admit(rules, sender),
        _ => deny(rules, "credentials unknown"),
    }
}

/// Tells the proxy who it is, and lets the request pass.
fn admit(rules: &Rules, sender: &Sender) -> Action {
    let told = match sender {
        Sender::User(name) => sdk::set_consumer(&rules.users[name].consumer),
        Sender::Consumer => sdk::use_consumer(),
        Sender::Nobody => Err(Status::NotFound),
    };
    if let Err(status) = told {
        // Who the consumer is must not get lost: other filters decide by it.
        sdk::log(Level::Error, &format!("the consumer: {status}"));
        return respond(500, &[], "500 Internal Server Error\n", "consumer refused");
    }
    if rules.hide {
        REQUEST_HEADER
            .del("authorization")
            .expect("the password is hidden");
    }
    Action::Continue
}

/// Answers 401 (RFC 9110, 15.5.2).
fn deny(rules: &Rules, why: &str) -> Action {
    respond(
        401,
        &[("www-authenticate", &rules.challenge)],
        "401 Unauthorized\n",
        why,
    )
}

/// Answers a request of which it cannot be said whose it is.
fn unavailable(why: &str) -> Action {
    sdk::log(Level::Warn, why);
    respond(
        503,
        &[("retry-after", "1")],
        "503 Service Unavailable\n",
        "credentials not checked",
    )
}

/// Answers. If even that fails the trap denies.
fn respond(status: u16, headers: &[(&str, &str)], body: &str, why: &str) -> Action {
    let mut all = headers.to_vec();
    all.push(("content-type", "text/plain; charset=utf-8"));
    sdk::respond(status, &all, body, why).expect("the answer is given");
    Action::Pause
}
