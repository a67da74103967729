//! Errors of the host's functions.

use std::error::Error;
use std::fmt;

/// Why the proxy refused (proxy_status_t). It allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// There is none.
    NotFound,
    /// An argument is not permitted, or not now.
    BadArgument,
    /// A property cannot be written as bytes.
    Serialization,
    /// An argument cannot be read.
    Parse,
    /// An expression cannot be read.
    BadExpression,
    /// A place is outside of the memory; or, found by the SDK, the host put a result where
    /// it was not handed any room.
    InvalidMemory,
    /// A queue has nothing.
    Empty,
    /// Another instance was first.
    CasMismatch,
    /// A result is not of the kind that is asked for.
    ResultMismatch,
    /// The proxy failed; also: the plugin lacks the capability.
    Internal,
    /// The connection of a call broke.
    BrokenConnection,
    /// The proxy does not have the function, or not for this.
    Unimplemented,
    /// The ABI has no name for it.
    Other(u32),
}

const NAMED: [(Status, &str); 12] = [
    (Status::NotFound, "not found"),
    (Status::BadArgument, "bad argument"),
    (Status::Serialization, "serialization failure"),
    (Status::Parse, "parse failure"),
    (Status::BadExpression, "bad expression"),
    (Status::InvalidMemory, "invalid memory access"),
    (Status::Empty, "empty"),
    (Status::CasMismatch, "compare and swap mismatch"),
    (Status::ResultMismatch, "result mismatch"),
    (Status::Internal, "internal failure"),
    (Status::BrokenConnection, "broken connection"),
    (Status::Unimplemented, "unimplemented"),
];

impl Status {
    /// Returns the number that the ABI has for it.
    pub fn code(self) -> u32 {
        match self {
            Status::Other(code) => code,
            named => NAMED
                .iter()
                .position(|n| n.0 == named)
                .map_or(0, |i| i as u32 + 1),
        }
    }

    /// The inverse, for a code other than 0.
    pub(crate) fn of(code: u32) -> Status {
        match code.checked_sub(1).and_then(|i| NAMED.get(i as usize)) {
            Some(named) => named.0,
            None => Status::Other(code),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match NAMED.iter().find(|n| n.0 == *self) {
            Some(named) => write!(f, "the proxy refused: {}", named.1),
            None => write!(f, "the proxy refused: status {}", self.code()),
        }
    }
}

impl Error for Status {}

/// Returns a host function's status as a result.
pub(crate) fn failure(status: u32) -> Result<(), Status> {
    if status == 0 {
        Ok(())
    } else {
        Err(Status::of(status))
    }
}

/// Why an HTTP call that was begun has no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// BrokenConnection if the proxy does not say.
    pub status: Status,
    /// The proxy's, for the log.
    pub message: String,
}

impl From<Status> for CallError {
    fn from(status: Status) -> CallError {
        CallError {
            status,
            message: String::new(),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.status.fmt(f)?;
        if self.message.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.message)
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.status)
    }
}

/// How a gRPC call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcStatus {
    /// 0 if it went well.
    pub code: u32,
    /// The other side's, or the proxy's.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        assert_eq!(failure(0), Ok(()));
        for code in 1..20 {
            let status = failure(code).unwrap_err();
            assert_eq!(status.code(), code);
            assert_eq!(matches!(status, Status::Other(_)), code > 12);
            for other in 1..20 {
                assert_eq!(status == Status::of(other), code == other);
            }
        }
        assert_eq!(failure(1), Err(Status::NotFound));
        assert_eq!(failure(8), Err(Status::CasMismatch));
        assert_eq!(failure(12), Err(Status::Unimplemented));
        assert_eq!(failure(u32::MAX), Err(Status::Other(u32::MAX)));
    }

    #[test]
    fn they_say_what_they_are() {
        assert_eq!(
            Status::CasMismatch.to_string(),
            "the proxy refused: compare and swap mismatch"
        );
        assert_eq!(
            Status::Other(99).to_string(),
            "the proxy refused: status 99"
        );
        let mut e = CallError {
            status: Status::BrokenConnection,
            message: "no endpoint".into(),
        };
        assert_eq!(
            e.to_string(),
            "the proxy refused: broken connection: no endpoint"
        );
        e.message.clear();
        assert_eq!(e.to_string(), "the proxy refused: broken connection");
        assert_eq!(
            e.source().unwrap().downcast_ref(),
            Some(&Status::BrokenConnection)
        );
    }
}
