//! A plugin that asks another Service by HTTP what becomes of a request, as its field x-do
//! says: the calls, pauses and resets of the SDK.

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::str;
use std::time::Duration;

use penstock as sdk;
use sdk::{
    Action, CallError, Context, Counter, HttpResponse, Level, REQUEST_HEADER, Status, StreamType,
};

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    shared: Rc<Shared>,
    beats: usize,
}

/// Shared is what a plugin and its streams have together.
#[derive(Default)]
struct Shared {
    upstream: String,
    answers: Option<Counter>,
    waiting: RefCell<Vec<Context>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, config: &[u8]) -> Result<(), Box<dyn Error>> {
        self.shared = Rc::new(Shared {
            upstream: str::from_utf8(config)?.into(),
            answers: Some(sdk::define_counter("answers")?),
            waiting: RefCell::default(),
        });
        Ok(sdk::set_tick_period(Duration::from_millis(20))?)
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Stream(self.shared.clone()))
    }

    /// A call of its own, once, before it is about another stream; then those that wait go on.
    fn tick(&mut self) {
        self.beats += 1;
        if self.beats == 1 {
            let beat = |r: Answer| {
                sdk::log(
                    Level::Warn,
                    &format!("the beat's answer: {}", r.unwrap().status()),
                )
            };
            self.shared
                .ask("beat", "/beat", Duration::ZERO, beat)
                .unwrap();
            sdk::call_foreign("resolve_lua", "localhost").unwrap();
        }
        for context in self.shared.waiting.take() {
            if sdk::set_effective_context(context) == Err(Status::BadArgument) {
                continue; // it has ended
            }
            REQUEST_HEADER
                .set(
                    "x-ticked",
                    (sdk::effective_context() == context).to_string(),
                )
                .unwrap();
            sdk::resume(StreamType::Request).unwrap();
        }
    }

    /// How long an address is, the address, its name.
    fn foreign_function(&mut self, function: u32, arguments: &[u8]) {
        let name = String::from_utf8_lossy(&arguments[1 + usize::from(arguments[0])..]);
        sdk::log(Level::Warn, &format!("function {function} found {name}"));
    }
}

type Answer = Result<HttpResponse, CallError>;

impl Shared {
    fn ask(
        &self,
        token: &str,
        path: &str,
        timeout: Duration,
        answered: impl FnOnce(Answer) + 'static,
    ) -> Result<(), Status> {
        let headers = [
            (":method", "POST"),
            (":path", path),
            (":authority", "auth.example"),
            ("x-token", token),
        ];
        sdk::http_call(
            &self.upstream,
            &headers,
            "is this one allowed?",
            &[("x-end", "of the question")],
            timeout,
            answered,
        )
    }

    fn answered(&self, r: Answer) {
        self.count();
        let r = match r {
            Ok(r) => r,
            // Its status is 0, as it were, and its body is none: there is nothing to read them from.
            Err(e) => {
                return answer(
                    502,
                    &format!(
                        "{} 0 true {}",
                        e.status == Status::BrokenConnection,
                        !e.message.is_empty()
                    ),
                );
            }
        };
        if r.status() != 200 {
            return answer(403, &r.body.all().unwrap().to_string());
        }
        let user = r.header.get("x-user").unwrap_or_default();
        let sum = r.trailer.get("x-sum").unwrap_or_default();
        assert_eq!(r.header.set("x-user", "forged"), Err(Status::BadArgument));
        REQUEST_HEADER.set("x-user", user).unwrap();
        REQUEST_HEADER
            .set(
                "x-answer",
                format!(
                    "{sum} {} {}",
                    r.body.size().unwrap(),
                    r.body.get(1, 3).unwrap()
                ),
            )
            .unwrap();
        sdk::resume(StreamType::Request).unwrap();
    }

    fn count(&self) {
        self.answers.unwrap().increment(1);
    }
}

struct Stream(Rc<Shared>);

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _: bool) -> Action {
        let shared = self.0.clone();
        let what = REQUEST_HEADER.get("x-do").unwrap_or_default();
        match what.to_str().unwrap() {
            "tick" => {
                self.0.waiting.borrow_mut().push(sdk::effective_context());
                return Action::Pause;
            }
            "reset" => sdk::reset(StreamType::Request).unwrap(),
            "resume" => {
                sdk::resume(StreamType::Request).unwrap(); // wins over the Pause
                return Action::Pause;
            }
            "unknown" => {
                let headers = [(":method", "GET"), (":path", "/"), (":authority", "a")];
                let upstream = "outbound|80||nobody.default.svc.cluster.local";
                let refused =
                    sdk::http_call(upstream, &headers, "", &[], Duration::from_secs(1), |_| {})
                        .unwrap_err();
                let is_error: &dyn Error = &refused;
                answer(
                    400,
                    &format!(
                        "{} {} {refused}",
                        refused == Status::BadArgument,
                        is_error.is::<Status>()
                    ),
                );
            }
            "never" => {
                let refused = self.0.ask("", "/", Duration::MAX, |_| {}).unwrap_err();
                answer(400, &refused.to_string());
            }
            // and do not wait for the answer
            "leave" => self
                .0
                .ask("held", "/", Duration::ZERO, move |_| shared.count())
                .unwrap(),
            "twice" => {
                let again = move |_| {
                    let last = shared.clone();
                    shared
                        .ask("good", "/again", Duration::ZERO, move |r| last.answered(r))
                        .unwrap();
                };
                self.0.ask("good", "/", Duration::ZERO, again).unwrap();
                return Action::Pause;
            }
            token => {
                self.0
                    .ask(token, "/check?a=b", Duration::from_millis(500), move |r| {
                        shared.answered(r)
                    })
                    .unwrap();
                return Action::Pause;
            }
        }
        Action::Continue
    }
}

fn answer(status: u16, body: &str) {
    sdk::respond(status, &[("x-by", "calls")], body, "asked").unwrap();
}
