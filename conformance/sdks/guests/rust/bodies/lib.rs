//! A plugin that changes headers, bodies and trailers as the field x-do of a request says:
//! all parts of a message that the SDK has.

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};

use penstock as sdk;
use sdk::{
    Action, REQUEST_BODY, REQUEST_HEADER, REQUEST_TRAILER, RESPONSE_BODY, RESPONSE_HEADER,
    RESPONSE_TRAILER, Status,
};

sdk::register!(|| Plugin);

struct Plugin;

impl sdk::Plugin for Plugin {
    fn configure(&mut self, _: &[u8]) -> Result<(), Box<dyn Error>> {
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        Box::new(Stream::default())
    }
}

#[derive(Default)]
struct Stream {
    action: String,
    parts: usize,
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _: bool) -> Action {
        self.action = REQUEST_HEADER.get("x-do").unwrap_or_default().to_string();
        REQUEST_HEADER.del("content-length").unwrap();
        match self.action.as_str() {
            "all" => all(),
            "allocations" => REQUEST_HEADER.set("x-allocations", allocations()).unwrap(),
            "grpc" => sdk::respond_grpc(7, &[("x-why", "asked")], "not this one", "").unwrap(),
            _ => {}
        }
        assert_eq!(
            REQUEST_BODY.size(),
            Err(Status::NotFound),
            "a body in the callback of the headers"
        );
        assert!(REQUEST_BODY.all().is_none());
        Action::Continue
    }

    fn request_body(&mut self, size: usize, end: bool) -> Action {
        self.parts += 1;
        let b = REQUEST_BODY;
        assert_eq!(b.size(), Ok(size));
        match self.action.as_str() {
            "upper" => b.set(b.all().unwrap().to_ascii_uppercase()).unwrap(), // part by part
            "append" | "prepend" | "replace" | "range" | "whole" | "trailers" if !end => {
                return Action::Pause;
            }
            "append" => b.append("(end)").unwrap(),
            "prepend" => b.prepend("(start)").unwrap(),
            "replace" => b.replace(1, 2, "-").unwrap(),
            "range" => {
                let mut got = Vec::new();
                for (start, n) in [(2, 3), (size - 1, 10), (size, 1)] {
                    got.extend_from_slice(&b.get(start, n).unwrap());
                    got.push(b',');
                }
                b.set(got).unwrap();
            }
            "whole" => b.set(b.all().unwrap().len().to_string()).unwrap(),
            "trailers" => REQUEST_TRAILER.set("x-added", "by bodies").unwrap(),
            _ => {}
        }
        Action::Continue
    }

    fn request_trailers(&mut self) -> Action {
        let sent = REQUEST_TRAILER.get("x-sent").unwrap_or_default();
        let all = REQUEST_TRAILER.all().unwrap().len();
        REQUEST_TRAILER
            .set_all(&[
                ("x-sent", format!("{sent}, seen")),
                ("x-all", all.to_string()),
            ])
            .unwrap();
        Action::Continue
    }

    fn response_headers(&mut self, _: bool) -> Action {
        RESPONSE_HEADER.del("content-length").unwrap();
        RESPONSE_HEADER
            .set("x-parts", (self.parts > 0).to_string())
            .unwrap();
        assert_eq!(
            REQUEST_HEADER.set("x-late", "1"),
            Err(Status::BadArgument),
            "the request has gone on, and is changed"
        );
        Action::Continue
    }

    fn response_body(&mut self, _: usize, end: bool) -> Action {
        if end && self.action == "append" {
            RESPONSE_BODY.append("!").unwrap();
        }
        Action::Continue
    }

    fn response_trailers(&mut self) -> Action {
        RESPONSE_TRAILER.add("x-more", "of them").unwrap();
        Action::Continue
    }
}

/// all replaces the whole list.
fn all() {
    let list = REQUEST_HEADER.all().unwrap();
    let size = 4 + list
        .iter()
        .map(|(name, value)| 8 + name.len() + 1 + value.len() + 1)
        .sum::<usize>();
    let right = (REQUEST_HEADER.size() == Ok(size)).to_string();
    let mut fields: Vec<(&[u8], &[u8])> = list.iter().collect();
    fields.extend([
        (&b"x-many"[..], &b"1"[..]),
        (b"x-many", b"2"),
        (b"x-size-right", right.as_bytes()),
    ]);
    for field in &mut fields {
        if field.0 == b":path" {
            field.1 = b"/bodies/set";
        }
    }
    REQUEST_HEADER.set_all(&fields).unwrap();
}

/// allocations counts those of functions that change fields, and of get.
fn allocations() -> String {
    let changing = count(|| {
        REQUEST_HEADER.set("x-a", "1").unwrap();
        REQUEST_HEADER.add("x-a", "2").unwrap();
        REQUEST_HEADER.del("x-a").unwrap();
        let _ = RESPONSE_TRAILER.set("x-a", "1"); // too early
        assert!(sdk::property(&["source", "address"]).is_some());
        assert!(sdk::property_int(&["source", "port"]).is_some());
        assert!(sdk::client_address().is_some());
        sdk::log_enabled(sdk::Level::Info);
    });
    let reading = count(|| {
        let long = REQUEST_HEADER.get("x-long").unwrap();
        let host = REQUEST_HEADER.get(":authority").unwrap(); // both stay
        assert!(
            long.len() == 100
                && !host.is_empty()
                && REQUEST_HEADER.all().unwrap().get("x-long") == Some(&*long)
        );
    });
    format!("{changing} {reading}")
}

/// count returns how often f allocates, once it has run before.
fn count(f: impl Fn()) -> usize {
    f();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..5 {
        f();
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: it hands everything on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        unsafe { System.dealloc(p, layout) }
    }
}
