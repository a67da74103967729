//! rate-limit lets a client send only so many requests in a time. See README.md.

mod config;
mod key;

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use penstock as sdk;
use sdk::{Action, CallError, Level, RateAnswer, Status, StreamType};

use config::{Limit, Unavailable};

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    limit: Option<Rc<Limit>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        let limit = config::parse(text)?;
        if limit.policy.is_empty() {
            sdk::only(sdk::ON_REQUEST_HEADERS);
        } else {
            sdk::only(sdk::ON_REQUEST_HEADERS | sdk::SET_RESPONSE_HEADERS);
        }
        self.limit = Some(Rc::new(limit));
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let limit = self
            .limit
            .clone()
            .expect("BUG: a stream before the configuration");
        Box::new(Stream { limit })
    }
}

struct Stream {
    limit: Rc<Limit>,
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        let limit = &self.limit;
        let mut key = Vec::with_capacity(64);
        key::append(&mut key, limit);
        if !limit.global {
            return self.decide(sdk::take_rate(&limit.rate, &key, 1));
        }
        let later = Stream {
            limit: limit.clone(),
        };
        let own = key.clone();
        let answered = move |answer: Result<RateAnswer, CallError>| {
            let answer = match answer {
                Ok(answer) => later.decide(Ok(answer)),
                Err(e) => later.uncounted(&own, &e.to_string()),
            };
            if answer == Action::Continue {
                // If it cannot go on, it waits until its time is over.
                let _ = sdk::resume(StreamType::Request);
            }
        };
        match sdk::take_shared_rate(&limit.rate, &key, 1, answered) {
            Ok(Some(answer)) => self.decide(Ok(answer)),
            Ok(None) => Action::Pause,
            Err(status) => self.uncounted(&key, &status.to_string()),
        }
    }
}

impl Stream {
    /// Lets the request pass, or answers it. A limit that cannot be counted denies.
    fn decide(&self, answer: Result<RateAnswer, Status>) -> Action {
        let a = match answer {
            Ok(a) => a,
            Err(status) => {
                sdk::log(
                    Level::Error,
                    &format!("the limit cannot be counted: {status}"),
                );
                return unavailable();
            }
        };
        if a.allowed {
            if !self.limit.policy.is_empty() {
                // A response without these fields is better than none.
                let _ = sdk::set_response_headers(&[
                    ("ratelimit-policy", self.limit.policy.as_bytes()),
                    ("ratelimit", &*remaining(&a)),
                ]);
            }
            return Action::Continue;
        }
        self.deny(&a);
        Action::Pause
    }

    /// Decides about a request that cannot be counted with those of other proxies.
    fn uncounted(&self, key: &[u8], why: &str) -> Action {
        sdk::log(
            Level::Warn,
            &format!("the global limit cannot be counted: {why}"),
        );
        match self.limit.unavailable {
            Unavailable::Deny => unavailable(),
            Unavailable::Allow => Action::Continue,
            Unavailable::Proxy => self.decide(sdk::take_rate(&self.limit.rate, key, 1)),
        }
    }

    /// Answers a request too many (RFC 6585, 4). If even that fails the trap denies.
    fn deny(&self, a: &RateAnswer) {
        let l = &*self.limit;
        let retry = seconds(a.retry).to_string();
        let left = String::from_utf8_lossy(&remaining(a)).into_owned();
        let mut headers = vec![
            ("content-type", "text/plain; charset=utf-8"),
            ("retry-after", &retry),
        ];
        if !l.policy.is_empty() {
            headers.push(("ratelimit-policy", &l.policy));
            headers.push(("ratelimit", &left));
        }
        let body = match l.message.as_str() {
            "" if l.status == 429 => "429 Too Many Requests\n".to_string(),
            "" => format!("{}\n", l.status),
            message => format!("{message}\n"),
        };
        sdk::respond(l.status, &headers, body, "rate limit").expect("the answer is given");
    }
}

/// What is left, as clients are told it (draft-ietf-httpapi-ratelimit-headers, 4).
fn remaining(a: &RateAnswer) -> Vec<u8> {
    let until = if a.allowed { a.reset } else { a.retry };
    let mut text = Vec::with_capacity(48);
    text.extend_from_slice(b"\"default\";r=");
    append_number(&mut text, a.remaining.into());
    text.extend_from_slice(b";t=");
    append_number(&mut text, seconds(until));
    text
}

/// Appends a number in decimal: each response has two, and format is ten times as slow.
fn append_number(text: &mut Vec<u8>, n: u64) {
    // WebAssembly divides 32 bits by a constant in a few instructions, 64 bits in one slow one.
    let Ok(mut n) = u32::try_from(n) else {
        text.extend_from_slice(n.to_string().as_bytes());
        return;
    };
    let (mut digits, mut at) = ([0; 10], 10);
    while at == 10 || n > 0 {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
    }
    text.extend_from_slice(&digits[at..]);
}

/// Whole seconds, rounded up: who waits as long does not come too early.
fn seconds(d: Duration) -> u64 {
    d.as_secs() + u64::from(d.subsec_nanos() > 0)
}

/// Answers a request that cannot be counted.
fn unavailable() -> Action {
    let headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("retry-after", "1"),
    ];
    sdk::respond(
        503,
        &headers,
        "503 Service Unavailable\n",
        "rate limit unavailable",
    )
    .expect("the answer is given");
    Action::Pause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told() {
        for (remaining, reset, want) in [
            (0, 0, "\"default\";r=0;t=0"),
            (10, 59, "\"default\";r=10;t=59"),
            (
                u32::MAX,
                u64::MAX,
                "\"default\";r=4294967295;t=18446744073709551615",
            ),
        ] {
            let answer = RateAnswer {
                allowed: true,
                remaining,
                reset: Duration::from_secs(reset),
                retry: Duration::ZERO,
            };
            assert_eq!(super::remaining(&answer), want.as_bytes());
        }
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (ms, want) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
            assert_eq!(seconds(Duration::from_millis(ms)), want);
        }
    }
}
