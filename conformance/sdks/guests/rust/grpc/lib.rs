//! A plugin that makes the gRPC call that a request's fields describe, and answers with what
//! came: as conformance/proxywasm/guests/grpc, with the functions of the SDK.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::Write;
use std::rc::Rc;
use std::str;
use std::time::Duration;

use penstock as sdk;
use sdk::{Action, Grpc, GrpcResponse, GrpcStatus, Header, REQUEST_HEADER, Status};

sdk::register!(|| Plugin);

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

/// Came is what came of a call.
#[derive(Default)]
struct Came {
    fields: Vec<(String, String)>,
    body: Vec<String>,
}

const SERVICE: &str = "grpc.testing.TestService";
const METADATA: [(&str, &str); 2] = [
    ("x-grpc-test-echo-initial", "hello"),
    ("x-grpc-test-echo-trailing-bin", "q6ur"),
];

impl sdk::Stream for Stream {
    fn request_headers(&mut self, _: bool) -> Action {
        let get = |name| REQUEST_HEADER.get(name).unwrap_or_default().to_string();
        let messages: Vec<Vec<u8>> = get("x-messages").split(',').map(unhex).collect();
        let (upstream, method, cancel) = (get("x-upstream"), get("x-method"), get("x-cancel"));
        let opened = if get("x-kind") == "unary" {
            let timeout = Duration::from_millis(get("x-timeout").parse().unwrap_or(0));
            let call = sdk::grpc_call(
                &upstream,
                SERVICE,
                &method,
                &METADATA,
                &messages[0],
                timeout,
                answered,
            );
            if let Ok(call) = call {
                assert_eq!(
                    call.send("", true),
                    Err(Status::BadArgument),
                    "a unary call has sent two messages"
                );
            }
            call.map(drop)
        } else {
            open(&upstream, &method, &cancel, &messages)
        };
        if let Err(status) = opened {
            Came::default().answer(&format!("refused {}", status.code()));
        }
        if cancel == "leave" {
            Action::Continue
        } else {
            Action::Pause
        } // and what was opened with it
    }
}

fn answered(r: GrpcResponse) {
    let mut came = Came::default();
    for (name, value) in r.initial_metadata.iter().chain(&r.trailing_metadata) {
        if name.starts_with(b"x-") {
            came.fields.push((
                format!("x-{}", String::from_utf8_lossy(name)),
                String::from_utf8_lossy(value).into(),
            ));
        }
    }
    came.body.extend(r.message.as_deref().map(hex));
    came.closed(r.status);
}

fn open(upstream: &str, method: &str, cancel: &str, messages: &[Vec<u8>]) -> Result<(), Status> {
    let handler = Handler {
        came: Came::default(),
        cancels: cancel == "yes",
        tells: Told::default(),
    };
    let told = handler.tells.clone();
    let call = sdk::grpc_stream(upstream, SERVICE, method, &METADATA, handler)?;
    *told.borrow_mut() = Some(call);
    for message in messages {
        call.send(message, false).unwrap();
    }
    if cancel.is_empty() {
        call.end().unwrap();
    }
    Ok(())
}

/// Told is the call, as its opener knows it.
type Told = Rc<RefCell<Option<Grpc>>>;

struct Handler {
    came: Came,
    cancels: bool,
    tells: Told,
}

impl sdk::GrpcHandler for Handler {
    fn initial_metadata(&mut self, call: Grpc, metadata: Header) {
        assert_eq!(*self.tells.borrow(), Some(call));
        self.came.note(metadata, "x-grpc-test-echo-initial");
    }

    fn message(&mut self, call: Grpc, message: &[u8]) {
        self.came.body.push(hex(message));
        if self.cancels {
            call.cancel().unwrap();
            assert_eq!(
                call.send("", false),
                Err(Status::NotFound),
                "it is not cancelled"
            );
            self.came.answer("cancelled 0");
        }
    }

    fn trailing_metadata(&mut self, _: Grpc, metadata: Header) {
        self.came.note(metadata, "x-grpc-test-echo-trailing-bin");
    }

    fn close(&mut self, status: GrpcStatus) {
        self.came.closed(status);
    }
}

impl Came {
    fn note(&mut self, metadata: Header, name: &str) {
        if let Some(value) = metadata.get(name) {
            self.fields.push((format!("x-{name}"), value.to_string()));
        }
    }

    fn closed(&self, status: GrpcStatus) {
        self.answer(format!("closed {} {} {}", status.code, status.code, status.message).trim());
    }

    /// answer ends the exchange that the call is for.
    fn answer(&self, outcome: &str) {
        let fields = self.fields.iter().map(|f| (f.0.as_str(), f.1.as_str()));
        let fields: Vec<_> = fields.chain([("x-outcome", outcome)]).collect();
        sdk::respond(200, &fields, self.body.join(","), "").unwrap();
    }
}

fn hex(b: &[u8]) -> String {
    b.iter().fold(String::new(), |mut text, b| {
        write!(text, "{b:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|b| u8::from_str_radix(str::from_utf8(b).unwrap(), 16).unwrap())
        .collect()
}
