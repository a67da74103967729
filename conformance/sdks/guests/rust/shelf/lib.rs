//! A plugin that does with the cache what a request's field x-do says, and answers with what
//! came of it: as conformance/cache/guests/shelf.

use std::error::Error;
use std::time::Duration;

use penstock as sdk;
use sdk::{Action, CacheError, REQUEST_HEADER, Steering};

sdk::register!(|| Plugin);

struct Plugin;

impl sdk::Plugin for Plugin {
    fn configure(&mut self, _: &[u8]) -> Result<(), Box<dyn Error>> {
        sdk::only(sdk::ON_REQUEST_HEADERS | sdk::ON_RESPONSE_HEADERS);
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Stream)
    }
}

struct Stream;

const HOUR: Duration = Duration::from_secs(60 * 60);

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _: bool) -> Action {
        let Some(text) = REQUEST_HEADER.get("x-do") else {
            return Action::Continue;
        };
        let words: Vec<&str> = text.to_str().unwrap().split_whitespace().collect();
        let result = if words[0] == "steer" {
            let steering = Steering {
                key: &words[1..],
                ..Steering::default()
            };
            match sdk::steer_cache(&steering) {
                Ok(()) => return Action::Continue,
                Err(e) => Err(e),
            }
        } else {
            act(&words)
        };
        let text = result.unwrap_or_else(|e| format!("failed: {e}"));
        sdk::respond(200, &[], text, "shelf").unwrap();
        Action::Pause
    }

    /// It is too late to steer then.
    fn response_headers(&mut self, _: bool) -> Action {
        let steering = Steering {
            bypass: true,
            ..Steering::default()
        };
        assert!(matches!(
            sdk::steer_cache(&steering),
            Err(CacheError::Host(_))
        ));
        Action::Continue
    }
}

fn act(words: &[&str]) -> Result<String, CacheError> {
    match words[0] {
        "get" => {
            let found = sdk::cache_get(words[1]).map(|o| {
                let left = !o.left.is_zero() && o.left <= HOUR;
                let value = String::from_utf8_lossy(o.value());
                format!("{value} left={left} stale={}", o.stale)
            });
            return Ok(found.unwrap_or("nothing".into()));
        }
        "put" => sdk::cache_put(words[1], words[2], HOUR, &words[3..])?,
        "fill" => {
            // with values of 1 MiB, until it fails
            let value = vec![0; sdk::MAX_CACHE_VALUE];
            for i in 0..words[1].parse().unwrap() {
                if let Err(e) = sdk::cache_put(&format!("fill-{i}"), &value, HOUR, &[]) {
                    return Ok(format!("failed after {i}: {e}"));
                }
            }
        }
        "delete" => sdk::cache_delete(words[1])?,
        soft @ ("purge" | "soft") => {
            let n = sdk::cache_purge(soft == "soft", &words[1..])?;
            return Ok(n.map_or("goes on".into(), |n| format!("purged {n}")));
        }
        _ => {}
    }
    Ok("done".into())
}
