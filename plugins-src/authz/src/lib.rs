//! authz lets requests pass by expressions over them and over who sent them. See README.md.

mod config;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{Action, Bytes, Status};

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    rules: Option<Rc<Rules>>,
}

struct Rules {
    /// None: all may that are not denied.
    allow: Option<Vec<Expression>>,
    deny: Vec<Expression>,
    status: u16,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        let r = config::parse(text)?;
        self.rules = Some(Rc::new(Rules {
            allow: r.allow.map(|a| compile(a, "allow")).transpose()?,
            deny: compile(r.deny, "deny")?,
            status: r.status,
        }));
        sdk::only(sdk::ON_REQUEST_HEADERS);
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let rules = self
            .rules
            .clone()
            .expect("BUG: a stream before the configuration");
        Box::new(Stream { rules })
    }
}

/// An expression that the proxy has compiled, by its token. It ends with the root context.
struct Expression([u8; 4]);

impl Expression {
    /// Says what it comes to now; None: it failed, or is neither true nor false.
    fn value(&self) -> Option<bool> {
        match sdk::call_foreign("expr_evaluate", self.0).as_deref() {
            Ok([0]) => Some(false),
            Ok([1]) => Some(true),
            _ => None,
        }
    }
}

fn compile(texts: Vec<String>, field: &str) -> Result<Vec<Expression>, String> {
    let one = |(i, text): (usize, String)| {
        let token: Result<Bytes, Status> = sdk::call_foreign("expr_create", text.as_bytes());
        let why = match &token {
            Ok(b) => match <[u8; 4]>::try_from(&b[..]) {
                Ok(token) => return Ok(Expression(token)),
                Err(_) => "the proxy gave no expression",
            },
            Err(Status::BadArgument) => "this is no expression; the proxy's log says why",
            Err(Status::NotFound | Status::Unimplemented) => "this proxy has no expressions",
            Err(_) => "the proxy refused the expression",
        };
        Err(format!("config.{field}[{i}]: {why}"))
    };
    texts.into_iter().enumerate().map(one).collect()
}

struct Stream {
    rules: Rc<Rules>,
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        let Some(why) = self.rules.refuse() else {
            return Action::Continue;
        };
        let (status, body) = match self.rules.status {
            404 => (404, "404 Not Found\n"),
            _ => (403, "403 Forbidden\n"),
        };
        let headers = [("content-type", "text/plain; charset=utf-8")];
        // If even that fails the trap denies.
        sdk::respond(status, &headers, body, &why).expect("the answer is given");
        Action::Pause
    }
}

impl Rules {
    /// Says why a request may not pass, if it may not: what fails never helps it.
    fn refuse(&self) -> Option<String> {
        for (i, x) in self.deny.iter().enumerate() {
            match x.value() {
                Some(false) => {}
                Some(true) => return Some(format!("authz: deny[{i}] holds")),
                None => return Some(format!("authz: deny[{i}] failed")),
            }
        }
        match &self.allow {
            Some(list) if !list.iter().any(|x| x.value() == Some(true)) => {
                Some("authz: nothing in allow holds".into())
            }
            _ => None,
        }
    }
}
