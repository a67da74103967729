//! A plugin that does what the field X-Do says, and answers with what came of it.

use std::error::Error;
use std::time::Duration;

use penstock as sdk;
use sdk::{Action, Bytes, Key, KeyFormat, Rate, RateAnswer};

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin;

impl sdk::Plugin for Plugin {
    fn configure(&mut self, _: &[u8]) -> Result<(), Box<dyn Error>> {
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Stream)
    }
}

struct Stream;

/// Of "open sesame".
const PASSWORD_HASH: &str = "$2a$04$FssefhEog8zzlV77fK6iD.fbSuvarTdzAUxZhIWrS2924pwmOidQS";

const MINUTE: Duration = Duration::from_secs(60);

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _end: bool) -> Action {
        let step = field("x-do");
        let with = field("x-with");
        let bucket = Rate {
            limit: 2,
            window: MINUTE,
            burst: 2,
            sliding: false,
        };
        match step.to_str().unwrap_or_default() {
            "rate" => answer(&rate(sdk::take_rate(&bucket, &with, 1))),
            "window" => {
                let window = Rate {
                    limit: 1,
                    window: 60 * MINUTE,
                    burst: 0,
                    sliding: true,
                };
                answer(&rate(sdk::take_rate(&window, &with, 1)));
            }
            "shared" => match sdk::take_shared_rate(&bucket, &with, 1, |a| answer(&rate(a))) {
                Ok(None) => {}
                Ok(Some(a)) => answer(&rate(Ok::<_, sdk::Status>(a))),
                Err(e) => answer(&e.to_string()),
            },
            "kv" => answer(&kv(&with)),
            "encode" => answer(&refused()),
            "crypto" => answer(&crypto(&with)),
            "password" => {
                match sdk::check_password(PASSWORD_HASH, &with, |right| answer(&yes(right))) {
                    Ok(None) => {}
                    Ok(Some(right)) => answer(&right.to_string()),
                    Err(e) => answer(&e.to_string()),
                }
            }
            _ => {}
        }
        Action::Pause
    }

    fn response_headers(&mut self, _end: bool) -> Action {
        if field("x-do") == "encode" {
            let with = field("x-with");
            let coding = with.to_str().unwrap_or_default();
            let said = told(sdk::encode_body(sdk::RESPONSE_BODY, coding, 5));
            sdk::RESPONSE_HEADER.set("x-said", said).unwrap();
        }
        Action::Continue
    }
}

fn refused() -> String {
    let body = sdk::REQUEST_BODY;
    [
        told(sdk::encode_body(body, "gzip", 0)),
        told(sdk::encode_body(body, "foo", 0)),
        told(sdk::encode_body(body, "gzip", 10)),
        told(sdk::decode_body(body, 100, "")),
        told(sdk::decode_body(body, 0, "")),
        told(sdk::encode_body(sdk::RESPONSE_BODY, "gzip", 0)),
    ]
    .join("; ")
}

fn field(name: &str) -> Bytes {
    sdk::REQUEST_HEADER.get(name).unwrap_or_default()
}

fn answer(text: &str) {
    sdk::respond(200, &[], text, "").unwrap();
}

fn told<T, E: Error>(result: Result<T, E>) -> String {
    result.map_or_else(|e| e.to_string(), |_| "ok".into())
}

fn yes<E: Error>(result: Result<bool, E>) -> String {
    result.map_or_else(|e| e.to_string(), |is| is.to_string())
}

fn rate<E: Error>(result: Result<RateAnswer, E>) -> String {
    match result {
        Ok(a) => format!(
            "{} {} {} {}",
            a.allowed,
            a.remaining,
            !a.reset.is_zero(),
            !a.retry.is_zero()
        ),
        Err(e) => e.to_string(),
    }
}

fn kv(key: &[u8]) -> String {
    let mut said = vec![told(sdk::kv_put(key, "value", MINUTE, true))];
    match sdk::kv_get(key) {
        Some(v) => {
            said.push(String::from_utf8_lossy(v.value()).into());
            let left = v.left > Duration::from_secs(50) && v.left <= MINUTE;
            said.push(left.to_string());
        }
        None => said.extend([String::new(), "false".into()]),
    }
    said.push(told(sdk::kv_put(key, "other", MINUTE, true)));
    said.push(told(sdk::kv_add(key, 1, MINUTE)));
    said.push(told(sdk::kv_delete(key)));
    said.push(sdk::kv_get(key).is_some().to_string());
    for delta in [5, -7] {
        let sum = sdk::kv_add(key, delta, MINUTE);
        said.push(format!("{} {}", sum.unwrap_or(0), told(sum)));
    }
    said.push(told(sdk::kv_delete(key)));
    said.push(told(sdk::kv_put("", "", MINUTE, false)));
    said.join("; ")
}

fn crypto(message: &[u8]) -> String {
    let key = match Key::new("HS256", KeyFormat::Raw, [b's'; 32]) {
        Ok(key) => key,
        Err(e) => return e.to_string(),
    };
    let signature = key.sign(message);
    let mut said = vec![format!(
        "{} {}",
        signature.as_ref().map_or(0, |s| s.len()),
        told(signature.as_ref().map_err(|e| *e))
    )];
    let signature = signature.unwrap_or_default();
    said.push(yes(key.verify(&signature, message)));
    said.push(yes(key.verify(&signature, "else")));
    said.push(told(key.seal(message, "")));
    drop(key);
    said.push("the proxy refused: bad argument".into()); // nobody can use it any more
    said.push(told(Key::new("HS256", KeyFormat::Raw, "short")));
    let seal = match Key::new("A256GCM", KeyFormat::Raw, [b'k'; 32]) {
        Ok(key) => key,
        Err(e) => return e.to_string(),
    };
    let sealed = seal.seal(message, "with").unwrap_or_default();
    said.push(format!("{} ok", sealed.len() - message.len()));
    let opened = seal.open(&sealed, "with");
    said.push(match opened {
        Ok(Some(text)) => format!("{} true", String::from_utf8_lossy(&text)),
        other => format!("{other:?}"),
    });
    said.push(yes(seal.open(&sealed, "else").map(|t| t.is_some())));
    let sum = sdk::hash("sha256", message);
    let hex: String = sum
        .as_ref()
        .map(|s| s.iter().map(|b| format!("{b:02x}")).collect())
        .unwrap_or_default();
    said.push(format!("{hex} {}", told(sum)));
    said.push(told(sdk::hash("md5", message)));
    said.join("; ")
}
