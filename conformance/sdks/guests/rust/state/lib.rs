//! A plugin that shows what the SDK has beside a message: configuration, properties, shared
//! data, queues, metrics, the log and the clock.

use std::error::Error;
use std::rc::Rc;
use std::str;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penstock as sdk;
use sdk::{
    Action, Counter, Gauge, Histogram, Level, Queue, REQUEST_HEADER, RESPONSE_HEADER, Status,
};

sdk::register!(Plugin::default);

sdk::config! {
    struct Config {
        greeting: String,
        limits: Vec<Limit>,
    }

    #[derive(Default)]
    struct Limit {
        name: String,
        most: i64,
    }
}

#[derive(Default)]
struct Plugin {
    vm: String,
    made: Option<Rc<Made>>,
    ending: bool,
}

/// Made is what configure makes.
struct Made {
    config: Config,
    vm: String,
    queue: Queue,
    seen: Counter,
    level: Gauge,
    sizes: Histogram,
    started: SystemTime,
}

impl sdk::Plugin for Plugin {
    fn vm_start(&mut self, config: &[u8]) -> Result<(), Box<dyn Error>> {
        self.vm = format!("started {}", config.len());
        Ok(())
    }

    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        let config = sdk::parse_config(
            text,
            Config {
                greeting: "good day".into(),
                limits: vec![],
            },
        )?;
        for limit in &config.limits {
            if limit.name.is_empty() || limit.most < 0 {
                return Err("config.limits: no name, or less than none".into());
            }
        }
        if sdk::resolve_queue("", "nobody's") != Err(Status::NotFound) {
            return Err("a queue that nobody registered".into());
        }
        let queue = sdk::register_queue("paths")?;
        if sdk::resolve_queue("", "paths")? != queue {
            return Err("the queue is another one".into());
        }
        if queue.dequeue() != Err(Status::Empty) {
            return Err("a queue that is not empty".into());
        }
        if sdk::done() != Err(Status::NotFound) {
            return Err("done before it is to end".into());
        }
        self.made = Some(Rc::new(Made {
            config,
            vm: self.vm.clone(),
            queue,
            seen: sdk::define_counter("requests_seen")?,
            level: sdk::define_gauge("level")?,
            sizes: sdk::define_histogram("path_bytes")?,
            started: sdk::now(),
        }));
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Stream(self.made.clone().expect("it is not configured")))
    }

    fn queue_ready(&mut self, queue: Queue) {
        if let Ok(path) = queue.dequeue() {
            sdk::set_shared_data("last", path, 0).unwrap(); // else another instance was first
        }
    }

    /// The plugin wants a tick more.
    fn done(&mut self) -> bool {
        self.ending = true;
        sdk::set_tick_period(Duration::from_millis(20)).unwrap();
        false
    }

    fn tick(&mut self) {
        if self.ending {
            self.ending = false;
            sdk::done().unwrap();
            sdk::log(Level::Warn, "the plugin has finished");
        }
    }
}

struct Stream(Rc<Made>);

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _: bool) -> Action {
        let p = &self.0;
        let path = REQUEST_HEADER.get(":path").unwrap();
        p.queue.enqueue(&path).unwrap();
        p.seen.increment(1);
        p.seen.increment(-5); // not permitted: nothing happens
        p.level.record(10);
        p.level.increment(-3);
        p.sizes.record(path.len() as u64);
        sdk::update_shared_data("total", |old| {
            (number(old.unwrap_or_default()) + 1).to_string()
        })
        .unwrap();
        sdk::set_property(&["state", "mark"], format!("of {path}")).unwrap();
        sdk::log(Level::Info, "an info line");
        if sdk::log_enabled(Level::Debug) {
            sdk::log(Level::Error, "debug is on");
        }
        let set = |name, value: String| REQUEST_HEADER.set(name, value).unwrap();
        set("x-total", sdk::shared_data("total").unwrap().0.to_string());
        set("x-cas", swaps());
        set("x-vm", p.vm.clone());
        set(
            "x-greeting",
            format!("{} {}", p.config.greeting, p.config.limits.len()),
        );
        set("x-properties", properties());
        set(
            "x-metrics",
            format!("{} {}", p.seen.value() > 0, p.level.value()),
        );
        set(
            "x-time",
            format!(
                "{} {}",
                sdk::now() >= p.started,
                sdk::property_time(&["request", "time"]).is_some_and(soon)
            ),
        );
        Action::Continue
    }

    fn response_headers(&mut self, _: bool) -> Action {
        RESPONSE_HEADER
            .set(
                "x-mark",
                sdk::property(&["state", "mark"]).unwrap_or_default(),
            )
            .unwrap();
        if let Ok((last, _)) = sdk::shared_data("last") {
            RESPONSE_HEADER.set("x-last", last).unwrap();
        }
        Action::Continue
    }

    fn log(&mut self) {
        let status = sdk::property_int(&["response", "code"]).unwrap_or(0);
        let took = sdk::property_duration(&["request", "duration"]);
        sdk::log(
            Level::Warn,
            &format!("logged {status} {}", took > Some(Duration::ZERO)),
        );
    }
}

fn number(text: &[u8]) -> i64 {
    str::from_utf8(text)
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or(0)
}

/// soon says whether a time is at most a minute ago, for a clock that runs.
fn soon(at: SystemTime) -> bool {
    sdk::now()
        .duration_since(at)
        .is_ok_and(|d| d < Duration::from_secs(60))
}

/// swaps tries what compare and swap does with a key of the request's own.
fn swaps() -> String {
    let key = format!(
        "key {}",
        sdk::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
    );
    let missing = sdk::shared_data(&key).unwrap_err();
    sdk::set_shared_data(&key, "a", 0).unwrap();
    let (_, cas) = sdk::shared_data(&key).unwrap();
    sdk::set_shared_data(&key, "b", cas).unwrap();
    let late = sdk::set_shared_data(&key, "c", cas).unwrap_err();
    let (value, _) = sdk::shared_data(&key).unwrap();
    format!(
        "{} {} {value}",
        missing == Status::NotFound,
        late == Status::CasMismatch
    )
}

fn properties() -> String {
    let method = sdk::property_string(&["request", "method"]).unwrap();
    let port = sdk::property_int(&["source", "port"]);
    let tls = sdk::property_bool(&["connection", "mtls"]);
    let at = sdk::property_time(&["request", "time"]);
    let none = sdk::property_string(&["request", "none"]).is_some();
    let wrong = sdk::property_int(&["request", "method"]).is_some();
    let port = port.is_some_and(|p| p > 0 && p < 65536);
    format!(
        "{method} {port} {} {} {} {none} {wrong}",
        tls.is_some(),
        tls.unwrap_or(false),
        at.is_some_and(soon)
    )
}
