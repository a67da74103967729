//! transform changes requests and responses on their way. See README.md.

mod change;
mod config;
mod cookie;
mod path;
mod text;

use std::error::Error;
use std::rc::Rc;

use penstock as sdk;
use sdk::{
    Action, Buffer, Callbacks, Header, Json, Level, REQUEST_BODY, REQUEST_HEADER, RESPONSE_BODY,
    RESPONSE_HEADER, Status, StreamType,
};

use change::Filled;
use config::{Changes, Message, Rules};
use text::Exchange;

sdk::register!(Plugin::default);

#[derive(Default)]
struct Plugin {
    rules: Option<Rc<Rules>>,
}

impl sdk::Plugin for Plugin {
    fn configure(&mut self, text: &[u8]) -> Result<(), Box<dyn Error>> {
        let r = config::parse(text)?;
        let mut only = Callbacks::default();
        if r.path.is_some() || !r.query.is_empty() || !r.request.headers.is_empty() {
            only = only | sdk::ON_REQUEST_HEADERS;
        }
        if !r.request.body.is_empty() {
            only = only | sdk::ON_REQUEST_HEADERS | sdk::ON_REQUEST_BODY | sdk::ON_REQUEST_TRAILERS;
        }
        if !r.known.is_empty() {
            only = only | sdk::ON_REQUEST_HEADERS | sdk::SET_RESPONSE_HEADERS;
        } else if r.status.is_some() || !r.response.headers.is_empty() {
            only = only | sdk::ON_RESPONSE_HEADERS;
        }
        if !r.response.body.is_empty() {
            only =
                only | sdk::ON_RESPONSE_HEADERS | sdk::ON_RESPONSE_BODY | sdk::ON_RESPONSE_TRAILERS;
        }
        sdk::only(only);
        self.rules = Some(Rc::new(r));
        Ok(())
    }

    fn new_stream(&mut self) -> Box<dyn sdk::Stream> {
        let rules = self
            .rules
            .clone()
            .expect("BUG: a stream before the configuration");
        Box::new(Stream {
            rules,
            request: None,
            response: None,
        })
    }
}

/// The values that a body gets, while it is to be changed.
type Wanted = Option<Vec<Json>>;

struct Stream {
    rules: Rc<Rules>,
    request: Wanted,
    response: Wanted,
}

/// What differs between requests and responses.
struct Side {
    stream: StreamType,
    header: Header,
    body: Buffer,
}

const REQUEST: Side = Side {
    stream: StreamType::Request,
    header: REQUEST_HEADER,
    body: REQUEST_BODY,
};

const RESPONSE: Side = Side {
    stream: StreamType::Response,
    header: RESPONSE_HEADER,
    body: RESPONSE_BODY,
};

/// Why a body is not changed.
#[derive(Clone, Copy)]
enum Unchanged {
    NoJson,
    /// The proxy shows no body at their callback.
    Trailers,
    TooLarge,
    Encoded,
}

impl sdk::Stream for Stream {
    fn request_headers(&mut self, end: bool) -> Action {
        let rules = self.rules.clone();
        // What is filled in is what came, not what is made of it here.
        let headers = Filled::new(&rules.request.headers, &Exchange);
        let values = match end {
            true => Vec::new(),
            false => change::values(&rules.request.body, &Exchange),
        };
        if (rules.path.is_some() || !rules.query.is_empty())
            && let Some(target) = REQUEST_HEADER.get(":path")
            && &target[..] != b"*"
        {
            let Some(new) = change::target(&rules, &target, &Exchange) else {
                return answer(400, "path refused");
            };
            REQUEST_HEADER.set(":path", new).expect("the path is set");
        }
        if !rules.known.is_empty() {
            match sdk::set_response_headers(&rules.known) {
                Err(Status::NotFound) => (), // another proxy, which calls response_headers
                result => result.expect("the fields are set"),
            }
        }
        self.begin(&REQUEST, &rules.request, &headers, values, end)
    }

    fn response_headers(&mut self, end: bool) -> Action {
        let rules = self.rules.clone();
        let headers = Filled::new(&rules.response.headers, &Exchange);
        let values = match end {
            true => Vec::new(),
            false => change::values(&rules.response.body, &Exchange),
        };
        if let Some(status) = &rules.status {
            RESPONSE_HEADER
                .set(":status", status)
                .expect("the status is set");
        }
        self.begin(&RESPONSE, &rules.response, &headers, values, end)
    }

    fn request_body(&mut self, size: usize, end: bool) -> Action {
        self.body(&REQUEST, size, end)
    }

    fn response_body(&mut self, size: usize, end: bool) -> Action {
        self.body(&RESPONSE, size, end)
    }

    fn request_trailers(&mut self) -> Action {
        self.trailers(&REQUEST)
    }

    fn response_trailers(&mut self) -> Action {
        self.trailers(&RESPONSE)
    }
}

impl Stream {
    fn wanted(&mut self, side: &Side) -> &mut Wanted {
        match side.stream {
            StreamType::Response => &mut self.response,
            _ => &mut self.request,
        }
    }

    /// Changes the head of a message, and says whether it waits for the body.
    fn begin(
        &mut self,
        side: &Side,
        message: &Message,
        headers: &Filled,
        values: Vec<Json>,
        end: bool,
    ) -> Action {
        let wanted = !end
            && !message.body.is_empty()
            && side
                .header
                .get("content-type")
                .is_some_and(|t| change::is_json(&t));
        let encoded = wanted
            && side
                .header
                .get("content-encoding")
                .is_some_and(|e| !e.eq_ignore_ascii_case(b"identity"));
        change_headers(side.header, &message.headers, headers);
        if !wanted {
            return Action::Continue;
        }
        if encoded {
            return self.unchanged(side, Unchanged::Encoded);
        }
        side.header
            .del("content-length")
            .expect("the length is removed");
        *self.wanted(side) = Some(values);
        Action::Continue // nothing is sent before the body has been seen
    }

    /// Holds a JSON body back until it is whole.
    fn body(&mut self, side: &Side, size: usize, end: bool) -> Action {
        if self.wanted(side).is_none() {
            return Action::Continue;
        }
        if size > self.rules.max_body {
            return self.unchanged(side, Unchanged::TooLarge);
        }
        if end {
            self.finish(side)
        } else {
            Action::Pause
        }
    }

    /// A body that was held back ends with trailers.
    fn trailers(&mut self, side: &Side) -> Action {
        match self.wanted(side) {
            Some(_) => self.unchanged(side, Unchanged::Trailers),
            None => Action::Continue,
        }
    }

    fn finish(&mut self, side: &Side) -> Action {
        let Some(values) = self.wanted(side).take() else {
            return Action::Continue;
        };
        let rules = self.rules.clone();
        let c = match side.stream {
            StreamType::Response => &rules.response.body,
            _ => &rules.request.body,
        };
        let text = side.body.all().unwrap_or_default();
        match change::body(c, &values, &text) {
            Some(new) => {
                side.body.set(new).expect("the body is set");
                Action::Continue
            }
            None => self.unchanged(side, Unchanged::NoJson),
        }
    }

    /// Says what becomes of a message whose body is not changed.
    fn unchanged(&mut self, side: &Side, why: Unchanged) -> Action {
        *self.wanted(side) = None;
        let (status, text) = match why {
            Unchanged::NoJson => (400, "a body is no JSON"),
            Unchanged::Trailers => (400, "a JSON body has trailers"),
            Unchanged::TooLarge => (413, "a JSON body exceeds maxBody"),
            Unchanged::Encoded => (415, "a JSON body is compressed"),
        };
        if self.rules.pass {
            sdk::log(Level::Warn, &format!("{text}, and passes unchanged"));
            return Action::Continue;
        }
        if side.stream == StreamType::Response {
            sdk::log(Level::Warn, &format!("{text}: the response is refused"));
            return answer(502, text);
        }
        answer(status, text)
    }
}

/// Answers in place of what goes on.
fn answer(status: u16, why: &str) -> Action {
    let body = match status {
        400 => "400 Bad Request\n",
        413 => "413 Content Too Large\n",
        415 => "415 Unsupported Media Type\n",
        _ => "502 Bad Gateway\n",
    };
    let headers = [("content-type", "text/plain; charset=utf-8")];
    if sdk::respond(status, &headers, body, why).is_err() {
        // The proxy has taken the response's head already.
        sdk::reset(StreamType::Request).expect("the request ends");
    }
    Action::Pause
}

fn change_headers(header: Header, c: &Changes, filled: &Filled) {
    for name in &c.remove {
        header.del(name).expect("the field is removed");
    }
    for (from, to) in &c.rename {
        rename(header, from, to);
    }
    filled.each(
        c,
        |name, value| {
            match value {
                Some(value) => header.set(name, value),
                None => header.del(name),
            }
            .expect("the field is set");
        },
        |name, value| header.add(name, value).expect("the field is added"),
    );
}

/// Gives all fields of a name another one, in place of those that had it.
fn rename(header: Header, from: &str, to: &str) {
    if header.get(from).is_none() {
        return; // most often, and cheaper to know
    }
    let Some(all) = header.all() else {
        return;
    };
    header.del(from).expect("the field is removed");
    let mut first = true;
    for (name, value) in all.iter() {
        if !name.eq_ignore_ascii_case(from.as_bytes()) {
            continue;
        }
        if first {
            header.set(to, value)
        } else {
            header.add(to, value)
        }
        .expect("the field is renamed");
        first = false;
    }
}
